"""Does the arm move as its actions say? Axes, frame, scale, delay and the meaning of the three angles.

Actions that are added up over SPAN control steps are compared with how far the tool came in them, which makes the
comparison indifferent to a controller's delay. Every way to read the actions is tried: axes in any order and direction
in the world's frame or the tool's; the one that explains the motion best is compared with what the contract says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from volition.data.checks.evidence import Evidence, Places, Trace, places
from volition.data.checks.finding import Finding, Level
from volition.data.spec import UNKNOWN
from volition.geometry import euler_to_matrix, matrix_to_axis_angle, wrap

SPAN = 8  # control steps
CLEAR = 0.4  # correlation below which nothing is concluded
MARGIN = 0.1  # by how much another reading must explain more than the declared one
STILL_AXIS = 0.1  # an axis that moves less than this share of the liveliest one says nothing about order
LAGS = range(-3, 7)  # control steps
RESPONSE = 0.3  # share of the strongest response at which a response has begun
JUMP = 3.0  # a motion so many times a large one is none that an action made
FRAMES = {"world": "", "tcp": "XYZ", "tcp (angles ZYX)": "ZYX"}  # the order of the state's Euler angles


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A way to read three numbers of an action as a motion of the tool."""

    frame: str
    order: tuple[int, ...] = (0, 1, 2)  # axis i of the motion is entry order[i] of the action
    signs: tuple[int, ...] = (1, 1, 1)
    score: float = 0.0  # mean correlation of the axes that move
    scale: float = 0.0  # units of motion that an action of 1 makes

    @property
    def plain(self) -> bool:
        return self.order == (0, 1, 2) and self.signs == (1, 1, 1)

    def __str__(self) -> str:
        axes = ", ".join(("-" if sign < 0 else "") + "xyz"[i] for i, sign in zip(self.order, self.signs))
        return f"({axes}) in the {self.frame} frame"


def axes(evidence: Evidence) -> Finding:
    """Whether x, y, z of the action are x, y, z of the frame that the contract names."""
    found = _readings(evidence)
    if isinstance(found, str):
        return Finding(name="action axes", level="note", said=found)
    best = max(found, key=lambda reading: reading.score)
    if best.score < CLEAR:
        known = evidence.spec.action_space.frame != UNKNOWN and evidence.spec.action_space.relative
        said = f"however the actions are read, the tool does not follow them (best correlation {best.score:.2f})"
        fix = "check that states and actions belong together, and that the actions are motions, not targets"
        return Finding(name="action axes", level="warning" if known else "note", said=said, fix=fix if known else "")
    declared = _declared(found, evidence.spec.action_space.frame)
    if declared is None:
        said = f"the actions look like {best} (correlation {best.score:.2f}); the dataset does not say"
        return Finding(name="action axes", level="note", said=said)
    if declared.score >= best.score - MARGIN:
        other = max(r.score for r in found if not r.plain and r.frame == declared.frame)
        said = f"the tool follows {declared}: correlation {declared.score:.2f}, with axes changed {other:.2f} at most"
        return Finding(name="action axes", level="ok", said=said)
    return Finding(
        name="action axes",
        level="error",
        said=f"the tool follows {best} (correlation {best.score:.2f}), not {declared} ({declared.score:.2f})",
        fix=f"convert the actions (volition.geometry has both ways), or let the contract say what they are: {best}",
    )


def scale(evidence: Evidence) -> Finding:
    """How far the tool comes for an action of 1, against the unit of the contract."""
    best = _best(evidence)
    if isinstance(best, str):
        return Finding(name="action scale", level="note", said=best)
    place = places(evidence.spec).move[0]
    unit = evidence.spec.action_space.dimensions[place].unit
    return _compare_scale("action scale", best.scale, unit, "m")


def lag(evidence: Evidence) -> Finding:
    """When the tool begins to answer to an action: in the step after it, unless something is shifted."""
    best = _best(evidence)
    if isinstance(best, str):
        return Finding(name="action lag", level="note", said=best)
    response = _response(evidence, best)
    if response is None:
        said = f"episodes of more than {len(LAGS) + 1} steps would be needed to see when the tool answers"
        return Finding(name="action lag", level="note", said=said)
    first = LAGS[int(np.argmax(response >= RESPONSE))]
    shares = ", ".join(f"{step}: {share:.2f}" for step, share in zip(LAGS, response) if -1 <= step <= 3)
    if first == 0:
        return Finding(name="action lag", level="ok", said=f"the tool answers at once (response by step, {shares})")
    if first < 0:
        said = f"the tool moves {-first} step(s) before its action (response by step, {shares})"
        fix = f"actions are stored {-first} step(s) late: move them forward, so that frame t holds what was done next"
        return Finding(name="action lag", level="error", said=said, fix=fix)
    said = f"the tool answers only {first} step(s) after its action (response by step, {shares})"
    fix = f"if the robot has no such dead time, actions are stored {first} step(s) early: move them back"
    return Finding(name="action lag", level="warning", said=said, fix=fix)


