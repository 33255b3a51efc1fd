"""LeRobot v3.0, written by this package."""

from pathlib import Path

from tests.data.conftest import write_toy
from volition.data.lerobot_stage import LeRobotConfig


def make(root: Path) -> Path:
    write_toy(root / "d", (5, 2, 3), LeRobotConfig(images="png"))
    return root / "d"
