"""What heads share that speak in tokens: a vocabulary of their own, learned all at once and spoken one by one.

    prompt ... [LRN] [mark] t1 t2 ... tn [mark]      the hidden state at every token from [mark] on says the next

Tokens are new entries of the backbone's vocabulary: 0..size-1 mean something to the head, and `size`, the mark, stands
before the first token and, where a head says so, after the last.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from volition.backbones.base import Backbone, Encoded
from volition.contract import ActionSpace
from volition.heads.base import Head, masked_mean
from volition.types import Batch, Loss, Target, Term


class Range(nn.Module):
    """Between actions and -1..1, the low and high of every dimension."""

    low: Float[Tensor, "A"]
    high: Float[Tensor, "A"]

    def __init__(self, space: ActionSpace):
        super().__init__()
        for end in ("low", "high"):
            ends = torch.tensor([getattr(dimension, end) for dimension in space.dimensions])
            self.register_buffer(end, ends, persistent=False)

    def encode(self, actions: Float[Tensor, "*n A"]) -> Float[Tensor, "*n A"]:
        """What lies outside the range counts as its end."""
        return (2 * (actions - self.low) / (self.high - self.low) - 1).clamp(-1, 1)

    def decode(self, unit: Float[Tensor, "*n A"]) -> Float[Tensor, "*n A"]:
        return torch.lerp(self.low, self.high, (unit + 1) / 2)


@dataclass(frozen=True, kw_only=True)
class Speech:
    """What a head should have said at every step, and which of it counts."""

    tokens: Int[Tensor, "B T M"]
    counts: Bool[Tensor, "B T M"]


class TokenHead(Head):
    """A subclass says which tokens mean a chunk, which may follow which, and what a robot does that hears them.

    The present step is all that it answers; what came before it reaches it with interleaved history only.
    """

    def __init__(self, backbone: Backbone, *, size: int, hidden: int, max_tokens: int, state_dim: int):
        super().__init__()
        self.first, self.mark, self.max_tokens = backbone.add_tokens(size + 1)[0], size, max_tokens
        self.norm = nn.LayerNorm(backbone.width)
        self.state = nn.Sequential(nn.Linear(state_dim, hidden), nn.GELU()) if state_dim else None
        # Not tied to the tokens' embeddings: families scale those each in its own way, and a head must still be able
        # to learn where they are frozen.
        width = backbone.width + (hidden if state_dim else 0)
        self.classify = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, size + 1))

    @abstractmethod
    def speech(self, target: Target) -> Speech:
        """Every token must be one that `allowed` allows, also where it does not count."""

    @abstractmethod
    def allowed(self, tokens: Int[Tensor, "*n M"]) -> Bool[Tensor, "*n M V"]:
        """Which tokens may stand at every place, given those before it; `tokens` from there on do not matter."""

    def scores(self, logits: Float[Tensor, "B T M V"], target: Target) -> dict[str, Float[Tensor, ""]]:
        """What is worth plotting besides loss and accuracy."""
        return {}

    def loss(self, encoded: Encoded, batch: Batch, target: Target) -> Loss:
        wanted = self.speech(target)
        heard = F.pad(wanted.tokens, (1, 0), value=self.mark)[..., :-1]
        hidden = encoded.extend(heard + self.first)
        logits = self.logits(hidden, batch.state[..., None, :]).masked_fill(~self.allowed(wanted.tokens), -torch.inf)
        error = F.cross_entropy(logits.movedim(-1, 1), wanted.tokens, reduction="none")
        total = masked_mean(error, wanted.counts)
        right = masked_mean((logits.argmax(-1) == wanted.tokens).float(), wanted.counts)
        return Loss.of([Term("token_loss", total)], {"token_accuracy": right, **self.scores(logits, target)})

    def counts(self, target: Target) -> dict[str, Tensor]:
        return {"token_loss": self.speech(target).counts.sum()}

    def logits(self, hidden: Float[Tensor, "*n D"], state: Float[Tensor, "*m S"]) -> Float[Tensor, "*n V"]:
        """Of the head's own vocabulary. Axes of 1 in `state` stretch to those of `hidden`."""
        features = self.norm(hidden)
        if self.state is not None:
            features = torch.cat([features, self.state(state).expand(*hidden.shape[:-1], -1)], dim=-1)
        return self.classify(features)

    def speak(self, encoded: Encoded, batch: Batch) -> Int[Tensor, "B M"]:
        """The likeliest allowed token, one after the other, until every robot has said the mark."""
        decoder, state = encoded.decoder(), batch.state[:, -1]
        said = torch.full((len(state), 1), self.mark, device=state.device)
        while said.shape[1] <= self.max_tokens:
            decoder.push(said[:, -1] + self.first)
            allowed = self.allowed(F.pad(said[:, 1:], (0, 1)))[:, -1]
            token = self.logits(decoder.hidden, state).masked_fill(~allowed, -torch.inf).argmax(-1, keepdim=True)
            said = torch.cat([said, token], dim=1)
            if bool((said[:, 1:] == self.mark).any(1).all()):
                break
        return said[:, 1:]
