"""Backbones put together from pretrained encoders and a pretrained language model: "Simple CLIP", Kosmos-2 + CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoTokenizer

from volition.backbones.base import Backbone
from volition.backbones.composed import Composed
from volition.backbones.fused_model import IMAGE, Fuse, FusedConfig, FusedModel
from volition.backbones.hub import preprocessing, reach
from volition.backbones.images import Pictures


class Fused(Composed):
    """Pictures come in [0, 1] and in the size of the largest encoder; every encoder gets them as it wants them."""

    @classmethod
    def find_image_token(cls, tokenizer: Any, config: Any) -> int:
        return IMAGE

    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        pictures = torch.stack(list(cameras), dim=1).flatten(0, 1)
        given = {}
        for i, eye in enumerate(self.config.vision_configs):
            size = (eye.image_size, eye.image_size)
            resized = F.interpolate(pictures, size, mode="bilinear", antialias=True, align_corners=False)
            mean, std = (pictures.new_tensor(x[i])[:, None, None] for x in (self.config.means, self.config.stds))
            given[f"pixel_values_{i}"] = (resized - mean) / std
        return given

    def decoder(self, model: Any) -> nn.Module:
        speaks = model.language_model
        return speaks.base_model if speaks.base_model is not speaks else speaks.model


@dataclass(frozen=True, kw_only=True)
class FusedBackbone:
    """Folders written by `save_pretrained`, or names on the hub. The projector is new, and learns with the policy."""

    vision_ids: tuple[str, ...] = ("openai/clip-vit-base-patch16",)  # CLIP, SigLIP, DINOv2 or a model with such a tower
    language_id: str = "HuggingFaceTB/SmolLM2-135M"  # any causal language model
    fuse: Fuse = "channels"  # patch by patch, on the first encoder's grid; "tokens": one encoder's after the other's
    num_readouts: int = 1
    bfloat16: bool = True  # autocast of the forward where the device has it; the weights stay in float32

    def __post_init__(self) -> None:
        if not self.vision_ids:
            raise ValueError("vision_ids must name at least one vision encoder, or the policy is blind")

    def build(self, *, pretrained: bool = True) -> Backbone:
        eyes = [tower_config(reach(name, partial(AutoConfig.from_pretrained, name))) for name in self.vision_ids]
        text = reach(self.language_id, lambda: AutoConfig.from_pretrained(self.language_id))
        tokenizer = reach(self.language_id, lambda: AutoTokenizer.from_pretrained(self.language_id))
        wanted = [
            Pictures.of(preprocessing(name), (c.image_size, c.image_size)) for name, c in zip(self.vision_ids, eyes)
        ]
        speaks = getattr(text, "text_config", None) or text
        model = fuse(eyes, speaks, self.fuse, wanted)
        if pretrained:
            for tower, name in zip(model.towers, self.vision_ids):
                fill(tower, name)
            fill(model.language_model, self.language_id)
        return finish(model, tokenizer, self.num_readouts, self.bfloat16)


def fuse(eyes: Sequence[Any], text: Any, how: Fuse, wanted: Sequence[Pictures]) -> FusedModel:
    """With random weights."""
    means, stds = [list(p.mean) for p in wanted], [list(p.std) for p in wanted]
    config = FusedConfig(vision_configs=list(eyes), text_config=text, fuse=how, means=means, stds=stds)
    return FusedModel(config)


def finish(model: FusedModel, tokenizer: Any, num_readouts: int, bfloat16: bool) -> Backbone:
    side = max(eye.image_size for eye in model.config.vision_configs)
    pictures = Pictures(size=(side, side), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    adapter = Fused(tokenizer, model, pictures=pictures, num_readouts=num_readouts)
    return Backbone(model, adapter, autocast=torch.bfloat16 if bfloat16 else None)


def tower_config(config: Any) -> Any:
    """Of a model's vision encoder, or of an encoder alone."""
    eye = getattr(config, "vision_config", config)
    if not hasattr(eye, "image_size") or not hasattr(eye, "patch_size"):
        raise ValueError(f"a {config.model_type} model has no vision encoder with image_size and patch_size")
    return eye


def fill(part: nn.Module, name: str) -> None:
    """Weights of `name` into a part, strictly."""
    kind: Any = type(part)
    loaded, report = reach(
        name, lambda: kind.from_pretrained(name, dtype=torch.float32, use_safetensors=True, output_loading_info=True)
    )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])[:5]
        raise ValueError(f"{name!r} must hold all weights of a {kind.__name__}; missing are {missing}")
    part.load_state_dict(loaded.state_dict())
