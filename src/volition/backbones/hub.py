"""Any image-text-to-text model of `transformers`, from a folder or the hub, through the family's own forward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

from volition.backbones.base import Adapter, Backbone
from volition.backbones.paligemma import PaliGemma
from volition.backbones.smolvlm import SmolVLM

# Families that need an adapter of their own, by the `model_type` in their checkpoint. All others use `Adapter`.
ADAPTERS: dict[str, type[Adapter]] = {"paligemma": PaliGemma, "smolvlm": SmolVLM, "idefics3": SmolVLM}


@dataclass(frozen=True, kw_only=True)
class HubBackbone:
    """`model_id` is a folder written by `save_pretrained`, or a name on the hub (needs a network the first time)."""

    model_id: str
    revision: str = "main"
    num_readouts: int = 1
    bfloat16: bool = True  # autocast of the forward; the weights stay in float32

    def build(self, *, pretrained: bool = True) -> Backbone:
        # Code that comes with a checkpoint never runs, and weights are safetensors, never pickles.
        source: dict[str, Any] = {"revision": self.revision, "trust_remote_code": False}
        try:
            config = AutoConfig.from_pretrained(self.model_id, **source)
            tokenizer = AutoTokenizer.from_pretrained(self.model_id, **source)
            model = (
                AutoModelForImageTextToText.from_pretrained(
                    self.model_id, dtype=torch.float32, use_safetensors=True, **source
                )
                if pretrained
                else AutoModelForImageTextToText.from_config(config, trust_remote_code=False)
            )
        except OSError as error:
            raise ValueError(
                f"model_id={self.model_id!r} must be a folder with a saved model or a model on the hub that can be "
                f"reached (HF_HUB_OFFLINE=1 forbids that): {error}"
            ) from error
        adapter = ADAPTERS.get(config.model_type, Adapter)
        chosen = adapter(
            tokenizer,
            image_token_id=config.image_token_id,
            tokens_per_image=tokens_per_image(config),
            image_size=(config.vision_config.image_size, config.vision_config.image_size),
            first_new_id=model.get_input_embeddings().num_embeddings,
            num_readouts=self.num_readouts,
        )
        return Backbone(model, chosen, autocast=torch.bfloat16 if self.bfloat16 else None)


def tokens_per_image(config: Any) -> int:
    """Patches of the vision tower, after pixel shuffle where the family has one."""
    vision = config.vision_config
    return (vision.image_size // vision.patch_size // getattr(config, "scale_factor", 1)) ** 2
