"""GIT: puts the pictures before the words itself, as frames of a film; no marks in the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from volition.backbones.rereading import Rereading


class Git(Rereading):
    interleaves = False

    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        room = self.config.num_image_with_embedding or 1
        if len(cameras) > room:
            raise ValueError(f"this {self.config.model_type} model takes {room} pictures at most, got {len(cameras)}")
        return {"pixel_values": torch.stack(list(cameras), dim=1) if room > 1 else cameras[0]}

    def count(self, model: Any) -> int:
        return 0

    def read(self, model: Any, inputs: dict[str, Tensor]) -> Float[Tensor, "N L D"]:
        hidden = super().read(model, inputs)
        return hidden[:, hidden.shape[1] - inputs["input_ids"].shape[1] :]

    @classmethod
    def find_image_token(cls, tokenizer: Any, config: Any) -> int:
        return -1  # there is none
