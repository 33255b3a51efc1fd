"""The whole MJCF model of one room as an episode finds it: floor, walls, robot, boxes and things.

    scene_model(state) -> mujoco.MjModel

Sizes, colours and numbers of things differ from episode to episode, so every episode has a model of its own; making one
takes a few milliseconds. All bodies move in the plane only, on two slides and a hinge: friction on the floor is a
resistance of these joints, which is exact, cheap, and needs no contacts with the floor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

from volition.envs.gl import VISUAL, mujoco
from volition.envs.mobile import drive
from volition.envs.mobile import layout as at
from volition.envs.mobile.layout import Colour, Room
from volition.envs.mobile.state import Box, MobileState, Thing

CONTROL_HZ = 10
SUBSTEPS = 10
GRAVITY = 9.81
TRACTION = 35.0  # newtons with which the wheels can push before they spin: a box resists with more
TURNING = 5.0  # newton metres
CAMERAS = ("front", "rear")
FILM_CAMERA = "above"
_FILM_HEIGHT = 11.0  # metres: from so far above, boxes look like their footprint

_OPTION = (
    f'<compiler angle="radian" autolimits="true"/><option timestep="{1 / (CONTROL_HZ * SUBSTEPS)}" gravity="0 0 0" '
    'integrator="implicitfast" solver="Newton" cone="elliptic" iterations="50" ls_iterations="50"/>'
)
# The robot meets everything, things and boxes meet each other and the walls; what only looks meets nothing.
_DEFAULTS = (
    "<default>"
    '<default class="robot"><geom contype="1" conaffinity="0" condim="3" friction="0.3 0.01 0.0001"/></default>'
    '<default class="wall"><geom type="box" contype="0" conaffinity="3"/></default>'
    '<default class="thing"><geom contype="2" conaffinity="3" condim="3" friction="0.3 0.01 0.0001"/></default>'
    '<default class="look"><geom contype="0" conaffinity="0" mass="0"/></default>'
    "</default>"
)


def scene_model(state: MobileState) -> mujoco.MjModel:
    """The compiled model; every joint of the model at 0 is the state, but for the robot's."""
    return mujoco.MjModel.from_xml_string(scene_text(state))


def scene_text(state: MobileState) -> str:
    """MJCF of one episode's room."""
    boxes = "".join(_box(f"box{i}", box) for i, box in enumerate(state.boxes))
    things = "".join(_thing(f"thing{i}", thing) for i, thing in enumerate(state.things))
    return (
        f'<mujoco model="mobile {state.scene}">{_OPTION}{VISUAL}<statistic extent="1" center="1.8 0 0"/>{_DEFAULTS}'
        "<worldbody>"
        '<light pos="1 -1 4" dir="0.3 0.35 -1" directional="true" castshadow="false" diffuse="0.45 0.45 0.45" '
        'specular="0 0 0"/>'
        f"{_film_camera()}{''.join(_room(at.ROOMS[state.scene]))}{_robot()}{boxes}{things}</worldbody>"
        f"{_actuators()}</mujoco>"
    )


def _geom(kind: str, pos: tuple[float, ...], size: tuple[float, ...], colour: Colour, style: str = "look") -> str:
    where, extent, rgb = (" ".join(f"{value:.6g}" for value in values) for values in (pos, size, colour))
    return f'<geom class="{style}" type="{kind}" pos="{where}" size="{extent}" rgba="{rgb} 1"/>'


def _film_camera() -> str:
    """Looks straight down on the whole room, the way ahead pointing up, with the left wall at the picture's left."""
    (low, high), half = at.ROOM_X, 0.515 * (at.ROOM_X[1] - at.ROOM_X[0])
    place = (low + high) / 2, at.ROOM_Y[1] + 0.12 - half
    angle = math.degrees(2 * math.atan(half / _FILM_HEIGHT))
    return (
        f'<camera name="{FILM_CAMERA}" pos="{place[0]:.6g} {place[1]:.6g} {_FILM_HEIGHT}" fovy="{angle:.6g}" '
        'xyaxes="0 -1 0 1 0 0"/>'
    )


