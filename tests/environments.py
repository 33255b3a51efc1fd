"""The environments that the conformance suite runs over. To be listed here is to be tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from tests.envs.calvin.tools import require_clones
from tests.slide import SlideConfig
from tests.toy import ToyConfig
from volition.envs.base import EnvConfig
from volition.envs.calvin.config import CalvinSimConfig
from volition.envs.desk.environment import DeskConfig
from volition.envs.gymnasium.metaworld import MetaworldConfig
from volition.envs.mobile.environment import MobileConfig, Space
from volition.records import Env, Observation, Start


@dataclass(frozen=True, kw_only=True)
class Case:
    """`known` of the demonstrations of `shown`, one from each of `starts` seeds, succeed; None: it has no demonstrator.

    Keep pictures small and tasks few: the suite is to take seconds.
    """

    config: EnvConfig
    shown: tuple[str, ...]
    starts: int = 2
    known: int | None = None
    still: float = 1e-3  # how much any entry of the state may change in a third of a second while the robot rests


def toy() -> Case:
    return Case(config=ToyConfig(noise=0.1), shown=("reach_red", "reach_blue"), starts=4, known=8)


def desk() -> Case:
    sizes = {"static": (32, 40), "gripper": (24, 24)}
    shown = ("open_drawer", "stack_block", "turn_on_lightbulb")
    return Case(config=DeskConfig(image_sizes=sizes, shift=True), shown=shown, known=6)


def calvin() -> Case:
    require_clones()
    config = CalvinSimConfig(image_sizes={"static": (32, 40), "gripper": (24, 24)})
    return Case(config=config, shown=("open_drawer", "turn_on_led", "lift_blue_block_table"), known=6)


def mobile(space: Space) -> Case:
    shown = ("left_to_red_cup", "right_then_left")
    return Case(
        config=MobileConfig(space=space, image_sizes={"front": (24, 40), "rear": (20, 20)}), shown=shown, known=4
    )


def gymnasium() -> Case:
    return Case(config=SlideConfig(picture_size=(24, 28)), shown=SlideConfig().ids)


def metaworld() -> Case:
    pytest.importorskip("metaworld", reason="metaworld pins another MuJoCo than the desk's: see docs/evaluation.md")
    shown = ("reach-v3", "drawer-open-v3")  # whose hand is drawn to where it is told by a soft spring
    return Case(config=MetaworldConfig(picture_size=(32, 40)), shown=shown, known=4, still=3e-3)


def unheard_of(name: str, what: str) -> Case:
    pytest.importorskip(name, reason=f"{name} needs {what}; the adapter was never run")
    raise AssertionError(f"{name} is here: make a case of it")


# name -> what makes the case; it calls `pytest.skip` with the reason where the simulator is not here
CASES: dict[str, Callable[[], Case]] = {
    "toy": toy,
    "desk": desk,
    "calvin": calvin,
    "mobile": partial(mobile, "2d"),
    "mobile_3d": partial(mobile, "3d"),
    "gymnasium": gymnasium,
    "metaworld": metaworld,
    "libero": partial(unheard_of, "libero", "assets and pins of its own"),
    "simpler": partial(unheard_of, "simpler_env", "an NVIDIA GPU and assets of its own"),
}


def first_start(case: Case, seed: int = 3, number: int = 0) -> Start:
    return Start(seed=seed, tasks=(case.shown[number],), scene=case.config.scenes[0])


def actions(case: Case, count: int, seed: int = 0) -> np.ndarray:
    """float32[count, A], within the declared ranges."""
    space = case.config.spec.action_space
    low, high = (np.array([getattr(d, end) for d in space.dimensions]) for end in ("low", "high"))
    drawn = np.random.default_rng(seed).uniform(low, high, (count, space.dim))
    binary = list(space.binary)
    drawn[:, binary] = np.where(drawn[:, binary] > ((low + high) / 2)[binary], high[binary], low[binary])
    return drawn.astype(np.float32)


def same(left: Observation, right: Observation) -> bool:
    """Equal to the bit."""
    pictures = all(np.array_equal(left.images[name], right.images[name]) for name in {*left.images, *right.images})
    return pictures and np.array_equal(left.state, right.state) and left.instruction == right.instruction


def play(env: Env, start: Start, taken: np.ndarray, *, look: bool = True) -> list[Observation]:
    env.reset(start)
    env.begin(start.tasks[0])
    seen = []
    for action in taken:
        if look:
            seen.append(env.observe("now"))
        env.step(action)
    return [*seen, env.observe("now")]
