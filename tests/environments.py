"""The environments that the conformance suite runs over. To be listed here is to be tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.toy import ToyConfig
from volition.envs.base import EnvConfig
from volition.envs.desk.environment import DeskConfig
from volition.envs.mobile.environment import MobileConfig, Space


@dataclass(frozen=True, kw_only=True)
class Case:
    """`known` of the demonstrations of `shown`, one from each of `starts` seeds, succeed; None: it has no demonstrator.

    Keep pictures small and tasks few: the suite is to take seconds.
    """

    config: EnvConfig
    shown: tuple[str, ...]
    starts: int = 2
    known: int | None = None


def toy() -> Case:
    return Case(config=ToyConfig(noise=0.1), shown=("reach_red", "reach_blue"), starts=4, known=8)


def desk() -> Case:
    sizes = {"static": (32, 40), "gripper": (24, 24)}
    shown = ("open_drawer", "stack_block", "turn_on_lightbulb")
    return Case(config=DeskConfig(image_sizes=sizes, shift=True), shown=shown, known=6)


def mobile(space: Space) -> Case:
    shown = ("left_to_red_cup", "right_then_left")
    return Case(
        config=MobileConfig(space=space, image_sizes={"front": (24, 40), "rear": (20, 20)}), shown=shown, known=4
    )


# name -> what makes the case; it calls `pytest.skip` with the reason where the simulator is not here
CASES: dict[str, Callable[[], Case]] = {
    "toy": toy,
    "desk": desk,
    "mobile": partial(mobile, "2d"),
    "mobile_3d": partial(mobile, "3d"),
}
