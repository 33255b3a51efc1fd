from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_windows import Counting
from volition.data.sampler import NUM_TURNS, Balance, Sampler, make_strata


@dataclass(frozen=True)
class Named(Counting):
    task: str = ""  # type: ignore[misc]


EPISODES = [Named(0, 10, "a"), Named(1, 30, "b"), Named(2, 50, "a"), Named(3, 10, "c")]
TASK_OF = np.repeat([0, 1, 0, 2], [10, 30, 50, 10])


def make_sampler(
    *, batch_size: int, seed: int = 0, balance: Balance = "tasks", weights: dict[str, float] | None = None
) -> Sampler:
    return Sampler(make_strata(EPISODES, balance=balance, task_weights=weights), batch_size=batch_size, seed=seed)


def drawn(sampler: Sampler, steps: int) -> np.ndarray:
    return np.concatenate([sampler.draw(step).indices for step in range(1, steps + 1)])


def pairs(sampler: Sampler, step: int, rank: int = 0, num_ranks: int = 1) -> list[tuple[int, int, int]]:
    draw = sampler.draw(step, rank=rank, num_ranks=num_ranks)
    return sorted(zip(draw.sources.tolist(), draw.indices.tolist(), draw.choices.tolist()))


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    one, other = (make_sampler(batch_size=16, seed=5) for _ in range(2))
    for step in range(1, 20):
        one.draw(step)
    for step in (7, 1, 7):
        np.testing.assert_array_equal(one.draw(step).indices, other.draw(step).indices)
        np.testing.assert_array_equal(one.draw(step).choices, other.draw(step).choices)
    assert pairs(one, 1) != pairs(one, 2)
    assert pairs(one, 1) != pairs(make_sampler(batch_size=16, seed=6), 1)


