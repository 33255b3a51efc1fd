"""Frequencies, their tokens and merges: there and back, whatever is said."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import make_backbone, make_batch, make_target
from volition.config import dump, load
from volition.contract import ActionSpace, Dimension, relative_arm_7d
from volition.heads.fast import FASTHead, FASTHeadConfig, FASTState, last_known
from volition.heads.fast_tokens import FASTTokens, cosines, fit_merges

ARM = relative_arm_7d()
UNEVEN = ActionSpace(
    dimensions=(
        Dimension(name="speed", unit="m/s", low=0.5, high=2.0),
        Dimension(name="grip", unit="", low=0.0, high=1.0, kind="binary"),
    )
)


def smooth(count: int, horizon: int, space: ActionSpace, seed: int = 0) -> torch.Tensor:
    """Chunks as robots make them: few turns, now and then a grip."""
    generator = torch.Generator().manual_seed(seed)
    start, end = torch.rand(2, count, 1, space.dim, generator=generator) * 2 - 1
    actions = torch.lerp(start, end, torch.linspace(0, 1, horizon)[:, None])
    binary = list(space.binary)
    actions[..., binary] = actions[..., binary].sign()
    return actions


CHUNKS = smooth(300, 8, ARM)
MERGES = fit_merges(CHUNKS, ARM, scale=10.0, size=200)


def test_the_transform_is_orthonormal_and_knows_a_constant_and_a_wave() -> None:
    matrix = cosines(8)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(8))
    torch.testing.assert_close(matrix @ torch.ones(8), torch.tensor([8**0.5, *[0.0] * 7]))
    wave = torch.cos(torch.pi * 3 * (torch.arange(8) + 0.5) / 8)
    torch.testing.assert_close(matrix @ wave, torch.tensor([0, 0, 0, 2.0, 0, 0, 0, 0]))


@given(
    seed=st.integers(0, 2**31),
    horizon=st.integers(1, 12),
    scale=st.floats(2.0, 60.0),
    space=st.sampled_from([ARM, UNEVEN]),
)
def test_chunks_come_back_within_the_bound(seed: int, horizon: int, scale: float, space: ActionSpace) -> None:
    tokens = FASTTokens(space, horizon, scale=scale)
    share = torch.rand(3, horizon, space.dim, generator=torch.Generator().manual_seed(seed))
    share[..., list(space.binary)] = share[..., list(space.binary)].round()
    actions = tokens.range.decode(2 * share - 1)
    said = [[*row, tokens.size] for row in tokens.encode(actions)]
    for row, chunk in zip(said, actions):
        back, illegal = tokens.decode(torch.tensor([row]))
        assert not illegal.any()
        bound = (tokens.range.high - tokens.range.low) * horizon**0.5 / (4 * scale)
        assert ((back[0] - chunk).abs() <= bound * 1.001 + 1e-6).all()
        assert torch.equal(back[0][:, list(space.binary)], chunk[:, list(space.binary)])


def test_merges_shorten_what_they_were_made_for_and_change_nothing_else() -> None:
    plain, merged = FASTTokens(ARM, 8, scale=10.0), FASTTokens(ARM, 8, scale=10.0, merges=MERGES)
    long, short = plain.encode(CHUNKS), merged.encode(CHUNKS)
    assert sum(map(len, short)) < 0.8 * sum(map(len, long))
    assert merged.size == 200
    for before, after in zip(long[:20], short[:20]):
        expected, _ = plain.decode(torch.tensor([[*before, plain.size]]))
        found, _ = merged.decode(torch.tensor([[*after, merged.size]]))
        assert torch.equal(found, expected)


def test_chunks_that_lie_still_are_said_in_no_token() -> None:
    still = torch.zeros(1, 8, 2)
    base = ActionSpace(dimensions=(Dimension(name="x", unit="m"), Dimension(name="y", unit="m")))
    tokens = FASTTokens(base, 8, scale=10.0)
    assert tokens.encode(still) == [[]]
    assert torch.equal(tokens.decode(torch.tensor([[tokens.size]]))[0], still)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=80))
def test_any_tokens_mean_a_chunk(said: list[int]) -> None:
    """Illegal ones are told, and are what is left of them before the first that has no room."""
    tokens = FASTTokens(ARM, 8, scale=10.0, merges=MERGES)
    chunk, illegal = tokens.decode(torch.tensor([said]))
    assert chunk.shape == (1, 8, 7)
    assert chunk.abs().max() <= 1
    legal, room, ended = [], 56, False
    for token in said:
        if token == 200 or tokens.lengths[token] > room:
            ended = token == 200
            break
        legal.append(token)
        room -= int(tokens.lengths[token])
    assert bool(illegal) == (not ended)
    cut, still_illegal = tokens.decode(torch.tensor([[*legal, 200]]))
    assert not still_illegal
    assert torch.equal(chunk, cut)


def test_the_config_carries_its_merges_through_json() -> None:
    config = FASTHeadConfig().fit(CHUNKS, ARM, size=200)
    assert config.merges == MERGES
    assert load(json.loads(json.dumps(dump(config)))) == config


@pytest.mark.parametrize("merges", [("0,0 1",), ("0 99",), ("99 0",)])
def test_merges_that_belong_to_other_integers_are_refused(merges: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="make them anew"):
        FASTTokens(ARM, 8, scale=10.0, merges=merges)


def test_two_merges_may_make_the_same_piece() -> None:
    tokens = FASTTokens(ARM, 8, scale=10.0, merges=("1 2", "1,2 3", "2 3", "1 2,3"))
    assert tokens.size == 2 * tokens.limit + 1 + 3
    assert tokens.lengths[-4:].tolist() == [2, 3, 2, 0]


def test_a_vocabulary_without_room_for_merges_is_refused() -> None:
    with pytest.raises(ValueError, match="size=59"):
        FASTHeadConfig().fit(CHUNKS, ARM, size=59)


def test_a_scale_too_coarse_for_the_gripper_is_refused() -> None:
    with pytest.raises(ValueError, match=r"scale=1\.0"):
        FASTTokens(ARM, 8, scale=1.0)


def make(backbone, **config) -> FASTHead:
    torch.manual_seed(1)
    made = FASTHeadConfig(hidden=32, merges=MERGES, **config).build(
        backbone, ARM, num_obs_steps=3, horizon=8, state_dim=0
    )
    assert isinstance(made, FASTHead)
    return made


@pytest.fixture(scope="module")
def backbone():
    return make_backbone("paligemma")


def test_an_untrained_head_says_legal_chunks_only(backbone) -> None:
    head = make(backbone)
    batch = make_batch(backbone, ["lift red", "push the blue block"], steps=1)
    with torch.no_grad():
        head.classify[-1].weight.mul_(30.0)
        said = head.speak(backbone.encode(batch), batch)
        _, states = head.predict(backbone.encode(batch), batch, [head.start()] * 2)
    assert not head.vocabulary.decode(said)[1].any()
    assert states == [FASTState(), FASTState()]


def test_unconstrained_it_counts_what_it_had_to_cut(backbone) -> None:
    head = make(backbone, constrained=False)
    batch = make_batch(backbone, ["lift red"], steps=1)
    with torch.no_grad():
        head.classify[-1].bias[int(head.vocabulary.lengths.argmax())] = 1000.0  # the longest, again and again
        _, states = head.predict(backbone.encode(batch), batch, [FASTState(num_illegal=2)])
    assert states == [FASTState(num_illegal=3)]


def test_what_training_scores_is_allowed_and_ends_with_the_mark(backbone) -> None:
    head = make(backbone)
    batch = make_batch(backbone, ["lift red"])
    target = make_target(batch, ARM, horizon=8)
    speech = head.speech(replace(target, mask=target.mask & torch.tensor([True, True, False])[:, None]))
    assert head.allowed(speech.tokens).gather(-1, speech.tokens[..., None]).all()
    for row, counts in zip(speech.tokens[0], speech.counts[0]):
        ends = (row == head.mark).nonzero()[0, 0]
        assert counts.nonzero()[:, 0].tolist() == (list(range(int(ends) + 1)) if counts.any() else [])
    assert speech.counts.any(-1).tolist() == [[True, True, False]]


def test_what_lies_outside_the_episode_repeats_its_neighbour() -> None:
    actions = torch.tensor([1.0, 2, 3, 4]).view(1, 1, 4, 1)
    mask = torch.tensor([[[False, True, True, False]]])
    assert last_known(actions, mask).flatten().tolist() == [2, 2, 3, 3]
