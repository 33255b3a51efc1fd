"""Which scene, in metres, a Start stands for: a function of what the Start and the config say, and nothing else.

Start with one task -> starts.sample                      scattered
Start of an official sequence -> initial.official_scene   what CALVIN's evaluation begins with, to the bit
Start of another chain -> the same places, drawn anew; or scattered, as the config says
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from volition.envs.calvin.initial import official_scene, placed
from volition.envs.calvin.sequences import LENGTH, NUM_OFFICIAL, official_initial
from volition.envs.calvin.situations import SCENES, TASKS, Situation, feasible, initial_situations
from volition.envs.calvin.starts import StartState, sample
from volition.records import Start

Placement: TypeAlias = Literal["official", "scattered"]


@dataclass(frozen=True, kw_only=True)
class Place(StartState):
    scene: str
    settle: bool  # blocks are put down a hair above what they stand on


def draws(start: Start, scenes: Sequence[str], placement: Placement) -> Iterator[Place]:
    """What the start stands for, and others in case its scripted lift fails. ValueError for one that is none.

    `scenes`: where one that names none is drawn from.
    """
    _check(start)
    rng = np.random.default_rng([start.seed, TASKS.index(start.tasks[0]), len(start.tasks)])
    scene = start.scene or str(rng.choice(list(scenes)))
    chain = len(start.tasks) == LENGTH and placement == "official"
    if chain and start.seed < NUM_OFFICIAL:
        situation = official_initial(start.seed)
        if not feasible(situation, start.tasks):
            raise ValueError(
                f"seeds below {NUM_OFFICIAL} stand for CALVIN's official sequences, and number {start.seed} begins in "
                f"{situation}, where {', '.join(start.tasks)} cannot be done; take a sequence of its own list"
            )
        yield _place(situation, official_scene(situation), scene)
    elif chain:
        options = [situation for situation in initial_situations() if feasible(situation, start.tasks)]
        if not options:
            raise ValueError(f"no initial situation of CALVIN's admits {', '.join(start.tasks)} one after the other")
        situation = options[rng.integers(len(options))]
        yield _place(situation, placed(situation, np.random.RandomState(rng.integers(2**32))), scene)
    else:
        while True:
            found = sample(start.tasks, scene, rng)
            yield Place(**vars(found), scene=scene, settle=True)


def _place(situation: Situation, scene_obs: np.ndarray, scene: str) -> Place:
    admits = tuple(task for task in TASKS if feasible(situation, (task,)))
    return Place(
        scene_obs=scene_obs, prepare=None, situation=situation, admits=admits, scene=scene, settle=False
    )  # fmt: skip


def _check(start: Start) -> None:
    if not start.tasks:
        raise ValueError("start.tasks must name the task or the chain of tasks to begin with, got none")
    unknown = [task for task in start.tasks if task not in TASKS]
    if unknown:
        raise ValueError(f"start.tasks must be among CALVIN's {len(TASKS)} tasks, got {unknown}")
    if start.scene and start.scene not in SCENES:
        raise ValueError(f"start.scene must be one of {', '.join(SCENES)} or empty, got {start.scene!r}")
