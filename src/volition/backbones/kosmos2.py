"""Kosmos-2: older than the common layout. Its own forward would drop pictures that come after kept keys and values."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from volition.backbones.composed import Composed


class Kosmos2(Composed):
    # What stands between the marks is never read; this is of the grounding vocabulary, which no prompt of ours has.
    image_token = "<patch_index_0000>"
    before = ("<image>",)
    after = ("</image>",)

    def count(self, model: Any) -> int:
        return self.config.latent_query_num

    def arguments(self, model: Any, inputs: dict[str, Tensor]) -> dict[str, Any]:
        return inputs | self.beside(inputs["input_ids"] == self.image_token_id)

    def beside(self, is_image: Tensor) -> dict[str, Tensor]:
        return {"image_embeds_position_mask": is_image}

    def decoder(self, model: Any) -> nn.Module:
        return model.text_model.model

    def see(self, model: Any, inputs: dict[str, Tensor]) -> Float[Tensor, "n Q D"]:
        """Embeddings of all pictures."""
        features = model.vision_model(pixel_values=inputs["pixel_values"]).last_hidden_state
        normal = F.normalize(model.vision_model.model.post_layernorm(features), dim=-1)
        return model.image_to_text_projection(normal)[0]
