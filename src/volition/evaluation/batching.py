"""Policy calls of a fixed number of rows, the proof that a row's answer is its own, and what may be wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from volition.contract import ActionSpace
from volition.records import Actor, Inpainter, Observation, Settled

PROPORTIONS = (1, 2, 3, 5, 8, 13)  # rows with a memory, or without, in trials of whether rows are independent
SLACK = 1e-5  # share of a dimension's range by which rounding may carry an action out of it


class NotChunksError(ValueError):
    """A policy answered something else than chunks of actions and states."""


class FixedBatch:
    """Asks an actor for `size` rows each time, or for as many of `smaller` as hold what is asked.

    Rows that are missing are copies of the first with a fresh state.
    """

    def __init__(self, actor: Actor, size: int, smaller: Sequence[int] = ()):
        self._actor = actor
        self.size, self._sizes = size, sorted({*smaller, size})

    def act(
        self, observations: Sequence[Observation], states: Sequence[Any], settled: Sequence[Settled | None] = ()
    ) -> tuple[np.ndarray, list[Any]]:
        """As `Actor.act`, for 1 to `size` rows: chunks float32[rows, H, A], new states.

        Where something is `settled`, the actor is an `Inpainter`.
        """
        rows = len(observations)
        assert 1 <= rows <= self.size, f"{rows} rows do not fit a batch of {self.size}"
        assert len(states) == rows, f"{rows} observations, but {len(states)} states"
        size = next(size for size in self._sizes if size >= rows)
        missing = size - rows
        filled = [*observations, *[observations[0]] * missing]
        remembered = [*states, *(self._actor.start(missing) if missing else [])]
        if any(one is not None for one in settled):
            assert isinstance(self._actor, Inpainter), "only such an actor is told what is settled"
            chunks, after = self._actor.act_on(filled, remembered, [*settled, *[None] * missing])
        else:
            chunks, after = self._actor.act(filled, remembered)
        shape = np.shape(chunks)
        if len(shape) != 3 or len(chunks) != size or len(after) != size:
            raise NotChunksError(
                f"a policy must return chunks [B, H, A] and B states for B={size} observations, "
                f"got {list(shape)} and {len(after)} states"
            )
        return chunks[:rows], after[:rows]


def answers(
    policy: FixedBatch,
    observations: Sequence[Observation],
    states: Sequence[Any],
    settled: Sequence[Settled | None],
    space: ActionSpace | None,
) -> list[tuple[np.ndarray, Any] | NotChunksError]:
    """Chunk and state of every row. A row that spoils a call for all must not: each is then asked alone."""

    def alone() -> list[tuple[np.ndarray, Any] | NotChunksError]:
        rows = zip(observations, states, settled, strict=True)
        return [answer for one, state, known in rows for answer in answers(policy, [one], [state], [known], space)]

    try:
        chunks, after = policy.act(observations, states, settled)
    except NotChunksError as error:
        return [error] if len(states) == 1 else alone()
    if len(states) > 1 and space is not None and chunks.shape[2] != space.dim:
        return alone()
    return list(zip(chunks, after))


def rows_are_independent(actor: Actor, observations: Sequence[Observation], size: int) -> bool:
    """Whether rows answer the same, to the bit, at other places, beside other neighbours, and alone.

    Tried on `observations` with fresh states and with states that have seen one step, mixed in several proportions: a
    policy with interleaved history goes through rows of one length together, however many there are.
    """
    assert 1 <= len(observations) <= size
    policy, rows = FixedBatch(actor, size), range(len(observations))
    fresh = actor.start(len(observations))
    first, later = policy.act(observations, fresh)
    second, _ = policy.act(observations, later)
    turned = [rows[-1], *rows[:-1]]  # every row at another place
    mixed = [later[i] if i % 2 else actor.start(1)[0] for i in turned]
    answers, _ = policy.act([observations[i] for i in turned], mixed)
    same = all(np.array_equal(answer, (second if i % 2 else first)[i]) for i, answer in zip(turned, answers))
    alone = [policy.act([observations[i]], actor.start(1))[0][0] for i in (0, rows[-1])]
    same = same and all(np.array_equal(answer, first[i]) for i, answer in zip((0, rows[-1]), alone))
    for old in sorted({one for few in PROPORTIONS for one in (few, len(rows) - few)}):
        if same and 0 < old < len(rows):
            answers, _ = policy.act(observations, [*later[:old], *actor.start(len(rows) - old)])
            same = np.array_equal(answers, np.concatenate((second[:old], first[old:])))
    return same


def sizes_alike(actor: Actor, observations: Sequence[Observation], size: int) -> tuple[int, ...]:
    """Halves of `size`, halves of these, ...: those in which rows answer the same, to the bit, as among `size`.

    Fewer rows are cheaper where fewer are asked for. Tried with fresh states and with such as have seen one step.
    """
    halves = [size >> shift for shift in range(1, size.bit_length())]
    whole, fresh = FixedBatch(actor, size), actor.start(len(observations))
    first, later = whole.act(observations, fresh)
    second, _ = whole.act(observations, later)
    found = []
    for half in halves:
        part, rows = FixedBatch(actor, half), slice(min(half, len(observations)))
        answers = (part.act(observations[rows], states[rows])[0] for states in (fresh, later))
        if all(np.array_equal(answer, wanted[rows]) for answer, wanted in zip(answers, (first, second))):
            found.append(half)
    return tuple(found)


def what_is_wrong(actions: np.ndarray, space: ActionSpace | None) -> str:
    """Why actions float[n, A] may not be executed: not finite, or not of the space. "" where nothing is."""
    if space is not None and actions.shape[1] != space.dim:
        names = ", ".join(dimension.name for dimension in space.dimensions)
        return f"an action must have {space.dim} dimensions ({names}), got {actions.shape[1]} from the policy"
    if not np.isfinite(actions).all():
        return f"actions must be finite, got {actions[~np.isfinite(actions).all(1)][0].tolist()} from the policy"
    for column, dimension in enumerate(space.dimensions if space is not None else ()):
        values, slack = actions[:, column], SLACK * (dimension.high - dimension.low)
        if dimension.kind == "binary":
            fits, must = (values == dimension.low) | (values == dimension.high), "be"
        else:
            fits, must = (values >= dimension.low - slack) & (values <= dimension.high + slack), "lie between"
        if not fits.all():
            limits = f"{dimension.low:g} {'or' if must == 'be' else 'and'} {dimension.high:g}"
            return f"{dimension.name} of an action must {must} {limits}, got {float(values[~fits][0])} from the policy"
    return ""
