"""What CALVIN's 34 tasks need and leave behind, in words: the symbolic side of its evaluation protocol.

    outcomes(situation, task) -> [Situation, ...]      none where the task cannot be done, several where it is open
    after(situation, task) -> Situation | None         the outcome, where there is exactly one

The rules are CALVIN's own, its oddity included: a block that is put into the cabinet counts as lying in the half that
the door hides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

BLOCKS = ("red", "blue", "pink")
SCENES = ("A", "B", "C", "D")
CABINET = ("slider_right", "slider_left")


def _tasks() -> tuple[str, ...]:
    """In the order of CALVIN's own table, which its generator of sequences depends on."""
    turns = [f"{verb}_{color}_block_{side}" for verb in ("rotate", "push") for color in BLOCKS for side in _SIDES]
    lifts = [f"lift_{color}_block_{place}" for color in BLOCKS for place in ("table", "slider", "drawer")]
    doors = ["move_slider_left", "move_slider_right", "open_drawer", "close_drawer"]
    grasped = ["place_in_slider", "place_in_drawer", "stack_block", "unstack_block"]
    lights = [f"turn_{state}_{light}" for light in ("lightbulb", "led") for state in ("on", "off")]
    return (*turns, *doors, *lifts, *grasped, *lights, "push_into_drawer")


_SIDES = ("right", "left")
TASKS = _tasks()


@dataclass(frozen=True, kw_only=True)
class Situation:
    """The table in words, the fields in CALVIN's order."""

    led: int = 0  # 0 or 1, as the bulb
    lightbulb: int = 0
    slider: str = "right"  # where the door stands: "right" or "left"
    drawer: str = "closed"  # or "open"
    red: str = "table"  # of a block: table, slider_right, slider_left, drawer, grasped, stacked_top or stacked_bottom
    blue: str = "table"
    pink: str = "table"
    grasped: int = 0  # 1 where a block is in the hand

    def place(self, color: str) -> str:
        return str(getattr(self, color))

    def put(self, places: Mapping[str, str], *, grasped: int = 0) -> Situation:
        """With blocks elsewhere, by colour."""
        red, blue, pink = (places.get(color, self.place(color)) for color in BLOCKS)
        return replace(self, red=red, blue=blue, pink=pink, grasped=grasped)

    def at(self, place: str) -> list[str]:
        """The colours of the blocks that are there."""
        return [color for color in BLOCKS if self.place(color) == place]

    @property
    def values(self) -> list[int | str]:
        return [self.led, self.lightbulb, self.slider, self.drawer, self.red, self.blue, self.pink, self.grasped]


def outcomes(now: Situation, task: str) -> list[Situation]:
    """What the table can be like once the task is done. ValueError for a name that is not in TASKS."""
    if task not in TASKS:
        raise ValueError(f"task must be one of CALVIN's {len(TASKS)}, got {task!r}; known: {', '.join(TASKS)}")
    if task.startswith("place_in") or task == "stack_block":
        return [after for held in now.at("grasped") if now.grasped for after in _put_down(now, held, task)]
    if now.grasped:
        return []
    words = task.split("_")
    if words[1] in BLOCKS:
        return _with_block(now, words[0], words[1], words[3])
    if task == "unstack_block":
        return [now.put({top: "table", low: "table"}) for top in now.at("stacked_top") for low in now.at(_BOTTOM)]
    if task == "push_into_drawer":
        return [now.put({c: "drawer"}) for c in now.at("table") if now.drawer == "open" and _alone(now, c)]
    return _with_furniture(now, task)


_BOTTOM = "stacked_bottom"


def _put_down(now: Situation, held: str, task: str) -> list[Situation]:
    if task == "place_in_slider":
        return [now.put({held: f"slider_{now.slider}"})]
    if task == "place_in_drawer":
        return [now.put({held: "drawer"})] if now.drawer == "open" else []
    return [now.put({held: "stacked_top", below: _BOTTOM}) for below in now.at("table")]


def _with_block(now: Situation, verb: str, color: str, where: str) -> list[Situation]:
    place = now.place(color)
    if verb in ("rotate", "push"):
        return [now] if place == "table" else []
    if where == "slider":
        reachable = place in CABINET and place != f"slider_{now.slider}"
    else:
        reachable = place == where and (where == "table" or now.drawer == "open")
    return [now.put({color: "grasped"}, grasped=1)] if reachable else []


def _alone(now: Situation, color: str) -> bool:
    """The other two blocks lie in the cabinet."""
    return all(now.place(other) in CABINET for other in BLOCKS if other != color)


def _with_furniture(now: Situation, task: str) -> list[Situation]:
    words = task.split("_")
    if words[1] == "slider":
        changed = replace(now, slider=words[2])
    elif words[1] == "drawer":
        changed = replace(now, drawer="open" if words[0] == "open" else "closed")
    elif words[2] == "lightbulb":
        changed = replace(now, lightbulb=int(words[1] == "on"))
    else:
        changed = replace(now, led=int(words[1] == "on"))
    return [] if changed == now else [changed]


def after(now: Situation, task: str) -> Situation | None:
    """The table once the task is done; None where it cannot be done, or could end in several ways."""
    found = outcomes(now, task)
    return found[0] if len(found) == 1 else None


def feasible(now: Situation, tasks: Sequence[str]) -> bool:
    """Whether the tasks can be done one after the other, each in one way only."""
    state: Situation | None = now
    for task in tasks:
        state = after(state, task) if state is not None else None
    return state is not None


def kind(task: str) -> str:
    """What counts as the same kind of task: a sequence of CALVIN's has none twice."""
    words = task.split("_")
    if words[0] == "lift":
        return f"lift_{words[3]}"
    if words[1] in BLOCKS:
        return "turn or push"
    if task in ("move_slider_left", "move_slider_right", "open_drawer", "close_drawer"):
        return f"{words[-1] if words[-1] == 'drawer' else 'slider'} moved"
    return {"turn": "light", "place": "place"}.get(words[0], task)


@cache
def initial_situations() -> tuple[Situation, ...]:
    """The 192 that sequences begin in, in CALVIN's order: hand empty, one or two blocks on the table."""
    furniture = product((0, 1), (0, 1), ("right", "left"), ("closed", "open"))
    places = [p for p in product(("table", *CABINET), repeat=3) if p.count("table") in (1, 2)]
    apart = [p for p in places if all(p.count(half) < 2 for half in CABINET)]
    return tuple(
        Situation(led=led, lightbulb=bulb, slider=slider, drawer=drawer, red=red, blue=blue, pink=pink)
        for led, bulb, slider, drawer in furniture
        for red, blue, pink in apart
    )
