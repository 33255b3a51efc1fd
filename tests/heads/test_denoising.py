"""Flow matching and diffusion: what regression cannot do, and noise that belongs to a robot."""

import sys
from dataclasses import replace

import pytest
import torch

from tests.conformance.test_heads import TEXTS, step_of, streamed
from tests.tiny import DENOISER, HEADS, SPACES, make_backbone, make_batch, make_head
from volition.backbones import Backbone
from volition.backbones.encoded import Stored
from volition.heads import DiffusionHeadConfig, FlowHeadConfig
from volition.heads.denoiser import DenoisingHead, DenoisingState, draw_noise, pack, unpack
from volition.heads.flow import integrate
from volition.types import Batch, Target

SPACE = SPACES["arm-7d"]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return make_backbone("paligemma")


@pytest.fixture(params=["flow", "diffusion"])
def head(request: pytest.FixtureRequest, backbone: Backbone) -> DenoisingHead:
    head = make_head(request.param, backbone, SPACE)
    assert isinstance(head, DenoisingHead)
    return head


def test_acting_runs_what_training_ran(backbone: Backbone, head: DenoisingHead) -> None:
    """Step by step, the denoiser is given what it would be given for the last step of a full window."""
    batch = make_batch(backbone, TEXTS)
    noise = draw_noise([DenoisingState(window=None, seed=0, num_predictions=4)] * 2, 4, SPACE.dim)
    with torch.no_grad():
        context = head.context(head.features(backbone.encode(batch), batch))[:, -1]
        whole = head.sample(lambda noisy, time: head.denoiser(noisy, time, context), noise)
    torch.testing.assert_close(streamed(head, backbone, batch), unpack(whole, SPACE), rtol=1e-4, atol=1e-5)


def test_the_noise_belongs_to_the_robot(backbone: Backbone, head: DenoisingHead) -> None:
    """Its next prediction and a robot of another seed start elsewhere; torch's own seed is no matter."""
    step = step_of(backbone, make_batch(backbone, TEXTS), 0)
    encoded = backbone.encode(step)
    with torch.no_grad():
        torch.manual_seed(1)
        first, after = head.predict(encoded, step, [head.start(), head.start()])
        torch.manual_seed(2)
        again, _ = head.predict(encoded, step, [head.start(), head.start()])
        later, _ = head.predict(encoded, step, [replace(state, window=None) for state in after])
        other, _ = head.predict(encoded, step, [replace(head.start(), seed=1)] * 2)
        own, _ = head.predict(encoded, step, [head.start_with(8), head.start_with(9)])
        turned, _ = head.predict(encoded, step, [head.start_with(9), head.start_with(9)])
    assert torch.equal(first, again)
    assert not torch.allclose(own[0, :, :6], turned[0, :, :6])
    assert torch.equal(own[1], turned[1])
    assert not torch.allclose(first[..., :6], later[..., :6])
    assert not torch.allclose(first[..., :6], other[..., :6])


@pytest.mark.parametrize("name", ["flow", "diffusion"])
def test_two_ways_to_do_it_are_both_kept(name: str, backbone: Backbone) -> None:
    """The same look, and demonstrations of 0.6 or -0.6: samples are one or the other, never the mean of both."""
    config = replace(HEADS[name], denoiser=replace(DENOISER, num_draws=16))
    space = SPACES["base-2d"]
    torch.manual_seed(0)
    head = config.build(backbone, space, num_obs_steps=1, horizon=2, state_dim=0)
    encoded = Stored(torch.ones(32, 1, 1, backbone.width))
    batch = Batch(inputs={}, images={}, state=torch.zeros(32, 1, 0))
    sides = torch.where(torch.arange(32) % 2 == 0, 0.6, -0.6)[:, None, None, None]
    target = Target(actions=sides.expand(-1, 1, 2, 2), mask=torch.ones(32, 1, 2, dtype=torch.bool))
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        head.loss(encoded, batch, target).total.backward()
        optimizer.step()
    with torch.no_grad():
        chunks, _ = head.predict(encoded, batch, [replace(head.start(), seed=i) for i in range(32)])
    near = ((chunks.abs() - 0.6).abs() < 0.2).all(dim=(1, 2))
    assert near.float().mean() > 0.8
    assert 4 < (chunks[:, 0, 0] > 0).sum() < 28


def test_flow_goes_straight_to_a_certain_answer() -> None:
    noise = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    certain = torch.full((3, 4, 2), 0.25)
    times = []

    def denoise(noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        share = time[:, None, None]
        torch.testing.assert_close(noisy, (1 - share) * noise + share * certain)
        times.append(time[0].item())
        return certain

    torch.testing.assert_close(integrate(denoise, noise, 4), certain)
    assert times == [0.0, 0.25, 0.5, 0.75]


def test_chunks_survive_packing_but_for_what_is_masked() -> None:
    actions = torch.rand(2, 1, 3, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    actions[..., 6] = actions[..., 6].sign()
    mask = torch.tensor([[[True, True, True]], [[True, False, False]]])
    packed = pack(Target(actions=actions, mask=mask), SPACE)[:, 0]
    assert torch.equal(unpack(packed, SPACE)[mask[:, 0]], actions[:, 0][mask[:, 0]])
    assert not packed[~mask[:, 0]].any()


def test_diffusion_says_what_to_install(monkeypatch: pytest.MonkeyPatch, backbone: Backbone) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ValueError, match=r"""needs the package 'diffusers': pip install "volition\[diffusion\]\""""):
        make_head("diffusion", backbone, SPACE)


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (FlowHeadConfig, {"num_steps": 0}, "num_steps must be at least 1, got 0"),
        (DiffusionHeadConfig, {"num_steps": 101}, "num_steps=101 must be in 1..num_training_steps=100"),
    ],
)
def test_impossible_numbers_of_steps(config: type, fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**fields)
