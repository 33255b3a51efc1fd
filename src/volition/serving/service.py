"""What every protocol does with a request: admit, read, ask the policy, guard, remember, answer.

    message -> Service.infer(session, read) -> PolicyThread -> safety envelope -> answer
                                                    (all in one event loop, but the policy's thread)

A session's memory takes its step only when its answer is complete: a request that fails, times out or whose client is
gone leaves it as it was. All that is refused, by `infer` or by a protocol, is logged and counted here, and once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from typing import Any

import numpy as np

from volition.contract import require_equal
from volition.records import Observation, Settled
from volition.serving import observations, times
from volition.serving.batching import Job, PolicyThread, Result
from volition.serving.config import ServeConfig
from volition.serving.guard import Guard
from volition.serving.metrics import Metrics
from volition.serving.recording import ANSWERED, HELD, Record, Recorder
from volition.serving.refusals import RefusedError
from volition.serving.served import Load, Served, continues, describe
from volition.serving.sessions import Moment, Session, Sessions
from volition_client.errors import ServerError
from volition_client.safety import SafetyLimits

logger = logging.getLogger(__name__)
HEARING_SECONDS = 1.0  # for those who are given up to hear of it


class Service:
    """One policy for all protocols. Made, and then used, in the thread of its event loop."""

    def __init__(
        self,
        served: Served,
        config: ServeConfig,
        *,
        limits: SafetyLimits | None = None,
        load: Load | None = None,
        recorder: Recorder | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """`load` reads the policy anew, for a reload; `clock` never goes back."""
        self.config, self.metrics, self._load = config, Metrics(), load
        self._recorder, self._clock = recorder, clock
        self.guard = Guard(served, limits, clock)
        self.sessions = Sessions(config.sessions, self.guard.make_envelope, clock)
        self.policy = PolicyThread(served, self.metrics, max_batch=config.max_batch, fixed=config.fixed_batch)
        self.metadata = self._describe(served)
        self.draining = False
        self._under_way = 0
        self._asking: dict[str, asyncio.Timeout] = {}  # session -> until when the policy may answer it
        self._ends: float | None = None  # when what is under way is given up: the server stops
        self._reloading = asyncio.Lock()

    @property
    def served(self) -> Served:
        return self.policy.served

    async def infer(self, session: Session, read: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The answer to one request; RefusedError for what is not answered. `read`: its message, or a ServerError."""
        started = time.perf_counter()
        try:
            answer = await self._infer(session, read, started)
        except ServerError as error:
            session.refusals += 1
            raise self._refused(error, f"{session.protocol} session {session.id} of {session.peer}") from error
        except asyncio.CancelledError:
            self.metrics.requests.add("abandoned")
            logger.warning("%s session %s of %s: the client left", session.protocol, session.id, session.peer)
            raise
        self.metrics.requests.add("answered")
        self.metrics.latency.observe(time.perf_counter() - started)
        session.latencies.append(time.perf_counter() - started)
        return answer

    def refused(self, error: ServerError, protocol: str, peer: str) -> RefusedError:
        """What a protocol tells who is refused. What never came to `infer` counts as a request of that machine."""
        if isinstance(error, RefusedError):
            return error
        try:
            self.sessions.take_without(peer)
        except ServerError as late:
            error = late
        return self._refused(error, f"{protocol} of {peer}")

    def _refused(self, error: ServerError, who: str) -> RefusedError:
        refused = RefusedError(error)
        self.metrics.requests.add(refused.type)
        logger.warning("%s: %s", who, refused)
        return refused

    async def _infer(self, session: Session, read: Callable[[], Mapping[str, Any]], started: float) -> dict[str, Any]:
        if self.draining:
            raise ServerError("draining", "the server is about to stop; connect again in a moment")
        if session.busy:
            raise ServerError("busy", "the session has a request under way; ask one at a time")
        self.sessions.take(session)
        at, message = time.time(), read()
        observation, request = observations.read(message, self.served.robot), observations.number(message, "request")
        known = session.answer if request is not None and request == session.request else None
        if known is not None and not times.is_too_late(session, message, self._clock()):
            return known
        before = session.moment()
        session.busy, self._under_way = True, self._under_way + 1
        try:
            answer = (
                await self._act(session, message, observation, started)
                if known is None
                else self._held(session, observation, known)
            )
        except (ServerError, asyncio.CancelledError) as error:
            kind = error.type if isinstance(error, ServerError) else "abandoned"
            await self._record_failure(_record(session, message, {}, at, kind))
            raise
        else:
            session.request, session.answer = None if request is None else int(request), answer
            outcome = ANSWERED if known is None else HELD
            await self._record_answer(session, before, _record(session, message, answer, at, outcome))
            return answer
        finally:
            session.busy, self._under_way = False, self._under_way - 1

    async def _act(
        self, session: Session, message: Mapping[str, Any], observation: Observation, started: float
    ) -> dict[str, Any]:
        """The policy's answer, guarded; the session goes on from it."""
        observed_at = times.observed_at(session, message, self._clock(), self.config.clock_jump_seconds)
        forget = observations.flag(message, "reset") or observation.instruction != session.prompt
        settled = self._settled(message)
        executed, answered = (observations.number(message, name) for name in ("executed", "answered"))
        job = Job(observation=observation, memory=None if forget else session.memory, settled=settled)
        result = await self._ask(session, job)
        session.carried_out(None if executed is None else int(executed), answered)
        answer = self._complete(session, observation, result, forget, observed_at)
        answer["server_timing"] = {"infer_ms": 1e3 * (time.perf_counter() - started), "policy_ms": 1e3 * result.seconds}
        return answer

    async def _record_answer(self, session: Session, before: Moment, record: Record) -> None:
        try:
            if self._recorder is not None:
                await self._recorder.write(record)
        except Exception as error:  # whatever it is: what is not recorded has not happened
            session.go_back(before)
            raise ServerError("internal", f"the request could not be recorded: {error}") from error

    async def _record_failure(self, record: Record) -> None:
        try:
            if self._recorder is not None:
                await self._recorder.write(record)
        except Exception as error:  # there is nothing to take back, and the client hears of the first error
            logger.error("a request without an answer (%s) could not be recorded: %s", record.outcome, error)

    def _settled(self, message: Mapping[str, Any]) -> Settled | None:
        found = observations.settled(message, self.served.action_horizon, self.served.robot.action_space.dim)
        if found is not None and not continues(self.served):
            raise ServerError("bad_observation", "this policy cannot continue what is settled (metadata: accepts)")
        return found

    async def _ask(self, session: Session, job: Job) -> Result:
        seconds = self.config.request_seconds
        try:
            async with asyncio.timeout(seconds) as self._asking[session.id]:
                self.policy.submit(job)
                return await asyncio.wrap_future(job.future)
        except TimeoutError as error:
            if self.draining:
                raise ServerError("draining", "the server stops, and the policy has not answered in time") from error
            raise ServerError("timeout", f"the policy must answer within {seconds:g} s, and has not") from error
        except CancelledError as error:  # of the future, not of this task
            raise ServerError("internal", "the request was dropped") from error
        finally:
            del self._asking[session.id]

    def _complete(
        self, session: Session, observation: Observation, result: Result, forget: bool, observed_at: float
    ) -> dict[str, Any]:
        """The answer; from here on nothing can fail but the envelope, and it comes before anything is remembered."""
        fresh = forget or result.forgot or session.memory is None
        if forget:
            session.forget_target()
        actions, found = self._guarded(session, observation, result.chunk, observed_at)
        if result.forgot:
            self.metrics.fresh.add("another policy")
            logger.warning("session %s: its memory does not fit %s and begins anew", session.id, result.policy)
        session.memory, session.prompt = result.memory, observation.instruction
        session.images = {name: image[0] for name, image in observation.images.items()}
        session.observed_at, session.requests = observed_at, session.requests + 1
        answer: dict[str, Any] = {"actions": actions, "fresh": fresh, "policy": result.policy}
        if result.confidence is not None:
            answer["confidence"] = result.confidence
        if session.envelope is not None:
            answer["interventions"] = found
        return answer

    def _held(self, session: Session, observation: Observation, known: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request that is repeated too late: the robot never heard what is `known`, carried out
        none of it, and now holds. The memory has taken its step all the same."""
        assert session.envelope is not None, "without limits nothing is too late"
        session.envelope.executed(0)
        actions, found = self._guarded(session, observation, known["actions"], session.observed_at)
        return {**known, "actions": actions, "interventions": found}

    def _guarded(
        self, session: Session, observation: Observation, chunk: np.ndarray, observed_at: float
    ) -> tuple[np.ndarray, list[str]]:
        """The chunk that may be sent, and what was changed."""
        actions, found = self.guard.safe(session.envelope, observation, chunk, observed_at, self.served.replan_steps)
        for one in found:
            self.metrics.interventions.add(one.kind)
        session.actions, session.interventions = actions, session.interventions + len(found)
        return actions, [f"{one.kind}: {one.text}" for one in found]

    async def reload(self) -> str:
        """Read the policy anew and let it take over between two calls; sessions go on. Its name.

        RefusedError, of type conflict, where that fails or its contract is another, and the one that is served stays.
        """
        async with self._reloading:
            try:
                served = await self._replace()
            except Exception as error:  # whatever a load raises
                expected = isinstance(error, (ValueError, OSError, RuntimeError))
                self.metrics.reloads.add("refused")
                logger.error("the policy was not reloaded: %s", error, exc_info=not expected)
                text = str(error) if expected else f"{type(error).__name__}: {error}"
                raise RefusedError(ServerError("conflict", text)) from error
        self.metrics.reloads.add("done")
        self.metadata = self._describe(served)
        logger.warning("serving %s now; %d sessions go on", served.name, len(self.sessions))
        return served.name

    async def _replace(self) -> Served:
        if self._load is None:
            raise ValueError("this server has nothing to load a policy from")
        if self.draining:
            raise RuntimeError("the server is about to stop, and takes no other policy")
        served = await asyncio.to_thread(self._load)
        require_equal(self.served.contract, served.contract, left_name="what is served", right_name="the new one")
        size = await asyncio.to_thread(self.policy.prepare, served)
        await asyncio.to_thread(self.policy.replace, served, size)
        return served

    def _describe(self, served: Served) -> dict[str, Any]:
        return {**describe(served), "max_message_bytes": self.config.max_message_bytes}

    async def drain(self) -> None:
        """No new requests; those under way get their answers, or after `drain_seconds` hear that they get none."""
        self.draining = True
        now = asyncio.get_running_loop().time
        self._ends = now() + self.config.drain_seconds
        for until in self._asking.values():
            if not until.expired():
                until.reschedule(min(until.when() or self._ends, self._ends))
        while self._under_way and now() < self._ends + HEARING_SECONDS:
            await asyncio.sleep(0.01)
        if self._under_way:
            logger.error("%d requests were still under way after %g s", self._under_way, self.config.drain_seconds)

    async def close(self) -> None:
        """Waits for the policy's call as long as a drain has left."""
        left = self.config.drain_seconds if self._ends is None else self._ends - asyncio.get_running_loop().time()
        if not await asyncio.to_thread(self.policy.stop, max(left, 0.0)):
            logger.error("the policy's call did not end within %g s and is given up", self.config.drain_seconds)
        if self._recorder is not None:
            await asyncio.to_thread(self._recorder.close)

    def gauges(self) -> dict[str, tuple[str, float]]:
        return {
            "volition_sessions": ("Sessions now", float(len(self.sessions))),
            "volition_requests_waiting": ("Requests that wait for the policy", float(self.policy.waiting)),
            "volition_draining": ("1 while the server is about to stop", float(self.draining)),
        }


def _record(
    session: Session, message: Mapping[str, Any], answer: dict[str, Any], at: float, outcome: str = ANSWERED
) -> Record:
    fresh = bool(answer.get("fresh"))
    return Record(session=session.id, fresh=fresh, message=dict(message), answer=answer, at=at, outcome=outcome)
