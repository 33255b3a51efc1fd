import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.families import make_family
from tests.tiny import BACKBONES, SMALL, make_batch
from tests.toy import SPEC, Toy
from tests.training.test_train import EXPERIMENT, Recorded
from volition.backbones import TinyPaliGemma
from volition.backbones.resampler import PerceiverResampler, ResamplerConfig
from volition.records import Start
from volition.studies.backbone_overfit import LEARNT, overfit
from volition.studies.backbones import run_checks
from volition.studies.training import load_policy, run_training_on
from volition.training.optim import OptimConfig, make_optimizer
from volition.training.parts import find_parts

CONFIG = ResamplerConfig(num_latents=4, depth=2, heads=2, dim_head=8, ff_mult=3)
# Each of another kind: how pixels come in, how features come out, how many of them.
FAMILIES = ("blip-2", "florence2", "gemma3", "idefics3", "llava", "llava_next", "mistral3", "smolvlm")


def test_every_setting_is_honoured() -> None:
    shapes = {name: tuple(p.shape) for name, p in PerceiverResampler(10, num_latents=7).named_parameters()}
    assert len({name.split(".")[1] for name in shapes if name.startswith("layers.")}) == 6
    assert shapes["layers.5.0.to_q.weight"] == (8 * 64, 10)
    made = TinyPaliGemma(**SMALL, resampler=CONFIG).build().resampler
    shapes = {name: tuple(p.shape) for name, p in made.named_parameters()}
    assert shapes["latents"] == (4, 32)
    assert shapes["layers.0.0.to_q.weight"] == (2 * 8, 32)
    assert shapes["layers.0.0.to_kv.weight"] == (2 * 2 * 8, 32)
    assert shapes["layers.1.1.1.weight"] == (3 * 32, 32)
    assert "layers.2.0.to_q.weight" not in shapes
    with pytest.raises(ValueError, match="num_latents must be at least 1, got 0"):
        ResamplerConfig(num_latents=0)


def test_it_is_the_formula() -> None:
    torch.manual_seed(0)
    made = PerceiverResampler(12, depth=1, dim_head=5, heads=3, num_latents=4, ff_mult=2)
    media = torch.randn(2, 9, 12)
    (attention, feed_forward) = made.layers[0]
    latents = made.latents.expand(2, 4, 12)
    normed, seen = F.layer_norm(latents, (12,)), F.layer_norm(media, (12,))
    query = attention.to_q(normed).reshape(2, 4, 3, 5)
    key, value = (x.reshape(2, 13, 3, 5) for x in attention.to_kv(torch.cat([seen, normed], 1)).split(15, -1))
    weights = (torch.einsum("nmhd,nvhd->nhmv", query, key) / 5**0.5).softmax(-1)
    latents = latents + attention.to_out(torch.einsum("nhmv,nvhd->nmhd", weights, value).reshape(2, 4, 15))
    inner = F.gelu(F.layer_norm(latents, (12,)) @ feed_forward[1].weight.T)
    wanted = F.layer_norm(latents + inner @ feed_forward[3].weight.T, (12,))
    torch.testing.assert_close(made(media), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_stands_between_eyes_and_words_of_any_family(family: str) -> None:
    backbone = make_family(family, resampler=CONFIG)
    batch = make_batch(backbone, ["lift red", "push the blue block"], steps=1)
    per_row = (batch.inputs["input_ids"] == backbone.adapter.image_token_id).sum(1)
    assert per_row.tolist() == [2 * 4] * 2  # two cameras
    backbone.encode(batch).readout.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in backbone.resampler.parameters())
    eyes = next(p for name, p in backbone.model.named_parameters() if "vision" in name and p.ndim == 4)
    assert eyes.grad is not None
    assert eyes.grad.any()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_with_it_does_all_that_a_family_must(family: str) -> None:
    complaints = {name: x for name, x in run_checks(make_family(family, resampler=CONFIG)).items() if x}
    assert not complaints


