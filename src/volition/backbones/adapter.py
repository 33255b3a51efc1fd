"""What differs between families of vision-language models: prompts, pictures, and how their forward is called.

An `Adapter` looks at a model once, when it is made, and then knows all that is needed to make its inputs: the marks
around pictures, the number of tokens that stand for one, the layout of pixels, extra inputs per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from volition.backbones.images import Pictures

IMAGE_TOKEN = ("image_token_id", "image_token_index")  # names in configs; the first that is there counts
BEFORE_IMAGE = ("vision_start_token_id", "image_start_token_id", "boi_token_id", "boi_token_index", "im_start_id")
AFTER_IMAGE = ("vision_end_token_id", "image_end_token_id", "eoi_token_id", "eoi_token_index", "im_end_id")


class Adapter:
    """Right for most Hugging Face image-text-to-text models; subclass and override where a family differs.

    tokenizer: its `encode(text, add_special_tokens=False) -> list[int]` makes the prompt.
    model: is asked for its config, its forward's inputs and the tokens that it makes of a picture, and not kept.
    """

    # Whether a row can go on from kept keys and values (interleaved history, decoding); else rows are read again.
    streams: bool = True
    interleaves: ClassVar[bool] = True  # whether a row can hold several steps, each with pictures of its own
    any_size: ClassVar[bool] = False  # whether the tower takes pictures of any size
    merge: ClassVar[int] = 0  # patches on a side of what becomes one token, where the config does not name it
    readout_values: ClassVar[dict[str, int]] = {}  # per-token inputs besides ids and mask: value at the [LRN] tokens
    image_types: ClassVar[tuple[str, ...]] = ("mm_token_type_ids",)  # inputs that are 1 where a token is of a picture
    image_token: ClassVar[str] = ""  # the mark for a piece of a picture, where the config does not name its id
    before: ClassVar[tuple[str, ...]] = ()  # tokens around every picture that the config does not name either
    after: ClassVar[tuple[str, ...]] = ()
    row_end: ClassVar[str] = ""  # a token between the rows of a picture

    def __init__(self, tokenizer: Any, model: Any, *, pictures: Pictures, num_readouts: int = 1):
        self.tokenizer, self.config, self.pictures = tokenizer, model.config, pictures
        self.image_token_id = self.find_image_token(tokenizer, model.config)
        self.takes = frozenset(signature(model.forward).parameters)
        first = vocabulary_size(model.get_input_embeddings())
        self.readout_ids = list(range(first, first + num_readouts))
        self.picture_ids = self.marks(self.count(model))
        plain = (type(layer) is DynamicLayer for layer in DynamicCache(config=self.config.get_text_config()).layers)
        self.streams = type(self).streams and all(plain)  # a sliding window and a recurrent state forget
        self._prompts: dict[tuple[str, int], list[int]] = {}

    def prompt(self, instruction: str, num_images: int) -> list[int]:
        """Token ids of pictures and instruction, without [LRN]."""
        return [*self.beginning(), *self.shown(num_images), *self.words(instruction)]

    def collate(
        self,
        instructions: Sequence[str],
        num_images: int,
        *,
        steps: int = 1,
        causal: bool = False,
        length: int = 0,
        multiple: int = 1,
    ) -> dict[str, Tensor]:
        """One row per instruction: prompt, then [LRN] directly after it, padded on the right to the longest row.

        Where `length` says more tokens than that, to so many; and to the next `multiple` of tokens.

        With `steps` > 1 (interleaved history) a row holds that many observation steps one after the other, each with
        its `num_images` pictures, its instruction and its [LRN]. A `causal` row is read from left to right even where
        the family would read a prompt in both directions, so that what comes later cannot change what came before.
        """
        if steps > 1 and not self.interleaves:
            raise ValueError(
                f"interleaved history needs a model that reads pictures where they stand in a row; "
                f"{self.config.model_type} reads them before the first word: choose another history or model"
            )
        rows = [(self._prompt(text, num_images) + self.readout_ids) * steps for text in instructions]
        longest = max(length, *map(len, rows))
        ids = torch.zeros(len(rows), longest + -longest % multiple, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        is_readout = (ids >= self.readout_ids[0]) & (ids <= self.readout_ids[-1])
        positions = is_readout.nonzero()[:, 1].view(len(rows), -1)
        inputs = {"input_ids": ids, "attention_mask": mask, "readout_positions": positions}
        for name, value in self.readout_values.items():
            inputs[name] = mask * value if causal else torch.zeros_like(ids).scatter(1, positions, value)
        return inputs

    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        """Normalised pictures in the layout of the family's forward: by default row after row, camera after camera."""
        return {"pixel_values": torch.stack(list(cameras), dim=1).flatten(0, 1)}

    def arguments(self, model: Any, inputs: dict[str, Tensor]) -> dict[str, Any]:
        """What the model's own forward takes, from `collate`'s inputs and `pixels`."""
        types = (inputs["input_ids"] == self.image_token_id).long()
        return inputs | {name: types for name in self.image_types if name in self.takes}

    def hidden(self, model: Any, inputs: dict[str, Tensor], cache: Any | None = None) -> Float[Tensor, "N L D"]:
        """Last hidden states. A `cache` (transformers' own) is read as what came before these tokens, and extended."""
        given = self.arguments(model, inputs)
        return model.base_model(**given, past_key_values=cache, use_cache=cache is not None).last_hidden_state

    @classmethod
    def require_marks(cls, tokenizer: Any, config: Any) -> None:
        """Raise ValueError if the tokenizer lacks a token that prompts of this family have."""
        cls.find_image_token(tokenizer, config)
        for token in (*cls.before, *cls.after, *filter(None, [cls.row_end])):
            token_id(tokenizer, token)

    @classmethod
    def find_image_token(cls, tokenizer: Any, config: Any) -> int:
        if cls.image_token:
            return token_id(tokenizer, cls.image_token)
        found = _named(config, IMAGE_TOKEN)
        if not found:
            raise ValueError(
                f"the config of a {config.model_type} model must name the token that stands for a piece of a picture "
                f"({' or '.join(IMAGE_TOKEN)}), and names none: is this a model that sees?"
            )
        if tokenizer.convert_ids_to_tokens(found[0]) is None:
            raise ValueError(
                f"the tokenizer must know the token for pictures, id {found[0]} in the config of the "
                f"{config.model_type} model, and does not: is it the one that belongs to the model?"
            )
        return found[0]

    def marks(self, count: int) -> list[int]:
        """What stands for one picture in the prompt, of which `count` tokens are pieces of the picture itself."""
        outer, inner = _named(self.config, BEFORE_IMAGE)[:1], _named(self.config, AFTER_IMAGE)[:1]
        before, after, ends = (
            [token_id(self.tokenizer, token) for token in tokens]
            for tokens in (self.before, self.after, [self.row_end] if self.row_end else [])
        )
        columns = self.columns() if ends else count
        row = [self.image_token_id] * columns
        rows = [*row, *[*ends, *row] * (count // columns - 1)] if columns else []
        return [*outer, *before, *rows, *after, *inner]

    def columns(self) -> int:
        """Tokens in a row of a picture, for families that mark where rows end."""
        patch = self.config.vision_config.patch_size * self.config.spatial_merge_size
        return self.pictures.size[1] // patch

    def count(self, model: Any) -> int:
        """Tokens that the model makes of one picture."""
        training = model.training
        with torch.no_grad():
            blank = torch.ones(1, 3, *self.pictures.size, device=model.device, dtype=model.dtype)
            eyes = model.eval() if hasattr(model, "get_image_features") else model.eval().base_model
            output = eyes.get_image_features(**self.pixels([blank]))
        model.train(training)
        found = output.last_hidden_state if output.pooler_output is None else output.pooler_output
        pieces = [found] if isinstance(found, Tensor) else found
        return sum(x[..., 0].numel() for x in pieces)

    def shown(self, num_images: int) -> list[int]:
        """What stands for all pictures of a step. A mark that both begins and ends one stands once between two."""
        ids = self.picture_ids
        if self.before and self.before == self.after:
            return [*ids[:-1] * num_images, *ids[-1:] * min(num_images, 1)]
        return ids * num_images

    def words(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def beginning(self) -> list[int]:
        """The mark that the tokenizer itself would begin with, if any."""
        start = getattr(self.tokenizer, "bos_token_id", None)
        return [start] if start is not None and self.tokenizer.encode("")[:1] == [start] else []

    def _prompt(self, instruction: str, num_images: int) -> list[int]:
        key = (instruction, num_images)
        if key not in self._prompts:
            self._prompts[key] = self.prompt(instruction, num_images)
        return self._prompts[key]


def token_id(tokenizer: Any, token: str) -> int:
    """Of a mark that must be one entry of the vocabulary."""
    found = tokenizer.get_vocab().get(token)
    if found is None:
        raise ValueError(
            f"the tokenizer must know {token!r}, which stands at pictures, and does not: "
            "is it the one that belongs to the model?"
        )
    return found


def vocabulary_size(embedding: Any) -> int:
    """Rows of a token embedding; one family (Idefics) keeps the trained ones in a table of their own."""
    return embedding.num_embeddings + getattr(embedding, "num_additional_embeddings", 0)


def _named(config: Any, names: tuple[str, ...]) -> list[int]:
    """The ids that a config gives under these names."""
    return [value for name in names if (value := getattr(config, name, None)) is not None]
