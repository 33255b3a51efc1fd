"""A model made ready to act: nothing in it changes any more, so what every call would prepare is prepared once."""

from __future__ import annotations

import torch
from torch import nn

_CAST = (nn.Linear,)


def store_as_computed(model: nn.Module, kind: torch.dtype) -> None:
    """Keep the weights of matrix products in the type that autocast computes them in.

    Autocast casts them at every call: on a small batch that takes as long as the products. The numbers are the same to
    the bit. Weights that are used otherwise as well (words tied to the vocabulary's output) stay as they are.
    """
    users: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            users[id(parameter)] = users.get(id(parameter), 0) + 1
    for module in model.modules():
        if isinstance(module, _CAST) and all(users[id(p)] == 1 for p in module.parameters(recurse=False)):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(kind)
