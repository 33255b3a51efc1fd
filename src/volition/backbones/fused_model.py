"""A model of parts: vision encoders, a projector, and any language model of `transformers`.

Several encoders (CLIP and SigLIP, Kosmos-2's tower and CLIP) are fused by channel, patch by patch, or by token, one
after the other. It is a model of `transformers` like any other: it saves, loads and goes through the same checks.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.kosmos2.configuration_kosmos2 import Kosmos2TextConfig, Kosmos2VisionConfig
from transformers.models.kosmos2.modeling_kosmos2 import Kosmos2TextForCausalLM, Kosmos2VisionModel

from volition.backbones.efficientnet import EfficientNetLite, EfficientNetLiteConfig

IMAGE = -1  # stands for a piece of a picture in `input_ids`; no tokenizer makes it
# Parts that are no models of their own to the library: config and class.
PARTS: dict[str, tuple[Any, Any]] = {
    "efficientnet-lite0": (EfficientNetLiteConfig, EfficientNetLite),
    "kosmos_2_vision_model": (Kosmos2VisionConfig, Kosmos2VisionModel),
    "kosmos_2_text_model": (Kosmos2TextConfig, Kosmos2TextForCausalLM),
}
Fuse = Literal["channels", "tokens"]


class FusedConfig(PreTrainedConfig):
    """The parts' own configs, and how each encoder wants its pictures."""

    model_type = "volition-fused"

    vision_configs: list[Any] | None = None
    text_config: Any = None
    fuse: str = "channels"
    means: list[Any] | None = None
    stds: list[Any] | None = None
    image_token_id: int = IMAGE

    def __post_init__(self, **kwargs: Any) -> None:
        self.vision_configs = [part_config(part) for part in self.vision_configs or []]
        self.text_config = part_config(self.text_config or {"model_type": "llama"})
        super().__post_init__(**kwargs)


def part_config(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    known = PARTS.get(part["model_type"])
    return known[0](**part) if known else AutoConfig.for_model(**part)


def part_class(config: Any, auto: Any) -> Any:
    """The class of a part; `auto` is the library's own way to find it."""
    return PARTS[config.model_type][1] if config.model_type in PARTS else auto._model_mapping[type(config)]


class FusedModel(PreTrainedModel):
    config_class = FusedConfig
    _supports_sdpa = True

    def __init__(self, config: Any):
        super().__init__(config)
        eyes = config.vision_configs
        self.towers = nn.ModuleList(part_class(c, AutoModel)(c) for c in eyes)
        self.language_model = part_class(config.text_config, AutoModelForCausalLM)(config.text_config)
        width, widths = config.text_config.hidden_size, [c.hidden_size for c in eyes]
        self.projectors = nn.ModuleList(
            nn.Sequential(nn.Linear(seen, width), nn.GELU(), nn.Linear(width, width))
            for seen in ([sum(widths)] if config.fuse == "channels" else widths)
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    def get_image_features(self, **pixels: Tensor) -> BaseModelOutputWithPooling:
        """`pixel_values_I` of encoder I -> tokens of every picture, [n, P, D]."""
        grids = [self._grid(tower, pixels[f"pixel_values_{i}"]) for i, tower in enumerate(self.towers)]
        if self.config.fuse == "channels":  # the patches of the first encoder, the others' brought to its grid
            size = grids[0].shape[2:]
            same = [F.interpolate(g, size, mode="bilinear") if g.shape[2:] != size else g for g in grids]
            grids = [torch.cat(same, dim=1)]
        tokens = [project(g.flatten(2).transpose(1, 2)) for project, g in zip(self.projectors, grids)]
        return BaseModelOutputWithPooling(pooler_output=torch.cat(tokens, dim=1))

    def forward(self, input_ids: Int[Tensor, "N L"], attention_mask: Tensor | None = None, **rest: Any) -> Any:
        """What the language model answers; `rest` holds `pixel_values_I`, and what it takes besides."""
        pixels = {name: rest.pop(name) for name in [*rest] if name.startswith("pixel_values_")}
        is_image = input_ids == IMAGE
        embeds = self.get_input_embeddings()(input_ids.masked_fill(is_image, 0))
        if pixels:
            embeds = embeds.masked_scatter(is_image[..., None], self.get_image_features(**pixels).pooler_output)
        return self.language_model(inputs_embeds=embeds, attention_mask=attention_mask, **rest)

    def _grid(self, tower: Any, pixels: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n D R C"]:
        """Features of patches where they lie in the picture; a token for the whole of it, if there is one, is left."""
        states = tower(pixels).last_hidden_state
        patch = tower.config.patch_size
        rows, columns = pixels.shape[2] // patch, pixels.shape[3] // patch
        return states[:, states.shape[1] - rows * columns :].transpose(1, 2).unflatten(2, (rows, columns))
