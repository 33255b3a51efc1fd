"""What is found out before the first episode: how long instructions get, whether chunks can be executed as asked, and
how many rows a policy may be asked for at once.

    trials --padded--> actor     trials --look_at_some--> Moments --require_executable, batched--> FixedBatch
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from volition.contract import ActionSpace
from volition.evaluation.batching import (
    FixedBatch,
    NotChunksError,
    confidence_of,
    rows_are_independent,
    sizes_alike,
)
from volition.evaluation.chunking import AnyChunking, RealTime
from volition.evaluation.episodes import Trial
from volition.evaluation.slot import Ask, Begin, Moment, Worded
from volition.evaluation.workers import Lost, Pool, ask_first
from volition.records import Actor, Padding, Settled

logger = logging.getLogger(__name__)

LOOKS = 8  # at most


def padded(actor: Actor, pool: Pool, trials: Sequence[Trial], *, tries: int) -> Actor:
    """Whatever is said, calls have one shape: the last bits of a row depend on it."""
    if not isinstance(actor, Padding):
        return actor
    commands = dict.fromkeys(command for trial in trials for command in trial.commands)
    reply = ask_first(pool, Ask(commands=tuple(commands)), tries=tries)
    if isinstance(reply, Lost):
        raise RuntimeError(f"an environment must say all commands of the trials, but: {reply.reason}")
    assert isinstance(reply, Worded)
    return actor.padded_for(tuple(dict.fromkeys(reply.instructions)))


def look_at_some(pool: Pool, trials: Sequence[Trial], most: int) -> list[Moment]:
    """The beginnings of trials spread over all: the same ones for any number of workers."""
    count = min(most, len(trials), LOOKS)
    seen, lost = [], ""
    for i in np.linspace(0, len(trials) - 1, count):
        reply = ask_first(pool, Begin(trial=trials[int(i)], index=0))
        if isinstance(reply, Lost):
            lost = reply.reason
        elif isinstance(reply, Moment) and reply.observation is not None:
            seen.append(reply)
    if not seen:
        raise RuntimeError(f"none of {count} trials could be begun; the last one: {lost}")
    return seen


def require_executable(
    actor: Actor, seen: Sequence[Moment], size: int, chunking: AnyChunking, space: ActionSpace | None, latency: int
) -> None:
    """The first error where no answer to what was seen can be executed so: every episode would end by the same.

    Answers that are no chunks are left to the episodes, which say so for themselves.
    """
    errors: list[Exception] = []
    for moment in seen:
        assert moment.observation is not None
        try:
            (chunk,), (state,) = FixedBatch(actor, size).act([moment.observation], actor.start(1))
            chunking.begin(space, latency).take(chunk, moment.rest, confidence_of(state))
        except NotChunksError:
            return
        except Exception as error:  # the policy's own: another look may fare better
            errors.append(error)
        else:
            return
    raise errors[0]


def batched(actor: Actor, seen: Sequence[Moment], size: int, chunking: AnyChunking, latency: int) -> FixedBatch:
    """Of `size` rows if they are shown to be independent in batches of that size, else of one."""
    if size == 1:
        return FixedBatch(actor, 1)

    def settle(chunk: np.ndarray) -> Settled | None:
        if not isinstance(chunking, RealTime):
            return None
        player = chunking.begin(None, latency)
        player.take(chunk, np.zeros(chunk.shape[1], np.float32))
        return player.settled()

    looks = [moment.observation for moment in seen if moment.observation is not None]
    try:
        if rows_are_independent(actor, looks, size, settle):
            return FixedBatch(actor, size, sizes_alike(actor, looks, size, settle))
        why = f"the policy's answers depend on a row's place or neighbours in a batch of {size}"
    except Exception as error:  # the policy's own: the episodes that it costs will tell of it
        why = f"the policy cannot be tried in a batch of {size} ({type(error).__name__}: {error})"
    logger.warning("%s: asking row by row, which is slower, so that results do not depend on scheduling", why)
    return FixedBatch(actor, 1)
