"""Is every episode whole, once there, and within what the contract promises?"""

from __future__ import annotations

import hashlib
from collections import defaultdict

import numpy as np

from volition.data.checks.evidence import Evidence, Trace, places
from volition.data.checks.finding import Finding, listed

TOLERANCE = 1e-3  # of an action's range
TORN = 8.0  # a step of the state is a jump from this many times the large steps of the whole dataset on
LARGE = 0.99  # the quantile that large steps are
DISCRETE = 4  # a state entry with so many values or fewer switches; it does not move
HELD, STILL = 0.02, 5e-4  # an action (share of its range) and metres in a step below which nothing happens
LONG_REST, MUCH_REST = 2.0, 0.3  # seconds, share of all frames
RATE = 0.1  # share by which a frame's time may miss the control rate


def readable(evidence: Evidence) -> Finding:
    total = len(evidence.traces) + evidence.num_unreadable + len(evidence.not_finite)
    if evidence.unreadable:
        said = f"{evidence.num_unreadable} of {total} episodes cannot be read: {listed(evidence.unreadable, 2)}"
        fix = "restore these files, or leave the episodes out"
        return Finding(name="readable", level="error", said=said, fix=fix)
    frames = sum(map(len, evidence.traces))
    said = f"{total} of {evidence.num_episodes} episodes read, {frames} frames, pictures of {len(evidence.pictured)}"
    return Finding(name="readable", level="ok", said=said)


def finite(evidence: Evidence) -> Finding:
    if evidence.not_finite:
        said = f"not every number is finite: {listed(evidence.not_finite)}"
        return Finding(name="numbers", level="error", said=said, fix="leave these episodes out, or record them again")
    return Finding(name="numbers", level="ok", said="all states and actions are finite")


def ranges(evidence: Evidence) -> Finding:
    """Actions within low..high of their dimensions, binary ones on either end."""
    space = evidence.spec.action_space
    actions = _all(evidence, "actions")
    low, high = (np.array([getattr(d, end) for d in space.dimensions]) for end in ("low", "high"))
    slack = TOLERANCE * (high - low)
    outside = (actions < low - slack) | (actions > high + slack)
    between = (actions > low + slack) & (actions < high - slack)
    bad = outside | (between & np.array([d.kind == "binary" for d in space.dimensions]))
    if not bad.any():
        return Finding(name="action range", level="ok", said="every action lies in the range of the contract")
    parts = [
        f"{d.name} reaches {actions[:, i].min():.3g}..{actions[:, i].max():.3g} where the contract says "
        + (f"{d.low:g} or {d.high:g}" if d.kind == "binary" else f"{d.low:g}..{d.high:g}")
        for i, d in enumerate(space.dimensions)
        if bad[:, i].any()
    ]
    said = f"{bad.any(1).mean():.1%} of the actions are out of range: {listed(parts, 2)}"
    fix = "bring the actions to the units of the contract, or correct the contract; training would clip them"
    return Finding(name="action range", level="error", said=said, fix=fix)


def instructions(evidence: Evidence) -> Finding:
    traces = evidence.traces
    empty = [t.name for t in traces if not t.instructions or any(not text.strip() for text in t.instructions)]
    if not empty:
        different = len({text for t in traces for text in t.instructions})
        said = f"every episode has an instruction; there are {different} different ones"
        return Finding(name="instructions", level="ok", said=said)
    said = f"{len(empty)} of {len(traces)} episodes have an empty instruction: {listed(empty)}"
    fix = "give them a sentence, or leave them out: a policy learns from them to act whatever it is told"
    return Finding(name="instructions", level="warning" if len(empty) == len(traces) else "error", said=said, fix=fix)


def duplicates(evidence: Evidence) -> Finding:
    """Episodes with the same states and actions to the bit."""
    same: dict[str, list[str]] = defaultdict(list)
    for trace in evidence.traces:
        same[hashlib.sha256(trace.states.tobytes() + trace.actions.tobytes()).hexdigest()].append(trace.name)
    twins = [" = ".join(names) for names in same.values() if len(names) > 1]
    if not twins:
        return Finding(name="duplicates", level="ok", said="no episode is there twice")
    fix = "keep one of each, unless several instructions are meant for the same recording"
    return Finding(name="duplicates", level="warning", said=f"the same numbers twice: {listed(twins)}", fix=fix)


def frozen(evidence: Evidence) -> Finding:
    """Frames that repeat the state before them to the last digit while the arm is told to move."""
    shares = {trace.name: _frozen_share(trace, evidence) for trace in evidence.traces if len(trace) > 1}
    many = [name for name, share in shares.items() if share > 0.05]
    worst = max(shares.values(), default=0.0)
    if not many:
        said = f"the state changes from frame to frame wherever there is an action (repeated: {worst:.1%} at most)"
        return Finding(name="frozen frames", level="ok", said=said)
    said = f"up to {worst:.0%} of the frames repeat the state before them to the last digit: {listed(many)}"
    fix = "drop the repeated frames, and check the control rate: the recorder was faster than the robot's reports"
    return Finding(name="frozen frames", level="error", said=said, fix=fix)


