"""Any image-text-to-text model of `transformers` as the body of a policy.

`Adapter` is all that differs between families and has no weights, so that data workers can carry it. `Backbone` is
final: it owns the model and the learned action tokens [LRN], and turns a `Batch` into an `Encoded`, lazily, by the
model's own forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from volition.backbones.images import normalise
from volition.types import Batch


class Adapter:
    """Right for most Hugging Face image-text-to-text models; subclass and override where a family differs.

    tokenizer: its `encode(text, add_special_tokens=False) -> list[int]` is all that is used.
    image_token_id, tokens_per_image: the mark that stands for one picture patch in the prompt, and how many.
    image_size: (height, width) that the vision tower takes.
    """

    readout_values: ClassVar[dict[str, int]] = {}  # per-token inputs besides ids and mask: value at the [LRN] tokens

    def __init__(
        self,
        tokenizer: Any,
        *,
        image_token_id: int,
        tokens_per_image: int,
        image_size: tuple[int, int],
        first_new_id: int,
        num_readouts: int,
    ):
        self.tokenizer, self.image_size = tokenizer, image_size
        self.image_token_id, self.tokens_per_image = image_token_id, tokens_per_image
        self.readout_ids = list(range(first_new_id, first_new_id + num_readouts))
        self._prompts: dict[tuple[str, int], list[int]] = {}

    def prompt(self, instruction: str, num_images: int) -> list[int]:
        """Token ids of pictures and instruction, without [LRN]."""
        marks = [self.image_token_id] * (self.tokens_per_image * num_images)
        return [*marks, *self.tokenizer.encode(instruction, add_special_tokens=False)]

    def collate(self, instructions: Sequence[str], num_images: int) -> dict[str, Tensor]:
        """One row per instruction: prompt, then [LRN] directly after it, padded on the right to the longest row."""
        rows = [self._prompt(text, num_images) + self.readout_ids for text in instructions]
        length, num_readouts = max(map(len, rows)), len(self.readout_ids)
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        mask = torch.zeros_like(ids)
        ends = torch.tensor([len(row) for row in rows])
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        positions = ends[:, None] - num_readouts + torch.arange(num_readouts)
        inputs = {"input_ids": ids, "attention_mask": mask, "readout_positions": positions}
        for name, value in self.readout_values.items():
            inputs[name] = torch.zeros_like(ids).scatter(1, positions, value)
        return inputs

    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        """Normalised pictures in the layout of the family's forward: by default row after row, camera after camera."""
        return {"pixel_values": torch.stack(list(cameras), dim=1).flatten(0, 1)}

    def hidden(self, model: Any, inputs: dict[str, Tensor]) -> Float[Tensor, "N L D"]:
        return model.model(**inputs, use_cache=False).last_hidden_state

    def _prompt(self, instruction: str, num_images: int) -> list[int]:
        key = (instruction, num_images)
        if key not in self._prompts:
            self._prompts[key] = self.prompt(instruction, num_images)
        return self._prompts[key]


class Encoded:
    """One pass of the VLM over a batch, made when something is first read from it.

    Heads take what they need: `readout`, every token, or vocabulary logits at chosen positions.
    """

    def __init__(self, backbone: Backbone, batch: Batch):
        self._backbone, self._batch = backbone, batch

    @cached_property
    def tokens(self) -> Float[Tensor, "N L D"]:
        return self._backbone.hidden(self._batch)

    @property
    def mask(self) -> Bool[Tensor, "N L"]:
        return self._batch.inputs["attention_mask"].bool()

    @cached_property
    def readout(self) -> Float[Tensor, "B T K D"]:
        """Hidden states at the [LRN] tokens, in float32 whatever the backbone computes in."""
        positions = self._batch.inputs["readout_positions"]
        rows = torch.arange(len(positions), device=positions.device)[:, None]
        return self.tokens[rows, positions].float().unflatten(0, self._batch.shape)

    def logits(self, positions: Int[Tensor, "N P"]) -> Float[Tensor, "N P V"]:
        """Vocabulary logits, at these positions only: a whole row of them costs more than the rest of the model."""
        rows = torch.arange(len(positions), device=positions.device)[:, None]
        return self._backbone.model.get_output_embeddings()(self.tokens[rows, positions])


class Backbone(nn.Module):
    """A model, its adapter, and the learned action tokens [LRN]."""

    def __init__(self, model: Any, adapter: Adapter, *, autocast: torch.dtype | None = None):
        super().__init__()
        self.model, self.adapter, self.autocast = model, adapter, autocast
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
    def device(self) -> torch.device:
        return self.embedding.new.device

    def encode(self, batch: Batch) -> Encoded:
        return Encoded(self, batch)

    def hub_state(self) -> dict[str, Tensor]:
        """The model's weights under Hugging Face's own names: they open with plain `transformers`.

        The learned tokens stay out, and a tensor that is tied to another appears once.
        """
        wrapped = next(name for name, module in self.model.named_modules() if module is self.embedding)
        state: dict[str, Tensor] = {}
        seen: set[int] = set()
        for name, value in self.model.state_dict(keep_vars=True).items():
            if value is self.embedding.new or id(value) in seen:
                continue
            seen.add(id(value))
            state[name.replace(f"{wrapped}.base.", f"{wrapped}.")] = value.detach()
        return state

    def hidden(self, batch: Batch) -> Float[Tensor, "N L D"]:
        cameras = [normalise(x.flatten(0, 1), self.adapter.image_size) for x in batch.images.values()]
        inputs = {name: x for name, x in batch.inputs.items() if name != "readout_positions"}
        inputs |= self.adapter.pixels(cameras)
        with torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None):
            return self.adapter.hidden(self.model, inputs)


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

    @property
    def weight(self) -> Tensor:
        return self.base.weight

    @property
    def num_embeddings(self) -> int:
        return self.base.num_embeddings

    def forward(self, ids: Int[Tensor, "N L"]) -> Float[Tensor, "N L D"]:
        is_new = ids >= self.base.num_embeddings
        x = self.base(ids.masked_fill(is_new, 0))
        new = (self.new * self.scale).to(x.dtype)
        # Not new[...]: the backward of indexing adds in the order in which threads come, another one in every run.
        return torch.where(is_new[..., None], F.embedding((ids - self.base.num_embeddings).clamp(min=0), new), x)


@runtime_checkable
class BackboneConfig(Protocol):
    """A frozen dataclass that can build its backbone. Yours needs nothing else to stand in a recipe."""

    def build(self, *, pretrained: bool = True) -> Backbone: ...
