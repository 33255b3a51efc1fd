"""What was measured of CALVIN's four scenes, so that starts can be drawn without the simulator; it checks them.

Metres. Blocks are 0.04 wide and high; scenes differ in their lengths, and in where furniture stands.
"""

from __future__ import annotations

import numpy as np

from volition.envs.calvin.moment import Box, Layout

TOLERANCE = 1e-3  # metres


def _surface(left: float, right: float) -> Box:
    """Half of the cabinet's floor."""
    return (left, 0.05, 0.46), (right, 0.12, 0.46)


def _table(left: float, right: float) -> Box:
    return (left, -0.15, 0.46), (right, -0.03, 0.46)


LAYOUTS: dict[str, Layout] = {
    "A": Layout(
        lengths={"red": 0.056, "blue": 0.08, "pink": 0.04},
        surfaces={"table": _table(-0.2, 0.35), "slider_left": _surface(-0.32, -0.16), "slider_right": _surface(-0.05, 0.13)},
        door=(-0.1046, 0.1846),
        door_travel=0.28,
        button=(-0.28, -0.12, 0.46),
        drawer=(0.10, 0.0, 0.32),
    ),
    "B": Layout(
        lengths={"red": 0.04, "blue": 0.08, "pink": 0.056},
        surfaces={"table": _table(-0.35, 0.15), "slider_left": _surface(-0.12, 0.06), "slider_right": _surface(0.15, 0.33)},
        door=(0.0834, 0.3726),
        door_travel=0.304,
        button=(0.28, -0.12, 0.46),
        drawer=(0.18, 0.0, 0.32),
    ),
    "C": Layout(
        lengths={"red": 0.08, "blue": 0.04, "pink": 0.056},
        surfaces={"table": _table(0.0, 0.35), "slider_left": _surface(-0.12, 0.06), "slider_right": _surface(0.15, 0.30)},
        door=(0.0554, 0.3446),
        door_travel=0.24,
        button=(-0.12, -0.12, 0.46),
        drawer=(0.10, 0.0, 0.32),
    ),
    "D": Layout(
        lengths={"red": 0.056, "blue": 0.04, "pink": 0.08},
        surfaces={"table": _table(0.0, 0.35), "slider_left": _surface(-0.32, -0.16), "slider_right": _surface(-0.05, 0.13)},
        door=(-0.1046, 0.1846),
        door_travel=0.28,
        button=(-0.12, -0.12, 0.46),
        drawer=(0.18, 0.0, 0.32),
    ),
}  # fmt: skip


def require_measures(scene: str, found: Layout) -> None:
    """ValueError where the simulator's own measures of a scene are others than those known here."""
    known = LAYOUTS[scene]
    if not np.allclose(_numbers(known), _numbers(found), rtol=0.0, atol=TOLERANCE):
        raise ValueError(
            f"scene {scene} of the clone must measure what was measured of mees/calvin_env: {known}, but is {found}; "
            "use an unchanged clone"
        )


def _numbers(layout: Layout) -> list[float]:
    surfaces = [value for name in sorted(layout.surfaces) for corner in layout.surfaces[name] for value in corner]
    lengths = [layout.lengths[color] for color in sorted(layout.lengths)]
    return [*lengths, *surfaces, *layout.door, layout.door_travel, *layout.button, *layout.drawer]