def rotation(evidence: Evidence) -> Finding:
    """What the three angles of the action do to the tool's orientation."""
    where = places(evidence.spec)
    if not where.turn or not where.euler:
        return Finding(name="rotation", level="note", said="states or actions have no angles of a known name")
    turned = np.concatenate([*_sums(evidence, where.turn), np.zeros((0, 3))])
    if len(turned) < 2 or np.abs(turned).max() == 0:
        return Finding(name="rotation", level="note", said="the tool is never told to turn")
    scores = {name: _rotation_score(evidence, where, turned, name) for name in ROTATIONS}
    best = max(scores, key=lambda name: scores[name][0])
    score, _ = scores[best]
    if score < CLEAR:
        return Finding(name="rotation", level="note", said=f"the tool hardly turns as told (correlation {score:.2f})")
    declared = _declared_rotation(evidence, scores)
    if declared is not None and scores[declared][0] < score - MARGIN:
        said = f"the angles act as {best} (correlation {score:.2f}), not as {declared} ({scores[declared][0]:.2f})"
        fix = "convert the angles (volition.geometry), or let the contract name their frame and rotation"
        return Finding(name="rotation", level="error", said=said, fix=fix)
    shown = best if declared is None else declared
    place = evidence.spec.action_space.dimensions[where.turn[0]]
    compared = _compare_scale("rotation", scores[shown][1], place.unit, "rad")
    said = f"the angles act as {shown} (correlation {scores[shown][0]:.2f}); {compared.said}"
    return Finding(name="rotation", level=compared.level, said=said, fix=compared.fix)


ROTATIONS = {
    "increments of the Euler angles": ("", "world"),
    "a turn in the world frame (angles XYZ)": ("XYZ", "world"),
    "a turn in the world frame (angles ZYX)": ("ZYX", "world"),
    "a turn in the tcp frame (angles XYZ)": ("XYZ", "tcp"),
    "a turn in the tcp frame (angles ZYX)": ("ZYX", "tcp"),
}


def _declared_rotation(evidence: Evidence, scores: dict[str, tuple[float, float]]) -> str | None:
    """The best of those that the contract admits; None where it does not say.

    Euler angles in the world's frame are added to the tool's own (see `geometry.world_to_tcp`); all else turns it.
    """
    space = evidence.spec.action_space
    added = space.frame == "world" and space.rotation.startswith("euler")
    admitted = [name for name, (order, frame) in ROTATIONS.items() if frame == space.frame and (not order) == added]
    known = space.rotation != UNKNOWN and admitted
    return max(admitted, key=lambda name: scores[name][0]) if known else None


def _rotation_score(evidence: Evidence, where: Places, turned: np.ndarray, name: str) -> tuple[float, float]:
    """Correlation of what was told with what came of it, and radians for a told 1."""
    came = np.concatenate([_turns(trace, where, *ROTATIONS[name]) for trace in evidence.traces])
    product_, told, done = (turned * came).sum(), (turned**2).sum(), (came**2).sum()
    return float(product_ / max(np.sqrt(told * done), 1e-12)), float(product_ / told)


def _turns(trace: Trace, where: Places, order: str, frame: str) -> np.ndarray:
    """float64[m, 3]: the turn over each span."""
    begins = _begins(trace)
    angles = trace.states[:, list(where.euler)]
    if not order:
        return wrap(angles[begins + SPAN] - angles[begins])
    now = euler_to_matrix(angles if order == "XYZ" else angles[:, ::-1], order)
    old, new = now[begins], now[begins + SPAN]
    back = np.swapaxes(old, -1, -2)
    return matrix_to_axis_angle(new @ back if frame == "world" else back @ new)


def _compare_scale(name: str, found: float, unit: str, kind: str) -> Finding:
    match = re.fullmatch(rf"([0-9.eE+-]+) {kind}", unit)
    moves = f"an action of 1 makes {found:.4f} {kind}"
    if match is None:
        return Finding(name=name, level="note", said=f"{moves}; the contract says {unit!r}")
    ratio = found / float(match[1])
    said = f"{moves}, {ratio:.2f} of the {unit} of the contract"
    if 0.5 <= ratio <= 2:
        return Finding(name=name, level="ok", said=said)
    level: Level = "warning" if 0.3 <= ratio <= 3 else "error"
    fix = f"multiply the actions by about {ratio:.2g}, or correct the unit in the contract to {found:.2g} {kind}"
    return Finding(name=name, level=level, said=said, fix=fix)


