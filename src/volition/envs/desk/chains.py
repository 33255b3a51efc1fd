"""Which tasks can follow each other: a symbolic desk, and our own generator of five-task chains.

    Arrangement --after(task)--> Arrangement | None          what a task needs, and what it leaves behind
    chains(200, seed=0) -> 200 x Chain(initial, tasks)       feasible, no kind of task twice, nothing undone at once
    arrangements(tasks) -> where these tasks can begin       what `starts.sample` draws from

Chains begin as CALVIN's do: the hand empty, one or two blocks on the table, at most one in each half of the cabinet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np

from volition.envs.desk.state import BLOCKS
from volition.envs.desk.tasks import TASKS

CHAIN_LENGTH = 5
PLACES = ("table", "shelf_left", "shelf_right", "drawer", "hand")  # or the name of the block underneath

_ORDINARY = ("table", "shelf_left", "shelf_right")


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """The desk in words."""

    door: str  # "left" or "right": the half of the cabinet that the door hides
    drawer: str  # "open" or "closed"
    bulb: bool
    led: bool
    places: tuple[str, str, str]  # of the red, blue and pink block: one of PLACES, or the block it stands on

    def place(self, color: str) -> str:
        return self.places[BLOCKS.index(color)]

    @property
    def held(self) -> str | None:
        return BLOCKS[self.places.index("hand")] if "hand" in self.places else None

    @property
    def open_shelf(self) -> str:
        """The half of the cabinet that the door leaves open."""
        return "shelf_right" if self.door == "left" else "shelf_left"

    @property
    def unusual(self) -> int:
        """How many blocks are neither on the table nor in the cabinet."""
        return sum(place not in _ORDINARY for place in self.places)

    def clear(self, color: str) -> bool:
        """Nothing stands on the block."""
        return color not in self.places

    def put(self, color: str, place: str) -> Arrangement:
        places = list(self.places)
        places[BLOCKS.index(color)] = place
        return replace(self, places=(places[0], places[1], places[2]))


@dataclass(frozen=True, kw_only=True)
class Chain:
    initial: Arrangement
    tasks: tuple[str, ...]


def after(arrangement: Arrangement, task: str) -> Arrangement | None:
    """What the desk is like once the task is done; None where the task cannot be done."""
    if task not in TASKS:
        raise ValueError(f"task must be one of the desk's {len(TASKS)}, got {task!r}; known: {', '.join(TASKS)}")
    held = arrangement.held
    if task.startswith("place_in") or task == "stack_block":
        return None if held is None else _put_down(arrangement, held, task)
    if held is not None:
        return None
    if task == "unstack_block":
        return _unstack(arrangement)
    if task == "push_into_drawer":
        return _push_into_drawer(arrangement)
    words = task.split("_")
    if words[1] in BLOCKS:
        return _with_block(arrangement, words[0], words[1], words[3])
    return _with_furniture(arrangement, task)


def _put_down(a: Arrangement, held: str, task: str) -> Arrangement | None:
    if task == "place_in_slider":
        return None if a.open_shelf in a.places else a.put(held, a.open_shelf)
    if task == "place_in_drawer":
        return a.put(held, "drawer") if a.drawer == "open" and "drawer" not in a.places else None
    below = [c for c in BLOCKS if c != held and a.place(c) == "table" and a.clear(c)]
    # With two to choose from the outcome would be open, and with it what can follow.
    return a.put(held, below[0]) if len(below) == 1 else None


def _unstack(a: Arrangement) -> Arrangement | None:
    tops = [c for c in BLOCKS if a.place(c) in BLOCKS]
    return a.put(tops[0], "hand") if tops else None


def _push_into_drawer(a: Arrangement) -> Arrangement | None:
    on_table = [c for c in BLOCKS if a.place(c) == "table"]
    if len(on_table) != 1 or not a.clear(on_table[0]) or a.drawer != "open" or "drawer" in a.places:
        return None
    return a.put(on_table[0], "drawer")


def _with_block(a: Arrangement, verb: str, color: str, where: str) -> Arrangement | None:
    if not a.clear(color):
        return None
    if verb in ("rotate", "push"):
        return a if a.place(color) == "table" else None
    assert verb == "lift", f"unknown verb {verb!r}"
    if where == "drawer" and a.drawer != "open":
        return None
    wanted = a.open_shelf if where == "slider" else where
    return a.put(color, "hand") if a.place(color) == wanted else None


def _with_furniture(a: Arrangement, task: str) -> Arrangement | None:
    if task.startswith("move_slider"):
        side = task.removeprefix("move_slider_")
        return None if a.door == side else replace(a, door=side)
    if task.endswith("_drawer"):
        wanted = "open" if task == "open_drawer" else "closed"
        return None if a.drawer == wanted else replace(a, drawer=wanted)
    on = task.startswith("turn_on")
    if task.endswith("lightbulb"):
        return None if a.bulb is on else replace(a, bulb=on)
    assert task.endswith("led"), f"task {task!r} has no rule"
    return None if a.led is on else replace(a, led=on)


def feasible(arrangement: Arrangement, tasks: Sequence[str]) -> bool:
    """Whether the tasks can be done one after the other."""
    now: Arrangement | None = arrangement
    for task in tasks:
        now = after(now, task) if now is not None else None
    return now is not None


def kind(task: str) -> str:
    """What is counted as the same kind of task: a chain has none twice."""
    words = task.split("_")
    if words[0] == "lift":
        return f"lift_{words[3]}"
    if words[1] in BLOCKS or task.startswith("move_slider"):
        return words[0]
    if task in ("open_drawer", "close_drawer") or task.startswith("turn"):
        return words[-1]
    return task


def fits(task: str, before: str) -> bool:
    """Whether `task` may come right after `before`: not where it only takes it back, nor where it could not be judged.

    A block that is pushed into the drawer must not be touched by the robot at the start, as it is after a push or turn.
    """
    if before.startswith("lift") and task.startswith("place_in"):
        return before.split("_")[3] != task.split("_")[2]
    if task == "push_into_drawer":
        return not before.startswith(("push", "rotate"))
    return {before, task} != {"stack_block", "unstack_block"}


def _furniture() -> list[tuple[str, str, bool, bool]]:
    return list(product(("left", "right"), ("open", "closed"), (False, True), (False, True)))


def _consistent(places: tuple[str, ...], drawer: str) -> bool:
    """One block at most in each half of the cabinet, drawer and hand; towers of two, standing on the table."""
    if any(places.count(place) > 1 for place in ("shelf_left", "shelf_right", "drawer", "hand")):
        return False
    if "drawer" in places and drawer == "closed":
        return False
    towers = [(color, place) for color, place in zip(BLOCKS, places) if place in BLOCKS]
    return len(towers) <= 1 and all(places[BLOCKS.index(below)] == "table" for _, below in towers)


@cache
def _all_arrangements() -> tuple[Arrangement, ...]:
    return tuple(
        Arrangement(door=door, drawer=drawer, bulb=bulb, led=led, places=(red, blue, pink))
        for red, blue, pink in product(PLACES + BLOCKS, repeat=3)
        for door, drawer, bulb, led in _furniture()
        if _consistent((red, blue, pink), drawer)
    )


@cache
def _initial_arrangements() -> tuple[Arrangement, ...]:
    """The 192 that chains start from."""
    return tuple(a for a in _all_arrangements() if a.unusual == 0 and a.places.count("table") in (1, 2))


@cache
def arrangements(tasks: tuple[str, ...]) -> tuple[Arrangement, ...]:
    """The arrangements in which the tasks can be done in this order: ordinary ones where there are any.

    Only tasks that need a block in the hand, in the drawer or on another block begin otherwise, and then with that
    one block out of the ordinary. Raises ValueError where there is none.
    """
    found = tuple(a for a in _initial_arrangements() if feasible(a, tasks))
    if not found:
        others = [a for a in _all_arrangements() if 1 <= a.places.count("table") <= 2 and feasible(a, tasks)]
        fewest = min((a.unusual for a in others), default=0)
        found = tuple(a for a in others if a.unusual == fewest)
    if not found:
        raise ValueError(
            f"tasks must be doable one after the other from some arrangement of the desk, got {', '.join(tasks)}; "
            "see volition.envs.desk.chains.after for what each task needs"
        )
    return found


def _walk(initial: Arrangement, rng: np.random.Generator) -> Chain | None:
    """Kinds are drawn evenly, then a task of that kind, so that the many block tasks do not crowd out the others."""
    tasks: list[str] = []
    now = initial
    for _ in range(CHAIN_LENGTH):
        used = {kind(task) for task in tasks}
        options: dict[str, list[tuple[str, Arrangement]]] = {}
        for task in TASKS:
            following = after(now, task)
            if following is None or kind(task) in used or (tasks and not fits(task, tasks[-1])):
                continue
            options.setdefault(kind(task), []).append((task, following))
        if not options:
            return None
        choices = options[sorted(options)[rng.integers(len(options))]]
        task, now = choices[rng.integers(len(choices))]
        tasks.append(task)
    return Chain(initial=initial, tasks=tuple(tasks))


def chains(count: int, seed: int) -> list[Chain]:
    """`count` chains of five tasks; chain i is the same for every `count` above i."""
    found: list[Chain] = []
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        chain = None
        while chain is None:
            initial = _initial_arrangements()
            chain = _walk(initial[rng.integers(len(initial))], rng)
        found.append(chain)
    return found