@settings(max_examples=30)
@given(batch_size=st.integers(1, 40), seed=st.integers(0, 1000), epochs=st.integers(1, 4))
def test_every_frame_comes_once_before_any_comes_again(batch_size: int, seed: int, epochs: int) -> None:
    sampler = make_sampler(batch_size=batch_size, seed=seed, balance="frames")
    seen = drawn(sampler, -(-100 * epochs // batch_size))
    counts = np.bincount(seen, minlength=100)
    assert counts.min() >= epochs
    assert counts.max() <= -(-len(seen) // 100) or len(seen) % 100 == 0


def test_another_epoch_has_another_order() -> None:
    sampler = make_sampler(batch_size=100, balance="frames")
    assert sorted(drawn(sampler, 1)) == list(range(100))
    halves = make_sampler(batch_size=50, balance="frames")
    assert set(halves.draw(1).indices.tolist()) != set(halves.draw(3).indices.tolist())


@settings(max_examples=30)
@given(weights=st.dictionaries(st.sampled_from("abc"), st.floats(0.1, 10)), seed=st.integers(0, 9))
def test_each_task_is_gone_through_evenly_whatever_its_weight(weights: dict[str, float], seed: int) -> None:
    seen = drawn(make_sampler(batch_size=50, seed=seed, weights=weights), 12)
    counts = np.bincount(seen, minlength=100)
    for task in range(3):
        own = counts[task == TASK_OF]
        assert own.max() - own.min() <= 1


def test_tasks_get_the_same_share_in_every_batch() -> None:
    sampler = make_sampler(batch_size=30)
    for step in range(1, 21):
        assert np.bincount(TASK_OF[sampler.draw(step).indices], minlength=3).tolist() == [10, 10, 10]


@settings(max_examples=30)
@given(
    weights=st.lists(st.floats(0, 100), min_size=1, max_size=6).filter(lambda weights: sum(weights) > 0.1),
    batch_size=st.integers(1, 64),
)
def test_weights_are_kept_in_the_long_run_and_nearly_in_every_batch(weights: list[float], batch_size: int) -> None:
    """The dues of a source and what it got never differ by more than the number of sources."""
    strata = [s for i, w in enumerate(weights) for s in make_strata([Named(0, 9, "a")], source=i, weight=w)]
    sampler, shares = Sampler(strata, batch_size=batch_size), np.array(weights) / sum(weights)
    got = np.zeros(len(weights))
    for step in range(1, 60):
        got += np.bincount(sampler.draw(step).sources, minlength=len(weights))
        slack = len(weights) + 2 * len(weights) / NUM_TURNS * step * batch_size
        assert (np.abs(got - shares * step * batch_size) <= slack).all()


def test_weights_multiply_the_shares() -> None:
    counts = np.bincount(drawn(make_sampler(batch_size=40, weights={"a": 2.0, "c": 0.0}), 99), minlength=100)
    assert counts[90:].sum() == 0
    assert counts[10:40].sum() / counts.sum() == pytest.approx(1 / 3, abs=1e-3)
    frames = make_sampler(batch_size=40, balance="frames", weights={"b": 2.0})
    counts = np.bincount(drawn(frames, 130), minlength=100)
    assert counts[10:40].mean() == pytest.approx(2 * counts[40:].mean(), rel=0.01)


@settings(max_examples=30)
@given(
    per_rank=st.integers(1, 8),
    num_ranks=st.integers(1, 6),
    seed=st.integers(0, 100),
    step=st.integers(1, 10**9),
)
def test_ranks_and_their_workers_share_the_batch_of_one(per_rank: int, num_ranks: int, seed: int, step: int) -> None:
    """Nothing is lost and nothing comes twice, whether a rank's workers take whole steps or a share of each."""
    sampler = make_sampler(batch_size=per_rank * num_ranks, seed=seed)
    whole = pairs(sampler, step)
    assert sorted(pair for rank in range(num_ranks) for pair in pairs(sampler, step, rank, num_ranks)) == whole
    workers = [pairs(sampler, step, worker, num_ranks * per_rank) for worker in range(num_ranks * per_rank)]
    assert sorted(pair for worker in workers for pair in worker) == whole
    for rank in range(num_ranks):
        share = [pair for worker in workers[rank * per_rank : (rank + 1) * per_rank] for pair in worker]
        assert len(share) == per_rank


def test_ranks_do_not_get_a_source_each() -> None:
    strata = [s for i in range(2) for s in make_strata([Named(0, 500, "a")], source=i)]
    sampler = Sampler(strata, batch_size=16)
    of_first = np.concatenate([sampler.draw(step, rank=0, num_ranks=2).sources for step in range(1, 100)])
    assert 0.4 < of_first.mean() < 0.6


def test_every_wording_comes_up() -> None:
    sampler = make_sampler(batch_size=12)
    choices = np.concatenate([sampler.draw(step).choices for step in range(1, 51)]) % 10
    assert np.bincount(choices, minlength=10).min() > 30


def test_the_order_of_episodes_does_not_matter_to_shares() -> None:
    strata = [make_strata(episodes) for episodes in (EPISODES, EPISODES[::-1])]
    assert [s.weight for s in strata[0]] == [s.weight for s in strata[1]]
    assert [int(s.lengths.sum()) for s in strata[0]] == [int(s.lengths.sum()) for s in strata[1]]


def test_errors() -> None:
    with pytest.raises(ValueError, match="a weight above 0"):
        make_strata(EPISODES, task_weights={"a": 0.0, "b": 0.0, "c": 0.0})
    with pytest.raises(ValueError, match=r"weights must be at least 0 and finite, got -1.0 for a"):
        make_strata(EPISODES, task_weights={"a": -1.0})
    with pytest.raises(ValueError, match=r"finite, got nan for the weight of a source"):
        make_strata(EPISODES, weight=float("nan"))
    with pytest.raises(ValueError, match="one source must have a weight above 0"):
        Sampler(make_strata(EPISODES, weight=0.0), batch_size=1)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        make_sampler(batch_size=0)
    with pytest.raises(ValueError, match="seed must be at least 0"):
        make_sampler(batch_size=1, seed=-1)
    with pytest.raises(ValueError, match="steps are counted from 1, got 0"):
        make_sampler(batch_size=1).draw(0)
    with pytest.raises(ValueError, match="multiple of num_ranks"):
        make_sampler(batch_size=12).draw(1, rank=0, num_ranks=5)
