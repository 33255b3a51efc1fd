from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volition.data.mixture import Mixture, Source
from volition.data.windows import Windows
from volition.records import Episode


@dataclass(frozen=True)
class Counting:
    """Every number in it tells its episode and frame."""

    number: int
    length: int

    task = "count"
    instructions = ("count", "please count")

    def __len__(self) -> int:
        return self.length

    def images(self, steps: np.ndarray) -> dict[str, np.ndarray]:
        picture = np.zeros((len(steps), 2, 2, 3), np.uint8)
        picture[:] = steps[:, None, None, None]
        return {"base": picture}

    def states(self, steps: np.ndarray) -> np.ndarray:
        return np.stack([np.full(len(steps), self.number), steps], axis=1).astype(np.float32)

    def actions(self, steps: np.ndarray) -> np.ndarray:
        assert (np.diff(steps) == 1).all()
        assert len(steps) == 0 or (steps[0] >= 0 and steps[-1] < self.length)
        return (100.0 * self.number + steps[:, None]).astype(np.float32)


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    num_obs_steps=st.integers(1, 4),
    obs_stride=st.integers(1, 3),
    action_horizon=st.integers(1, 6),
)
def test_every_window_says_what_the_definition_says(
    lengths: list[int], num_obs_steps: int, obs_stride: int, action_horizon: int
) -> None:
    episodes = [Counting(number, length) for number, length in enumerate(lengths)]
    windows = Windows(episodes, num_obs_steps=num_obs_steps, obs_stride=obs_stride, action_horizon=action_horizon)
    assert len(windows) == sum(lengths)
    places = [(number, t) for number, length in enumerate(lengths) for t in range(length)]
    for index, (number, t) in enumerate(places):
        assert windows.locate(index) == (number, t)
        sample = windows.sample(index)
        for j in range(num_obs_steps):
            frame = t - (num_obs_steps - 1 - j) * obs_stride
            assert sample.observation.state[j].tolist() == [number, max(frame, 0)]
            assert (sample.observation.images["base"][j] == max(frame, 0)).all()
            for k in range(action_horizon):
                inside = frame >= 0 and frame + k < lengths[number]
                assert sample.mask[j, k] == inside
                if inside:
                    assert sample.actions[j, k, 0] == 100 * number + frame + k


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4), future_steps=st.integers(1, 12))
def test_the_future_is_so_many_frames_after_every_step(lengths: list[int], future_steps: int) -> None:
    episodes = [Counting(number, length) for number, length in enumerate(lengths)]
    windows = Windows(episodes, num_obs_steps=3, obs_stride=2, action_horizon=1, future_steps=future_steps)
    for index in range(len(windows)):
        number, t = windows.locate(index)
        future = windows.sample(index).future
        assert future is not None
        for j, frame in enumerate((t - 4, t - 2, t)):
            inside = frame >= 0 and frame + future_steps < lengths[number]
            assert future.mask[j] == inside
            if inside:
                assert (future.images["base"][j] == frame + future_steps).all()


def test_the_future_is_not_read_unless_asked_for() -> None:
    assert Windows([Counting(0, 5)], num_obs_steps=1, action_horizon=1).sample(0).future is None


def test_types_and_shapes() -> None:
    episode = Counting(0, 5)
    assert isinstance(episode, Episode)
    sample = Windows([episode], num_obs_steps=3, obs_stride=2, action_horizon=4).sample(0)
    assert sample.actions.shape == (3, 4, 1)
    assert sample.actions.dtype == np.float32
    assert sample.mask.dtype == bool
    assert sample.observation.images["base"].shape == (3, 2, 2, 3)
    assert not sample.mask[:2].any()
    assert sample.mask[2].all()


def test_wordings_are_counted_round_and_round() -> None:
    windows = Windows([Counting(0, 2)], num_obs_steps=1, action_horizon=1)
    assert [windows.sample(0, choice).observation.instruction for choice in (0, np.int64(1), 2, 7)] == [
        "count", "please count", "count", "please count",
    ]  # fmt: skip


def test_errors() -> None:
    with pytest.raises(ValueError, match="at least one episode"):
        Windows([], num_obs_steps=1, action_horizon=1)
    with pytest.raises(ValueError, match="obs_stride must be at least 1, got 0"):
        Windows([Counting(0, 2)], num_obs_steps=1, obs_stride=0, action_horizon=1)
    with pytest.raises(IndexError, match=r"0\.\.1, got 2"):
        Windows([Counting(0, 2)], num_obs_steps=1, action_horizon=1).sample(2)


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4), skip=st.integers(1, 5))
def test_skipped_frames_are_the_last_of_no_window(lengths: list[int], skip: int) -> None:
    episodes = [Counting(number, length) for number, length in enumerate(lengths)]
    every = Windows(episodes, num_obs_steps=2, action_horizon=3)
    some = Windows(episodes, num_obs_steps=2, action_horizon=3, skip_frames=skip)
    wanted = [i for i in range(len(every)) if every.locate(i)[1] % skip == 0]
    assert [some.locate(i) for i in range(len(some))] == [every.locate(i) for i in wanted]
    for i, j in enumerate(wanted):
        np.testing.assert_array_equal(some.sample(i).actions, every.sample(j).actions)
        np.testing.assert_array_equal(some.sample(i).mask, every.sample(j).mask)


def test_a_mixture_draws_those_windows_only() -> None:
    episodes = [Counting(number, length) for number, length in enumerate((7, 4))]
    mixture = Mixture(
        [Source(episodes=episodes)],
        partial(Windows, num_obs_steps=1, action_horizon=1, skip_frames=3),
        batch_size=5,
    )
    shown = [tuple(sample.observation.state[0].tolist()) for sample in mixture.samples(1)]
    assert sorted(shown) == [(0, 0), (0, 3), (0, 6), (1, 0), (1, 3)]
