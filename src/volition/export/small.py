"""A head's weights in int8, a scale a row: a quarter of the bytes, the same arithmetic once they are read."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = "/scale"  # follows a weight's name


def in_int8(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices in int8 with the scales of their rows beside them; everything else as it is."""
    found: dict[str, Tensor] = {}
    for name, x in weights.items():
        if x.ndim < 2 or not x.is_floating_point():
            found[name] = x
            continue
        scale = x.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
        rows = scale.view(-1, *[1] * (x.ndim - 1))
        found[name], found[name + SCALE] = (x / rows).round().to(torch.int8), scale
    return found


def from_int8(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `in_int8`, each number off by half a step of its row at most."""
    scales = {name.removesuffix(SCALE): x for name, x in found.items() if name.endswith(SCALE)}
    return {
        name: x.float() * scales[name].view(-1, *[1] * (x.ndim - 1)) if name in scales else x
        for name, x in found.items()
        if not name.endswith(SCALE)
    }
