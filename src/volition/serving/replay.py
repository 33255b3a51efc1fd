"""Recorded requests asked again, session by session, and how far the answers are from the recorded ones.

Requests are asked one after the other, each alone: what comes out is what each robot would have got without the others.
Requests in which a safety envelope stepped in are left out of the comparison: the answer was not the policy's. Those
without an answer, and repeated ones that got the hold, are left out altogether: the policy's memory took no step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volition.evaluation.batching import FixedBatch
from volition.serving.observations import read, settled
from volition.serving.recording import ANSWERED, Record, read_records
from volition.serving.served import Served, continues
from volition_client.errors import ServerError


@dataclass(frozen=True, kw_only=True)
class Comparison:
    requests: int  # that were asked again
    unanswered: int  # recorded requests without an answer of the policy; they are not asked again
    sessions: int
    guarded: int  # requests in which the envelope stepped in; they are not compared
    different: int  # requests whose actions are further off than the tolerance
    largest: float  # difference of any action, in the contract's units
    tolerance: float

    @property
    def equal(self) -> bool:
        return self.different == 0


def replay(
    served: Served, folder: Path, *, tolerance: float, progress: Callable[[int], None] = lambda done: None
) -> Comparison:
    """ValueError for a folder without records, or whose observations do not fit the policy's contract."""
    states: dict[str, Any] = {}
    sessions = [record.session for record in read_records(folder)]
    newest = {session: number for number, session in enumerate(sessions)}
    requests = guarded = different = 0
    largest = 0.0
    for number, record in zip(range(len(sessions)), read_records(folder)):  # a server may still be writing
        state = states.pop(record.session, None)
        if record.outcome == ANSWERED:
            requests += 1
            chunk, state = _ask(served, record, state)
            if record.answer.get("interventions"):
                guarded += 1
            else:
                distance = _distance(chunk, record.answer)
                largest, different = max(largest, distance), different + (not distance <= tolerance)
            progress(requests)
        if newest[record.session] > number:  # a state may be large, and sessions are many
            states[record.session] = state
    if not requests:
        raise ValueError(f"{folder} has no complete record to compare with")
    return Comparison(
        requests=requests,
        unanswered=len(sessions) - requests,
        sessions=len(newest),
        guarded=guarded,
        different=different,
        largest=largest,
        tolerance=tolerance,
    )


def _ask(served: Served, record: Record, state: Any) -> tuple[np.ndarray, Any]:
    """`state`: None where the session begins."""
    try:
        observation = read(record.message, served.robot)
        known = settled(record.message, served.action_horizon, served.robot.action_space.dim)
    except ServerError as error:
        raise ValueError(f"a recorded observation does not fit the policy: {error.message}") from error
    if known is not None and not continues(served):
        raise ValueError("the recorded robot told what was settled, and this policy cannot continue it")
    if record.fresh or state is None:
        (state,) = served.actor.start(1)
    chunks, after = FixedBatch(served.actor, 1).act([observation], [state], [known])
    return chunks[0], after[0]


def _distance(chunk: np.ndarray, answer: Mapping[str, Any]) -> float:
    before = np.asarray(answer.get("actions"))
    if before.shape != chunk.shape:
        raise ValueError(f"recorded actions have the shape {list(before.shape)}, the policy's {list(chunk.shape)}")
    return float(np.abs(before - chunk).max())
