"""One frame a robot and call -> its chunk, with explicit state: what a policy does between two looks.

`post` keeps the window of features that the head has seen, `pre` the window of embedded frames. No frame is encoded
twice, a robot's row is as long as its own text needs, and whatever robots share a call, each gets what it gets alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from volition.compat.model import RoboVLM, Rows


@dataclass(frozen=True)
class Memory:
    """What one robot has seen, oldest first: `features` with history 'post', `frames` with 'pre'."""

    features: Float[Tensor, "_ F"]
    frames: tuple[Rows, ...] = ()


def start(model: RoboVLM) -> Memory:
    """Nothing seen."""
    assert model.act_head is not None
    return Memory(model.act_head.start())


def step(
    model: RoboVLM, frames: Sequence[Rows], memories: Sequence[Memory]
) -> tuple[Float[Tensor, "B H C"], Float[Tensor, "B H 1"], list[Memory]]:
    """`frames`: one row a robot, made by `model.row` -> arm in [-1, 1], gripper logits, new memories.

    The chunk is the newest frame's.
    """
    head = model.act_head
    assert head is not None
    if model.config.act_head.history_type != "pre":
        features = torch.cat([head.features(x)[:, 0] for x in tokens(model, [(frame,) for frame in frames])])
        arm, gripper, seen = head.step(features, [memory.features for memory in memories])
        return arm, gripper, [Memory(x) for x in seen]
    windows = [(*m.frames, frame)[-model.config.window_size :] for m, frame in zip(memories, frames, strict=True)]
    arm, gripper = head.last([head.features(x)[0] for x in tokens(model, windows)])
    return arm, gripper, [Memory(memory.features, window) for memory, window in zip(memories, windows, strict=True)]


def tokens(model: RoboVLM, windows: Sequence[Sequence[Rows]]) -> list[Float[Tensor, "1 T K D"]]:
    """The states that the head reads, for every frame of every robot's window, in one pass."""
    embeds = pad_sequence([torch.cat([row.embeds[0] for row in window]) for window in windows], batch_first=True)
    mask = pad_sequence([torch.cat([row.mask[0] for row in window]) for window in windows], batch_first=True)
    hidden = model.family.hidden(model.backbone, embeds, mask)
    read = []
    for states, window in zip(hidden, windows, strict=True):
        starts = accumulate((row.mask.shape[1] for row in window), initial=0)
        read.append(torch.stack([states[row.positions[0] + begin] for row, begin in zip(window, starts)])[None])
    return read
