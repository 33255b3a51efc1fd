"""A Perceiver resampler between a model's eyes and its words: few tokens stand for a picture in place of many.

    picture -> vision tower, projector -> V tokens -> PerceiverResampler -> num_latents tokens -> language model

It fits every family whose forward takes its image features from its own `get_image_features`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from volition.backbones.adapter import Adapter


@dataclass(frozen=True, kw_only=True)
class ResamplerConfig:
    """The sizes are the reference's."""

    num_latents: int = 64  # tokens that stand for a picture
    depth: int = 6
    heads: int = 8
    dim_head: int = 64
    ff_mult: int = 4

    def __post_init__(self) -> None:
        for name in ("num_latents", "depth", "heads", "dim_head", "ff_mult"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def attach(self, model: Any, num_tokens: int) -> PerceiverResampler:
        """A resampler that the model's own forward runs from now on; the caller keeps it, as no part of the model.

        num_tokens: that the model makes of one picture by itself. ValueError for a model that it does not fit.
        """
        eyes = [module for module in model.modules() if hasattr(module, "get_image_features")]
        kind = model.config.model_type
        if not eyes:
            raise ValueError(f"a resampler needs a model with get_image_features; {kind} has none: set resampler=None")
        if any(hasattr(module, "get_rope_index") for module in eyes):
            raise ValueError(
                f"a resampler cannot stand in a {kind} model, where image tokens have the positions of patches: "
                "set resampler=None"
            )
        resampler = PerceiverResampler(
            model.get_input_embeddings().embedding_dim,
            depth=self.depth,
            dim_head=self.dim_head,
            heads=self.heads,
            num_latents=self.num_latents,
            ff_mult=self.ff_mult,
        )
        # The innermost one is what the others ask.
        eyes[-1].get_image_features = Resampling(eyes[-1].get_image_features, resampler, num_tokens)
        return resampler


class Resampling:
    """Stands before the `get_image_features` of one model."""

    def __init__(self, original: Callable[..., Any], resampler: PerceiverResampler, num_tokens: int):
        self._original, self._resampler, self._num_tokens = original, resampler, num_tokens

    def __call__(self, *inputs: Any, **named: Any) -> Any:  # the model's own, which differ from family to family
        found = self._original(*inputs, **named)
        features = found.pooler_output
        if features is None:
            raise ValueError("a resampler needs a model that gives its image features as `pooler_output`")
        found.pooler_output = (
            self._resample(features) if isinstance(features, Tensor) else [self._resample(x) for x in features]
        )
        return found

    def _resample(self, features: Float[Tensor, "*rows V D"]) -> Float[Tensor, "*rows M D"]:
        """Some families put the tokens of several pictures in one row."""
        pictures = features.reshape(-1, self._num_tokens, features.shape[-1])
        return self._resampler(pictures).reshape(*features.shape[:-2], -1, features.shape[-1])


def with_resampler(
    config: ResamplerConfig | None, model: Any, make_adapter: Callable[[], Adapter]
) -> tuple[Adapter, PerceiverResampler | None]:
    """The model's adapter, made anew after a resampler changed how many tokens stand for a picture."""
    adapter = make_adapter()
    if config is None:
        return adapter, None
    resampler = config.attach(model, adapter.count(model))
    adapter = make_adapter()
    if adapter.picture_ids.count(adapter.image_token_id) != config.num_latents:
        raise ValueError(
            f"num_latents={config.num_latents} must be a number of tokens that can stand for a picture of a "
            f"{model.config.model_type} model: set a square number, or resampler=None"
        )
    return adapter, resampler


class PerceiverAttention(nn.Module):
    """Latents look at the image tokens and at themselves."""

    def __init__(self, dim: int, *, dim_head: int, heads: int):
        super().__init__()
        inner = dim_head * heads
        self.heads, self.scale = heads, dim_head**-0.5
        self.norm_media, self.norm_latents = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def forward(self, media: Float[Tensor, "N V D"], latents: Float[Tensor, "N M D"]) -> Float[Tensor, "N M D"]:
        latents = self.norm_latents(latents)
        query = self.to_q(latents)
        key, value = self.to_kv(torch.cat([self.norm_media(media), latents], dim=1)).chunk(2, dim=-1)
        query, key, value = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (query, key, value))
        seen = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
        return self.to_out(seen.transpose(1, 2).flatten(2))


class PerceiverResampler(nn.Module):
    """Any number of image tokens -> `num_latents` of them (Alayrac et al., 2022, "Flamingo", section 3.1.1).

    Parameter names are those of the reference's checkpoints.
    """

    def __init__(
        self,
        dim: int,
        *,
        depth: int = 6,
        dim_head: int = 64,
        heads: int = 8,
        num_latents: int = 64,
        ff_mult: int = 4,
    ):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(num_latents, dim))
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(dim, dim_head=dim_head, heads=heads), _feed_forward(dim, ff_mult)])
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, media: Float[Tensor, "N V D"]) -> Float[Tensor, "N M D"]:
        latents = self.latents.expand(len(media), -1, -1)
        for layer in self.layers:
            attention, feed_forward = cast(nn.ModuleList, layer)
            latents = attention(media, latents) + latents
            latents = feed_forward(latents) + latents
        return self.norm(latents)


def _feed_forward(dim: int, mult: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(dim), nn.Linear(dim, mult * dim, bias=False), nn.GELU(), nn.Linear(mult * dim, dim, bias=False)
    )
