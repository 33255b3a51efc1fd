"""The environments that the conformance suite runs over. To be listed here is to be tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.envs.calvin.tools import require_clones
from tests.toy import ToyConfig
from volition.envs.base import EnvConfig
from volition.envs.calvin.config import CalvinSimConfig
from volition.envs.desk.environment import DeskConfig


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


def calvin() -> Case:
    require_clones()
    config = CalvinSimConfig(image_sizes={"static": (32, 40), "gripper": (24, 24)})
    return Case(config=config, shown=("open_drawer", "turn_on_led", "lift_blue_block_table"), known=6)


# name -> what makes the case; it calls `pytest.skip` with the reason where the simulator is not here
CASES: dict[str, Callable[[], Case]] = {"toy": toy, "desk": desk, "calvin": calvin}
