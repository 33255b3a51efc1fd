"""MJCF of the furniture: table, cabinet with shelf and sliding door, drawer, switch, button, lamps and the blocks.

Bodies: `furniture` (its pose is the shift), and inside it `table`, `shelf`, `drawer`, `door`, `switch`, `button`.
Everything is a primitive. What only is looked at is of class "look" and collides with nothing.
"""

from __future__ import annotations

from math import cos, sin

from volition.envs.desk import layout as at
from volition.envs.desk.layout import Colour, Layout
from volition.envs.desk.state import BLOCKS

_BLOCK_COLOURS: dict[str, Colour] = {"red": (0.86, 0.09, 0.09), "blue": (0.10, 0.24, 0.90), "pink": (0.98, 0.42, 0.76)}
_SWITCH_COLOUR: Colour = (0.96, 0.66, 0.08)
_BUTTON_COLOUR: Colour = (0.10, 0.55, 0.24)
_DARK: Colour = (0.17, 0.17, 0.19)


def _shade(colour: Colour, share: float) -> Colour:
    red, green, blue = (min(1.0, value * share) for value in colour)
    return red, green, blue


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def _box(low: tuple[float, float, float], high: tuple[float, float, float], colour: Colour, kind: str = "solid") -> str:
    centre = tuple((a + b) / 2 for a, b in zip(low, high))
    half = tuple((b - a) / 2 for a, b in zip(low, high))
    return f'<geom class="{kind}" pos="{_numbers(centre)}" size="{_numbers(half)}" rgba="{_numbers(colour)} 1"/>'


def _bar(start: tuple[float, float, float], end: tuple[float, float, float], half: float, colour: Colour) -> str:
    """A square bar along an axis. Boxes, since a capsule takes three times as long to draw."""
    low, high = tuple(min(a, b) - half for a, b in zip(start, end)), tuple(max(a, b) + half for a, b in zip(start, end))
    return _box((low[0], low[1], low[2]), (high[0], high[1], high[2]), colour)


def _slide(name: str, axis: str, travel: float, extra: str) -> str:
    return f'<joint name="{name}" type="slide" axis="{axis}" range="0 {travel}" {extra}/>'


def _site(name: str, x: float, y: float, z: float) -> str:
    return f'<site name="{name}" pos="{_numbers((x, y, z))}" size="0.004" group="4"/>'


def furniture_body(layout: Layout) -> str:
    """The body `furniture` with everything mounted on it."""
    parts = (_table, _cabinet, _door, _drawer, _switch, _button, _lamps)
    return '<body name="furniture">' + "".join(part(layout) for part in parts) + "</body>"


def _table(layout: Layout) -> str:
    width, front, back = at.TABLE_HALF_WIDTH, at.TABLE_FRONT, at.TABLE_BACK
    text = _site("table_centre", 0.0, 0.0, at.TOP)
    text += f'<body name="table">{_box((-width, front, at.TOP - 0.02), (width, back, at.TOP), layout.table)}</body>'
    dark = _shade(layout.table, 0.8)
    for x in (-width + 0.03, width - 0.03):
        for y in (front + 0.03, back - 0.03):
            text += _box((x - 0.02, y - 0.02, 0.0), (x + 0.02, y + 0.02, at.TOP - 0.02), dark, "look")
    left, right = layout.drawer_x - at.DRAWER_HALF_WIDTH - 0.012, layout.drawer_x + at.DRAWER_HALF_WIDTH + 0.012
    for low, high in ((-width + 0.01, left), (right, width - 0.01)):
        text += _box((low, front + 0.005, 0.35), (high, front + 0.02, at.TOP - 0.02), dark, "look")
    return text


def _cabinet(layout: Layout) -> str:
    left, right = layout.cabinet_x - at.SHELF_HALF_WIDTH, layout.cabinet_x + at.SHELF_HALF_WIDTH
    width, front, back = at.TABLE_HALF_WIDTH, at.DOOR_Y - 0.01, at.SHELF_BACK
    plank = _box((left, at.SHELF_FRONT, at.TOP), (right, back, at.SHELF_TOP), _shade(layout.cabinet, 0.9))
    middle, half = (at.SHELF_FRONT + back) / 2, at.SHELF_HALF_WIDTH / 2
    return (
        f'<body name="shelf">{plank}</body>'
        + _site("shelf_left", layout.cabinet_x - half, middle, at.SHELF_TOP)
        + _site("shelf_right", layout.cabinet_x + half, middle, at.SHELF_TOP)
        + _box((-width, front, at.TOP), (left, back, at.WALL_TOP), layout.cabinet)
        + _box((right, front, at.TOP), (width, back, at.WALL_TOP), layout.cabinet)
        + _box((-width, back, at.TOP), (width, at.TABLE_BACK, at.BOARD_TOP), _shade(layout.cabinet, 0.82))
        + _box((left, at.DOOR_Y - 0.012, at.TOP), (right, at.DOOR_Y + 0.01, at.TOP + 0.006), _DARK, "look")
    )


def _door(layout: Layout) -> str:
    half = at.SHELF_HALF_WIDTH / 2
    reach, low, high = at.DOOR_HANDLE_Y - at.DOOR_Y, 0.495 - at.TOP, 0.555 - at.TOP
    text = f'<body name="door" pos="{layout.cabinet_x + half:.6g} {at.DOOR_Y} {at.TOP}">'
    text += _slide("door", "-1 0 0", at.DOOR_TRAVEL, 'damping="5" frictionloss="2"')
    panel = _box((-half, -0.008, 0.012), (half, 0.008, at.WALL_TOP - at.TOP), layout.door)
    text += panel.replace("/>", ' mass="0.5"/>')
    text += _bar((0.0, reach, low), (0.0, reach, high), 0.008, layout.handle)
    for z in (low, high):
        text += _bar((0.0, reach, z), (0.0, 0.0, z), 0.006, layout.handle)
    return text + _site("door_handle", 0.0, reach, (low + high) / 2) + "</body>"


