"""Interleaved history at inference: one new observation step a robot, read after those that its row holds already.

A row grows step by step, keys and values kept, up to the T steps of a training window; then it begins anew with its
newest few. So every step is read exactly as in a window of training, at the price of a memory that shortens now and
then. (A cache without its oldest step would still hold what later steps had read from it: no window does that.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from volition.backbones.encoded import Encoded, Stored, contexts
from volition.backbones.stream import Context, Decoder, Memory, Pass, Runner, attended, in_order, run_rows
from volition.types import Batch


class Streamed(Encoded):
    """Heads see one step (T = 1) of every robot; what came before is in the caches of its passes."""

    def __init__(self, backbone: Runner, batch: Batch, passes: list[Pass], readout: Float[Tensor, "B 1 K D"]):
        super().__init__(backbone, batch)
        self._passes, self.readout = passes, readout

    @property
    def tokens(self) -> Tensor:
        raise ValueError("with interleaved history a head reads [LRN] only: the tokens of earlier steps are not kept")

    @cached_property
    def layers(self) -> list[tuple[Float[Tensor, "B 1 heads L d"], Float[Tensor, "B 1 heads L d"]]]:
        """Of whole rows, earlier steps included, each padded after its end to the longest."""
        longest = self.step_mask.shape[-1]

        def joined(pick: Callable[[Any], Tensor], number: int) -> Tensor:
            parts = [(one, pick(attended(one.cache)[number])) for one in self._passes]
            return in_order([(one.rows, F.pad(x, (0, 0, 0, longest - one.length))) for one, x in parts])[:, None]

        count = len(attended(self._passes[0].cache))
        return [(joined(lambda x: x.keys, i), joined(lambda x: x.values, i)) for i in range(count)]

    @property
    def step_mask(self) -> Bool[Tensor, "B 1 L"]:
        """Whole rows without their padding."""
        lengths = in_order([(one.rows, torch.full((len(one.rows),), one.length)) for one in self._passes])
        return (torch.arange(int(lengths.max())) < lengths[:, None, None]).to(self.readout.device)

    def decoder(self) -> Decoder:
        return Decoder([one.fork() for one in self._passes])


@dataclass(frozen=True, kw_only=True)
class Recalled:
    """Steps with which a row began anew, of one robot (B = 1), for heads with a memory of their own."""

    encoded: Encoded
    batch: Batch


def stream(
    backbone: Runner, batch: Batch, memories: Sequence[Memory | None], *, max_steps: int, keep: int
) -> tuple[Streamed, list[Memory], dict[int, Recalled]]:
    """`batch` holds the newest step of every robot (T = 1). Returns also the new memories and the rows begun anew.

    max_steps: T of training; a row that has as many begins anew with its newest `keep` steps, 0 <= keep < max_steps.
    """
    if not 0 <= keep < max_steps:
        raise ValueError(f"keep={keep} must be in 0..{max_steps - 1}: a new row has room for the newest step as well")
    streams = backbone.streams
    keep = keep if streams else max_steps - 1  # without a cache every row is read again, so it may as well be full
    new = contexts(batch)
    again = [memory is not None and (memory.steps >= max_steps or not streams) for memory in memories]
    steps = [
        (*memory.recent[max(0, len(memory.recent) - keep) :], context) if memory and anew else (context,)
        for memory, context, anew in zip(memories, new, again)
    ]
    pasts = [None if anew else memory for memory, anew in zip(memories, again)]
    passes = run_rows(backbone, [_join(parts) for parts in steps], pasts)
    found = {row: (one, i) for one in passes for i, row in enumerate(one.rows)}
    updated, recalled = [], {}
    for row, (parts, past) in enumerate(zip(steps, pasts)):
        one, i = found[row]
        recent = (*(past.recent if past else ()), *parts)[-max_steps:]
        layers = one.layers(i) if streams else ()
        updated.append(Memory(steps=(past.steps if past else 0) + len(parts), recent=recent, layers=layers))
        if again[row] and len(parts) > 1:
            recalled[row] = _recall(backbone, one.hidden[i], parts[:-1])
    last = in_order([(one.rows, one.hidden[:, -backbone.num_readouts :].float()) for one in passes])
    return Streamed(backbone, batch, passes, last[:, None]), updated, recalled


def _join(steps: Sequence[Context]) -> Context:
    whole = steps[0]
    for step in steps[1:]:
        whole = whole + step
    return whole


def _recall(backbone: Runner, hidden: Float[Tensor, "L D"], steps: Sequence[Context]) -> Recalled:
    """Read-outs at the end of each of these steps, from the pass over a row that begins with them."""
    readouts, states, end = [], [], 0
    for step in steps:
        end += step.length
        readouts.append(hidden[end - backbone.num_readouts : end].float())
        states.append(step.states)
    empty = Batch(inputs={}, images={}, state=torch.cat(states)[None])
    return Recalled(encoded=Stored(torch.stack(readouts)[None]), batch=empty)
