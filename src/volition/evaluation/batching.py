"""Policy calls of a fixed number of rows, the proof that a row's answer is its own, and what may be wrong with it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from volition.contract import ActionSpace
from volition.records import Actor, Confident, Inpainter, Observation, Settled

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

        Where something is `settled`, the actor is an `Inpainter`. What the actor raises comes up as it is.
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
            answer: Any = self._actor.act_on(filled, remembered, [*settled, *[None] * missing])
        else:
            answer = self._actor.act(filled, remembered)
        chunks, after = _chunks_and_states(answer, size)
        return chunks[:rows], after[:rows]


def _chunks_and_states(answer: Any, size: int) -> tuple[np.ndarray, list[Any]]:
    """What an actor's answer must be; NotChunksError where it is anything else."""
    must = f"a policy must return chunks [B, H, A] and B states for B={size} observations, got"
    try:
        chunks, after = np.asarray(answer[0], np.float32), list(answer[1])
    except (TypeError, ValueError, LookupError) as error:
        raise NotChunksError(f"{must} what cannot be read as such: {error}") from error
    if chunks.ndim != 3 or len(chunks) != size or len(after) != size:
        raise NotChunksError(f"{must} {list(chunks.shape)} and {len(after)} states")
    return chunks, after


def answers(
    policy: FixedBatch,
    observations: Sequence[Observation],
    states: Sequence[Any],
    settled: Sequence[Settled | None],
    fits: Callable[[np.ndarray], bool] = lambda chunks: True,
) -> list[tuple[np.ndarray, Any] | str]:
    """Chunk and state of every row, or why it has none.

    A row that spoils a call for all must not, by an error or by chunks of a shape that does not `fit`: each is then
    asked alone.
    """
    try:
        chunks, after = policy.act(observations, states, settled)
        if len(states) == 1 or fits(chunks):
            return list(zip(chunks, after))
        reason = ""
    except NotChunksError as error:
        reason = str(error)
    except Exception:  # whatever a policy raises, its episode is told of and the others go on
        reason = f"the policy raised an error:\n{traceback.format_exc()}"
    if len(states) == 1:
        return [reason]
    rows = zip(observations, states, settled, strict=True)
    return [answer for one, state, known in rows for answer in answers(policy, [one], [state], [known])]


def _nothing(chunk: np.ndarray) -> Settled | None:
    return None


def rows_are_independent(
    actor: Actor,
    observations: Sequence[Observation],
    size: int,
    settle: Callable[[np.ndarray], Settled | None] = _nothing,
) -> bool:
    """Whether rows answer the same, to the bit, at other places, beside other neighbours, and alone.

    Tried on `observations`, which in turn fill all `size` places, with fresh states and with states that have seen one
    step, mixed in several proportions: a policy with interleaved history goes through rows of one length together,
    however many there are. `settle`: first chunk -> what is settled when a row is asked again.
    """
    assert 1 <= len(observations) <= size
    policy, count = FixedBatch(actor, size), len(observations)
    asked = _Asked.twice(policy, actor.start(size), observations, settle)

    def alike(rows: Sequence[int], old: Container[int]) -> bool:
        """Whether these rows, at places in this order, answer as the first with the same look did."""
        states = [asked.later[i] if i in old else actor.start(1)[0] for i in rows]
        known = [asked.known[i] if i in old else None for i in rows]
        found, _ = policy.act([asked.looks[i] for i in rows], states, known)
        wanted = [(asked.second if i in old else asked.first)[i % count] for i in rows]
        return all(map(np.array_equal, found, wanted))

    def turned(by: int) -> list[int]:
        return [(place + by) % size for place in range(size)]

    shares = sorted({one for few in PROPORTIONS for one in (few, size - few) if 0 < one < size})
    return (
        all(np.array_equal(chunks[i], chunks[i % count]) for chunks in (asked.first, asked.second) for i in range(size))
        and alike(turned(-1), range(1, size, 2))
        and alike([0], ())
        and alike([count - 1], ())
        and all(alike(turned(old), range(old)) for old in shares)
    )


def sizes_alike(
    actor: Actor,
    observations: Sequence[Observation],
    size: int,
    settle: Callable[[np.ndarray], Settled | None] = _nothing,
) -> tuple[int, ...]:
    """Halves of `size`, halves of these, ...: those in which rows answer the same, to the bit, as among `size`.

    Fewer rows are cheaper where fewer are asked for. Tried with fresh states and with such as have seen one step.
    """
    halves = [size >> shift for shift in range(1, size.bit_length())]
    fresh = actor.start(size)
    whole = _Asked.twice(FixedBatch(actor, size), fresh, observations, settle)

    def alike(half: int) -> bool:
        part, looks = FixedBatch(actor, half), whole.looks[:half]
        answered = part.act(looks, fresh[:half])[0], part.act(looks, whole.later[:half], whole.known[:half])[0]
        return all(np.array_equal(one, wanted[:half]) for one, wanted in zip(answered, (whole.first, whole.second)))

    return tuple(half for half in halves if alike(half))


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A call, and the one that follows it, in which the same is seen again."""

    looks: list[Observation]  # of every place: what was seen, in turn
    first: np.ndarray  # float32[B, H, A]
    later: list[Any]  # states after it
    known: list[Settled | None]  # what is settled when asked again
    second: np.ndarray

    @classmethod
    def twice(
        cls,
        policy: FixedBatch,
        fresh: Sequence[Any],
        observations: Sequence[Observation],
        settle: Callable[[np.ndarray], Settled | None],
    ) -> _Asked:
        looks = [observations[i % len(observations)] for i in range(len(fresh))]
        first, later = policy.act(looks, fresh)
        known = [settle(chunk) for chunk in first]
        second, _ = policy.act(looks, later, known)
        return cls(looks=looks, first=first, later=later, known=known, second=second)


def confidence_of(state: Any) -> np.ndarray | None:
    """Of the chunk that came with this state, float32[H]; None where the policy does not tell."""
    return state.confidence if isinstance(state, Confident) else None


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
