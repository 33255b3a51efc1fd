"""FAST: the chunk as a few tokens of its frequencies, said until it is whole; `fast_tokens` tells which.

It works as it is, with a token for every integer. Merges make sequences shorter and need demonstrations, so a recipe
gets them explicitly, and they are part of the config from then on: `FASTHeadConfig().fit(chunks, space)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from volition.backbones.base import Backbone, Encoded
from volition.contract import ActionSpace
from volition.heads.base import Head
from volition.heads.fast_tokens import FASTTokens, fit_merges
from volition.heads.tokens import Speech, TokenHead
from volition.types import Batch, Target


@dataclass(frozen=True, kw_only=True)
class FASTHeadConfig:
    scale: float = 10.0  # steps of rounding in a coefficient of 1: more is finer and longer
    merges: tuple[str, ...] = ()  # from `fit`
    constrained: bool = True  # say only what a chunk still has room for; False: whatever is likeliest
    hidden: int = 256

    def fit(self, actions: Float[Tensor, "n H A"], space: ActionSpace, *, size: int = 1024) -> FASTHeadConfig:
        """With merges made for these chunks, in units that the head sees, and at most `size` tokens in all."""
        return replace(self, merges=fit_merges(actions, space, scale=self.scale, size=size))

    def check(self, space: ActionSpace, *, horizon: int) -> None:
        self._tokens(space, horizon)

    def build(
        self, backbone: Backbone, space: ActionSpace, *, num_obs_steps: int, horizon: int, state_dim: int
    ) -> Head:
        return FASTHead(self, backbone, self._tokens(space, horizon), state_dim)

    def _tokens(self, space: ActionSpace, horizon: int) -> FASTTokens:
        return FASTTokens(space, horizon, scale=self.scale, merges=self.merges)


@dataclass(frozen=True)
class FASTState:
    """How many chunks of a robot were illegal so far; each was cut, see `FASTTokens.decode`."""

    num_illegal: int = 0


class FASTHead(TokenHead):
    """Constrained, no chunk is ever illegal."""

    def __init__(self, config: FASTHeadConfig, backbone: Backbone, tokens: FASTTokens, state_dim: int):
        super().__init__(
            backbone,
            size=tokens.size,
            hidden=config.hidden,
            max_tokens=tokens.num_integers + 1,
            state_dim=state_dim,
        )
        self.vocabulary, self.constrained = tokens, config.constrained

    def speech(self, target: Target) -> Speech:
        if target.known is not None:
            raise ValueError(
                "FAST's tokens are of all dimensions together, and cannot leave out those that a robot of the batch "
                "lacks: take another head, or datasets whose actions have every dimension that the policy answers"
            )
        flat = last_known(target.actions, target.mask).flatten(0, 1)
        spoken = [torch.tensor([*tokens, self.mark]) for tokens in self.vocabulary.encode(flat)]
        padded = torch.nn.utils.rnn.pad_sequence(spoken, batch_first=True, padding_value=self.mark)
        lengths = torch.tensor([len(tokens) for tokens in spoken])
        counts = torch.arange(padded.shape[1]) < lengths[:, None]
        shape, device = target.mask.shape[:2], target.mask.device
        return Speech(
            tokens=padded.unflatten(0, shape).to(device),
            counts=counts.unflatten(0, shape).to(device) & target.mask.any(-1, keepdim=True),
        )

    def allowed(self, tokens: Int[Tensor, "*n M"]) -> Bool[Tensor, "*n M V"]:
        lengths = self.vocabulary.lengths
        if not self.constrained:
            return torch.ones_like(lengths, dtype=torch.bool).expand(*tokens.shape, -1)
        spoken = lengths[tokens]
        room = self.vocabulary.num_integers - (spoken.cumsum(-1) - spoken)
        return lengths <= room[..., None]

    def start(self) -> FASTState:
        return FASTState()

    def predict(
        self, encoded: Encoded, batch: Batch, states: Sequence[FASTState]
    ) -> tuple[Float[Tensor, "B H A"], list[FASTState]]:
        chunks, illegal = self.vocabulary.decode(self.speak(encoded, batch))
        return chunks, [FASTState(state.num_illegal + is_so) for state, is_so in zip(states, illegal.tolist())]


def last_known(actions: Float[Tensor, "B T H A"], mask: Bool[Tensor, "B T H"]) -> Float[Tensor, "B T H A"]:
    """What lies outside the episode repeats its neighbour inside: that is smooth, so it costs little."""
    steps = torch.arange(mask.shape[-1], device=mask.device)
    before = torch.where(mask, steps, -1).cummax(-1).values
    chosen = torch.where(before < 0, mask.long().argmax(-1, keepdim=True), before)
    return actions.gather(2, chosen[..., None].expand_as(actions))
