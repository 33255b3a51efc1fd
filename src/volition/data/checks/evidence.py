"""What the checks look at: the numbers of many episodes and a few pictures of some, read once.

episodes, spec --gather--> Evidence(traces)      an episode that cannot be read is named, not hidden
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from volition.contract import RobotSpec
from volition.data.episodes import left_out, reasons
from volition.records import Episode

POSITION, TURN, EULER = ("x", "y", "z"), ("rx", "ry", "rz"), ("roll", "pitch", "yaw")
WIDTH = ("gripper_width", "gripper_position", "gripper_state", "gripper_opening", "gripper")
PREVIOUS = "previous_"  # begins the name of a state entry that repeats the action executed before
PICTURES = 4  # of an episode, evenly spread


@runtime_checkable
class Timed(Episode, Protocol):
    """An episode that also says when its frames were taken."""

    def times(self, steps: np.ndarray) -> np.ndarray: ...  # float64[n], seconds


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One episode."""

    name: str  # "episode 12"
    task: str
    instructions: tuple[str, ...]
    states: np.ndarray  # float64[n, S]
    actions: np.ndarray  # float64[n, A]
    times: np.ndarray | None = None  # float64[n], seconds
    pictures: dict[str, np.ndarray] = field(default_factory=dict)  # camera -> uint8[k, height, width, 3]

    def __len__(self) -> int:
        return len(self.actions)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    spec: RobotSpec
    traces: tuple[Trace, ...]
    unreadable: tuple[str, ...] = ()  # "episode 3: why", or of those that the reader left out; they have no trace
    not_finite: tuple[str, ...] = ()  # the same for numbers that are none
    num_episodes: int  # there are; the traces may be fewer
    num_unreadable: int = 0  # of them; a reason in `unreadable` may speak of several

    @property
    def pictured(self) -> tuple[Trace, ...]:
        return tuple(trace for trace in self.traces if trace.pictures)


def gather(
    episodes: Sequence[Episode],
    spec: RobotSpec,
    *,
    max_episodes: int,
    max_pictured: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evidence:
    """Read at most `max_episodes`, evenly spread, and pictures of at most `max_pictured` of them."""
    chosen = spread(len(episodes), max_episodes)
    pictured = set(chosen[spread(len(chosen), max_pictured)].tolist())
    traces, unreadable, not_finite = [], [], []
    for done, number in enumerate(chosen.tolist()):
        progress(done, len(chosen))
        name = f"episode {number}"
        try:
            episode = episodes[number]
            shown = spread(len(episode), PICTURES if number in pictured else 0)
            trace = read_trace(episode, name, shown)
        except (ValueError, OSError) as error:
            unreadable.append(f"{name}: {error}")
            continue
        bad = [f"{kind} {i}" for kind in ("states", "actions") for i in np.argwhere(~np.isfinite(getattr(trace, kind)))]
        if bad:
            not_finite.append(f"{name} ({len(bad)} numbers, the first in its {bad[0]})")
        else:
            traces.append(trace)
    progress(len(chosen), len(chosen))
    return Evidence(
        spec=spec,
        traces=tuple(traces),
        unreadable=(*reasons(episodes), *unreadable),
        not_finite=tuple(not_finite),
        num_episodes=len(episodes) + left_out(episodes),
        num_unreadable=len(unreadable) + left_out(episodes),
    )


def spread(count: int, most: int) -> np.ndarray:
    """int[min(count, most)]: evenly spread over 0 .. count - 1"""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def read_trace(episode: Episode, name: str, pictured: np.ndarray) -> Trace:
    """All numbers of an episode, and the pictures of the steps `pictured` int[k]."""
    steps = np.arange(len(episode))
    return Trace(
        name=name,
        task=episode.task,
        instructions=tuple(episode.instructions),
        states=episode.states(steps).astype(np.float64),
        actions=episode.actions(steps).astype(np.float64),
        times=episode.times(steps) if isinstance(episode, Timed) else None,
        pictures=episode.images(pictured) if len(pictured) else {},
    )


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the numbers of an arm stand in its states and actions; () or None for what has no known name."""

    position: tuple[int, ...]  # of the tool, in the state: x, y, z
    euler: tuple[int, ...]  # of the tool, in the state
    width: int | None  # of the gripper's opening, in the state
    move: tuple[int, ...]  # in the action: x, y, z
    turn: tuple[int, ...]  # in the action
    gripper: int | None  # in the action


def places(spec: RobotSpec) -> Places:
    """By name: `x`, `tcp_x` and `observation.eef_x` are all x."""
    state = tuple("" if name.startswith(PREVIOUS) else name for name in spec.state)
    action = tuple(dimension.name for dimension in spec.action_space.dimensions)
    widths = [found[0] for name in WIDTH if (found := _find(state, (name,)))]
    gripper = _find(action, ("gripper",))
    return Places(
        position=_find(state, POSITION),
        euler=_find(state, EULER) or _find(state, TURN),
        width=widths[0] if widths else None,
        move=_find(action, POSITION),
        turn=_find(action, TURN) or _find(action, EULER),
        gripper=gripper[0] if gripper else None,
    )


def _find(names: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """The place of every wanted name, or ()."""
    found = [next((i for i, name in enumerate(names) if _means(name, word)), None) for word in wanted]
    return tuple(i for i in found if i is not None) if None not in found else ()


def _means(name: str, word: str) -> bool:
    lowered = name.lower()
    return lowered == word or lowered.endswith((f"_{word}", f".{word}"))
