"""Keys and values that outlive one pass: decoding token by token, and interleaved history step by step.

    Context (one robot's new tokens and pictures) + Memory (what its row held before) -> read-out, Memory

Rows of equal length and equal past go through the model together, without padding: so any family's own cache does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

Layers = tuple[tuple[Tensor, Tensor], ...]  # keys and values [heads, L, d] of every decoder layer


@runtime_checkable
class Runner(Protocol):
    """What makes the passes of a VLM: a `Backbone`, or one that was exported. All that acting needs of either."""

    @property
    def num_readouts(self) -> int: ...
    @property
    def streams(self) -> bool: ...  # whether a row can go on from kept keys and values
    @property
    def device(self) -> torch.device: ...

    def run(self, inputs: Mapping[str, Tensor], images: Sequence[Tensor], cache: Any | None = None) -> Tensor: ...
    def logits(self, hidden: Tensor) -> Tensor: ...
    def new_cache(self) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Context:
    """Tokens of one row, without padding, and the pictures that they mark."""

    inputs: dict[str, Tensor]  # per-token tensors [L]
    images: tuple[Tensor, ...]  # uint8[height, width, 3]
    states: Float[Tensor, "T S"]  # of the robot, one for every observation step in the row

    @property
    def length(self) -> int:
        return len(self.inputs["input_ids"])

    def __add__(self, later: Context) -> Context:
        inputs = {name: torch.cat([x, later.inputs[name]]) for name, x in self.inputs.items()}
        states = torch.cat([self.states, later.states])
        return Context(inputs=inputs, images=self.images + later.images, states=states)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a robot's row holds so far: its latest steps, and the keys and values of all of them."""

    steps: int  # in the row
    recent: tuple[Context, ...]  # the latest of them, one Context a step
    layers: Layers = field(repr=False)  # none for a family without such a cache: its row is read again every time

    @property
    def length(self) -> int:
        return self.layers[0][0].shape[1] if self.layers else 0


class Pass:
    """Rows that are equally long, with equally long pasts: one cache, no padding."""

    def __init__(
        self, backbone: Runner, rows: list[int], contexts: Sequence[Context], memories: Sequence[Memory | None]
    ):
        self.rows, self._backbone, self.cache = rows, backbone, backbone.new_cache()
        pasts = [memory for i in rows if (memory := memories[i]) is not None]
        for number in range(len(pasts[0].layers) if pasts else 0):
            pairs = [memory.layers[number] for memory in pasts]
            self.cache.update(torch.stack([k for k, _ in pairs]), torch.stack([v for _, v in pairs]), number)
        chosen = [contexts[i] for i in rows]
        inputs = {name: torch.stack([c.inputs[name] for c in chosen]) for name in chosen[0].inputs}
        past = pasts[0].length if pasts else 0
        self._mask = inputs["attention_mask"].new_ones(len(rows), past + chosen[0].length)
        # What the family wants to know about a token besides its id goes on as it was at the last one.
        self._more = {name: x[:, -1:] for name, x in inputs.items() if name not in ("input_ids", "attention_mask")}
        images = [torch.stack(shown) for shown in zip(*(c.images for c in chosen))]
        self.hidden = backbone.run(inputs | {"attention_mask": self._mask}, images, self.cache)

    @property
    def length(self) -> int:
        """Tokens in every row, its past included."""
        return self._mask.shape[1]

    def push(self, ids: Int[Tensor, "n"]) -> None:
        """Append one token to every row."""
        self._mask = torch.cat([self._mask, self._mask[:, :1]], dim=1)
        inputs = {"input_ids": ids[:, None], "attention_mask": self._mask, **self._more}
        self.hidden = self._backbone.run(inputs, [], self.cache)

    def fork(self) -> Pass:
        """The same rows to go on with, leaving these as they are."""
        other = copy(self)
        other.cache = deepcopy(self.cache)
        return other

    def layers(self, row: int) -> Layers:
        return tuple((layer.keys[row], layer.values[row]) for layer in self.cache.layers)


class Decoder:
    """Token by token after the rows of a batch, which keep their order."""

    def __init__(self, passes: Sequence[Pass]):
        self._passes = passes

    @property
    def hidden(self) -> Float[Tensor, "N D"]:
        """At the last token of every row, in float32."""
        return in_order([(one.rows, one.hidden[:, -1].float()) for one in self._passes])

    def push(self, ids: Int[Tensor, "N"]) -> None:
        """Append one token to every row."""
        for one in self._passes:
            one.push(ids[one.rows])


def run_rows(backbone: Runner, contexts: Sequence[Context], memories: Sequence[Memory | None]) -> list[Pass]:
    """Every row once, those that fit together in one pass."""
    alike: dict[Any, list[int]] = defaultdict(list)
    for i, (context, memory) in enumerate(zip(contexts, memories)):
        sizes = tuple(x.shape for x in context.images)
        alike[memory.length if memory else 0, context.length, sizes].append(i)
    return [Pass(backbone, rows, contexts, memories) for rows in alike.values()]


def attended(cache: Any) -> list[Any]:
    """Layers of a cache with keys and values: not recurrent ones, and none where rows are read again."""
    return [layer for layer in cache.layers if getattr(layer, "keys", None) is not None]


def in_order(parts: Sequence[tuple[list[int], Tensor]]) -> Tensor:
    """Rows of several passes, back in the order of the batch."""
    first = parts[0][1]
    whole = first.new_empty(sum(len(rows) for rows, _ in parts), *first.shape[1:])
    for rows, x in parts:
        whole[rows] = x
    return whole
