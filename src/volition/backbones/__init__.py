"""Vision-language models as bodies of policies."""

from volition.backbones.base import Adapter, Backbone, BackboneConfig, Encoded
from volition.backbones.hub import HubBackbone
from volition.backbones.tiny import TinyPaliGemma, TinySmolVLM

AnyBackbone = TinyPaliGemma | TinySmolVLM | HubBackbone | BackboneConfig

__all__ = [
    "Adapter",
    "AnyBackbone",
    "Backbone",
    "BackboneConfig",
    "Encoded",
    "HubBackbone",
    "TinyPaliGemma",
    "TinySmolVLM",
]
