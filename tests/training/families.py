"""Small models of families with different insides, and where their parts are, written down by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForImageTextToText,
    Kosmos2Config,
    LlavaConfig,
    PaliGemmaConfig,
    PreTrainedConfig,
    Qwen2_5_VLConfig,
    SmolVLMConfig,
)

from tests.tiny import SPACES
from volition.backbones import Adapter, Backbone
from volition.data.transforms import Chain
from volition.heads import MLPHeadConfig
from volition.policy import Collator, Policy

IMAGE, VOCABULARY = 5, 40
TEXT: dict[str, Any] = {
    **{"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2},
    **{"num_key_value_heads": 2, "head_dim": 8, "vocab_size": VOCABULARY, "pad_token_id": 0},
    **{"bos_token_id": None, "eos_token_id": 1},
}
VISION: dict[str, Any] = {
    **{"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"image_size": 16, "patch_size": 8},
}


def llava() -> PreTrainedConfig:
    vision = VISION | {"model_type": "clip_vision_model"}
    return LlavaConfig(text_config=TEXT | {"model_type": "llama"}, vision_config=vision, image_token_id=IMAGE)


def paligemma() -> PreTrainedConfig:
    vision = VISION | {"model_type": "siglip_vision_model", "vision_use_head": False, "projection_dim": 16}
    return PaliGemmaConfig(
        text_config=TEXT | {"model_type": "gemma"},
        vision_config=vision,
        image_token_id=IMAGE,
        projection_dim=16,
        hidden_size=16,
        pad_token_id=0,
    )


def smolvlm() -> PreTrainedConfig:
    text = TEXT | {"model_type": "llama"}
    return SmolVLMConfig(
        text_config=text, vision_config=VISION, image_token_id=IMAGE, scale_factor=2, tie_word_embeddings=False
    )


def kosmos2() -> PreTrainedConfig:
    text = {"embed_dim": 16, "ffn_dim": 32, "layers": 3, "attention_heads": 2, "vocab_size": VOCABULARY}
    return Kosmos2Config(text_config=text, vision_config=VISION, latent_query_num=4)


def qwen2_5_vl() -> PreTrainedConfig:
    vision = {
        **{"hidden_size": 24, "intermediate_size": 32, "depth": 2, "num_heads": 2, "out_hidden_size": 16},
        **{"patch_size": 8, "temporal_patch_size": 2, "spatial_merge_size": 2, "fullatt_block_indexes": [1]},
    }
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    return Qwen2_5_VLConfig(
        text_config=TEXT | {"rope_parameters": rope}, vision_config=vision, image_token_id=IMAGE, video_token_id=6
    )


def ids(images: int) -> Tensor:
    """Pictures, words, [LRN]."""
    row = [IMAGE] * images + [10, 11, 12, VOCABULARY]
    return torch.tensor([row, row[::-1][1:4] + row[:images] + [VOCABULARY]])


def given(name: str) -> dict[str, Tensor]:
    """What the family's forward takes, for two rows with a picture each."""
    pixels = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    if name == "kosmos-2":
        return {"pixel_values": pixels, "input_ids": (x := ids(4)), "image_embeds_position_mask": (x == IMAGE).long()}
    if name == "qwen2.5-vl":
        grid = torch.tensor([[1, 2, 2]] * 2)
        patches = torch.randn(8, 3 * 2 * 8 * 8, generator=torch.Generator().manual_seed(1))
        x = ids(1)
        types = (x == IMAGE).long()
        return {"pixel_values": patches, "image_grid_thw": grid, "input_ids": x, "mm_token_type_ids": types}
    if name == "smolvlm":
        return {"pixel_values": pixels[:, None], "input_ids": ids(1)}
    extra = {"token_type_ids": torch.zeros_like(ids(4))} if name == "paligemma" else {}
    return {"pixel_values": pixels, "input_ids": ids(4), **extra}


@dataclass(frozen=True)
class Family:
    config: Callable[[], PreTrainedConfig]
    vision: str  # beginnings of parameter names
    projector: str
    layers: str
    embeddings: str

    def part_of(self, name: str) -> str:
        """Of a parameter's name inside the model, as its family has it."""
        if name.endswith(f"{self.embeddings}.new"):
            return "readouts"
        if name.endswith(f"{self.embeddings}.base.weight"):
            return "embeddings"
        if name.startswith(self.projector):  # before the vision tower, which may contain it
            return "projector"
        return "vision" if name.startswith(self.vision) else "backbone"


FAMILIES = {
    "paligemma": Family(
        paligemma, "model.vision_tower.", "model.multi_modal_projector.", "model.language_model.layers", "embed_tokens"
    ),
    "smolvlm": Family(smolvlm, "model.vision_model.", "model.connector.", "model.text_model.layers", "embed_tokens"),
    "llava": Family(
        llava, "model.vision_tower.", "model.multi_modal_projector.", "model.language_model.layers", "embed_tokens"
    ),
    "kosmos-2": Family(
        kosmos2, "vision_model.", "image_to_text_projection.", "text_model.model.layers", "embed_tokens"
    ),
    "qwen2.5-vl": Family(
        qwen2_5_vl, "model.visual.", "model.visual.merger.", "model.language_model.layers", "embed_tokens"
    ),
}


class Bare(Adapter):
    """Of a model that is called by hand."""

    def __init__(self) -> None:
        self.readout_ids = [VOCABULARY]


def make_policy(name: str, *, autocast: torch.dtype | None = None) -> Policy:
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(FAMILIES[name].config())
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.1)
    backbone = Backbone(model, Bare(), autocast=autocast)
    head = MLPHeadConfig(hidden=8).build(backbone, SPACES["base-2d"], num_obs_steps=1, horizon=2, state_dim=0)
    return Policy(backbone, head, Collator(Chain(), backbone.adapter, ("base",), ()))


def logits(policy: Policy, name: str) -> Tensor:
    return policy.backbone.model(**given(name)).logits


def take_steps(policy: Policy, name: str, optimizer: torch.optim.Optimizer, count: int = 3) -> None:
    """On a loss that every weight has a share in, where the family uses it at all."""
    policy.train()
    for _ in range(count):
        loss = logits(policy, name).square().mean() + sum(p.square().sum() for p in policy.head.parameters())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
