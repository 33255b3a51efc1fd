"""Random moments on random desks: what the cameras show, and the facts about it that questions are made from.

Nothing moves here: the furniture, the blocks and the arm are put somewhere and drawn. No expert, no action, no task.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from volition.envs.desk import layout as at
from volition.envs.desk.desk import Desk
from volition.envs.desk.kinematics import HOME, Arm, rotation_from_euler
from volition.envs.desk.starts import DEMO, furniture_to_world
from volition.envs.desk.state import BLOCKS, SCENES, DeskState, Shift
from volition.studies.pretraining.desk_questions import Facts

SITES = {
    "drawer": "drawer_handle",
    "door": "door_handle",
    "switch": "switch_knob",
    "button": "button_top",
    "bulb": "bulb",
    "led": "led",
}
THINGS = (*BLOCKS, *SITES, "hand")
PLACES = ("table", "shelf", "drawer", "hand")
WIDTH = 7 * len(THINGS) + 2 * len(BLOCKS) + 5  # numbers in `pack`ed facts


@dataclass(frozen=True, kw_only=True)
class Moment:
    state: DeskState
    place: dict[str, str]


class MomentSampler:
    """Draws moments: any furniture position, blocks anywhere they can lie, the hand near something or anywhere."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._arm = desk, Arm()
        _, self._down = self._arm.forward(HOME)

    def draw(self, rng: np.random.Generator) -> Moment:
        scene = str(rng.choice(SCENES))
        shift = DEMO.draw(rng)
        place = {block: str(rng.choice(PLACES[:3], p=(0.8, 0.1, 0.1))) for block in BLOCKS}
        observed = np.zeros(24)
        observed[0] = at.DOOR_TRAVEL * _mostly_ends(rng)
        observed[1] = at.DRAWER_TRAVEL * (1.0 if "drawer" in place.values() else _mostly_ends(rng))
        observed[3] = at.SWITCH_TRAVEL * _mostly_ends(rng)
        observed[4] = float(observed[3] > at.SWITCH_TRAVEL / 2)
        observed[5] = rng.integers(2)
        for index, block in enumerate(BLOCKS):
            point = self._lying(scene, place[block], rng)
            observed[6 + 6 * index : 9 + 6 * index] = furniture_to_world(point, shift)
            observed[11 + 6 * index] = np.pi / 2 + rng.uniform(-0.7, 0.7) + shift.yaw
        joints, gripper = self._hand(scene, observed, shift, rng), float(rng.choice((-1.0, 1.0)))
        if rng.random() < 0.15:
            gripper = -1.0
            self._hold(str(rng.choice(BLOCKS)), joints, observed, place, rng)
        return Moment(
            state=DeskState(scene=scene, scene_obs=observed, shift=shift, joints=joints, gripper=gripper), place=place
        )

    def _lying(self, scene: str, place: str, rng: np.random.Generator) -> np.ndarray:
        layout = at.LAYOUTS[scene]
        box = {"table": at.table_bounds(), "shelf": at.shelf_bounds(layout), "drawer": at.drawer_bounds(layout)}[place]
        point = rng.uniform(box.low, box.high)
        point[2] = box.low[2] + at.BLOCK_HALF if place != "table" else at.TOP + at.BLOCK_HALF
        return point

    def _hand(self, scene: str, observed: np.ndarray, shift: Shift, rng: np.random.Generator) -> np.ndarray:
        """Joints of a hand pointing down, more or less: half of the time above or beside something."""
        self._desk.reset(DeskState(scene=scene, scene_obs=observed, shift=shift))
        for _ in range(20):
            if rng.random() < 0.6:
                focus = self._where(str(rng.choice(THINGS[:-1])))
                goal = focus + rng.normal(0, (0.05, 0.05, 0.01)) + [0, 0, rng.uniform(-0.01, 0.15)]
            else:
                goal = rng.uniform((-0.3, -0.4, at.TOP), (0.35, 0.2, at.TOP + 0.28))
            goal[2] = max(goal[2], at.TOP - 0.08 if goal[1] < -0.2 else at.TOP + 0.01)
            turn = rotation_from_euler(rng.normal(0, (0.12, 0.12, 0.35)))
            joints = HOME.copy()
            for _ in range(25):
                joints, residual = self._arm.solve(goal, turn @ self._down, joints)
                if residual < 2e-3:
                    return joints
        return HOME.copy()

    def _hold(
        self, block: str, joints: np.ndarray, observed: np.ndarray, place: dict[str, str], rng: np.random.Generator
    ) -> None:
        """Put a block between the fingers, in place."""
        position, rotation = self._arm.forward(joints)
        index = 6 + 6 * BLOCKS.index(block)
        axis = rotation[:, 1]
        observed[index : index + 3] = position + rotation @ np.array(
            [rng.uniform(-0.01, 0.01), 0, rng.uniform(-0.01, 0.01)]
        )
        observed[index + 3 : index + 5] = 0.0
        observed[index + 5] = np.arctan2(axis[1], axis[0]) + np.pi / 2
        place[block] = "hand"

    def _where(self, thing: str) -> np.ndarray:
        """float64[3], metres, in the desk as it stands."""
        if thing in BLOCKS:
            index = 6 + 6 * BLOCKS.index(thing)
            return self._desk.scene_obs()[index : index + 3]
        return self._desk.tcp_position if thing == "hand" else self._desk.site(SITES[thing])[0]

    def facts(self, moment: Moment) -> Facts:
        """Put the desk at the moment and read off what is true."""
        desk = self._desk
        desk.reset(moment.state)
        where = {thing: self._where(thing) for thing in THINGS}
        static, wrist = desk.project("static", where), desk.project("gripper", where)
        hand, closing = desk.tcp_position, desk.tcp_rotation[:, 1]
        scene = desk.scene_obs()
        facing = float(np.arctan2(closing[1], closing[0]))
        return Facts(
            static={name: (float(np.clip(u, 0, 1)), float(np.clip(v, 0, 1))) for name, (u, v) in static.items()},
            wrist={n: p for n, p in wrist.items() if 0 <= p[0] <= 1 and 0 <= p[1] <= 1 and n != "hand"},
            offset={name: point - hand for name, point in where.items() if name != "hand"},
            yaw={block: float(scene[11 + 6 * i]) - facing for i, block in enumerate(BLOCKS)},
            place=moment.place,
            drawer=float(scene[1] / at.DRAWER_TRAVEL),
            door=float(scene[0] / at.DOOR_TRAVEL),
            bulb=bool(scene[4]),
            led=bool(scene[5]),
            open_hand=moment.state.gripper > 0,
        )


