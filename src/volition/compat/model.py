"""A whole policy of the reference: images and words -> rows of embeddings -> states at the action tokens -> head.

One row a frame: [first token] [gripper camera] [static camera] [text ...] [action tokens] [last token]. Text is padded
on the right before the action tokens are put in, so that in a shorter sentence they stand among the padding.

    post   every frame is a row of its own; the head sees the window's states
    pre    the window's rows are joined into one; causal, so later frames see earlier ones
    video  the images of all frames stand in one row; there is one state for the window
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from volition.backbones.resampler import PerceiverResampler
from volition.compat.config import RoboVLMsConfig
from volition.compat.families import FAMILIES
from volition.compat.heads import ActHead, make_head

FIRST, LAST = 1, 1  # tokens before the images, and after the action tokens


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Preprocessed pictures and tokenised text, padded on the right."""

    static: Float[Tensor, "B T 3 S S"]
    gripper: Float[Tensor, "B T 3 S S"] | None
    ids: Int[Tensor, "R W"]  # R = B; with discrete actions B * T, as every frame has a text of its own
    mask: Int[Tensor, "R W"]  # 0 on padding


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What the language model gets, and which of its states are read."""

    embeds: Float[Tensor, "N L D"]
    mask: Int[Tensor, "N L"]
    positions: Int[Tensor, "N K"]

    def joined(self, steps: int) -> Rows:
        """`steps` rows after another become one."""
        length = self.mask.shape[1]
        offsets = torch.arange(steps, device=self.mask.device)[:, None] * length
        return Rows(
            embeds=self.embeds.unflatten(0, (-1, steps)).flatten(1, 2),
            mask=self.mask.unflatten(0, (-1, steps)).flatten(1, 2),
            positions=(self.positions.unflatten(0, (-1, steps)) + offsets).flatten(1, 2),
        )


class RoboVLM(nn.Module):
    """`backbone` is the Hugging Face model. State-dict names are the reference's, the backbone's own inside it."""

    def __init__(self, config: RoboVLMsConfig, backbone: Any):
        super().__init__()
        self.config, self.backbone = config, backbone
        self.family = FAMILIES[config.robovlm_name]
        width, head = self.family.width(backbone), config.act_head
        self.action_token = nn.Parameter(torch.zeros(width)) if head.action_space == "continuous" else None
        self.act_head: ActHead | None = None
        if head.action_space != "discrete":
            self.act_head = make_head(head, width, chunk=config.fwd_pred_next_n, window=config.window_size)
        self.vision_resampler = PerceiverResampler(width) if config.use_vision_resampler else None

    def forward(self, inputs: Inputs) -> tuple[Float[Tensor, "B T H C"], Float[Tensor, "B T H 1"]]:
        """Arm in [-1, 1] and gripper logits for every step of the window (T = 1 with history 'video')."""
        assert self.act_head is not None, "a discrete policy has no head: see discrete.py"
        return self.act_head(self.tokens(inputs))

    def tokens(self, inputs: Inputs) -> Float[Tensor, "B T K D"]:
        """The states that the head reads."""
        rows = self.rows(inputs)
        batch, steps = inputs.static.shape[:2]
        states = self.states(rows.joined(steps) if self.config.act_head.history_type == "pre" else rows)
        return states.reshape(batch, -1, rows.positions.shape[1], states.shape[-1])

    def states(self, rows: Rows) -> Float[Tensor, "N K D"]:
        """The language model's last states at `rows.positions`."""
        hidden = self.family.hidden(self.backbone, rows.embeds, rows.mask)
        return hidden.gather(1, rows.positions[..., None].expand(-1, -1, hidden.shape[-1]))

    def rows(self, inputs: Inputs) -> Rows:
        """One row a frame (b-major), or one for all frames with history 'video'."""
        cameras = [self.images(x) for x in (inputs.static, inputs.gripper) if x is not None]
        if self.config.act_head.history_type == "video":
            return self.row(inputs.ids, inputs.mask, [x.flatten(1, 2) for x in cameras])
        steps = inputs.static.shape[1]
        ids, mask = (x.repeat_interleave(steps, dim=0) for x in (inputs.ids, inputs.mask))
        return self.row(ids, mask, [x.flatten(0, 1) for x in cameras])

    def row(self, ids: Int[Tensor, "N W"], mask: Int[Tensor, "N W"], cameras: Sequence[Float[Tensor, "N V D"]]) -> Rows:
        """Text, image features (static, gripper) and action tokens in their order."""
        head, words = self.config.act_head, ids.shape[1] - FIRST - LAST
        embeds = self.family.embed(self.backbone, ids)
        for features in cameras:  # the later one goes in front of the earlier one
            embeds = insert(embeds, features, FIRST)
            mask = insert(mask, mask.new_ones(features.shape[:2]), FIRST)
        end = embeds.shape[1] - LAST
        if self.action_token is not None:
            learned = self.action_token.to(embeds.dtype).expand(len(ids), head.latent, -1)
            embeds = insert(embeds, learned, end)
            mask = insert(mask, mask.new_full(learned.shape[:2], 0 if head.fill_zero else 1), end)
            read = range(end, end + head.latent)
        else:
            sources = {"all": range(end + LAST), "text": range(end - words, end), "vision": range(FIRST, end - words)}
            read = sources[head.token_source]
        positions = torch.arange(read.start, read.stop, device=ids.device).expand(len(ids), -1)
        return Rows(embeds=embeds, mask=mask, positions=positions)

    def reference_name(self, name: str) -> str:
        """A name of our state dict -> the reference's."""
        if name.startswith("backbone."):
            return "backbone." + self.family.reference_name(name.removeprefix("backbone."))
        return name

    def images(self, pixels: Float[Tensor, "B T 3 S S"]) -> Float[Tensor, "B T V D"]:
        features = self.family.encode_images(self.backbone, pixels.flatten(0, 1))
        if self.vision_resampler is not None:
            features = self.vision_resampler(features)
        return features.unflatten(0, pixels.shape[:2])


def insert(sequence: Tensor, new: Tensor, index: int) -> Tensor:
    """`new` [N, M, ...] before position `index` of `sequence` [N, L, ...]."""
    return torch.cat([sequence[:, :index], new, sequence[:, index:]], dim=1)