def _frozen_share(trace: Trace, evidence: Evidence) -> float:
    told = ~_held(trace.actions[:-1], evidence)
    same = (np.diff(trace.states, axis=0) == 0).all(1)
    return float((told & same).sum() / max(told.sum(), 1)) if trace.states.shape[1] else 0.0


def torn(evidence: Evidence) -> Finding:
    """Steps of the state that are far larger than the dataset's large ones: two recordings in one, or frames lost."""
    states = _all(evidence, "states")
    moving = [i for i in range(states.shape[1]) if len(np.unique(states[:10_000, i])) > DISCRETE]
    steps = {t.name: _steps(t.states[:, moving]) for t in evidence.traces if len(t) > 1}
    if not moving or not steps:
        return Finding(name="torn episodes", level="note", said="no state to look for jumps in")
    large = np.quantile(np.concatenate(list(steps.values())), LARGE, axis=0)
    names = [evidence.spec.state[i] for i in moving]
    jumps = []
    for name, moved in steps.items():
        ratio = moved / np.maximum(large, 1e-9)
        # One entry alone may have its reasons, such as a block that falls or a gripper that snaps.
        at = np.flatnonzero((ratio > TORN).sum(1) >= min(2, len(moving)))
        if len(at):
            most = names[int(ratio[at[0]].argmax())]
            jumps.append(f"{name} at frame {at[0] + 1} ({most}, {ratio[at[0]].max():.0f} times a large step)")
    if not jumps:
        return Finding(name="torn episodes", level="ok", said="no jump in the state of any episode")
    fix = "cut these episodes there, or leave them out"
    return Finding(name="torn episodes", level="error", said=f"the state jumps in {listed(jumps)}", fix=fix)


def _steps(states: np.ndarray) -> np.ndarray:
    """float64[n - 1, S]: sizes of the changes; a full turn of an angle is none."""
    change = np.abs(np.diff(states, axis=0))
    return np.minimum(change, np.abs(change - 2 * np.pi))


def stillness(evidence: Evidence) -> Finding:
    """Stretches in which nothing is told and nothing moves; a policy learns to stop from them."""
    where = places(evidence.spec)
    longest, frames = (0, ""), 0
    for trace in evidence.traces:
        rest = _held(trace.actions, evidence)
        if where.position and len(trace) > 1:
            moved = np.linalg.norm(np.diff(trace.states[:, list(where.position)], axis=0), axis=1)
            rest &= np.append(moved, moved[-1]) < STILL
        frames += int(rest.sum())
        longest = max(longest, (_longest_run(rest), trace.name))
    seconds = longest[0] / evidence.spec.control_hz
    share = frames / max(sum(map(len, evidence.traces)), 1)
    said = f"{share:.1%} of the frames are motionless, {seconds:.1f} s at a stretch at most"
    if seconds <= LONG_REST and share <= MUCH_REST:
        return Finding(name="stillness", level="ok", said=said)
    fix = "cut the motionless frames out, or a policy will learn to stand still"
    return Finding(name="stillness", level="warning", said=f"{said} ({longest[1]})", fix=fix)


def _held(actions: np.ndarray, evidence: Evidence) -> np.ndarray:
    """bool[n]: no motion is told. Targets (not relative) that stay the same tell none."""
    space = evidence.spec.action_space
    moving = list(space.continuous)
    size = np.array([d.high - d.low for d in space.dimensions])[moving] / 2
    told = actions[:, moving] if space.relative else np.diff(actions[:, moving], axis=0, append=actions[-1:, moving])
    return np.all(np.abs(told) / size < HELD, axis=1)


def _longest_run(flags: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def rate(evidence: Evidence) -> Finding:
    """The times of the frames against the control rate."""
    period = 1 / evidence.spec.control_hz
    timed = {t.name: np.diff(t.times) for t in evidence.traces if t.times is not None and len(t) > 1}
    if not timed:
        said = f"the contract says {evidence.spec.control_hz:g} Hz; the dataset keeps no times to compare"
        return Finding(name="control rate", level="note", said=said)
    uneven = [name for name, steps in timed.items() if np.abs(steps - period).max() > RATE * period]
    found = 1 / max(float(np.median(np.concatenate(list(timed.values())))), 1e-9)
    said = f"frames come at {found:.3g} Hz, the contract says {evidence.spec.control_hz:g} Hz"
    if not uneven:
        return Finding(name="control rate", level="ok", said=said)
    fix = "correct the rate, or cut episodes where frames were lost: a policy acts at the rate that it was trained at"
    said = f"{said}; steps are uneven or of another length in {listed(uneven)}"
    return Finding(name="control rate", level="error", said=said, fix=fix)


def _all(evidence: Evidence, kind: str) -> np.ndarray:
    """float64[frames, D]"""
    return np.concatenate([getattr(trace, kind) for trace in evidence.traces])
