"""Freezing leaves exactly what it says, on families that look different inside: real optimizer steps, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, Idefics2Config

from tests.tiny import SMALL
from tests.toy import SPEC
from tests.training.families import FAMILIES, IMAGE, TEXT, VISION, logits, make_policy, take_steps
from tests.training.test_train import EXPERIMENT
from volition.backbones import TinyPaliGemma
from volition.backbones.resampler import ResamplerConfig
from volition.policy import Policy
from volition.training.freeze import TrainableConfig, make_trainable
from volition.training.lora import LoRAConfig
from volition.training.optim import OptimConfig, make_optimizer
from volition.training.parts import PARTS, find_parts, is_adapter

IN_EVERY_MODEL = tuple(part for part in PARTS if part not in ("resampler", "auxiliary"))
EAGER = OptimConfig(lr=1e-2, backbone_lr=1e-2, weight_decay=0.1)


def expected_parts(policy: Policy, name: str) -> dict[str, str]:
    """As the family's list of names in tests/training/families.py has it."""
    inside = "backbone.model."
    return {
        full: FAMILIES[name].part_of(full.removeprefix(inside)) if full.startswith(inside) else full.split(".")[0]
        for full, _ in policy.named_parameters()
        if full.startswith((inside, "head."))
    }


def tensors(policy: Policy) -> dict[str, Tensor]:
    """Each once, under its first name, as parameters are named: running statistics too."""
    state: dict[int, tuple[str, Tensor]] = {}
    for name, value in policy.state_dict(keep_vars=True).items():
        state.setdefault(id(value), (name, value.detach()))
    return dict(state.values())


def changes(policy: Policy, name: str, config: TrainableConfig) -> set[str]:
    """Names of the tensors that three optimizer steps changed."""
    make_trainable(policy, config)
    before = {key: value.clone() for key, value in tensors(policy).items()}
    take_steps(policy, name, make_optimizer(policy, EAGER))
    return {key for key, value in tensors(policy).items() if not torch.equal(before[key], value)}


@pytest.mark.parametrize("name", FAMILIES)
def test_parts_are_found(name: str) -> None:
    policy = make_policy(name)
    assert find_parts(policy) == expected_parts(policy, name)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("part", [*IN_EVERY_MODEL, "all but [LRN] and head"])
def test_a_frozen_part_stays_and_every_other_moves(name: str, part: str) -> None:
    frozen = [part] if part in PARTS else ["vision", "projector", "embeddings", "backbone"]
    policy = make_policy(name)
    part_of = expected_parts(policy, name)
    changed = changes(policy, name, TrainableConfig(**dict.fromkeys(frozen, False)))
    assert {part_of[key] for key in changed} == set(IN_EVERY_MODEL) - set(frozen)


@pytest.mark.parametrize("name", FAMILIES)
def test_only_the_last_layers_of_the_language_model_move(name: str) -> None:
    policy = make_policy(name)
    part_of = expected_parts(policy, name)
    changed = changes(policy, name, TrainableConfig(last_layers=1))
    last = {key for key in part_of if key.startswith(f"backbone.model.{FAMILIES[name].layers}.2.")}
    assert {key for key in changed if part_of[key] == "backbone"} == last
    assert {part_of[key] for key in changed} == set(IN_EVERY_MODEL)


def test_a_frozen_weight_costs_neither_a_gradient_nor_moments() -> None:
    policy = make_policy("llava")
    make_trainable(policy, TrainableConfig(vision=False, embeddings=False, last_layers=1))
    optimizer = make_optimizer(policy, EAGER)
    logits(policy, "llava").square().mean().backward()
    frozen = {id(p) for p in policy.parameters() if not p.requires_grad}
    assert all(p.grad is None for p in policy.parameters() if id(p) in frozen)
    optimizer.step()
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert not frozen & {id(p) for p in held}
    assert len(held) + len(frozen) == len(list(policy.parameters()))
    assert len(optimizer.state_dict()["state"]) == len([p for p in held if p.grad is not None])


class TokenBatchNorm(nn.BatchNorm1d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(0, 1)).view_as(x)


@pytest.mark.parametrize(("frozen", "expected"), [(True, set()), (False, {"running_mean", "running_var", "weight"})])
def test_frozen_running_statistics_stay(frozen: bool, expected: set[str]) -> None:
    policy = make_policy("paligemma")
    policy.backbone.model.model.vision_tower.post_layernorm = TokenBatchNorm(24)
    changed = changes(policy, "paligemma", TrainableConfig(vision=not frozen))
    moved = {key.rpartition(".")[2] for key in changed if ".post_layernorm." in key}
    assert moved >= expected if expected else not moved


