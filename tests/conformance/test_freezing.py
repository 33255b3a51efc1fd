"""What every family must do with the switches of `train`: its parts are found, and what is frozen stays to the bit."""

from __future__ import annotations

import pytest
import torch

from tests.families import make_family
from tests.tiny import SPACES, make_batch, make_head, make_target
from volition.data.transforms import Chain
from volition.policy import Collator, Policy
from volition.training.freeze import TrainableConfig, make_trainable
from volition.training.lora import LoRAConfig
from volition.training.optim import OptimConfig, make_optimizer
from volition.training.parts import find_parts, is_adapter

FAMILIES = (
    *("aria", "blip-2", "cohere2_vision", "deepseek_vl", "exaone4_5", "florence2", "gemma3", "git", "glm4v"),
    *("got_ocr2", "idefics", "idefics2", "idefics3", "internvl", "kosmos-2", "kosmos-2.5", "lfm2_vl", "lighton_ocr"),
    *("llava", "llava_next", "llava_onevision", "mistral3", "mllama", "ovis2", "paligemma", "qwen2_vl", "qwen2_5_vl"),
    *("qwen3_vl", "qwen3_5", "smolvlm", "video_llava"),
)
# What stands between tower and language model, where it is not a projector alone.
BETWEEN: dict[str, tuple[str, ...]] = {"git": (), "idefics": (), "idefics2": ("resampler", "projector")}


@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_parts_stay_to_the_bit(family: str) -> None:
    """Tower and words frozen, adapters in the last layer of the decoder, one real step."""
    backbone = make_family(family)
    head = make_head("mlp", backbone, SPACES["base-2d"])
    policy = Policy(backbone, head, Collator(Chain(), backbone.adapter, ("static", "gripper"), ()))
    parts = {"vision", "embeddings", "backbone", "readouts", "head", *BETWEEN.get(family, ("projector",))}
    assert set(find_parts(policy).values()) == parts

    lora = LoRAConfig(parts=("backbone",), rank=2, dropout=0.0)
    make_trainable(policy, TrainableConfig(vision=False, embeddings=False, last_layers=1, lora=lora))
    state = policy.state_dict(keep_vars=True)
    before = {name: value.detach().clone() for name, value in state.items()}
    trained = {name for name, value in state.items() if value.requires_grad}
    batch = make_batch(backbone, ["lift red", "push blue"], steps=1)
    optimizer = make_optimizer(policy, OptimConfig(lr=1e-2, backbone_lr=1e-2))
    policy.train()
    policy(batch, make_target(batch, SPACES["base-2d"])).total.backward()
    optimizer.step()

    moved = {name for name, value in policy.state_dict().items() if not torch.equal(value, before[name])}
    assert moved <= trained
    part_of = find_parts(policy)
    assert {part_of[name] for name in moved & part_of.keys()} == parts - {"vision", "embeddings"}
    assert {is_adapter(name) for name in moved & part_of.keys() if part_of[name] == "backbone"} == {True}
