"""Vision-language models as bodies of policies."""

from volition.backbones.base import Adapter, Backbone, Encoded
from volition.backbones.hub import HubBackbone
from volition.backbones.tiny import TinyPaliGemma, TinySmolVLM

AnyBackbone = TinyPaliGemma | TinySmolVLM | HubBackbone

__all__ = ["Adapter", "AnyBackbone", "Backbone", "Encoded", "HubBackbone", "TinyPaliGemma", "TinySmolVLM"]