def _best(evidence: Evidence) -> Reading | str:
    """The reading by which to go on: the declared one unless another is clearly better; or why there is none."""
    found = _readings(evidence)
    if isinstance(found, str):
        return found
    best = max(found, key=lambda reading: reading.score)
    if best.score < CLEAR:
        return f"the tool does not follow the actions, however they are read (best correlation {best.score:.2f})"
    declared = _declared(found, evidence.spec.action_space.frame)
    return declared if declared is not None and declared.score >= best.score - MARGIN else best


def _declared(readings: list[Reading], frame: str) -> Reading | None:
    """The best plain reading in the frame that the contract names, if it does."""
    named = [reading for reading in readings if reading.plain and reading.frame.split()[0] == frame]
    return max(named, key=lambda reading: reading.score) if named else None


def _readings(evidence: Evidence) -> list[Reading] | str:
    """All 48 orders and directions of the axes in every frame; or why they cannot be told."""
    where = places(evidence.spec)
    if not where.position or not where.move:
        return "states or actions have no x, y and z by name"
    came = np.concatenate([np.zeros((0, 3)), *(_travel(trace, where) for trace in evidence.traces)])
    size = np.sqrt((came**2).sum(0))
    if len(came) < 2 or not size.max() > 0:
        return f"nothing moves, or no episode has more than {SPAN} steps"
    moving = size > STILL_AXIS * size.max()
    found = []
    for frame, order in FRAMES.items():
        if frame == "world" or where.euler:
            told = np.concatenate(list(_sums(evidence, where.move, where.euler if order else (), order)))
            found += list(_scored(frame, told, came, moving))
    return found


def _scored(frame: str, told: np.ndarray, came: np.ndarray, moving: np.ndarray) -> Iterator[Reading]:
    """told, came: float64[m, 3]."""
    shared = came.T @ told  # [axis of the motion, entry of the action]
    squares = (told**2).sum(0)
    lengths = np.sqrt(np.outer((came**2).sum(0), squares))
    correlation = shared / np.maximum(lengths, 1e-12)
    rows = np.flatnonzero(moving)
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            entries, ways = np.array(order)[rows], np.array(signs)[rows]
            score = float((ways * correlation[rows, entries]).mean())
            size = float((ways * shared[rows, entries]).sum() / max(squares[entries].sum(), 1e-12))
            yield Reading(frame=frame, order=order, signs=signs, score=score, scale=size)


def _begins(trace: Trace) -> np.ndarray:
    return np.arange(0, max(len(trace) - SPAN, 0), 2)


def _travel(trace: Trace, where: Places) -> np.ndarray:
    """float64[m, 3]: how far the tool came over each span."""
    position, begins = trace.states[:, list(where.position)], _begins(trace)
    return position[begins + SPAN] - position[begins]


def _sums(
    evidence: Evidence, entries: tuple[int, ...], euler: tuple[int, ...] = (), order: str = ""
) -> Iterator[np.ndarray]:
    """float64[m, 3] an episode: actions added up over each span; turned into the world's frame where they are not."""
    for trace in evidence.traces:
        told = _in_world(trace, trace.actions[:, list(entries)], euler, order)
        total, begins = np.concatenate([np.zeros((1, 3)), told.cumsum(0)]), _begins(trace)
        yield total[begins + SPAN] - total[begins]


def _in_world(trace: Trace, told: np.ndarray, euler: tuple[int, ...], order: str) -> np.ndarray:
    if not order:
        return told
    angles = trace.states[:, list(euler)]
    turned = euler_to_matrix(angles if order == "XYZ" else angles[:, ::-1], order)
    return (turned @ told[..., None])[..., 0]


def _response(evidence: Evidence, best: Reading) -> np.ndarray | None:
    """float64[lags]: how strongly a step's motion depends on each action around it, the strongest 1.

    Least squares over all lags at once, so that an action's likeness to its neighbours is not taken for its effect.
    """
    where = places(evidence.spec)
    causes, effects = [np.zeros((0, len(LAGS)))], [np.zeros(0)]
    for trace in evidence.traces:
        steps = np.arange(LAGS[-1], len(trace) - 1 + min(LAGS[0], 0))
        if not len(steps):
            continue
        order = FRAMES[best.frame]
        told = _in_world(trace, trace.actions[:, list(where.move)], where.euler, order)[:, list(best.order)]
        told = told * np.array(best.signs)
        motion = np.diff(trace.states[:, list(where.position)], axis=0)
        causes.append(np.stack([told[steps - late] for late in LAGS], axis=-1).reshape(-1, len(LAGS)))
        effects.append(motion[steps].reshape(-1))
    cause, effect = np.concatenate(causes), np.concatenate(effects)
    if len(cause) < 10 * len(LAGS):
        return None
    size = np.abs(effect)
    usual = size <= JUMP * np.quantile(size, 0.99)  # one torn episode must not decide for all others
    weights = np.linalg.lstsq(cause[usual], effect[usual], rcond=None)[0]
    return weights / weights.max()