def test_what_is_seen_through_it_can_be_learned() -> None:
    steps, left = overfit(make_family("paligemma", resampler=CONFIG))
    assert left < LEARNT, steps


def test_pictures_are_resampled_one_by_one() -> None:
    """Also where a family has the tokens of a row's pictures in one piece."""
    backbone = make_family("smolvlm", resampler=CONFIG)
    batch = make_batch(backbone, ["lift red"], steps=1)
    seen = []
    handle = backbone.resampler.register_forward_hook(lambda module, given, made: seen.append(given[0].shape))
    assert backbone.encode(batch).readout.isfinite().all()
    handle.remove()
    tokens = make_family("smolvlm").adapter.picture_ids.count(backbone.adapter.image_token_id)
    assert [tuple(shape[:2]) for shape in seen] == [(2, tokens)]


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("qwen2_vl", "cannot stand in a qwen2_vl model, where image tokens have the positions of patches"),
        ("git", "needs a model with get_image_features; git has none"),
        ("llama4", "needs a model that gives its image features as `pooler_output`"),
    ],
)
def test_models_that_it_does_not_fit_are_refused(family: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_family(family, resampler=CONFIG)


def test_a_number_that_cannot_be_laid_out_is_refused() -> None:
    with pytest.raises(
        ValueError, match="num_latents=3 must be a number of tokens that can stand for a picture of a mistral3"
    ):
        make_family("mistral3", resampler=replace(CONFIG, num_latents=3))


@pytest.mark.parametrize("name", ["paligemma", "smolvlm"])
def test_it_is_a_part_of_the_backbone_and_not_of_the_model(name: str) -> None:
    backbone = replace(BACKBONES[name], resampler=CONFIG).build()
    assert not [key for key in backbone.hub_state() if "resampler" in key or "latents" in key]
    policy = replace(EXPERIMENT, backbone=replace(BACKBONES[name], resampler=CONFIG)).build(SPEC)
    own = {key for key, part in find_parts(policy).items() if part == "resampler"}
    assert own == {f"backbone.resampler.{key}" for key, _ in policy.backbone.resampler.named_parameters()}


def test_a_copy_has_a_resampler_of_its_own() -> None:
    backbone = TinyPaliGemma(**SMALL, resampler=CONFIG).build().eval()
    batch = make_batch(backbone, ["lift red"])
    before = backbone.encode(batch).readout
    other = copy.deepcopy(backbone)
    assert torch.equal(other.encode(batch).readout, before)
    torch.nn.init.zeros_(other.resampler.norm.weight)
    assert not torch.equal(other.encode(batch).readout, before)
    assert torch.equal(backbone.encode(batch).readout, before)


def test_it_is_trained_saved_and_loaded(tmp_path) -> None:
    loop = replace(EXPERIMENT.loop, num_steps=4)
    experiment = replace(EXPERIMENT, backbone=TinyPaliGemma(**SMALL, resampler=CONFIG), loop=loop)
    torch.manual_seed(experiment.loop.seed)
    start = experiment.build(SPEC).backbone.resampler.state_dict()
    run_training_on(experiment, [Recorded(0), Recorded(1, "reach_blue")], SPEC, tmp_path)
    env = Toy()
    env.reset(Start(seed=1, tasks=("reach_red",)))
    chunks = []
    for _ in range(2):
        policy, _ = load_policy(tmp_path)
        chunks.append(policy.act([env.observe("go to the red square")], policy.start(1))[0])
    assert np.array_equal(*chunks)
    trained = policy.backbone.resampler.state_dict()
    assert not [name for name in start if torch.equal(start[name], trained[name])]


def test_it_learns_as_fast_as_other_new_weights() -> None:
    policy = replace(EXPERIMENT, backbone=TinyPaliGemma(**SMALL, resampler=CONFIG)).build(SPEC)
    optimizer = make_optimizer(policy, OptimConfig(lr=0.25, backbone_lr=0.5))
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in policy.backbone.resampler.parameters()} == {0.25}
