"""Does every camera show what it always shows, and something?"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from PIL import Image

from volition.data.checks.evidence import Evidence, Trace
from volition.data.checks.finding import Finding, listed

SIDE = 16  # pixels of a thumbnail
DARK = 2.0  # grey levels of spread below which a picture shows nothing
SWAPPED = 0.95  # an episode fits the other camera better when its distance is this share of that to its own
ON_THE_HAND = ("wrist", "gripper", "hand")  # names of cameras that move with the arm


def cameras(evidence: Evidence) -> Finding:
    """Black, frozen, identical or exchanged cameras, in the episodes of which pictures were read."""
    traces = evidence.pictured
    if not traces:
        return Finding(name="cameras", level="note", said="no pictures were looked at")
    complaints = [*_blind(traces), *_identical(traces), *_swapped_in_some(traces)]
    if complaints:
        fix = "leave these episodes or that camera out, or give the cameras the right names"
        return Finding(name="cameras", level="error", said="; ".join(complaints), fix=fix)
    names = ", ".join(traces[0].pictures)
    if found := _swapped_in_all(traces):
        fix = "look at a few episodes (volition data view) and exchange the names if so"
        return Finding(name="cameras", level="warning", said=found, fix=fix)
    return Finding(name="cameras", level="ok", said=f"each of {names} shows the same kind of picture in every episode")


def _blind(traces: tuple[Trace, ...]) -> list[str]:
    """Cameras that show one colour, or one picture while the state changes."""
    dark, frozen = [], []
    for trace in traces:
        for camera, pictures in trace.pictures.items():
            if pictures.std() < DARK:
                dark.append(f"{trace.name} ({camera})")
            elif len(pictures) > 1 and (pictures == pictures[0]).all() and np.ptp(trace.states, axis=0).any():
                frozen.append(f"{trace.name} ({camera})")
    return [
        *([f"a camera shows nothing in {listed(dark)}"] if dark else []),
        *([f"a camera shows one picture all the time in {listed(frozen)}"] if frozen else []),
    ]


def _identical(traces: tuple[Trace, ...]) -> list[str]:
    same = [
        f"{trace.name} ({a} = {b})"
        for trace in traces
        for a, b in combinations(trace.pictures, 2)
        if np.array_equal(trace.pictures[a], trace.pictures[b])
    ]
    return [f"two cameras show the same picture in {listed(same)}"] if same else []


def _swapped_in_some(traces: tuple[Trace, ...]) -> list[str]:
    """Episodes in which two cameras look like each other's usual picture."""
    seen = [{name: _thumbnails(x).mean(0) for name, x in trace.pictures.items()} for trace in traces]
    found = []
    for a, b in combinations(seen[0], 2):
        usual = {name: np.median([one[name] for one in seen if name in one], axis=0) for name in (a, b)}
        for trace, one in zip(traces, seen):
            if a in one and b in one:
                straight = _distance(one[a], usual[a]) + _distance(one[b], usual[b])
                crossed = _distance(one[a], usual[b]) + _distance(one[b], usual[a])
                if crossed < SWAPPED * straight:
                    found.append(f"{trace.name} ({a} and {b})")
    return [f"cameras look exchanged in {listed(found)}"] if found else []


def _swapped_in_all(traces: tuple[Trace, ...]) -> str:
    """A camera on the hand sees everything move; one that stands sees only the arm move."""
    names = tuple(traces[0].pictures)
    hand = [name for name in names if any(word in name.lower() for word in ON_THE_HAND)]
    standing = [name for name in names if name not in hand]
    if len(hand) != 1 or len(standing) != 1:
        return ""
    change = {
        name: np.array([np.abs(np.diff(_thumbnails(t.pictures[name]), axis=0)).mean() for t in traces if len(t) > 1])
        for name in (hand[0], standing[0])
    }
    calmer = float((change[hand[0]] < change[standing[0]]).mean()) if len(change[hand[0]]) else 0.0
    if calmer < 0.8:
        return ""
    return (
        f"the pictures of {hand[0]!r} change less than those of {standing[0]!r} in {calmer:.0%} of the episodes, "
        "though its name is that of a camera on the hand: exchanged?"
    )


def _thumbnails(pictures: np.ndarray) -> np.ndarray:
    """float64[k, SIDE, SIDE, 3]"""
    small = [Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BOX) for picture in pictures]
    return np.stack([np.asarray(image, np.float64) for image in small])


def _distance(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.abs(left - right).mean())
