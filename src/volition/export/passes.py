"""The part of a policy that costs: the passes of its VLM, as functions of tensors alone.

    tokens [N, L] ..., pictures uint8[N, H, W, 3] ..., keys and values of what came before ...
        --PassGraph--> last hidden states float32[N, L, D], keys and values of these tokens ...

Whatever a head reads, it asks the VLM for passes of a few kinds (`calls_of` finds out which), so any head and history
goes with any model: what is exported, captured or compiled is a pass, and everything else stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import DynamicCache

from volition.backbones.adapter import Adapter
from volition.backbones.base import Backbone
from volition.backbones.images import fit, normalise
from volition.contract import RobotSpec
from volition.policy import Acting, Policy
from volition.records import Observation

Pass = Callable[[Sequence[Tensor]], Sequence[Tensor]]  # as `PassGraph.forward`, of a list
POSITIONS = "readout_positions"  # made by adapters beside the tokens, and read from the result


@dataclass(frozen=True, kw_only=True)
class PassKind:
    """What goes into a pass and what comes out; passes of one kind share a graph, whatever their sizes."""

    inputs: tuple[str, ...]  # names of what has a value for every token
    num_pictures: int  # a row
    past: bool  # keys and values of earlier tokens go in
    keep: bool  # those of these tokens come out

    @classmethod
    def of(cls, inputs: Mapping[str, Tensor], num_pictures: int, cache: Any | None) -> PassKind:
        names = tuple(sorted(inputs.keys() - {POSITIONS}))
        past = cache is not None and cache.get_seq_length() > 0
        return cls(inputs=names, num_pictures=num_pictures, past=past, keep=cache is not None)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PassKind:
        return cls(**{**document, "inputs": tuple(document["inputs"])})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def tensors(self, inputs: Mapping[str, Tensor], images: Sequence[Tensor], cache: Any | None) -> list[Tensor]:
        """Tokens by name, pictures in prompt order, keys and values layer by layer. Rows are the first axis of all."""
        before = cache.layers if self.past and cache is not None else []
        kept = [x for layer in before for x in (layer.keys, layer.values)]
        return [*(inputs[name] for name in self.inputs), *images, *kept]


class PassGraph(nn.Module):
    """One kind of pass of a backbone, as an export or a capture wants it: tensors in, tensors out."""

    def __init__(self, backbone: Backbone, kind: PassKind):
        super().__init__()
        self.model, self.embedding, self.resampler = backbone.model, backbone.embedding, backbone.resampler
        self.adapter, self.kind = backbone.adapter, kind

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        kind, words = self.kind, len(self.kind.inputs)
        given = dict(zip(kind.inputs, tensors))
        shown, kept = tensors[words : words + kind.num_pictures], tensors[words + kind.num_pictures :]
        if shown:
            given |= self.adapter.pixels([normalise(x, self.adapter.pictures) for x in shown])
        if not kind.keep:
            return (self.adapter.hidden(self.model, given, None).float(),)
        cache = DynamicCache(config=self.model.config.get_text_config())
        for number, (keys, values) in enumerate(zip(kept[::2], kept[1::2])):
            cache.update(keys, values, number)
        hidden = self.adapter.hidden(self.model, given, cache).float()
        before = kept[0].shape[2] if kept else 0
        new = (x[:, :, before:] for layer in cache.layers for x in (layer.keys, layer.values))
        return (hidden, *new)


class Passes:
    """A `Runner` that has its passes from elsewhere. `find`: a kind, and tensors of that kind -> the pass for them."""

    def __init__(
        self, adapter: Adapter, find: Callable[[PassKind, Sequence[Tensor]], Pass], device: torch.device | None = None
    ):
        self._adapter, self._find, self.device = adapter, find, device or torch.device("cpu")

    @property
    def num_readouts(self) -> int:
        return len(self._adapter.readout_ids)

    @property
    def streams(self) -> bool:
        return self._adapter.streams

    def run(
        self, inputs: Mapping[str, Tensor], images: Sequence[Tensor], cache: Any | None = None
    ) -> Float[Tensor, "N L D"]:
        kind = PassKind.of(inputs, len(images), cache)
        tensors = kind.tensors(inputs, [fit(x, self._adapter.pictures) for x in images], cache)
        hidden, *new = self._find(kind, tensors)(tensors)
        for number, (keys, values) in enumerate(zip(new[::2], new[1::2])):
            assert cache is not None, "a pass that keeps nothing gives no keys"
            cache.update(keys, values, number)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        raise ValueError("words are no part of these passes: ask the policy itself for logits of the vocabulary")

    def new_cache(self) -> Any:
        return DynamicCache()


def require_streams(backbone: Backbone, advice: str) -> None:
    """ValueError where what a model remembers cannot go into a pass and out of it."""
    if not backbone.streams:
        raise ValueError(
            f"a {backbone.model.config.model_type} model remembers more than keys and values (a sliding window, a "
            f"recurrent state): {advice} with a head that reads read-outs, without interleaved history"
        )


class Listening:
    """A `Runner` that keeps the first call of every kind.

    ValueError where a memory that is more than keys and values would have to go in or out.
    """

    def __init__(self, backbone: Backbone):
        self._backbone = backbone
        self.calls: dict[PassKind, list[Tensor]] = {}

    @property
    def num_readouts(self) -> int:
        return self._backbone.num_readouts

    @property
    def streams(self) -> bool:
        return self._backbone.streams

    @property
    def device(self) -> torch.device:
        return self._backbone.device

    def run(self, inputs: Mapping[str, Tensor], images: Sequence[Tensor], cache: Any | None = None) -> Tensor:
        if cache is not None:
            require_streams(self._backbone, "export it")
        kind = PassKind.of(inputs, len(images), cache)
        if kind not in self.calls:
            shown = [fit(x, self._backbone.adapter.pictures) for x in images]
            self.calls[kind] = [x.clone() for x in kind.tensors(inputs, shown, cache)]
        return self._backbone.run(inputs, images, cache)

    def logits(self, hidden: Tensor) -> Tensor:
        return self._backbone.logits(hidden)

    def new_cache(self) -> Any:
        return self._backbone.new_cache()


def calls_of(policy: Policy, seen: Iterator[Observation]) -> dict[PassKind, list[Tensor]]:
    """Every kind of pass that the policy's acting takes, with tensors of two rows to try it on."""
    listening = Listening(policy.backbone)
    actor = Acting(listening, policy.head, policy.collator, policy.max_steps)
    states = actor.start(2)
    for _ in range(policy.max_steps + 1 if policy.collator.interleaved else 1):  # until a full row has begun anew
        _, states = actor.act([next(seen), next(seen)], states)
    return listening.calls


def noise(robot: RobotSpec, seed: int = 0) -> Iterator[Observation]:
    """What a robot may see, made of noise; without end."""
    rng = np.random.default_rng(seed)
    while True:
        images = {name: rng.integers(0, 256, (1, *size, 3), np.uint8) for name, size in robot.image_sizes.items()}
        yield Observation(images, np.zeros((1, len(robot.state)), np.float32), "put the red block into the drawer")
