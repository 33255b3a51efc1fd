"""The action expert of pi-0 (Black et al. 2024): a small transformer beside the VLM that denoises the chunk.

    VLM      prompt ... [LRN]     keys and values of layer 1, 2, ...
                                          |        |             each layer attends to those of its VLM layer,
    expert   state, noisy actions -> layer 1, layer 2, ... -> chunk             and its own tokens to each other

It has a width of its own; its loss is that of flow matching, and its gradient runs on into the VLM.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from volition.backbones.base import Backbone, Encoded
from volition.contract import ActionSpace
from volition.heads.base import Head, masked_mean
from volition.heads.denoiser import (
    NUM_FREQUENCIES,
    Denoise,
    DenoisingState,
    draw_noise,
    pack,
    pack_known,
    packed,
    pinned,
    unpack,
    waves,
)
from volition.heads.flow import flow_error, integrate
from volition.types import Batch, Loss, Target, Term


@dataclass(frozen=True, kw_only=True)
class ExpertHeadConfig:
    width: int = 256
    num_layers: int = 4  # spread over those of the VLM; the last reads its last
    queries_per_key: int = 2  # attention heads for every one that the VLM has keys of
    num_draws: int = 4  # of noise for every chunk of a training step: they cost little beside the VLM's pass
    num_steps: int = 10  # Euler steps when acting
    seed: int = 0  # of the noise when acting

    def __post_init__(self) -> None:
        for name in ("width", "num_layers", "queries_per_key", "num_draws", "num_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def build(
        self, backbone: Backbone, space: ActionSpace, *, num_obs_steps: int, horizon: int, state_dim: int
    ) -> Head:
        return ExpertHead(self, backbone, space, horizon, state_dim)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What R chunks are denoised from."""

    layers: Sequence[tuple[Float[Tensor, "R heads L d"], Float[Tensor, "R heads L e"]]]  # one pair for every layer
    mask: Bool[Tensor, "R L"]
    state: Float[Tensor, "R S"]


