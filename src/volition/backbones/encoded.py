"""What a head gets: one pass of the VLM over a batch, made when something is first read from it."""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from volition.backbones.stream import Context, Decoder, Runner, attended, run_rows
from volition.types import Batch


class Encoded:
    """One pass of the VLM over a batch, made when something is first read from it.

    Heads take what they need: `readout`, every token, the keys and values of every layer, vocabulary logits at chosen
    positions, hidden states of tokens of their own after [LRN] (`extend`), or step-by-step decoding (`decoder`).
    """

    def __init__(self, backbone: Runner, batch: Batch):
        self._backbone, self._batch = backbone, batch

    @cached_property
    def tokens(self) -> Float[Tensor, "N L D"]:
        return self._backbone.run(self._batch.inputs, pictures(self._batch))

    @property
    def mask(self) -> Bool[Tensor, "N L"]:
        return self._batch.inputs["attention_mask"].bool()

    @cached_property
    def readout(self) -> Float[Tensor, "B T K D"]:
        """Hidden states at the [LRN] tokens, in float32 whatever the backbone computes in."""
        found = at(self.tokens, self._batch.inputs["readout_positions"]).float()
        return found.reshape(*self._batch.shape, -1, found.shape[-1])

    @cached_property
    def layers(self) -> list[tuple[Float[Tensor, "B T heads L d"], Float[Tensor, "B T heads L d"]]]:
        """Keys and values of every decoder layer that keeps them; read before `tokens`, they cost no second pass.

        What a step may look at is in `step_mask`.
        """
        cache = self._backbone.new_cache()
        self.__dict__["tokens"] = self._backbone.run(self._batch.inputs, pictures(self._batch), cache)
        count, steps = self._batch.shape

        def per_step(x: Tensor) -> Tensor:
            if one_step_a_row(self._batch):
                return x.unflatten(0, (count, steps))
            return x[:, None].expand(-1, steps, -1, -1, -1)

        kept = attended(cache)
        if not kept:
            raise ValueError(
                "a head that reads the keys and values of the layers needs a model that keeps them, and no layer did; "
                "with loop.recompute.language none can: set it to 'nothing'"
            )
        return [(per_step(layer.keys), per_step(layer.values)) for layer in kept]

    @property
    def step_mask(self) -> Bool[Tensor, "B T L"]:
        """The tokens up to each step's last [LRN]."""
        count, steps = self._batch.shape
        ends = self._batch.inputs["readout_positions"].reshape(count, steps, -1)[..., -1:]
        return torch.arange(self.mask.shape[1], device=ends.device) <= ends

    def logits(self, positions: Int[Tensor, "N P"]) -> Float[Tensor, "N P V"]:
        """Vocabulary logits, at these positions only: a whole row of them costs more than the rest of the model."""
        return self._backbone.logits(at(self.tokens, positions))

    def extend(self, ids: Int[Tensor, "B T M"]) -> Float[Tensor, "B T M D"]:
        """Hidden states of tokens put directly after each step's [LRN]. Nothing else sees them, later steps neither.

        With one step a row this is one pass and `tokens` need not be read as well; with interleaved history it is one
        pass for every step.
        """
        count, steps = self._batch.shape
        if one_step_a_row(self._batch):
            return self._extend(self._batch, ids.flatten(0, 1)).unflatten(0, (count, steps))
        return torch.stack([self._extend(first_steps(self._batch, t + 1), ids[:, t]) for t in range(steps)], dim=1)

    def decoder(self) -> Decoder:
        """Decoding after the last [LRN] of every row, with a cache of keys and values; inference only."""
        rows = contexts(self._batch)
        return Decoder(run_rows(self._backbone, rows, [None] * len(rows)))

    def _extend(self, batch: Batch, ids: Int[Tensor, "N M"]) -> Float[Tensor, "N M D"]:
        inputs, positions = extended(batch, ids)
        return at(self._backbone.run(inputs, pictures(batch)), positions).float()


class Stored(Encoded):
    """Read-outs that were computed before: all that most heads need."""

    def __init__(self, readout: Float[Tensor, "B T K D"]):
        self.readout = readout


def at(hidden: Float[Tensor, "N L D"], positions: Int[Tensor, "N P"]) -> Float[Tensor, "N P D"]:
    """What stands at these positions of every row."""
    return hidden[torch.arange(positions.shape[0], device=positions.device)[:, None], positions]


def one_step_a_row(batch: Batch) -> bool:
    """Else (interleaved history) a row holds all steps of its window."""
    count, steps = batch.shape
    return len(batch.inputs["input_ids"]) == count * steps


def pictures(batch: Batch) -> list[Tensor]:
    """uint8[N, h, w, 3] for every picture of a row, in the order of its prompt: step by step, camera by camera."""
    if one_step_a_row(batch):
        return [x.flatten(0, 1) for x in batch.images.values()]
    return [x[:, t] for t in range(batch.shape[1]) for x in batch.images.values()]


def extended(batch: Batch, ids: Int[Tensor, "N M"]) -> tuple[dict[str, Tensor], Int[Tensor, "N M"]]:
    """Inputs with tokens put directly after the last [LRN] of every row, and the positions of those."""
    ends = batch.inputs["readout_positions"][:, -1:] + 1
    positions = ends + torch.arange(ids.shape[1], device=ends.device)
    inputs = {}
    for name, x in batch.inputs.items():
        if x.shape != batch.inputs["input_ids"].shape:
            inputs[name] = x
            continue
        # A per-token input goes on with the value that it has at [LRN]; the mask with 1.
        added = ids if name == "input_ids" else x.gather(1, ends - 1).expand_as(ids)
        inputs[name] = torch.cat([x, torch.zeros_like(ids)], dim=1).scatter(1, positions, added)
    return inputs, positions


def first_steps(batch: Batch, steps: int) -> Batch:
    """The first steps of rows that hold several, as if nothing had come after."""
    readouts = batch.inputs["readout_positions"].unflatten(1, (batch.shape[1], -1))[:, :steps]
    ends = readouts[:, -1, -1:] + 1
    before = torch.arange(batch.inputs["input_ids"].shape[1], device=ends.device) < ends
    length = int(ends.max())
    inputs = {
        name: (x * before)[:, :length] if x.shape == batch.inputs["input_ids"].shape else x
        for name, x in batch.inputs.items()
    }
    return Batch(
        inputs=inputs | {"readout_positions": readouts.flatten(1)},
        images={name: x[:, :steps] for name, x in batch.images.items()},
        state=batch.state[:, :steps],
    )


def contexts(batch: Batch) -> list[Context]:
    """Every row by itself, without its padding; its inputs are those that have a value for every token."""
    shown = pictures(batch)
    shape = batch.inputs["input_ids"].shape
    states = batch.state.flatten(0, 1).unflatten(0, (shape[0], -1))  # there may be none of it
    return [
        Context(
            inputs={name: x[i, :length] for name, x in batch.inputs.items() if x.shape == shape},
            images=tuple(x[i] for x in shown),
            states=states[i],
        )
        for i, length in enumerate(batch.inputs["attention_mask"].sum(1).tolist())
    ]
