"""The state in metres and radians that CALVIN's protocol makes of an initial situation.

Which block gets which of the two places on the table, and how each is turned, comes from numpy's old generator, seeded
with a hash of the situation's text: the 32-bit FNV-1 of Fowler, Noll and Vo, with 0 for its first value.
"""

from __future__ import annotations

import math

import numpy as np

from volition.envs.calvin.situations import BLOCKS, Situation

# Where every episode of the protocol begins: the hand's pose, the opening of the gripper, seven joints, gripper open.
ROBOT_OBS = np.array(
    (
        *(0.02586889, -0.2313129, 0.5712808, 3.09045411, -0.02908596, 1.50013585, 0.07999963),
        *(-1.21779124, 1.03987629, 2.11978254, -2.34205014, -0.87015899, 1.64119093, 0.55344928, 1.0),
    )
)
# Slots of scene_obs float64[24]; then six a block: position, Euler angles. Blocks in the order red, blue, pink.
DOOR, DRAWER, BUTTON, SWITCH, BULB, LED = range(6)
DOOR_LEFT, DRAWER_OPEN, SWITCH_ON = 0.28, 0.22, 0.088  # metres
_CABINET = {
    "slider_left": (-0.240851662, 0.0924044687, 0.460990009),
    "slider_right": (0.0703416330, 0.0924044687, 0.460990009),
}
_TABLE = ((0.0500000896, -0.120000177, 0.459990009), (0.229995412, -0.119995140, 0.459990010))
_TURNED = (math.pi / 2 - math.pi / 8, math.pi / 2 + math.pi / 8)


def block_slot(color: str) -> int:
    """Where the block's six numbers begin in scene_obs."""
    return 6 + 6 * BLOCKS.index(color)


def fnv1(text: str) -> int:
    """32-bit FNV-1 with first value 0, of the text in UTF-8."""
    value = 0
    for byte in text.encode():
        value = (value * 0x01000193) % 2**32 ^ byte
    return value


def official_scene(situation: Situation) -> np.ndarray:
    """scene_obs float64[24] as CALVIN's evaluation places it."""
    return placed(situation, np.random.RandomState(fnv1(f"dict_values({situation.values})")))


def placed(situation: Situation, random: np.random.RandomState) -> np.ndarray:
    """scene_obs float64[24]: CALVIN's places, the choice among them and the angles from `random`."""
    spots = list(_TABLE)
    random.shuffle(spots)
    scene = furniture(situation)
    for color in BLOCKS:
        slot, place = block_slot(color), situation.place(color)
        assert place in (*_CABINET, "table"), f"sequences begin with no block {place!r}"
        if place == "table":
            # The first block on the table takes the first place; pink the second, whoever else lies there.
            first = color == "red" or (color == "blue" and situation.red != "table")
            scene[slot : slot + 3] = spots[0 if first else 1]
        else:
            scene[slot : slot + 3] = _CABINET[place]
        scene[slot + 5] = random.uniform(*_TURNED)
    return scene


def furniture(situation: Situation, door_left: float = DOOR_LEFT) -> np.ndarray:
    """scene_obs float64[24] with the furniture as the situation says, and no block placed."""
    scene = np.zeros(24)
    scene[DOOR] = door_left if situation.slider == "left" else 0.0
    scene[DRAWER] = DRAWER_OPEN if situation.drawer == "open" else 0.0
    scene[SWITCH] = SWITCH_ON if situation.lightbulb else 0.0
    scene[BULB], scene[LED] = situation.lightbulb, situation.led
    return scene
