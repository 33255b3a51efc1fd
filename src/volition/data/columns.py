"""Some dimensions of actions, by their place: read, replaced and measured from a state; their ranges in a space."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from volition.contract import ActionSpace
from volition.records import Observation


def check_places(name: str, places: Sequence[int], *, count: int | None = None) -> None:
    """ValueError unless they are different places, as many as `count` where that is given."""
    wanted = "different places" if count is None else f"{count} different places"
    if not places or len(set(places)) < len(places) or min(places) < 0 or count not in (None, len(places)):
        raise ValueError(f"{name} must be {wanted}, counted from 0; got {tuple(places)}")


def taken(actions: np.ndarray, places: Sequence[int]) -> np.ndarray:
    """float[..., A] -> float64[..., n]"""
    if max(places) >= actions.shape[-1]:
        raise ValueError(f"actions must have the dimensions {tuple(places)}, got shape {list(actions.shape)}")
    return actions[..., list(places)].astype(np.float64)


def replaced(actions: np.ndarray, places: Sequence[int], values: np.ndarray) -> np.ndarray:
    """A copy, float32[..., A], with other values [..., n] in those places."""
    changed = np.array(actions, dtype=np.float32)
    changed[..., list(places)] = values
    return changed


def all_known(given: np.ndarray, *groups: Sequence[int]) -> np.ndarray:
    """bool[A]: dimensions that are changed together are known together, or none of them."""
    known = given.copy()
    for places in groups:
        known[list(places)] = given[list(places)].all()
    return known


def state_of(observation: Observation, entries: Sequence[int], actions: np.ndarray) -> np.ndarray:
    """What actions are measured from, float64[..., n]: steps of [T, H, A] each have one, [H, A] and [A] the newest."""
    state = observation.state
    if max(entries) >= state.shape[-1]:
        raise ValueError(f"the state must have the entries {tuple(entries)}, got shape {list(state.shape)}")
    if actions.ndim > 3 or (actions.ndim == 3 and len(actions) != len(state)):
        raise ValueError(
            f"actions must be [T, H, A] with a state for each of the T steps, [H, A] or [A]; "
            f"got {list(actions.shape)} and states {list(state.shape)}"
        )
    chosen = state[:, list(entries)].astype(np.float64)
    return chosen[:, None] if actions.ndim == 3 else chosen[-1]


def ranges(space: ActionSpace, places: Sequence[int]) -> dict[int, tuple[float, float]]:
    """Place -> low and high; all must be there."""
    _require(space, places)
    return {i: (space.dimensions[i].low, space.dimensions[i].high) for i in places}


def with_ranges(
    space: ActionSpace, changed: Mapping[int, tuple[float, float]], *, unit: str | None = None
) -> ActionSpace:
    """`space` with other ranges, and another unit if one is given, of some dimensions."""
    _require(space, changed)
    dimensions = list(space.dimensions)
    for i, (low, high) in changed.items():
        dimensions[i] = dataclasses.replace(dimensions[i], low=low, high=high, unit=unit or dimensions[i].unit)
    return dataclasses.replace(space, dimensions=tuple(dimensions))


def _require(space: ActionSpace, places: Iterable[int]) -> None:
    if max(places, default=0) >= space.dim:
        raise ValueError(f"a transform changes the dimensions {tuple(places)} of actions that have {space.dim} only")
