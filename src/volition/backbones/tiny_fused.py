"""Small models of the parts that the mobile robot's first study compared, made in memory: CLIP's and Kosmos-2's eyes,
alone or together, before a Llama-like or Kosmos-2's own language model. Weights are random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from transformers import CLIPVisionConfig, LlamaConfig
from transformers.models.kosmos2.configuration_kosmos2 import Kosmos2TextConfig, Kosmos2VisionConfig

from volition.backbones.base import Backbone
from volition.backbones.fused import finish, fuse
from volition.backbones.images import Pictures
from volition.backbones.tiny import tiny_tokenizer, vocabulary

Eye = Literal["clip", "kosmos-2"]
_EYES: dict[Eye, Any] = {"clip": CLIPVisionConfig, "kosmos-2": Kosmos2VisionConfig}


@dataclass(frozen=True, kw_only=True)
class TinyFused:
    eyes: tuple[Eye, ...] = ("clip",)  # joined patch by patch
    language: Literal["llama", "kosmos-2"] = "llama"
    width: int = 128
    num_heads: int = 4
    vision_layers: int = 3
    text_layers: int = 3
    mlp_ratio: int = 2
    image_size: int = 96
    patch_size: int = 16
    num_readouts: int = 1
    bfloat16: bool = False  # autocast of the backbone's forward

    def __post_init__(self) -> None:
        if not self.eyes:
            raise ValueError("eyes must name at least one vision encoder, or the policy is blind")
        if self.image_size % self.patch_size or self.width % self.num_heads:
            raise ValueError(
                f"image_size={self.image_size} must be a multiple of patch_size={self.patch_size}, "
                f"and width={self.width} of num_heads={self.num_heads}"
            )

    def build(self, *, pretrained: bool = True) -> Backbone:
        """There are no pretrained weights."""
        eyes = [self._eye(name) for name in self.eyes]
        pictures = Pictures(size=(self.image_size, self.image_size))
        model = fuse(eyes, self._text(), "channels", [pictures] * len(eyes))
        # Eager attention, as the other tiny models: the fused kernel's bfloat16 backward is slow on a CPU.
        model.set_attn_implementation("eager")
        return finish(model, tiny_tokenizer(), self.num_readouts, self.bfloat16)

    def _eye(self, name: Eye) -> Any:
        return _EYES[name](
            hidden_size=self.width,
            intermediate_size=self.width * self.mlp_ratio,
            num_hidden_layers=self.vision_layers,
            num_attention_heads=self.num_heads,
            image_size=self.image_size,
            patch_size=self.patch_size,
        )

    def _text(self) -> Any:
        if self.language == "kosmos-2":
            return Kosmos2TextConfig(
                vocab_size=len(vocabulary()),
                embed_dim=self.width,
                layers=self.text_layers,
                ffn_dim=self.width * self.mlp_ratio,
                attention_heads=self.num_heads,
                dropout=0.0,
                attention_dropout=0.0,
                activation_dropout=0.0,
                layerdrop=0.0,
            )
        return LlamaConfig(
            vocab_size=len(vocabulary()),
            hidden_size=self.width,
            intermediate_size=self.width * self.mlp_ratio,
            num_hidden_layers=self.text_layers,
            num_attention_heads=self.num_heads,
            num_key_value_heads=self.num_heads,
            max_position_embeddings=1024,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=None,
        )
