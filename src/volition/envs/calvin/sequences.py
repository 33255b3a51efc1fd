"""The 1,000 task sequences of CALVIN's evaluation, equal to the original's in every place; and fresh ones.

    official(1000) -> 1,000 x Sequence(initial, tasks)   in the protocol's order; some seconds for all of them
    fresh(count, seed) -> the same kind, drawn anew

The original draws five of the 34 tasks at random until they can be done one after the other, 2.6 million times for its
1,000 sequences. The same draws are made here in bulk. A shuffle of 34 is 33 bounded numbers of numpy's old generator,
which `RandomState.randint` makes in C; task after task, only the draws that are still possible are looked at further.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from volition.envs.calvin.situations import TASKS, Situation, after, initial_situations, kind

LENGTH = 5
NUM_OFFICIAL = 1000
_TRIES = 2**12  # draws looked at together
_NONE = -1  # in tables of situations: this task cannot be done here


@dataclass(frozen=True, kw_only=True)
class Sequence:
    initial: Situation
    tasks: tuple[str, ...]


def official(count: int = NUM_OFFICIAL) -> tuple[Sequence, ...]:
    """The first `count` of the protocol's sequences, in its order. ValueError for more than there are."""
    if not 0 <= count <= NUM_OFFICIAL:
        raise ValueError(
            f"CALVIN's protocol has {NUM_OFFICIAL} sequences, got count={count}; pass a seed to have others drawn"
        )
    return tuple(_official(number) for number in range(count))


def official_initial(number: int) -> Situation:
    """What the official sequence `number` begins in; at once, without the search for its tasks."""
    return initial_situations()[_places()[number][0]]


def _official(number: int) -> Sequence:
    situation, index = _places()[number]
    return Sequence(initial=initial_situations()[situation], tasks=_of_situation(situation)[index])


@cache
def _places() -> tuple[tuple[int, int], ...]:
    """For every official sequence the number of its initial situation, and its own number among that one's."""
    parts = np.array_split(np.arange(NUM_OFFICIAL), len(initial_situations()))
    places = [(number, index) for number, part in enumerate(parts) for index in range(len(part))]
    np.random.RandomState(0).shuffle(places)
    return tuple(places)


@cache
def _of_situation(number: int) -> list[tuple[str, ...]]:
    """The tasks of all official sequences that begin in the initial situation `number`, as they are drawn."""
    count = sum(situation == number for situation, _ in _places())
    return _search().first_feasible(initial_situations()[number], count, np.random.RandomState(number))


def fresh(count: int, seed: int) -> list[Sequence]:
    """`count` sequences as the protocol draws them, from other random numbers; number i is the same for every count."""
    found = []
    for number in range(count):
        random = np.random.RandomState(np.random.SeedSequence((seed, number)).generate_state(4))
        initial = initial_situations()[random.randint(len(initial_situations()))]
        (tasks,) = _search().first_feasible(initial, 1, random)
        found.append(Sequence(initial=initial, tasks=tasks))
    return found


class _Search:
    """Draws of five tasks, tested in bulk. Remembers what follows every situation that it meets."""

    def __init__(self) -> None:
        self._ids: dict[Situation, int] = {}
        self._situations: list[Situation] = []
        self._following: list[np.ndarray | None] = []  # int[34] of a situation: the next one's id, or _NONE
        kinds = [kind(task) for task in TASKS]
        self._kinds = np.array([1 << sorted(set(kinds)).index(name) for name in kinds])

    def first_feasible(self, initial: Situation, count: int, random: np.random.RandomState) -> list[tuple[str, ...]]:
        """The first `count` draws that can be done from `initial`, one after the other and no kind of task twice."""
        found: list[tuple[str, ...]] = []
        while len(found) < count:
            draws = self._feasible_draws(self._id(initial), random)
            found += [tuple(TASKS[i] for i in draw) for draw in draws.tolist()]
        return found[:count]

    def _feasible_draws(self, initial: int, random: np.random.RandomState) -> np.ndarray:
        """Of the next draws those that can be done from `initial`: int[n, 5], in order."""
        last = np.arange(len(TASKS) - 1, 0, -1)  # a shuffle swaps entry 33 with one of 0..33, then 32 with one of 0..32
        swaps = random.randint(0, last + 1, size=(_TRIES, len(last)), dtype=np.int32)
        swaps = np.ascontiguousarray(swaps.astype(np.int8).T)  # int8[33, tries]: every step is a row
        state, used = np.full(_TRIES, initial), np.zeros(_TRIES, int)
        draws = np.zeros((_TRIES, 0), int)
        for place in range(LENGTH):
            task = _entry_after_shuffle(place, last, swaps)
            state = self._follow(state, task)
            good = (state != _NONE) & (used & self._kinds[task] == 0)
            draws = np.concatenate((draws, task[:, None]), axis=1)[good]
            swaps, state, used = swaps[:, good], state[good], (used | self._kinds[task])[good]
        return draws

    def _follow(self, state: np.ndarray, task: np.ndarray) -> np.ndarray:
        """Ids of the situations after the tasks int[n] in the situations int[n]; _NONE where it cannot be done."""
        present, places = np.unique(state, return_inverse=True)
        if not len(present):
            return state
        return np.stack([self._row(number) for number in present.tolist()])[places, task]

    def _row(self, number: int) -> np.ndarray:
        row = self._following[number]
        if row is None:
            following = [after(self._situations[number], task) for task in TASKS]
            row = np.array([_NONE if situation is None else self._id(situation) for situation in following])
            self._following[number] = row
        return row

    def _id(self, situation: Situation) -> int:
        if situation not in self._ids:
            self._ids[situation] = len(self._situations)
            self._situations.append(situation)
            self._following.append(None)
        return self._ids[situation]


@cache
def _search() -> _Search:
    return _Search()


def _entry_after_shuffle(place: int, last: np.ndarray, swaps: np.ndarray) -> np.ndarray:
    """Which entry stands at `place` after the swaps int8[33, tries] of entries `last`: int8[tries], traced back."""
    where = np.full(swaps.shape[1], place, np.int8)
    for entry, other in zip(last[::-1].astype(np.int8), swaps[::-1]):
        moved = (where == entry) | (where == other)
        where ^= (entry ^ other) & -moved.view(np.int8)  # from the one to the other; np.where takes ten times as long
    return where
