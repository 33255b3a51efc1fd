"""Models without a body of the common layout: the language model is given words and pictures as one sequence here.

BLIP-2 and InstructBLIP (a number of queries to the tower stands for a picture), Llama 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from volition.backbones.adapter import Adapter


class Composed(Adapter):
    def hidden(self, model: Any, inputs: dict[str, Tensor], cache: Any | None = None) -> Float[Tensor, "N L D"]:
        """Past the language head, which would compute the logits of every token."""
        is_image = inputs["input_ids"] == self.image_token_id
        embeds = model.get_input_embeddings()(inputs["input_ids"].masked_fill(is_image, 0))
        # Not `is_image.any()`: a graph of this forward could not branch on what is in a tensor.
        if inputs.keys() - {"input_ids", "attention_mask", *self.readout_values}:
            embeds = embeds.masked_scatter(is_image[..., None], self.see(model, inputs).to(embeds.dtype))
        output = self.decoder(model)(
            inputs_embeds=embeds,
            attention_mask=inputs["attention_mask"],
            past_key_values=cache,
            use_cache=cache is not None,
            **self.beside(is_image),
        )
        return output.last_hidden_state

    def see(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        """Embeddings of all pictures, one after the other."""
        pixels = {name: x for name, x in inputs.items() if name not in ("input_ids", "attention_mask")}
        return model.get_image_features(**pixels).pooler_output

    def decoder(self, model: Any) -> nn.Module:
        return model.language_model.base_model

    def beside(self, is_image: Tensor) -> dict[str, Tensor]:
        """What else the decoder is told."""
        return {}


class InstructBlip(Composed):
    """Its queries could read the instruction too, with a tokenizer of their own: they are given an empty one."""

    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        pictures = super().pixels(cameras)
        empty = torch.zeros(len(pictures["pixel_values"]), 1, dtype=torch.long)
        return pictures | {"qformer_input_ids": empty.to(pictures["pixel_values"].device)}


class Llama4(Composed):
    before = ("<|image_start|>", "<|image|>")
    after = ("<|image_end|>",)

    def see(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        features = model.get_image_features(pixel_values=inputs["pixel_values"]).last_hidden_state
        return model.multi_modal_projector(features)

    def decoder(self, model: Any) -> nn.Module:
        return model.language_model.model
