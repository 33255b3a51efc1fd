"""A GPT-2 decoder over the window of readouts: every step attends to itself and to the steps before it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from volition.backbones.base import Backbone
from volition.contract import ActionSpace
from volition.heads.base import ActionLoss, ActionOutput, Head, ReadoutFeatures
from volition.heads.regression import Continuous, Logits, RegressionHead


@dataclass(frozen=True, kw_only=True)
class GPT2HeadConfig:
    width: int = 256
    num_layers: int = 4
    num_heads: int = 8
    loss: ActionLoss = field(default_factory=ActionLoss)

    def __post_init__(self) -> None:
        require_divisible(self.width, self.num_heads)

    def build(
        self, backbone: Backbone, space: ActionSpace, *, num_obs_steps: int, horizon: int, state_dim: int
    ) -> Head:
        return GPT2Head(self, backbone, space, num_obs_steps, horizon, state_dim)


class GPT2Head(RegressionHead):
    def __init__(
        self,
        config: GPT2HeadConfig,
        backbone: Backbone,
        space: ActionSpace,
        num_obs_steps: int,
        horizon: int,
        state_dim: int,
    ):
        super().__init__()
        self.action_loss, self.num_obs_steps = config.loss, num_obs_steps
        self.features = ReadoutFeatures(backbone.num_readouts, backbone.width, state_dim)
        self.input = nn.Linear(self.features.width, config.width)
        self.decoder = GPT2(config.width, config.num_layers, config.num_heads, num_obs_steps)
        # The step's own features go past the decoder as well, as they do in the LSTM head: it learns in fewer steps.
        self.output = ActionOutput(self.features.width + config.width, config.width, space, horizon)

    def run(self, features: Float[Tensor, "B T F"]) -> tuple[Continuous, Logits]:
        return self.output(torch.cat([features, self.decoder(self.input(features))], dim=-1))


class GPT2(nn.Module):
    """The decoder of GPT-2 (Radford et al. 2019) on vectors in place of tokens, without dropout.

    Learned positions, norm before attention and MLP, GELU's tanh form, weights from N(0, 0.02) with the layers that
    write into the residual stream scaled down by sqrt(2 * num_layers).
    """

    def __init__(self, width: int, num_layers: int, num_heads: int, max_steps: int):
        super().__init__()
        self.positions = nn.Parameter(0.02 * torch.randn(max_steps, width))
        self.blocks = nn.ModuleList(
            [Block(width, num_heads, 0.02 / math.sqrt(2 * num_layers)) for _ in range(num_layers)]
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "B T W"]) -> Float[Tensor, "B T W"]:
        x = x + self.positions[: x.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Block(nn.Module):
    def __init__(self, width: int, num_heads: int, residual_std: float):
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values, self.attended = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for layer in (self.queries_keys_values, self.attended, self.widen, self.narrow):
            std = residual_std if layer in (self.attended, self.narrow) else 0.02
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "B T W"]) -> Float[Tensor, "B T W"]:
        joined = self.queries_keys_values(self.attention_norm(x)).unflatten(-1, (3, self.num_heads, -1))
        queries, keys, values = joined.permute(2, 0, 3, 1, 4)  # each [B, heads, T, W / heads]
        attended = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        x = x + self.attended(attended.transpose(1, 2).flatten(2))
        return x + self.narrow(F.gelu(self.widen(self.mlp_norm(x)), approximate="tanh"))


def require_divisible(width: int, num_heads: int) -> None:
    if width % num_heads:
        raise ValueError(f"width={width} must be a multiple of num_heads={num_heads}: every head gets an equal share")