def _drawer(layout: Layout) -> str:
    half, front, back = at.DRAWER_HALF_WIDTH, at.DRAWER_FRONT, at.DRAWER_BACK
    floor, top, inner = at.DRAWER_FLOOR, at.DRAWER_WALL_TOP, _shade(layout.drawer, 1.15)
    text = f'<body name="drawer" pos="{layout.drawer_x:.6g} 0 0">'
    text += _slide("drawer", "0 -1 0", at.DRAWER_TRAVEL, 'damping="5" frictionloss="2"')
    base = _box((-half, front, floor - 0.01), (half, back, floor), _shade(layout.drawer, 1.3))
    text += base.replace("/>", ' mass="0.6"/>')
    for side in (-half, half):
        text += _box((side - 0.005, front, floor), (side + 0.005, back, top), inner)
    text += _box((-half, back - 0.01, floor), (half, back, top), inner)
    text += _box((-half - 0.01, front - 0.008, 0.352), (half + 0.01, front + 0.008, 0.437), layout.drawer)
    y, z = at.DRAWER_HANDLE_Y, at.DRAWER_HANDLE_Z
    text += _bar((-0.055, y, z), (0.055, y, z), 0.008, layout.handle)
    for x in (-0.055, 0.055):
        text += _bar((x, y, z), (x, front, z), 0.006, layout.handle)
    # The middle of the part that an open drawer shows in front of the table.
    inside = (front + 0.008 + at.TABLE_FRONT + at.DRAWER_TRAVEL) / 2
    return text + _site("drawer_handle", 0.0, y, z) + _site("drawer_inside", 0.0, inside, floor) + "</body>"


def _switch(layout: Layout) -> str:
    """A fin that slides along a slope, away from the robot and up; it stays where it is put."""
    (x, y), slope, half = layout.switch, at.SWITCH_SLOPE, at.SWITCH_TRAVEL / 2
    height = at.TOP + 0.035
    ramp = f'pos="{x:.6g} {y:.6g} {height:.6g}" euler="{slope} 0 0"'
    start = f'pos="{x:.6g} {y - half * cos(slope):.6g} {height - half * sin(slope):.6g}" euler="{slope} 0 0"'
    return (
        f"<body {ramp}>"
        + _box((-0.036, -half - 0.03, -0.012), (0.036, half + 0.03, 0.0), _DARK)
        + _box((-0.006, -half - 0.01, 0.0), (0.006, half + 0.01, 0.002), (0.8, 0.8, 0.8), "look")
        + "</body>"
        + _box((x - 0.03, y + 0.01, at.TOP), (x + 0.03, y + half + 0.02, at.TOP + 0.03), _DARK)
        + f'<body name="switch" {start} gravcomp="1">'
        + _slide("switch", "0 1 0", at.SWITCH_TRAVEL, 'damping="3" frictionloss="1"')
        + _box((-0.011, -0.012, 0.003), (0.011, 0.012, 0.065), _SWITCH_COLOUR).replace("/>", ' mass="0.1"/>')
        + _site("switch_knob", 0.0, 0.0, 0.045)
        + "</body>"
    )


def _button(layout: Layout) -> str:
    x, y = layout.button
    return (
        f'<geom class="solid" type="cylinder" pos="{x:.6g} {y:.6g} {at.TOP + 0.004}" size="0.042 0.004" '
        f'rgba="{_numbers(_DARK)} 1"/>'
        f'<body name="button" pos="{x:.6g} {y:.6g} {at.TOP + at.BUTTON_HEIGHT}" gravcomp="1">'
        + _slide("button", "0 0 -1", at.BUTTON_TRAVEL, 'stiffness="100" damping="2"')
        + f'<geom class="solid" type="cylinder" pos="0 0 -0.012" size="0.030 0.012" mass="0.05" '
        f'rgba="{_numbers(_BUTTON_COLOUR)} 1"/>{_site("button_top", 0.0, 0.0, 0.0)}</body>'
    )


def _lamps(layout: Layout) -> str:
    """Bulb and LED on the cabinet's back board; their geoms and the glow behind them change material when lit."""
    bulb, led, board, z = layout.bulb_x, layout.led_x, at.SHELF_BACK, at.LAMP_Z
    lamp = 'class="look" material="lamp_off"'
    return (
        f'<geom name="bulb_glow" {lamp} type="cylinder" fromto="{bulb} {board} {z} {bulb} {board - 0.003} {z}" '
        'size="0.062"/>'
        f'<geom name="bulb" {lamp} type="sphere" pos="{bulb} {board - 0.035} {z}" size="0.036"/>'
        f'<geom name="led_glow" {lamp} pos="{led} {board - 0.002} {z}" size="0.062 0.002 0.05"/>'
        f'<geom name="led" {lamp} pos="{led} {board - 0.015} {z}" size="0.04 0.013 0.025"/>'
        + _site("bulb", bulb, board - 0.035, z)
        + _site("led", led, board - 0.015, z)
    )


def block_bodies(layout: Layout) -> str:
    """Three free boxes, parked in the air until a reset places them."""
    text = ""
    for index, name in enumerate(BLOCKS):
        size = _numbers((layout.lengths[name] / 2, at.BLOCK_HALF, at.BLOCK_HALF))
        text += (
            f'<body name="{name}" pos="{0.1 * index} 0 1.5"><freejoint name="{name}"/>'
            f'<geom class="block" size="{size}" rgba="{_numbers(_BLOCK_COLOURS[name])} 1" mass="0.06"/></body>'
        )
    return text
