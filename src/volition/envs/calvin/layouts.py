"""What was measured of CALVIN's four scenes, so that starts can be drawn without the simulator; it checks them.

Metres. Blocks are 0.04 wide and high; scenes differ in their lengths, and in where furniture stands.
"""

from __future__ import annotations

import numpy as np

from volition.envs.calvin.moment import Box, Layout

TOLERANCE = 1e-3  # metres


def _surfaces(*, table: tuple[float, float], left: tuple[float, float], right: tuple[float, float]) -> dict[str, Box]:
    """From their lowest and highest x; `left` and `right` are the halves of the cabinet's floor."""
    return {
        "table": ((table[0], -0.15, 0.46), (table[1], -0.03, 0.46)),
        "slider_left": ((left[0], 0.05, 0.46), (left[1], 0.12, 0.46)),
        "slider_right": ((right[0], 0.05, 0.46), (right[1], 0.12, 0.46)),
    }


LAYOUTS: dict[str, Layout] = {
    "A": Layout(
        lengths={"red": 0.056, "blue": 0.08, "pink": 0.04},
        surfaces=_surfaces(table=(-0.2, 0.35), left=(-0.32, -0.16), right=(-0.05, 0.13)),
        door=(-0.1046, 0.1846),
        door_travel=0.28,
        button=(-0.28, -0.12, 0.46),
        drawer=(0.10, 0.0, 0.32),
        switch=0.30,
    ),
    "B": Layout(
        lengths={"red": 0.04, "blue": 0.08, "pink": 0.056},
        surfaces=_surfaces(table=(-0.35, 0.15), left=(-0.12, 0.06), right=(0.15, 0.33)),
        door=(0.0834, 0.3726),
        door_travel=0.304,
        button=(0.28, -0.12, 0.46),
        drawer=(0.18, 0.0, 0.32),
        switch=-0.32,
    ),
    "C": Layout(
        lengths={"red": 0.08, "blue": 0.04, "pink": 0.056},
        surfaces=_surfaces(table=(0.0, 0.35), left=(-0.12, 0.06), right=(0.15, 0.30)),
        door=(0.0554, 0.3446),
        door_travel=0.24,
        button=(-0.12, -0.12, 0.46),
        drawer=(0.10, 0.0, 0.32),
        switch=-0.32,
    ),
    "D": Layout(
        lengths={"red": 0.056, "blue": 0.04, "pink": 0.08},
        surfaces=_surfaces(table=(0.0, 0.35), left=(-0.32, -0.16), right=(-0.05, 0.13)),
        door=(-0.1046, 0.1846),
        door_travel=0.28,
        button=(-0.12, -0.12, 0.46),
        drawer=(0.18, 0.0, 0.32),
        switch=0.30,
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
    return [*lengths, *surfaces, *layout.door, layout.door_travel, *layout.button, *layout.drawer, layout.switch]
