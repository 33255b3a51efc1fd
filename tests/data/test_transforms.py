from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from volition.contract import relative_arm_7d
from volition.data.statistics import vector_statistics
from volition.data.transforms import (
    BlackOut,
    Chain,
    ClipActions,
    Deafen,
    NormalizeActions,
    NormalizeState,
    Scale,
    SelectState,
    Transform,
    clip_to,
    make_scale,
)
from volition.records import Observation

DIM = 7
ACTIONS = arrays(np.float32, (2, 3, DIM), elements=st.floats(-1, 1, width=32))
ROWS = arrays(np.float32, st.tuples(st.integers(2, 20), st.just(DIM)), elements=st.floats(-1, 1, width=32))


def _observation() -> Observation:
    rng = np.random.default_rng(0)
    images = {"base": rng.integers(1, 255, (2, 4, 4, 3)).astype(np.uint8)}
    return Observation(images=images, state=rng.normal(size=(2, DIM)).astype(np.float32), instruction="go")


@given(rows=ROWS, actions=ACTIONS, kind=st.sampled_from(["mean_std", "min_max", "quantiles"]))
def test_decode_undoes_encode(rows: np.ndarray, actions: np.ndarray, kind: str) -> None:
    scale = make_scale(vector_statistics(rows), kind, keep=(6,))
    chain = Chain(transforms=(clip_to(relative_arm_7d()), NormalizeState(scale=scale), NormalizeActions(scale=scale)))
    before, observation = actions.copy(), _observation()
    encoded = chain.encode(actions, observation)
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(actions, before)
    np.testing.assert_array_equal(encoded[..., 6], actions[..., 6])  # the binary gripper is left alone
    np.testing.assert_allclose(chain.decode(encoded, observation), actions, atol=1e-4)


@given(rows=ROWS)
def test_normalised_data_has_the_promised_shape(rows: np.ndarray) -> None:
    statistics = vector_statistics(rows)
    moves = np.array(statistics.std) > 1e-3
    standard = make_scale(statistics, "mean_std").forward(rows)
    np.testing.assert_allclose(standard.mean(0)[moves], 0, atol=1e-2)
    np.testing.assert_allclose(standard.std(0)[moves], 1, atol=1e-2)
    ranged = make_scale(statistics, "min_max").forward(rows)[:, moves]
    assert np.abs(ranged).max(initial=0) <= 1 + 1e-4
    middle = make_scale(statistics, "quantiles").forward(np.array([statistics.q01, statistics.q99]))
    np.testing.assert_allclose(middle[:, moves], [[-1] * moves.sum(), [1] * moves.sum()], atol=1e-3)


def test_a_dimension_that_never_moves_is_only_shifted() -> None:
    rows = np.full((5, 2), 0.25, np.float32)
    scale = make_scale(vector_statistics(rows), "mean_std")
    np.testing.assert_array_equal(scale.forward(rows + 0.5), np.full((5, 2), 0.5))


def test_observe_leaves_its_input_unchanged() -> None:
    seen, same = _observation(), _observation()
    scale = Scale(offset=(1.0,) * DIM, factor=(2.0,) * DIM)
    transforms = (NormalizeState(scale=scale), SelectState(entries=(3, 0)), BlackOut(), Transform())
    shown = Chain(transforms=transforms).observe(seen)
    np.testing.assert_array_equal(seen.state, same.state)
    np.testing.assert_array_equal(seen.images["base"], same.images["base"])
    np.testing.assert_allclose(shown.state, (same.state[:, [3, 0]] - 1) / 2)
    assert not shown.images["base"].any()
    assert shown.instruction == "go"


def test_each_stage_sees_what_those_before_left() -> None:
    @dataclasses.dataclass(frozen=True)
    class AddState(Transform):
        def encode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
            return actions + observation.state[-1, 0]

        def decode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
            return actions - observation.state[-1, 0]

    observation = dataclasses.replace(_observation(), state=np.full((1, 1), 5.0, np.float32))
    chain = Chain(transforms=(NormalizeState(scale=Scale(offset=(3.0,), factor=(1.0,))), AddState()))
    actions = np.zeros((1, 1, 2), np.float32)
    np.testing.assert_array_equal(chain.encode(actions, observation), actions + 2)
    np.testing.assert_array_equal(chain.decode(chain.encode(actions, observation), observation), actions)


def test_clip_bounds_both_ways() -> None:
    clip = ClipActions(low=(-1.0, 0.0), high=(1.0, 0.5))
    wild = np.array([[-3.0, -3.0], [3.0, 3.0]], np.float32)
    expected = [[-1.0, 0.0], [1.0, 0.5]]
    assert clip.encode(wild, _observation()).tolist() == expected
    assert clip.decode(wild, _observation()).tolist() == expected


def test_errors() -> None:
    statistics = vector_statistics(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="'mean_std', 'min_max' or 'quantiles', got 'log'"):
        make_scale(statistics, "log")
    with pytest.raises(ValueError, match="factors above 0"):
        Scale(offset=(0.0,), factor=(0.0,))
    with pytest.raises(ValueError, match=r"2 dimensions, got shape \[1, 3\]"):
        make_scale(statistics, "mean_std").forward(np.zeros((1, 3)))


def test_the_deaf_twin_hears_nothing_and_sees_all() -> None:
    seen = _observation()
    deaf = Deafen().observe(seen)
    assert deaf.instruction == ""
    assert deaf.images is seen.images
    assert seen.instruction
