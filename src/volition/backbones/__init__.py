"""Vision-language models as bodies of policies."""

from volition.backbones.base import Adapter, Backbone, Encoded
from volition.backbones.tiny import TinyPaliGemma, TinySmolVLM

AnyBackbone = TinyPaliGemma | TinySmolVLM

__all__ = ["Adapter", "AnyBackbone", "Backbone", "Encoded", "TinyPaliGemma", "TinySmolVLM"]
