"""Vision-language models as bodies of policies."""

from volition.backbones.base import Adapter, Backbone, BackboneConfig, Checked, Encoded
from volition.backbones.fused import FusedBackbone
from volition.backbones.hub import HubBackbone
from volition.backbones.packaged import PackagedBackbone
from volition.backbones.tiny import TinyPaliGemma, TinySmolVLM
from volition.backbones.tiny_fused import TinyFused

AnyBackbone = TinyPaliGemma | TinySmolVLM | TinyFused | HubBackbone | FusedBackbone | PackagedBackbone | BackboneConfig

__all__ = [
    "Adapter",
    "AnyBackbone",
    "Backbone",
    "BackboneConfig",
    "Checked",
    "Encoded",
    "FusedBackbone",
    "HubBackbone",
    "PackagedBackbone",
    "TinyFused",
    "TinyPaliGemma",
    "TinySmolVLM",
]
