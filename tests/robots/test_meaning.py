"""What names, units and frames of an action space say, and what they do not."""

from __future__ import annotations

from typing import Any

import pytest

from volition.contract import ActionSpace, Dimension, relative_arm_7d
from volition.envs.mobile.environment import action_space
from volition.robots.meaning import meaning_of


def space(units: dict[str, str], **about: Any) -> ActionSpace:
    return ActionSpace(dimensions=tuple(Dimension(name=n, unit=unit) for n, unit in units.items()), **about)


def test_arms_and_bases_are_read() -> None:
    arm = meaning_of(relative_arm_7d(metres=0.02, radians=0.05))
    assert (arm.kind, arm.frame, arm.units[-1]) == ("step", "world", 1.0)
    assert arm.sizes == dict.fromkeys(("x", "y", "z"), 0.02) | dict.fromkeys(("rx", "ry", "rz"), 0.05)
    base = meaning_of(action_space("3d"))
    assert (base.names, base.kind, base.frame) == (("x", "y", "rz"), "velocity", "body")
    place = meaning_of(space({"x": "m", "y": "m"}, relative=False))
    assert place.kind == "position"


@pytest.mark.parametrize(
    ("frame", "names", "expected"),
    [
        ("world", ("x", "y", "z"), "world"),
        ("base", ("x", "rz"), "body"),
        ("base", ("linear_x", "angular_z"), "body"),
        ("base", ("x", "y", "z"), "other"),
        ("tcp", ("x",), "other"),
    ],
)
def test_a_frame_is_the_robots_own_where_a_base_moves_in_its_plane(
    frame: str, names: tuple[str, ...], expected: str
) -> None:
    units = {name: "rad" if name in ("rz", "angular_z") else "m" for name in names}
    assert meaning_of(space(units, frame=frame)).frame == expected


@pytest.mark.parametrize(
    ("units", "about", "match"),
    [
        ({"x": "rad"}, {}, "the unit of 'x' must be 'm'"),
        ({"linear_x": "ticks"}, {}, "the unit of 'linear_x' must be 'm'"),
        ({"x": "m/s", "rz": "rad"}, {}, "for all parts of a motion, or for none"),
        ({"x": "m", "linear_x": "m"}, {}, "must be there once"),
        ({"rx": "rad", "rz": "rad"}, {"rotation": "yaw"}, "'yaw' for rz alone"),
        ({"rz": "rad"}, {"rotation": "axis_angle"}, "must be 'euler_xyz'"),
    ],
)
def test_what_does_not_say_one_thing_is_refused(units: dict[str, str], about: dict[str, str], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        meaning_of(space(units, **about))
