"""The decoder of GPT-2 over given features, with the parameter names of its published checkpoints.

Pre-norm blocks, learned positions, causal attention, the tanh approximation of GELU (Radford et al., 2019).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class InOutLinear(nn.Module):
    """A linear layer that keeps its weight as [in, out], as GPT-2's checkpoints do."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Float[Tensor, "*N I"]) -> Float[Tensor, "*N O"]:
        return x @ self.weight + self.bias


class Attention(nn.Module):
    def __init__(self, width: int, num_heads: int, dropout: float):
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.c_attn, self.c_proj = InOutLinear(width, 3 * width), InOutLinear(width, width)

    def forward(self, x: Float[Tensor, "B T F"]) -> Float[Tensor, "B T F"]:
        query, key, value = self.c_attn(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropout)
        return F.dropout(self.c_proj(seen.transpose(1, 2).flatten(2)), self.dropout, self.training)


class FeedForward(nn.Module):
    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.c_fc, self.c_proj = InOutLinear(width, 4 * width), InOutLinear(4 * width, width)

    def forward(self, x: Float[Tensor, "B T F"]) -> Float[Tensor, "B T F"]:
        return F.dropout(self.c_proj(F.gelu(self.c_fc(x), approximate="tanh")), self.dropout, self.training)


class Block(nn.Module):
    def __init__(self, width: int, num_heads: int, dropout: float):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), Attention(width, num_heads, dropout)
        self.ln_2, self.mlp = nn.LayerNorm(width), FeedForward(width, dropout)

    def forward(self, x: Float[Tensor, "B T F"]) -> Float[Tensor, "B T F"]:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    """Features [B, T, F] of at most `window` steps -> as many."""

    def __init__(self, width: int, *, window: int, num_layers: int = 8, num_heads: int = 8, dropout: float = 0.1):
        super().__init__()
        if width % num_heads:
            raise ValueError(f"the width of GPT-2 must be a multiple of its {num_heads} heads, got {width}")
        self.dropout = dropout
        self.wpe = nn.Embedding(window, width)
        self.h = nn.ModuleList(Block(width, num_heads, dropout) for _ in range(num_layers))
        self.ln_f = nn.LayerNorm(width)

    def forward(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B T F"]:
        steps = features.shape[1]
        if steps > self.wpe.num_embeddings:
            raise ValueError(f"GPT-2 has positions for {self.wpe.num_embeddings} steps, got {steps}")
        x = F.dropout(features + self.wpe.weight[:steps], self.dropout, self.training)
        for block in self.h:
            x = block(x)
        return self.ln_f(x)