def _room(room: Room) -> Iterator[str]:
    """Tiles, since a texture would belong to one model, and the drawing context is shared by all; and four walls."""
    (x_low, x_high), (y_low, y_high) = at.ROOM_X, at.ROOM_Y
    half, plain, dark = room.tile / 2, room.tiles[0], room.tiles[1]
    middle, long, wide = (x_low + x_high) / 2, (x_high - x_low) / 2, (y_high - y_low) / 2
    yield _geom("box", (middle, 0.0, -0.02), (long + 0.1, wide + 0.1, 0.02), plain)
    columns, rows = math.ceil((x_high - x_low) / room.tile), math.ceil((y_high - y_low) / room.tile)
    for i, j in product(range(columns), range(rows)):
        if (i + j) % 2:
            yield _geom("box", (x_low + (2 * i + 1) * half, y_low + (2 * j + 1) * half, 0.0), (half, half, 0.001), dark)
    thick, high = 0.6, at.WALL_HEIGHT / 2  # so thick that tiles which reach beyond the room lie under the walls
    long += 2 * thick
    for style, inset, top, colour in (("wall", 0.0, high, room.wall), ("look", 0.012, 0.04, room.skirting)):
        for side, end in ((1.0, y_high), (-1.0, -y_low)):
            yield _geom("box", (middle, side * (end + thick - inset), top), (long, thick, top), colour, style)
        for side, end in ((1.0, x_high), (-1.0, -x_low)):
            yield _geom("box", (side * (end + thick - inset), 0.0, top), (thick, wide, top), colour, style)


def _planar(name: str, mass: float, reach: float) -> str:
    """Two slides and a hinge that resist as a body of this mass does on the floor; `reach` as far as it rests on it."""
    drag = at.FRICTION * mass * GRAVITY
    return (
        f'<joint name="{name}_x" type="slide" axis="1 0 0" frictionloss="{drag:.6g}"/>'
        f'<joint name="{name}_y" type="slide" axis="0 1 0" frictionloss="{drag:.6g}"/>'
        f'<joint name="{name}_yaw" type="hinge" axis="0 0 1" frictionloss="{drag * reach:.6g}"/>'
    )


def _box(name: str, box: Box) -> str:
    long, wide, high = (side / 2 for side in box.size)
    lid = tuple(0.82 * value for value in box.colour)
    tape = 0.14 * long
    return (
        f'<body name="{name}" pos="{box.pose.x:.9g} {box.pose.y:.9g} 0" euler="0 0 {box.pose.yaw:.9g}">'
        f"{_planar(name, at.BOX_MASS, 0.5 * min(long, wide))}"
        f'<geom class="thing" type="box" pos="0 0 {high:.6g}" size="{long:.6g} {wide:.6g} {high:.6g}" '
        f'mass="{at.BOX_MASS}" rgba="{" ".join(map(str, box.colour))} 1"/>'
        f"{_geom('box', (0.0, 0.0, high), (tape, wide + 0.002, high + 0.002), (lid[0], lid[1], lid[2]))}</body>"
    )


def _thing(name: str, thing: Thing) -> str:
    colour_name, shape = thing.kind.split("_")
    colour, white = at.COLOURS[colour_name], (0.95, 0.95, 0.93)
    looks = _cup(colour, white) if shape == "cup" else _cone(colour, white)
    height = at.CUP_HEIGHT if shape == "cup" else at.CONE_HEIGHT
    return (
        f'<body name="{name}" pos="{thing.x:.9g} {thing.y:.9g} 0">{_planar(name, at.THING_MASS, 0.05)}'
        f'<geom class="thing" type="cylinder" pos="0 0 {height / 2}" size="{at.THING_RADIUS} {height / 2}" '
        f'mass="{at.THING_MASS}" rgba="0 0 0 0"/>{"".join(looks)}</body>'
    )


def _cup(colour: Colour, white: Colour) -> Iterator[str]:
    """A mug: wide, low, with a white rim and a handle towards the robot's right."""
    radius, half = at.CUP_RADIUS, at.CUP_HEIGHT / 2
    yield _geom("cylinder", (0.0, 0.0, half), (radius, half), colour)
    yield _geom("cylinder", (0.0, 0.0, 2 * half - 0.012), (radius + 0.006, 0.014), white)
    yield _geom("cylinder", (0.0, 0.0, 2 * half), (radius - 0.02, 0.004), colour)
    for height in (0.5, 1.4):
        yield _geom("box", (0.0, -radius - 0.03, half * height), (0.018, 0.045, half * 0.12), colour)
    yield _geom("box", (0.0, -radius - 0.065, half * 0.95), (0.018, 0.016, half * 0.57), colour)


