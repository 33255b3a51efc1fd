"""Control steps a second of the simulator, on one core: physics alone, with the judge's snapshot, with both cameras.

    OMP_NUM_THREADS=1 python benchmarks/desk_speed.py [--repeats 7]

The same actions are replayed in every setting: the hand lifts a block, sets it down, pushes another, pulls the drawer
and presses the button, so most steps have contacts. The best of the repeats counts, since machines are shared. The last
line relates the figures to a yardstick that needs no simulator: numpy matrix products a second in the same run.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable

import numpy as np

from volition.envs.desk.controller import METRES_PER_UNIT
from volition.envs.desk.desk import Desk
from volition.envs.desk.state import DeskState

logger = logging.getLogger(__name__)

OPEN, CLOSED = 1.0, -1.0


def start() -> DeskState:
    scene_obs = np.zeros(24)
    for index, place in enumerate(((-0.12, -0.06), (0.02, -0.10), (0.15, -0.03))):
        scene_obs[6 + 6 * index : 9 + 6 * index] = (*place, 0.48)
    scene_obs[11] = np.pi / 2  # the red block's short side lies between the fingers
    return DeskState("A", scene_obs)


def record(desk: Desk) -> list[np.ndarray]:
    """The actions of one contact-rich episode."""
    desk.reset(start())
    red, blue = np.array([-0.12, -0.06, 0.48]), np.array([0.02, -0.10, 0.48])
    handle, button = desk.site("drawer_handle")[0] + (0.0, 0.03, -0.008), desk.site("button_top")[0]
    lift, side = np.array([0.0, 0.0, 0.1]), np.array([-0.08, 0.0, 0.0])
    waypoints = [
        (red + lift, OPEN), (red, OPEN), (red, CLOSED), (red + lift, CLOSED), (red, CLOSED), (red, OPEN),
        (red + lift, OPEN), (blue + side + lift, CLOSED), (blue + side, CLOSED), (blue - 0.5 * side, CLOSED),
        (blue + lift, CLOSED), (handle + 1.4 * lift, CLOSED), (handle, CLOSED), (handle - (0.0, 0.13, 0.0), CLOSED),
        (handle + 2 * lift, CLOSED), (button + lift, CLOSED), (button - 0.2 * lift, CLOSED),
    ]  # fmt: skip
    actions: list[np.ndarray] = []
    for goal, gripper in waypoints:
        for _ in range(14):
            move = (goal - desk.target_position) / METRES_PER_UNIT
            action = np.concatenate((move / max(1.0, np.abs(move).max()), np.zeros(3), [gripper]))
            actions.append(action)
            desk.step(action)
    return actions


def steps_per_second(desk: Desk, actions: list[np.ndarray], after: Callable[[], object], repeats: int) -> float:
    """The best of the repeats."""
    best = np.inf
    for _ in range(repeats):
        desk.reset(start())
        begin = time.perf_counter()
        for action in actions:
            desk.step(action)
            after()
        best = min(best, (time.perf_counter() - begin) / len(actions))
    return 1.0 / best


def products_per_second(repeats: int) -> float:
    """256 x 256 float64 matrix products a second."""
    matrix, best = np.ones((256, 256)), np.inf
    for _ in range(repeats * 20):
        begin = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - begin)
    return float(1.0 / best)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    desk = Desk()
    actions = record(desk)
    settings: dict[str, Callable[[], object]] = {
        "physics only": lambda: None,
        "with snapshot, robot_obs and scene_obs": lambda: (desk.snapshot(), desk.robot_obs(), desk.scene_obs()),
        "both cameras, 200 x 200 and 84 x 84": lambda: (desk.render("static"), desk.render("gripper")),
        "both cameras, 96 x 96": lambda: (desk.render_at("static", 96, 96), desk.render_at("gripper", 96, 96)),
    }
    for name, after in settings.items():
        logger.info("%-40s %7.0f control steps/s", name, steps_per_second(desk, actions, after, repeats))
    logger.info("%-40s %7.0f /s", "yardstick: 256 x 256 matrix products", products_per_second(repeats))


if __name__ == "__main__":
    main()
