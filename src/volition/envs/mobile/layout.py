"""Sizes and colours of room, robot, boxes and things; four rooms that differ in colours and tiles. Lengths: metres."""

from __future__ import annotations

from dataclasses import dataclass

from volition.envs.mobile.state import SCENES

Colour = tuple[float, float, float]

ROOM_X, ROOM_Y = (-0.7, 4.5), (-1.75, 1.75)  # inside of the walls
WALL_HEIGHT = 2.0
ROBOT_RADIUS, ROBOT_HEIGHT = 0.15, 0.12
ROBOT_MASS, BOX_MASS, THING_MASS = 6.0, 8.0, 0.4  # kg
FRICTION = 0.5  # of boxes and things on the floor
CAMERA_HEIGHT, CAMERA_BACK = 0.42, 0.09  # a mast at the rear of the base, so that its front rim is in the picture
CAMERA_PITCH = 0.36  # radians below the horizon
CAMERA_WIDTH = 1.92  # radians: what a picture shows from left to right, 110 degrees
CUP_RADIUS, CUP_HEIGHT = 0.125, 0.25
CONE_RADIUS, CONE_HEIGHT = 0.13, 0.50  # the first is half the side of its foot
THING_RADIUS = 0.13  # that either can be touched at

COLOURS: dict[str, Colour] = {"red": (0.86, 0.10, 0.10), "blue": (0.10, 0.22, 0.88)}
BOX_COLOURS: tuple[Colour, ...] = (
    (0.72, 0.54, 0.34),  # cardboard
    (0.20, 0.52, 0.30),
    (0.88, 0.70, 0.18),
    (0.46, 0.48, 0.50),
    (0.90, 0.88, 0.84),
    (0.28, 0.28, 0.30),
    (0.45, 0.30, 0.50),
    (0.30, 0.55, 0.55),
)


@dataclass(frozen=True, kw_only=True)
class Room:
    """What makes one room different from another."""

    tiles: tuple[Colour, Colour]
    tile: float  # metres
    wall: Colour
    skirting: Colour


ROOMS = {
    "A": Room(
        tiles=((0.66, 0.53, 0.40), (0.61, 0.48, 0.36)), tile=0.6, wall=(0.87, 0.86, 0.82), skirting=(0.45, 0.34, 0.25),
    ),
    "B": Room(
        tiles=((0.55, 0.58, 0.61), (0.48, 0.51, 0.54)), tile=0.5, wall=(0.72, 0.78, 0.82), skirting=(0.30, 0.33, 0.36),
    ),
    "C": Room(
        tiles=((0.78, 0.76, 0.70), (0.66, 0.66, 0.62)), tile=0.8, wall=(0.62, 0.70, 0.60), skirting=(0.86, 0.84, 0.78),
    ),
    "D": Room(
        tiles=((0.42, 0.40, 0.42), (0.50, 0.47, 0.46)), tile=0.7, wall=(0.80, 0.68, 0.58), skirting=(0.26, 0.24, 0.26),
    ),
}  # fmt: skip
assert tuple(ROOMS) == SCENES
