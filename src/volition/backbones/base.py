"""Any image-text-to-text model of `transformers` as the body of a policy.

`Adapter` is all that differs between families and has no weights, so that data workers can carry it. `Backbone` is
final: it owns the model and the learned action tokens [LRN], and turns a `Batch` into an `Encoded`, lazily, by the
model's own forward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache

from volition.backbones.acting import store_as_computed
from volition.backbones.adapter import Adapter, vocabulary_size
from volition.backbones.encoded import Encoded
from volition.backbones.images import normalise
from volition.backbones.precision import autocast_type
from volition.types import Batch


class Backbone(nn.Module):
    """A model, its adapter, and the learned action tokens [LRN]."""

    def __init__(
        self,
        model: Any,
        adapter: Adapter,
        *,
        autocast: torch.dtype | None = None,
        resampler: nn.Module | None = None,
    ):
        """`autocast`: what the forward computes in, where the device has instructions for it; weights stay as they are.

        `resampler`: what the model runs on its image features and does not hold itself, if anything.
        """
        super().__init__()
        self.model, self.adapter, self.autocast, self.resampler = model, adapter, autocast, resampler
        self.embedding = ExtendedEmbedding(model.get_input_embeddings(), len(adapter.readout_ids))
        model.set_input_embeddings(self.embedding)

    @property
    def width(self) -> int:
        """D"""
        return self.model.config.get_text_config().hidden_size

    @property
    def num_readouts(self) -> int:
        """K"""
        return len(self.adapter.readout_ids)

    @property
    def streams(self) -> bool:
        return self.adapter.streams

    @property
    def device(self) -> torch.device:
        return self.embedding.new.device

    def encode(self, batch: Batch) -> Encoded:
        return Encoded(self, batch)

    def prepare_to_act(self) -> None:
        """Faster from here on, with the same numbers, and no longer to be trained, saved or moved to another device."""
        if (kind := autocast_type(self.autocast, self.device)) is not None:
            store_as_computed(self.model, kind)

    def hub_state(self) -> dict[str, Tensor]:
        """The model's weights under Hugging Face's own names: they open with plain `transformers`.

        The learned tokens stay out, and a tensor that is tied to another appears once.
        """
        if any(".base_layer." in name for name, _ in self.model.named_parameters()):
            raise ValueError("hub_state writes plain weights: merge LoRA first (volition.training.lora.merge_lora)")
        wrapped = next(name for name, module in self.model.named_modules() if module is self.embedding)
        state: dict[str, Tensor] = {}
        seen: set[int] = set()
        for name, value in self.model.state_dict(keep_vars=True).items():
            if value is self.embedding.new or id(value) in seen:
                continue
            seen.add(id(value))
            state[name.replace(f"{wrapped}.base.", f"{wrapped}.")] = value.detach()
        return state

    def run(
        self, inputs: Mapping[str, Tensor], images: Sequence[UInt8[Tensor, "N _h _w 3"]], cache: Any | None = None
    ) -> Float[Tensor, "N L D"]:
        """The model's own forward: last hidden states. `images` are the pictures of every row, in prompt order."""
        given = {name: x for name, x in inputs.items() if name != "readout_positions"}
        if images:
            given |= self.adapter.pixels([normalise(x, self.adapter.pictures) for x in images])
        with self.computing():
            return self.adapter.hidden(self.model, given, cache)

    def computing(self, *, keep_casts: bool = True) -> torch.autocast:
        """In which its passes are made, in what it computes. `keep_casts`: of weights, until it is left."""
        kind = autocast_type(self.autocast, self.device)
        return torch.autocast(
            self.device.type, kind, enabled=kind is not None, cache_enabled=None if keep_casts else False
        )

    def logits(self, hidden: Float[Tensor, "*n D"]) -> Float[Tensor, "*n V"]:
        """Of the model's own vocabulary, in float32."""
        head = self.model.get_output_embeddings()
        return head(hidden.to(head.weight.dtype)).float()

    def new_cache(self) -> Any:
        return DynamicCache(config=self.model.config.get_text_config())

    def add_tokens(self, count: int) -> list[int]:
        """Ids of `count` more learned tokens, for a head that has a vocabulary of its own."""
        return self.embedding.add(count)


class ExtendedEmbedding(nn.Module):
    """A token embedding with `num_new` learned tokens past the end of the vocabulary.

    Resizing the pretrained table would do the same, but then learning the new rows means
    unfreezing all the old ones, and tied output weights would grow with it.
    """

    def __init__(self, base: nn.Embedding, num_new: int):
        super().__init__()
        self.base = base
        self.new = nn.Parameter(0.02 * torch.randn(num_new, base.embedding_dim))
        # Some models (Gemma) scale inside their embedding module; new tokens are scaled alike.
        self.scale = float(getattr(base, "scalar_embed_scale", 1.0))

    def add(self, count: int) -> list[int]:
        first = self.num_embeddings + len(self.new)
        self.new = nn.Parameter(torch.cat([self.new.data, 0.02 * torch.randn(count, self.base.embedding_dim)]))
        return list(range(first, first + count))

    @property
    def weight(self) -> Tensor:
        return self.base.weight

    @property
    def num_embeddings(self) -> int:
        return vocabulary_size(self.base)

    def forward(self, ids: Int[Tensor, "N L"]) -> Float[Tensor, "N L D"]:
        is_new = ids >= self.num_embeddings
        x = self.base(ids.masked_fill(is_new, 0))
        new = (self.new * self.scale).to(x.dtype)
        # Not new[...]: the backward of indexing adds in the order in which threads come, another one in every run.
        return torch.where(is_new[..., None], F.embedding((ids - self.num_embeddings).clamp(min=0), new), x)


@runtime_checkable
class BackboneConfig(Protocol):
    """A frozen dataclass that can build its backbone. Yours needs nothing else to stand in a recipe."""

    def build(self, *, pretrained: bool = True) -> Backbone: ...


@runtime_checkable
class Checked(Protocol):
    """A `BackboneConfig` that can tell what is wrong with its model before weights or data are read."""

    def check(self) -> None: ...
