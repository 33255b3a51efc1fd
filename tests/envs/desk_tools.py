"""What the tests of the desk share: starts, a servo and scripted contact-rich episodes."""

from __future__ import annotations

import hashlib

import numpy as np

from volition.envs.desk.controller import METRES_PER_UNIT, RADIANS_PER_UNIT
from volition.envs.desk.desk import Desk
from volition.envs.desk.kinematics import rotation_from_euler, rotation_vector
from volition.envs.desk.layout import SWITCH_TRAVEL
from volition.envs.desk.state import SCENES, DeskState, Shift

OPEN, CLOSED = 1.0, -1.0
DOWN = rotation_from_euler(np.array([np.pi, 0.0, np.pi / 2]))
Blocks = tuple[tuple[float, float, float], ...]
ON_TABLE: Blocks = ((-0.13, -0.05, 0.48), (0.0, -0.11, 0.48), (0.13, -0.04, 0.48))
AWAY: Blocks = ((0.0, -2.0, 0.02), (0.2, -2.0, 0.02), (0.4, -2.0, 0.02))  # on the floor, out of the way
EXTREMES = [Shift(x, y, yaw) for x in (-0.08, 0.08) for y in (-0.08, 0.08) for yaw in (-0.3, 0.3)]


def scene_obs(
    *, door: float = 0.0, drawer: float = 0.0, switch: float = 0.0, led: float = 0.0, blocks: Blocks = ON_TABLE,
    yaw: float = 0.0,
) -> np.ndarray:  # fmt: skip
    observed = np.zeros(24)
    observed[[0, 1, 3, 4, 5]] = door, drawer, switch, float(switch > SWITCH_TRAVEL / 2), led
    for index, place in enumerate(blocks):
        observed[6 + 6 * index : 9 + 6 * index] = place
        observed[11 + 6 * index] = yaw
    return observed


def up(height: float) -> np.ndarray:
    return np.array([0.0, 0.0, height])


def servo(desk: Desk, goal: np.ndarray, gripper: float, rotation: np.ndarray = DOWN, limit: int = 80) -> float:
    """Drive the hand straight to a pose; the distance left, metres."""
    goal = np.asarray(goal, dtype=float)
    for _ in range(limit):
        move = (goal - desk.target_position) / METRES_PER_UNIT
        turn = rotation_vector(rotation @ desk.target_rotation.T)
        desk.step(np.concatenate((move / max(1.0, np.abs(move).max()), turn / RADIANS_PER_UNIT, [gripper])))
        if np.linalg.norm(goal - desk.tcp_position) < 0.004 and np.linalg.norm(turn) < 0.03:
            break
    return float(np.linalg.norm(goal - desk.tcp_position))


def hold(desk: Desk, gripper: float, steps: int) -> None:
    for _ in range(steps):
        desk.step(np.array([0, 0, 0, 0, 0, 0, gripper]))


def grasp(desk: Desk, block: str, lift: float = 0.10) -> None:
    """Grasp a block from above across its narrow side and lift it."""
    state = desk.snapshot().blocks[block]
    yaw = np.arctan2(state.rotation[1, 0], state.rotation[0, 0]) % np.pi
    turned = rotation_from_euler(np.array([np.pi, 0.0, yaw]))
    servo(desk, state.position + up(0.1), OPEN, turned)
    servo(desk, state.position, OPEN, turned)
    hold(desk, CLOSED, 6)
    servo(desk, state.position + up(lift), CLOSED, turned)


def wild_actions(seed: int, steps: int) -> np.ndarray:
    """float64[steps, 7]: a slow random walk that presses down on what lies on the table."""
    rng = np.random.default_rng(seed)
    actions = np.repeat(rng.uniform(-1, 1, (steps // 10 + 1, 7)), 10, axis=0)[:steps]
    actions[:, 2] -= 0.4
    return actions


def episode(seed: int) -> tuple[DeskState, np.ndarray]:
    """A start, another scene and shift for every seed, and 60 actions."""
    shift = Shift(0.02 * (seed % 3), -0.01 * (seed % 4), 0.05 * (seed % 5), (0.01, 0.01, 0.02))
    state = DeskState(SCENES[seed % 4], scene_obs(door=0.1, drawer=0.08, led=seed % 2, yaw=0.3 * seed), shift)
    return state, wild_actions(seed, 60)


def replay(desk: Desk, seed: int, draw: bool = False) -> str:
    """A digest of every number that the episode shows on its way."""
    state, actions = episode(seed)
    desk.reset(state)
    digest = hashlib.sha256()
    for index, action in enumerate(actions):
        desk.step(action)
        if draw and index % 10 == 0:
            desk.render("static")
            desk.render("gripper")
        digest.update(desk.robot_obs().tobytes() + desk.scene_obs().tobytes())
        digest.update(repr(sorted(desk.snapshot().robot_touches)).encode())
    return digest.hexdigest()
