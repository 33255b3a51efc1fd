"""Discrete: every dimension of every action of the chunk is one token, one of 256 values over its range.

Tokens stand in the order of the chunk, action by action. A dimension says values of its own kind only, in training as
in acting: a binary one exactly its low or high.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from volition.backbones.base import Backbone, Encoded
from volition.contract import ActionSpace
from volition.heads.base import Head, is_high, masked_mean
from volition.heads.tokens import Range, Speech, TokenHead
from volition.types import Batch, Target


@dataclass(frozen=True, kw_only=True)
class DiscreteHeadConfig:
    num_bins: int = 256
    mu: float = 0.0  # of the mu-law, which makes bins fine near the middle of the range and coarse at its ends; 0: none
    stop: bool = False  # the chunk may end early, where demonstrations end; the robot then holds still
    hidden: int = 256

    def __post_init__(self) -> None:
        if self.num_bins < 2:
            raise ValueError(f"num_bins must be at least 2, got {self.num_bins}")
        if not self.mu >= 0:
            raise ValueError(f"mu must be 0 (no mu-law) or above, got {self.mu}")

    def build(
        self, backbone: Backbone, space: ActionSpace, *, num_obs_steps: int, horizon: int, state_dim: int
    ) -> Head:
        return DiscreteHead(self, backbone, space, horizon, state_dim)


class DiscreteHead(TokenHead):
    """A token is the number of its value in the dimension's column of `values`."""

    values: Float[Tensor, "bins A"]
    may: Bool[Tensor, "M V"]

    def __init__(
        self, config: DiscreteHeadConfig, backbone: Backbone, space: ActionSpace, horizon: int, state_dim: int
    ):
        super().__init__(
            backbone,
            size=config.num_bins,
            hidden=config.hidden,
            max_tokens=horizon * space.dim,
            state_dim=state_dim,
        )
        self.space, self.horizon, self.mu, self.stop = space, horizon, config.mu, config.stop
        self.range = Range(space)
        unit = expand(torch.linspace(-1, 1, config.num_bins), config.mu)
        self.register_buffer("values", self.range.decode(unit[:, None].expand(-1, space.dim)), persistent=False)
        self.register_buffer("may", self._may(config.num_bins), persistent=False)

    def speech(self, target: Target) -> Speech:
        counts = target.counts
        tokens = self.tokens(target.actions.masked_fill(~counts, 0.0))
        if self.stop:
            # Said in place of the first dimension of the first action that the demonstration no longer has.
            ends = target.mask[..., :-1] & ~target.mask[..., 1:]
            tokens[..., 1:, 0] = tokens[..., 1:, 0].masked_fill(ends, self.mark)
            counts = counts.clone()
            counts[..., 1:, 0] |= ends
        return Speech(tokens=tokens.flatten(-2), counts=counts.flatten(-2))

    def allowed(self, tokens: Int[Tensor, "*n M"]) -> Bool[Tensor, "*n M V"]:
        return self.may[: tokens.shape[-1]].expand(*tokens.shape, -1)

    def scores(self, logits: Float[Tensor, "B T M V"], target: Target) -> dict[str, Float[Tensor, ""]]:
        said = self.actions(logits[..., :-1].argmax(-1))
        continuous = list(self.space.continuous)
        error = (said - target.actions)[..., continuous].abs()
        return {"mae": masked_mean(error, target.counts[..., continuous])} if continuous else {}

    def start(self) -> None:
        """Nothing is remembered."""

    def predict(
        self, encoded: Encoded, batch: Batch, states: Sequence[None]
    ) -> tuple[Float[Tensor, "B H A"], list[None]]:
        return self.chunks(self.speak(encoded, batch)), list(states)

    def tokens(self, actions: Float[Tensor, "*n H A"]) -> Int[Tensor, "*n H A"]:
        """Numbers of the nearest values; what lies outside the range counts as its end."""
        tokens = ((compress(self.range.encode(actions), self.mu) + 1) / 2 * (self.mark - 1)).round().long()
        tokens[..., list(self.space.binary)] = is_high(actions, self.space).long() * (self.mark - 1)
        return tokens

    def actions(self, tokens: Int[Tensor, "*n M"]) -> Float[Tensor, "*n H A"]:
        """The inverse of `tokens`, within half the distance between two values."""
        chosen = tokens.unflatten(-1, (self.horizon, self.space.dim))
        return self.values[chosen, torch.arange(self.space.dim, device=tokens.device)]

    def chunks(self, tokens: Int[Tensor, "B said"]) -> Float[Tensor, "B H A"]:
        """After the mark the robot holds still: see `hold`."""
        said = torch.full((len(tokens), self.max_tokens), self.mark, device=tokens.device)
        said[:, : tokens.shape[1]] = tokens
        before = (said == self.mark).cumsum(1) == 0
        return hold(self.actions(said.masked_fill(~before, 0)), before[:, :: self.space.dim].sum(1), self.space)

    def _may(self, num_bins: int) -> Bool[Tensor, "M V"]:
        may = torch.zeros(self.horizon, self.space.dim, num_bins + 1, dtype=torch.bool)
        may[..., :num_bins] = True
        may[:, list(self.space.binary), 1 : num_bins - 1] = False
        may[1:, 0, num_bins] = self.stop  # a chunk has at least one action
        return may.flatten(0, 1)


def compress(unit: Float[Tensor, "*n"], mu: float) -> Float[Tensor, "*n"]:
    """sign(x) ln(1 + mu |x|) / ln(1 + mu), ITU-T G.711, on -1..1."""
    return unit.sign() * (mu * unit.abs()).log1p() / math.log1p(mu) if mu else unit


def expand(unit: Float[Tensor, "*n"], mu: float) -> Float[Tensor, "*n"]:
    """The inverse of `compress`."""
    return (unit.sign() * (unit.abs() * math.log1p(mu)).expm1() / mu).clamp(-1, 1) if mu else unit


def hold(actions: Float[Tensor, "B H A"], lengths: Int[Tensor, " B"], space: ActionSpace) -> Float[Tensor, "B H A"]:
    """Chunks of which only the first actions count (at least one); in the others the robot stays where it is.

    Where actions are relative, continuous dimensions are then 0, or the end of the range that is nearest to it, and
    binary ones stay as they were last; absolute actions stay as they were last altogether. (0 is to the head as it is
    to the robot unless a transform shifts actions: relative ones should be scaled only.)
    """
    still = actions[torch.arange(len(actions), device=actions.device), lengths - 1]
    if space.relative:
        rest = [min(max(0.0, space.dimensions[i].low), space.dimensions[i].high) for i in space.continuous]
        still[:, list(space.continuous)] = still.new_tensor(rest)
    counts = torch.arange(actions.shape[1], device=actions.device) < lengths[:, None]
    return torch.where(counts[..., None], actions, still[:, None])
