"""Facts about a picture pair -> questions with their answers, in words and location tokens.

No sentence asks for anything to be done, and none is an instruction of `desk`: the model learns to name, find and
relate what it sees. Places are answered as a tiny PaliGemma answers: with location tokens, 64 bins a coordinate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from volition.studies.pretraining.asking import Question, location, pick, signed_root

# What things are called. Blocks stand for themselves.
NAMES: dict[str, tuple[str, ...]] = {
    "red": ("the red block", "the red one"),
    "blue": ("the blue block", "the blue one"),
    "pink": ("the pink block", "the pink one"),
    "drawer": ("the drawer handle", "the handle of the drawer", "the drawer"),
    "door": ("the sliding door", "the door handle", "the cabinet door", "the handle of the door"),
    "switch": ("the switch", "the lever"),
    "button": ("the button",),
    "bulb": ("the bulb", "the yellow lamp", "the light bulb", "the yellow bulb"),
    "led": ("the led", "the green light", "the green led"),
    "hand": ("the gripper", "the hand", "the fingers"),
}
PLACES = {"table": "on the table", "shelf": "inside the cabinet", "drawer": "inside the drawer", "hand": "in the hand"}
REACH = 0.6  # metres: offsets are answered within +-REACH, finest near zero


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is true of one pair of pictures. Objects are the keys of NAMES."""

    static: dict[str, tuple[float, float]]  # where it is in the static picture, 0..1 from left and top
    wrist: dict[str, tuple[float, float]]  # the same in the wrist picture; absent where it is not in view
    offset: dict[str, np.ndarray]  # float64[3], metres from the gripper's tip, world axes
    yaw: dict[str, float]  # radians, of a block's long side against the gripper's closing direction
    place: dict[str, str]  # block -> key of PLACES
    drawer: float  # 0 closed .. 1 open
    door: float  # 0 right .. 1 left
    bulb: bool
    led: bool
    open_hand: bool


def distance(metres: float) -> str:
    """Signed square-root scale: a bin is under a millimetre wide at zero and four centimetres at 0.6 m."""
    return location((signed_root(metres, REACH) + 1) / 2)


NUM_COORDINATES = 9


def coordinates(facts: Facts, thing: str) -> np.ndarray:
    """All places of a thing at once, float32[9], NaN where there is none: offset from the gripper (3, signed square
    root of the share of REACH), static and wrist picture (2 + 2, -1..1), and cosine and sine of twice its yaw."""
    numbers = np.full(NUM_COORDINATES, np.nan, np.float32)
    if thing in facts.offset:
        numbers[:3] = [signed_root(metres, REACH) for metres in facts.offset[thing]]
    if thing in facts.static:
        numbers[3:5] = 2 * np.array(facts.static[thing]) - 1
    if thing in facts.wrist:
        numbers[5:7] = 2 * np.array(facts.wrist[thing]) - 1
    if thing in facts.yaw:
        numbers[7:] = np.cos(2 * facts.yaw[thing]), np.sin(2 * facts.yaw[thing])
    return numbers


def ask(facts: Facts, rng: np.random.Generator) -> Question:
    """One question, drawn at random, with its answer."""
    draw = rng.random()
    if draw < 0.5:
        return _where_from_hand(facts, rng)
    if draw < 0.75:
        return _point(facts, rng)
    if draw < 0.85:
        return _state(facts, rng)
    return _about_block(facts, rng) if draw < 0.95 else Question("what do you see", caption(facts, rng))


def caption(facts: Facts, rng: np.random.Generator) -> str:
    """A description that names some of what is there, in any order."""
    parts = [f"{_name(block, rng)} lies {PLACES[place]}" for block, place in facts.place.items()]
    parts += [f"the drawer stands {_open(facts.drawer)}", f"the sliding door stands {_side(facts.door)}"]
    parts += [f"{_name('bulb', rng)} is {_on(facts.bulb)}", f"{_name('led', rng)} is {_on(facts.led)}"]
    chosen = rng.permutation(len(parts))[:3]
    return " and ".join(parts[i] for i in chosen)


def _where_from_hand(facts: Facts, rng: np.random.Generator) -> Question:
    thing = pick(list(facts.offset), rng)
    offset = " ".join(distance(float(x)) for x in facts.offset[thing])
    turned = f" {location(facts.yaw[thing] / np.pi % 1)}" if thing in facts.yaw else ""
    wording = pick(("where is {} from the hand", "how far is {} from the gripper", "distance to {}"), rng)
    return Question(wording.format(_name(thing, rng)), offset + turned, thing)


def _point(facts: Facts, rng: np.random.Generator) -> Question:
    thing = pick(list(facts.static), rng)
    name = _name(thing, rng)
    if thing != "hand" and rng.random() < 0.5:
        seen = facts.wrist.get(thing)
        answer = " ".join(map(location, seen)) if seen else "not in view"
        wording = pick(("point at {} below the hand", "{} seen from the hand"), rng)
        return Question(wording.format(name), answer, thing)
    answer = " ".join(map(location, facts.static[thing]))
    return Question(pick(("point at {}", "where is {}"), rng).format(name), answer, thing)


def _state(facts: Facts, rng: np.random.Generator) -> Question:
    return [
        Question("how is the drawer", f"{_open(facts.drawer)} {location(facts.drawer)}", "drawer"),
        Question("how is the sliding door", f"{_side(facts.door)} {location(facts.door)}", "door"),
        Question(f"how is {_name('bulb', rng)}", _on(facts.bulb), "bulb"),
        Question(f"how is {_name('led', rng)}", _on(facts.led), "led"),
        Question(f"how is {_name('hand', rng)}", "open" if facts.open_hand else "closed"),
    ][rng.integers(5)]


def _about_block(facts: Facts, rng: np.random.Generator) -> Question:
    block = pick(list(facts.place), rng)
    if rng.random() < 0.5:
        return Question(f"what is {_name(block, rng)} upon or inside", PLACES[facts.place[block]], block)
    held = [b for b, place in facts.place.items() if place == "hand"]
    return Question("what is in the hand", NAMES[held[0]][0] if held else "nothing")


def _name(thing: str, rng: np.random.Generator) -> str:
    return pick(NAMES[thing], rng)


def _open(share: float) -> str:
    return "open" if share > 0.5 else "closed"


def _side(share: float) -> str:
    return "left" if share > 0.5 else "right"


def _on(lit: bool) -> str:
    return "on" if lit else "off"
