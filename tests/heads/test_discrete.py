"""Bins, their order, what a chunk that ends early means, and that decoding says what training scored."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import make_backbone, make_batch, make_target
from volition.contract import ActionSpace, Dimension, relative_arm_7d
from volition.heads.discrete import DiscreteHead, DiscreteHeadConfig, compress, expand, hold
from volition.types import Target

ARM = relative_arm_7d()
UNEVEN = ActionSpace(
    dimensions=(
        Dimension(name="speed", unit="m/s", low=0.5, high=2.0),
        Dimension(name="grip", unit="", low=0.0, high=1.0, kind="binary"),
        Dimension(name="turn", unit="rad/s", low=-3.0, high=1.0),
    )
)
HORIZON = 4


@pytest.fixture(scope="module")
def backbone():
    return make_backbone("paligemma")


def make(backbone, space: ActionSpace = ARM, state_dim: int = 0, **config) -> DiscreteHead:
    torch.manual_seed(1)
    made = DiscreteHeadConfig(hidden=32, **config).build(
        backbone, space, num_obs_steps=3, horizon=HORIZON, state_dim=state_dim
    )
    assert isinstance(made, DiscreteHead)
    return made


@given(seed=st.integers(0, 2**31), mu=st.sampled_from([0.0, 5.0, 255.0]), num_bins=st.integers(2, 300))
def test_values_come_back_within_half_a_bin(backbone, seed: int, mu: float, num_bins: int) -> None:
    head = make(backbone, UNEVEN, num_bins=num_bins, mu=mu)
    share = torch.rand(2, HORIZON, 3, generator=torch.Generator().manual_seed(seed))
    actions = head.range.decode(2 * share - 1)
    actions[..., 1] = actions[..., 1].round()
    tokens = head.tokens(actions)
    back = head.actions(tokens.flatten(-2))
    assert torch.equal(back[..., 1], actions[..., 1])
    # The law at the ends is this much steeper than a straight line; in between it is finer.
    steepest = (1 + mu) * torch.log1p(torch.tensor(mu)) / mu if mu else 1.0
    half = (head.range.high - head.range.low) / (num_bins - 1) / 2 * steepest
    assert ((back - actions).abs() <= half * 1.001 + 1e-6).all()
    assert torch.equal(head.tokens(back), tokens)


def test_the_law_is_its_formula() -> None:
    given_values = torch.tensor([-0.5, 0.0, 0.1, 1.0])
    expected = torch.tensor([-0.87570307, 0.0, 0.59099006, 1.0])
    torch.testing.assert_close(compress(given_values, 255.0), expected)
    torch.testing.assert_close(expand(expected, 255.0), given_values)


def test_the_ends_of_the_range_are_exact_and_what_lies_outside_counts_as_them(backbone) -> None:
    head = make(backbone, UNEVEN, mu=255.0)
    actions = torch.tensor([[0.5, 0.0, -3.0], [2.0, 1.0, 1.0], [-9.0, -9.0, -9.0], [9.0, 9.0, 9.0]])
    tokens = head.tokens(actions)
    assert tokens.tolist() == [[0, 0, 0], [255] * 3, [0, 0, 0], [255] * 3]
    assert torch.equal(head.actions(tokens.flatten()), actions.clamp(head.range.low, head.range.high))


def test_binary_dimensions_say_two_values_and_only_theirs(backbone) -> None:
    head = make(backbone, num_bins=16)
    may = head.allowed(torch.zeros(HORIZON * 7, dtype=torch.long)).unflatten(0, (HORIZON, 7))
    assert may[:, :6, :16].all()
    assert may[:, 6].sum(-1).tolist() == [2] * HORIZON
    assert not may[..., 16].any(), "without `stop` a chunk is never cut short"
    batch = make_batch(backbone, ["lift red"], steps=1)
    with torch.no_grad():
        head.classify[-1].bias[7] = 100.0  # a value in the middle: likely everywhere, allowed not everywhere
        chunk, _ = head.predict(backbone.encode(batch), batch, [None])
    torch.testing.assert_close(chunk[..., :6], head.values[7, 0].expand(1, HORIZON, 6))
    assert (chunk[..., 6].abs() == 1).all()


@pytest.mark.parametrize("stop", [False, True])
def test_decoding_with_a_cache_says_what_full_passes_say(backbone, stop: bool) -> None:
    head = make(backbone, state_dim=2, num_bins=16, stop=stop)
    batch = make_batch(backbone, ["lift red", "push the blue block"], steps=1, state_dim=2)
    with torch.no_grad():
        said = head.speak(backbone.encode(batch), batch)
        tokens = torch.full((2, 1), head.mark)
        for place in range(HORIZON * 7):
            hidden = backbone.encode(batch).extend(tokens[:, None] + head.first)[:, 0, -1]
            logits = head.logits(hidden, batch.state[:, 0])
            tokens = torch.cat([tokens, logits.masked_fill(~head.may[place], -torch.inf).argmax(-1)[:, None]], dim=1)
    assert torch.equal(said, tokens[:, 1 : 1 + said.shape[1]])
    assert said.unique().numel() > 2


def test_a_demonstration_that_ends_teaches_to_stop(backbone) -> None:
    head = make(backbone, num_bins=16, stop=True)
    batch = make_batch(backbone, ["lift red"])
    target = make_target(batch, ARM)
    mask = torch.tensor([[[True] * 4, [True, True, False, False], [False] * 4]])
    speech = head.speech(replace(target, mask=mask))
    counts, ends = speech.counts.unflatten(-1, (4, 7)), (speech.tokens == 16).unflatten(-1, (4, 7))
    assert counts[0, 0].all()
    assert not ends[0, 0].any()
    assert counts[0, 1].sum(-1).tolist() == [7, 7, 1, 0]
    assert ends[0, 1].nonzero().tolist() == [[2, 0]]
    assert not counts[0, 2].any(), "what lies outside the episode altogether teaches nothing"


def test_a_chunk_that_ends_early_holds_still(backbone) -> None:
    head = make(backbone, num_bins=16, stop=True)
    target = Target(actions=torch.rand(1, 1, 4, 7) * 2 - 1, mask=torch.ones(1, 1, 4, dtype=torch.bool))
    tokens = head.speech(target).tokens[0]
    whole = head.chunks(tokens)
    assert torch.equal(whole, head.actions(tokens))
    cut = head.chunks(torch.cat([tokens[:, :14], torch.tensor([[16, 3]])], dim=1))
    assert torch.equal(cut[:, :2], whole[:, :2])
    assert (cut[:, 2:, :6] == 0).all()
    assert torch.equal(cut[:, 2:, 6], whole[:, 1:2, 6].expand(1, 2))


def test_holding_still_means_what_the_space_says() -> None:
    actions = torch.tensor([[[1.0, 1.0, -2.0], [9.0, 0.0, 1.0]]])
    assert hold(actions, torch.tensor([1]), UNEVEN)[0, 1].tolist() == [0.5, 1.0, 0.0]  # 0 m/s is out of range
    absolute = replace(UNEVEN, relative=False)
    assert torch.equal(hold(actions, torch.tensor([1]), absolute)[0, 1], actions[0, 0])
    assert torch.equal(hold(actions, torch.tensor([2]), absolute), actions)


def test_a_robot_that_stops_at_once_does_not_wait_for_the_others(backbone) -> None:
    head = make(backbone, num_bins=16, stop=True)
    batch = make_batch(backbone, ["lift red", "push the blue block"], steps=1)
    with torch.no_grad():
        head.classify[-1].bias[16] = 100.0
        said = head.speak(backbone.encode(batch), batch)
    assert said.shape == (2, 8), "seven dimensions of the first action, then the mark"
    assert (said[:, -1] == 16).all()


@pytest.mark.parametrize(("config", "message"), [({"num_bins": 1}, "num_bins"), ({"mu": -1.0}, "mu")])
def test_settings_that_mean_nothing_are_refused(config, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiscreteHeadConfig(**config)