def test_a_resampler_of_the_model_is_a_part() -> None:
    policy = make_policy("llava")
    text, resampler = TEXT | {"model_type": "mistral"}, {"hidden_size": 16, "resampler_n_latents": 2}
    config = Idefics2Config(text_config=text, vision_config=VISION, perceiver_config=resampler, image_token_id=IMAGE)
    policy.backbone.model = AutoModelForImageTextToText.from_config(config)
    policy.backbone.model.set_input_embeddings(policy.backbone.embedding)
    parts = find_parts(policy)
    assert {key.split(".")[4] for key, part in parts.items() if part == "resampler"} == {"perceiver_resampler"}
    assert {key.split(".")[4] for key, part in parts.items() if part == "projector"} == {"modality_projection"}
    make_trainable(policy, TrainableConfig(resampler=False))
    assert {parts[key] for key, p in policy.named_parameters() if not p.requires_grad} == {"resampler"}


def test_a_resampler_of_ours_is_a_part() -> None:
    backbone = TinyPaliGemma(**SMALL, resampler=ResamplerConfig(num_latents=2, depth=1, heads=1, dim_head=8))
    lora = LoRAConfig(parts=("resampler",), rank=2)
    policy = replace(EXPERIMENT, backbone=backbone, train=TrainableConfig(vision=False, lora=lora)).build(SPEC)
    parts = find_parts(policy)
    inside = [key for key, part in parts.items() if part == "resampler"]
    assert inside
    assert all(key.startswith("backbone.resampler.") for key in inside)
    adapted = [key for key, p in policy.named_parameters() if p.requires_grad and parts[key] == "resampler"]
    assert adapted
    assert all(is_adapter(key) for key in adapted)


def test_every_part_has_the_learning_rate_that_it_is_given() -> None:
    """Adam's first step moves a weight by its learning rate, whatever the gradient."""
    policy = make_policy("kosmos-2")
    part_of = find_parts(policy)
    rates = {"vision": 1e-3, "projector": 2e-3, "embeddings": 3e-3, "backbone": 4e-3, "readouts": 5e-3, "head": 5e-3}
    config = OptimConfig(
        vision_lr=1e-3, projector_lr=2e-3, embeddings_lr=3e-3, backbone_lr=4e-3, lr=5e-3, weight_decay=0.0
    )
    before = {key: p.detach().clone() for key, p in policy.named_parameters()}
    take_steps(policy, "kosmos-2", make_optimizer(policy, config), count=1)
    for part, rate in rates.items():
        moved = [(p - before[key]).abs().max().item() for key, p in policy.named_parameters() if part_of[key] == part]
        assert max(moved) == pytest.approx(rate, rel=0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_trainable(make_policy("llava"), TrainableConfig(resampler=False)), "cannot be found on this mod"),
        (lambda: make_optimizer(make_policy("llava"), OptimConfig(resampler_lr=1e-3)), "cannot be found on this model"),
        (lambda: make_trainable(make_policy("llava"), TrainableConfig(last_layers=4)), "number of layers, 3"),
        (lambda: TrainableConfig(last_layers=1, backbone=False), "needs backbone=True"),
        (lambda: TrainableConfig(last_layers=-1), "must be at least 0"),
        (
            lambda: make_trainable(make_policy("llava"), TrainableConfig(**dict.fromkeys(IN_EVERY_MODEL, False))),
            "nothing is left to train",
        ),
        (lambda: TrainableConfig(vision=False, lora=LoRAConfig(parts=("vision",))), "set them to True"),
        (lambda: LoRAConfig.__post_init__(SimpleNamespace(parts=("head",))), "must be among"),  # as from a file
        (lambda: LoRAConfig(rank=0), "rank=0 must be at least 1"),
    ],
)
def test_what_cannot_be_done_is_said(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_recipe_freezes() -> None:
    config = TrainableConfig(vision=False, embeddings=False)
    policy = replace(EXPERIMENT, train=config).build(SPEC)
    parts = find_parts(policy)
    assert {parts[key] for key, p in policy.named_parameters() if not p.requires_grad} == {"vision", "embeddings"}
    assert all(p.requires_grad for p in EXPERIMENT.build(SPEC).parameters())
