"""What an environment says of itself before hours are spent in it: can its robot wait, and how would it say this?

    env.make --inquire(trials, commands)--> Inquiry(rests, said)

An environment that cannot be asked is taken for one that rests: what is wrong with it its episodes will say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from volition.evaluation.episodes import Command, Trial
from volition.evaluation.slot import Ask, Begin, Moment, Worded
from volition.evaluation.workers import EnvFactory, ask_first, open_pool

TRIES = 3


@dataclass(frozen=True, kw_only=True)
class Inquiry:
    rests: bool  # `episodes.Resting`
    said: Mapping[Command, str]  # sentences; none of them where it could not be asked


def inquire(
    factory: EnvFactory, trial: Trial, commands: Sequence[Command] = (), *, num_workers: int, patience_seconds: float
) -> Inquiry:
    """Begins `trial` in one environment, in a process of its own unless `num_workers` is 0."""
    pool = open_pool(factory, num_workers=min(1, num_workers), slots_per_worker=1, patience_seconds=patience_seconds)
    try:
        moment = ask_first(pool, Begin(trial=trial, index=0), tries=TRIES)
        worded = ask_first(pool, Ask(commands=tuple(commands)), tries=TRIES)
    finally:
        pool.close()
    rests = not isinstance(moment, Moment) or moment.rest is not None
    return Inquiry(rests=rests, said=dict(zip(commands, worded.instructions)) if isinstance(worded, Worded) else {})