def _cone(colour: Colour, white: Colour) -> Iterator[str]:
    """A traffic cone: tall, narrowing in seven steps, with a white band."""
    base, rings = 0.025, 7
    yield _geom("box", (0.0, 0.0, base / 2), (at.CONE_RADIUS, at.CONE_RADIUS, base / 2), colour)
    half = (at.CONE_HEIGHT - base) / rings / 2
    for ring in range(rings):
        radius = 0.10 * (1 - ring / (rings + 0.3)) + 0.005
        yield _geom(
            "cylinder", (0.0, 0.0, base + (2 * ring + 1) * half), (radius, half), white if ring in (3, 4) else colour
        )


def _robot() -> str:
    """A round base on three wheels, a mast with two cameras, a yellow bow so that films show where it looks."""
    radius, top, dark = at.ROBOT_RADIUS, at.ROBOT_HEIGHT, (0.22, 0.23, 0.25)
    wheels = "".join(_wheel(angle) for angle in drive.WHEEL_ANGLES)
    mast = (-at.CAMERA_BACK, 0.0, (at.CAMERA_HEIGHT + top) / 2 - 0.04)
    return (
        '<body name="robot"><joint name="x" type="slide" axis="1 0 0"/><joint name="y" type="slide" axis="0 1 0"/>'
        '<joint name="yaw" type="hinge" axis="0 0 1"/>'
        f'<geom class="robot" type="cylinder" pos="0 0 {top / 2 + 0.02}" size="{radius} {top / 2 - 0.01}" '
        f'mass="{at.ROBOT_MASS}" rgba="0.90 0.91 0.93 1"/>'
        f"{wheels}{_geom('cylinder', (0.0, 0.0, 0.05), (radius + 0.001, 0.012), dark)}"
        f"{_geom('box', (radius - 0.02, 0.0, top + 0.012), (0.018, 0.05, 0.006), (0.98, 0.78, 0.10))}"
        f"{_geom('cylinder', mast, (0.012, (at.CAMERA_HEIGHT - top) / 2 - 0.04), dark)}"
        f"{_geom('box', (-at.CAMERA_BACK, 0.0, at.CAMERA_HEIGHT - 0.06), (0.018, 0.03, 0.018), dark)}"
        f"{_camera('front', 1.0)}{_camera('rear', -1.0)}</body>"
    )


def _wheel(angle: float) -> str:
    out = math.cos(angle), math.sin(angle)
    x, y = (drive.WHEEL_DISTANCE * part for part in out)
    return (
        f'<geom class="look" type="cylinder" pos="{x:.6g} {y:.6g} {drive.WHEEL_RADIUS}" '
        f'zaxis="{out[0]:.6g} {out[1]:.6g} 0" size="{drive.WHEEL_RADIUS} 0.018" rgba="0.12 0.12 0.13 1"/>'
    )


def _camera(name: str, way: float) -> str:
    """On the mast, looking ahead (`way` 1) or back (-1) and a little down. Its angle is set by who draws."""
    pitch = at.CAMERA_PITCH
    up = f"{way * math.sin(pitch):.6g} 0 {math.cos(pitch):.6g}"
    return f'<camera name="{name}" pos="{-at.CAMERA_BACK} 0 {at.CAMERA_HEIGHT}" xyaxes="0 {-way} 0 {up}" fovy="90"/>'


def _actuators() -> str:
    """Servos of the base's velocity: stiff, but no stronger than the wheels' grip on the floor."""
    servos = (("x", 400, TRACTION), ("y", 400, TRACTION), ("yaw", 8, TURNING))
    text = "".join(f'<velocity joint="{joint}" kv="{kv}" forcerange="{-most} {most}"/>' for joint, kv, most in servos)
    return f"<actuator>{text}</actuator>"
