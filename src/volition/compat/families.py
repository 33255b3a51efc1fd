"""The VLMs of the reference that current `transformers` has: where their parts are, and how the reference runs them.

A family has no weights; `model` is the Hugging Face model. The language model is called with embeddings and without
its vocabulary layer, so that no logits are made that nobody reads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from volition.compat.pictures import CLIP_MEAN, CLIP_STD


class Family(ABC):
    """What differs between VLMs. `hidden` fills `cache` where it gets one, and then takes the new positions only."""

    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    renamed: tuple[tuple[str, str], ...] = ()  # beginnings of names: in the reference, in `transformers` today

    @abstractmethod
    def text_model(self, model: Any) -> Any:
        """The decoder without its vocabulary layer; has `embed_tokens` and `layers`."""

    @abstractmethod
    def vision_tower(self, model: Any) -> nn.Module: ...

    @abstractmethod
    def encode_images(self, model: Any, pixels: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N V D"]: ...

    def width(self, model: Any) -> int:
        return self.text_model(model).embed_tokens.embedding_dim

    def embed(self, model: Any, ids: Int[Tensor, "N L"]) -> Float[Tensor, "N L D"]:
        """Embeddings before the scale that the language model multiplies all its inputs by."""
        table = self.text_model(model).embed_tokens
        return F.embedding(ids, table.weight, table.padding_idx)

    def hidden(
        self, model: Any, embeds: Float[Tensor, "N L D"], mask: Int[Tensor, "N P"], cache: Any = None
    ) -> Float[Tensor, "N L D"]:
        """Causal over the whole row; positions are counted from its start, padding included."""
        out = self.text_model(model)(
            inputs_embeds=self.scaled(model, embeds),
            attention_mask=self.attention(mask, embeds.shape[1]),
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return out.last_hidden_state

    def scaled(self, model: Any, embeds: Float[Tensor, "N L D"]) -> Float[Tensor, "N L D"]:
        """What the decoder of today takes for embeddings."""
        return embeds

    def attention(self, mask: Int[Tensor, "N P"], new: int) -> Tensor:
        """The mask in the form that makes the decoder of today causal; the last `new` positions ask."""
        return mask

    def logits(self, model: Any, hidden: Float[Tensor, "*N D"]) -> Float[Tensor, "*N V"]:
        return model.get_output_embeddings()(hidden)

    def reference_name(self, name: str) -> str:
        """A name of the model's state dict -> the reference's, without `backbone.`."""
        for theirs, ours in self.renamed:
            if name.startswith(ours):
                return theirs + name[len(ours) :]
        return name


class Kosmos2(Family):
    """No image marks in the prompt; features are normalised before the latent queries look at them."""

    image_mean, image_std = CLIP_MEAN, CLIP_STD

    def text_model(self, model: Any) -> Any:
        return model.text_model.model

    def vision_tower(self, model: Any) -> nn.Module:
        return model.vision_model

    def encode_images(self, model: Any, pixels: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N V D"]:
        features = model.vision_model(pixel_values=pixels).last_hidden_state
        features = F.normalize(model.vision_model.model.post_layernorm(features), dim=-1)
        return model.image_to_text_projection(features)[0]


class PaliGemma(Family):
    """Gemma multiplies image features and words alike by sqrt(D), so the features are divided by it first."""

    image_mean = image_std = (0.5, 0.5, 0.5)
    renamed = (
        ("vision_tower.vision_model.", "model.vision_tower."),
        ("multi_modal_projector.", "model.multi_modal_projector."),
        ("language_model.model.", "model.language_model."),
        ("language_model.lm_head.", "lm_head."),
    )

    def text_model(self, model: Any) -> Any:
        return model.model.language_model

    def vision_tower(self, model: Any) -> nn.Module:
        return model.model.vision_tower

    def encode_images(self, model: Any, pixels: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N V D"]:
        features = model.model.vision_tower(pixel_values=pixels).last_hidden_state
        return model.model.multi_modal_projector(features) / self.width(model) ** 0.5

    def scaled(self, model: Any, embeds: Float[Tensor, "N L D"]) -> Float[Tensor, "N L D"]:
        """Gemma of today scales in its embedding layer, which is not called here."""
        return embeds * self.width(model) ** 0.5

    def attention(self, mask: Int[Tensor, "N P"], new: int) -> Bool[Tensor, "N 1 new P"]:
        """Given a two-dimensional mask, PaliGemma's Gemma of today looks both ways whenever it has no zeros."""
        length = mask.shape[1]
        causal = torch.ones(new, length, dtype=torch.bool, device=mask.device).tril(length - new)
        return causal & mask[:, None, None].bool()


FAMILIES: dict[str, Family] = {"RoboKosMos": Kosmos2(), "RoboPaligemma": PaliGemma()}
