"""Families whose kept keys and values cannot be gone on from: what came before is kept instead, and read again."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from volition.backbones.adapter import Adapter


class Rereading(Adapter):
    streams = False

    def read(self, model: Any, inputs: dict[str, Tensor]) -> Float[Tensor, "N L D"]:
        """Last hidden states of whole rows."""
        return super().hidden(model, inputs)

    def hidden(self, model: Any, inputs: dict[str, Tensor], cache: Any | None = None) -> Float[Tensor, "N L D"]:
        """A `cache` gets the inputs of the rows, in place of keys and values."""
        if cache is None:
            return self.read(model, inputs)
        past = getattr(cache, "inputs", {})
        length = inputs["attention_mask"].shape[1]
        more = {n: torch.cat([x, inputs[n]], 1) for n, x in past.items() if n in inputs and n != "attention_mask"}
        cache.inputs = past | inputs | more
        if cache.inputs["input_ids"].shape[1] != length:
            raise ValueError(f"{self.config.model_type} cannot go on from keys and values alone: read whole rows")
        return self.read(model, cache.inputs)[:, length - inputs["input_ids"].shape[1] :]
