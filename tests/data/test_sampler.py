from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from tests.data.test_windows import Counting
from volition.data.sampler import Sampler, SamplerConfig
from volition.data.windows import Windows


@dataclass(frozen=True)
class Named(Counting):
    task: str = ""  # type: ignore[misc]


def _windows() -> Windows:
    episodes = [Named(0, 10, "a"), Named(1, 30, "b"), Named(2, 50, "a"), Named(3, 10, "c")]
    return Windows(episodes, num_obs_steps=1, action_horizon=1)


def _counts(sampler: Sampler, steps: int, size: int) -> np.ndarray:
    drawn = np.concatenate([sampler.draw(step).indices for step in range(steps)])
    return np.bincount(drawn, minlength=size)


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    config = SamplerConfig(batch_size=16, seed=5)
    one, other = Sampler(_windows(), config), Sampler(_windows(), config)
    for step in range(20):
        one.draw(step)
    for step in (7, 0, 7):
        np.testing.assert_array_equal(one.draw(step).indices, other.draw(step).indices)
        np.testing.assert_array_equal(one.draw(step).choices, other.draw(step).choices)
    assert one.draw(0).indices.tolist() != one.draw(1).indices.tolist()
    another = Sampler(_windows(), SamplerConfig(batch_size=16, seed=6))
    assert one.draw(0).indices.tolist() != another.draw(0).indices.tolist()


def test_frames_are_served_evenly() -> None:
    counts = _counts(Sampler(_windows(), SamplerConfig(batch_size=20, balance="frames")), 500, 100)
    assert counts.min() > 60
    assert counts.max() < 140


def test_tasks_get_the_same_share_in_every_batch() -> None:
    sampler = Sampler(_windows(), SamplerConfig(batch_size=30, balance="tasks"))
    task_of = np.repeat([0, 1, 0, 2], [10, 30, 50, 10])
    for step in range(20):
        shares = np.bincount(task_of[sampler.draw(step).indices], minlength=3)
        assert shares.tolist() == [10, 10, 10]
    counts = _counts(sampler, 600, 100)
    np.testing.assert_allclose(counts[:10].mean(), counts[40:90].mean(), rtol=0.1)  # within a task, frame by frame
    np.testing.assert_allclose(counts[90:].mean(), 600, rtol=0.1)


def test_weights_multiply_the_shares() -> None:
    config = SamplerConfig(batch_size=40, weights={"a": 2.0, "c": 0.0})
    sampler = Sampler(_windows(), config)
    np.testing.assert_allclose(sampler.shares, [2 / 3, 1 / 3, 0])
    counts = _counts(sampler, 100, 100)
    assert counts[90:].sum() == 0
    np.testing.assert_allclose(counts[10:40].sum() / counts.sum(), 1 / 3, atol=0.01)


def test_ranks_share_the_batch_of_one() -> None:
    sampler = Sampler(_windows(), SamplerConfig(batch_size=12))
    whole = sampler.draw(3)
    parts = [sampler.draw(3, rank=rank, num_ranks=3) for rank in range(3)]
    assert sorted(np.concatenate([part.indices for part in parts])) == sorted(whole.indices)
    pairs = {(int(i), int(c)) for part in parts for i, c in zip(part.indices, part.choices)}
    assert pairs == {(int(i), int(c)) for i, c in zip(whole.indices, whole.choices)}
    with pytest.raises(ValueError, match="multiple of num_ranks"):
        sampler.draw(0, rank=0, num_ranks=5)


def test_every_wording_comes_up() -> None:
    sampler = Sampler(_windows(), SamplerConfig(batch_size=12))
    choices = np.concatenate([sampler.draw(step).choices for step in range(50)]) % 10
    assert np.bincount(choices, minlength=10).min() > 30


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"tasks \['d'\] that the dataset lacks; it has \['a', 'b', 'c'\]"):
        Sampler(_windows(), SamplerConfig(weights={"d": 1.0}))
    with pytest.raises(ValueError, match="a weight above 0"):
        Sampler(_windows(), SamplerConfig(weights={"a": 0.0, "b": 0.0, "c": 0.0}))
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        SamplerConfig(batch_size=0)
    with pytest.raises(ValueError, match="weights must be at least 0"):
        SamplerConfig(weights={"a": -1.0})