class ExpertHead(Head):
    """The present step is all that it answers; what came before it reaches it with interleaved history only."""

    def __init__(self, config: ExpertHeadConfig, backbone: Backbone, space: ActionSpace, horizon: int, state_dim: int):
        super().__init__()
        self.config, self.space, self.horizon = config, space, horizon
        shapes, width = layer_shapes(backbone), config.width
        self.chosen = [math.ceil((i + 1) * len(shapes) / config.num_layers) - 1 for i in range(config.num_layers)]
        self.actions = nn.Linear(space.dim, width)
        self.time = nn.Sequential(nn.Linear(2 * NUM_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.positions = nn.Parameter(0.02 * torch.randn(horizon, width))
        self.state = nn.Linear(state_dim, width) if state_dim else None
        self.blocks = nn.ModuleList([ExpertBlock(width, *shapes[i], config.queries_per_key) for i in self.chosen])
        self.norm, self.output = nn.LayerNorm(width), nn.Linear(width, space.dim)

    def loss(self, encoded: Encoded, batch: Batch, target: Target) -> Loss:
        seen = self.look(encoded, batch.state)
        chunks = pack(target, self.space).flatten(0, 1)[:, None].expand(-1, self.config.num_draws, -1, -1)
        error = flow_error(lambda noisy, time: self.denoise(noisy, time, seen), chunks).mean(1)
        counts = packed(target.counts, self.space)
        return Loss.of([Term("denoising_loss", masked_mean(error.unflatten(0, batch.shape), counts))], {})

    def counts(self, target: Target) -> dict[str, Tensor]:
        return {"denoising_loss": target.counts.sum()}

    def start(self) -> DenoisingState:
        return self.start_with(0)

    def start_with(self, noise: int) -> DenoisingState:
        return DenoisingState(window=None, seed=self.config.seed ^ noise)

    def predict(
        self, encoded: Encoded, batch: Batch, states: Sequence[DenoisingState]
    ) -> tuple[Float[Tensor, "B H A"], list[DenoisingState]]:
        return self._act(encoded, batch, states, lambda denoise: denoise)

    def inpaint(
        self,
        encoded: Encoded,
        batch: Batch,
        states: Sequence[DenoisingState],
        known: Float[Tensor, "B P A"],
        weights: Float[Tensor, "B P"],
    ) -> tuple[Float[Tensor, "B H A"], list[DenoisingState]]:
        rows = pack_known(known, self.space)[:, None]
        return self._act(encoded, batch, states, partial(pinned, known=rows, weights=weights[:, None]))

    def _act(
        self, encoded: Encoded, batch: Batch, states: Sequence[DenoisingState], change: Callable[[Denoise], Denoise]
    ) -> tuple[Float[Tensor, "B H A"], list[DenoisingState]]:
        seen = self.look(encoded, batch.state[:, -1:])
        noise = draw_noise(states, self.horizon, self.space.dim).to(seen.state.device)[:, None]
        denoise = change(lambda noisy, time: self.denoise(noisy, time, seen))
        chunks = integrate(denoise, noise, self.config.num_steps)
        return unpack(chunks[:, 0], self.space), [state.next(None) for state in states]

    def look(self, encoded: Encoded, state: Float[Tensor, "B T S"]) -> Seen:
        """What the last T steps may look at."""
        last = slice(-state.shape[1], None)
        mask, chosen = encoded.step_mask[:, last].flatten(0, 1), [encoded.layers[i] for i in self.chosen]
        pairs = [(keys[:, last].flatten(0, 1), values[:, last].flatten(0, 1)) for keys, values in chosen]
        for i, (keys, _) in zip(self.chosen, pairs):
            if keys.shape[2] != mask.shape[1]:
                raise ValueError(
                    f"the expert must see whole rows, and layer {i} of this model kept {keys.shape[2]} of "
                    f"{mask.shape[1]} tokens, as a sliding window does: give it shorter prompts or fewer pictures"
                )
        return Seen(layers=pairs, mask=mask, state=state.flatten(0, 1))

    def denoise(
        self, noisy: Float[Tensor, "R G H A"], time: Float[Tensor, "R G"], seen: Seen
    ) -> Float[Tensor, "R G H A"]:
        """The chunks that G noisy ones for every row come from; these share its keys and do not see each other."""
        x = self.actions(noisy) + self.positions + self.time(waves(time.flatten())).unflatten(0, time.shape)[:, :, None]
        if self.state is not None:
            x = torch.cat([self.state(seen.state)[:, None, None].expand(-1, x.shape[1], -1, -1), x], dim=2)
        own = torch.block_diag(*[torch.ones(x.shape[2], x.shape[2])] * x.shape[1]).bool().to(x.device)
        mask = torch.cat([seen.mask[:, None].expand(-1, len(own), -1), own.expand(len(x), -1, -1)], dim=-1)
        flat = x.flatten(1, 2)
        for block, (keys, values) in zip(self.blocks, seen.layers):
            flat = block(flat, keys, values, mask)
        return self.output(self.norm(flat)).unflatten(1, x.shape[1:3])[:, :, -self.horizon :]


class ExpertBlock(nn.Module):
    """Norm before attention and MLP. The VLM's keys are used as they are, with the positions that they carry."""

    def __init__(self, width: int, num_keys: int, key_dim: int, value_dim: int, queries_per_key: int):
        super().__init__()
        self.num_keys, num_heads = num_keys, num_keys * queries_per_key
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries = nn.Linear(width, num_heads * key_dim)
        self.keys, self.values = nn.Linear(width, num_keys * key_dim), nn.Linear(width, num_keys * value_dim)
        self.attended = nn.Linear(num_heads * value_dim, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(
        self,
        x: Float[Tensor, "R M W"],
        keys: Float[Tensor, "R heads L d"],
        values: Float[Tensor, "R heads L e"],
        mask: Bool[Tensor, "R M whole"],
    ) -> Float[Tensor, "R M W"]:
        hidden = self.attention_norm(x)
        own_keys, own_values = (
            layer(hidden).unflatten(-1, (self.num_keys, -1)).transpose(1, 2) for layer in (self.keys, self.values)
        )
        attended = F.scaled_dot_product_attention(
            self.queries(hidden).unflatten(-1, (-1, keys.shape[-1])).transpose(1, 2),
            torch.cat([keys.to(x.dtype), own_keys], dim=2),
            torch.cat([values.to(x.dtype), own_values], dim=2),
            attn_mask=mask[:, None],
            enable_gqa=True,
        )
        x = x + self.attended(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.mlp_norm(x))


@torch.no_grad()
def layer_shapes(backbone: Backbone) -> list[tuple[int, int, int]]:
    """Heads, and dimensions of a key and of a value, of every layer: read from a pass over a black picture."""
    height, width = backbone.adapter.pictures.size
    blank = Batch(
        inputs=backbone.adapter.collate([""], 1),
        images={"blank": torch.zeros(1, 1, height, width, 3, dtype=torch.uint8)},
        state=torch.zeros(1, 1, 0),
    )
    training = backbone.training
    layers = backbone.eval().encode(blank.to(backbone.device)).layers
    backbone.train(training)
    if not layers:
        raise ValueError("the expert needs a model that keeps keys and values of its layers, and this one keeps none")
    return [(keys.shape[2], keys.shape[4], values.shape[4]) for keys, values in layers]
