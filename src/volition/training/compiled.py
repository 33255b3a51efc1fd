"""torch.compile, layer by layer: layers of a kind share their kernels, and lengths of texts are symbols to them.

A whole model compiled at once takes minutes and starts over for every length; a layer takes seconds, is compiled once
for all its copies, and stands under recomputation, sharding and checkpoints as an uncompiled one does.
"""

from __future__ import annotations

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from volition.backbones import Backbone


def compile_layers(backbone: Backbone) -> int:
    """In place; the number of layers. ValueError where the model has none that can be compiled alone."""
    layers = [module for module in backbone.model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(
            f"loop.compile needs layers of transformers' own kind, and {type(backbone.model).__name__} has none: "
            "leave it at False"
        )
    for layer in layers:
        nn.Module.compile(layer, dynamic=True)
    return len(layers)