def pack(facts: Facts) -> np.ndarray:
    """Facts -> float32[WIDTH], NaN where something is not in the wrist picture."""
    missing = (np.nan, np.nan)
    rows = [(*facts.static[t], *facts.wrist.get(t, missing), *facts.offset.get(t, (0.0, 0.0, 0.0))) for t in THINGS]
    blocks = [(facts.yaw[b], PLACES.index(facts.place[b])) for b in BLOCKS]
    scalars = (facts.drawer, facts.door, facts.bulb, facts.led, facts.open_hand)
    return np.concatenate([np.ravel(rows), np.ravel(blocks), scalars]).astype(np.float32)


def unpack(row: np.ndarray) -> Facts:
    """float32[WIDTH] -> facts."""
    things = row[: 7 * len(THINGS)].reshape(-1, 7)
    blocks = row[7 * len(THINGS) : -5].reshape(-1, 2)
    drawer, door, bulb, led, open_hand = row[-5:].tolist()
    return Facts(
        static={t: (float(x[0]), float(x[1])) for t, x in zip(THINGS, things)},
        wrist={t: (float(x[2]), float(x[3])) for t, x in zip(THINGS, things) if not np.isnan(x[2])},
        offset={t: x[4:7].astype(np.float64) for t, x in zip(THINGS, things) if t != "hand"},
        yaw={b: float(x[0]) for b, x in zip(BLOCKS, blocks)},
        place={b: PLACES[int(x[1])] for b, x in zip(BLOCKS, blocks)},
        drawer=drawer, door=door, bulb=bool(bulb), led=bool(led), open_hand=bool(open_hand),
    )  # fmt: skip


def _mostly_ends(rng: np.random.Generator) -> float:
    """0 or 1 most of the time, else between."""
    return float(rng.integers(2)) if rng.random() < 0.75 else float(rng.random())
