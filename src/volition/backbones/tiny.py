"""Tiny models of real Hugging Face architectures, made in memory: no download, no account, minutes on a laptop.

`TinyPaliGemma` is a SigLIP vision tower, a projector and a Gemma decoder with prefix attention; `TinySmolVLM` a
SigLIP-like tower with pixel shuffle and a Llama decoder. Weights are random, or ours from `studies/pretraining`, which
ship with the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    PaliGemmaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    SmolVLMConfig,
)

from volition.backbones.adapter import Adapter
from volition.backbones.base import Backbone
from volition.backbones.images import Pictures
from volition.backbones.paligemma import PaliGemma
from volition.backbones.resampler import ResamplerConfig, with_resampler
from volition.backbones.smolvlm import SmolVLM

NUM_LOCATIONS = 64  # <loc00>..<loc63>: answers of the pretraining that name a place
SPECIAL = ("<pad>", "<unk>", "<image>", "<eos>", *(f"<loc{i:02d}>" for i in range(NUM_LOCATIONS)))


@cache
def vocabulary() -> tuple[str, ...]:
    """Special tokens, characters (so that no word is unknown) and whole words, in the order of their ids."""
    words = files("volition.backbones").joinpath("tiny_vocabulary.txt").read_text(encoding="utf-8").split()
    characters = "abcdefghijklmnopqrstuvwxyz0123456789.,?'-"
    pieces = [*characters, *(f"##{c}" for c in characters)]
    return tuple(dict.fromkeys([*SPECIAL, *pieces, *words]))


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Lower-case words where the vocabulary has them, else their characters."""
    ids = {word: i for i, word in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="<unk>", max_input_chars_per_word=40))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    tokenizer.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>")


@dataclass(frozen=True, kw_only=True)
class _TinyConfig:
    width: int = 128
    num_heads: int = 4
    vision_layers: int = 3
    text_layers: int = 3
    mlp_ratio: int = 2
    image_size: int = 96
    patch_size: int = 16
    num_readouts: int = 1
    weights: str = ""  # "" = random; "volition:NAME" = shipped with the package; else a safetensors file
    bfloat16: bool = False  # autocast of the backbone's forward, where the device has instructions for it
    resampler: ResamplerConfig | None = None  # between vision tower and language model

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size={self.image_size} must be a multiple of patch_size={self.patch_size}")
        if self.width % self.num_heads:
            raise ValueError(f"width={self.width} must be a multiple of num_heads={self.num_heads}")

    def _finish(self, adapter: type[Adapter], config: PretrainedConfig, *, pretrained: bool) -> Backbone:
        # Eager attention: the fused kernel's bfloat16 backward is six times slower than its float32 one on a CPU.
        model = AutoModelForImageTextToText.from_config(config, attn_implementation="eager")
        answer = _load(model, weights_path(self.weights)) if pretrained and self.weights else None
        pictures = Pictures(size=(self.image_size, self.image_size))
        chosen, resampler = with_resampler(
            self.resampler,
            model,
            lambda: adapter(tiny_tokenizer(), model, pictures=pictures, num_readouts=self.num_readouts),
        )
        autocast = torch.bfloat16 if self.bfloat16 else None
        backbone = Backbone(model, chosen, autocast=autocast, resampler=resampler)
        if answer is not None:
            # The action token starts as the token that began an answer in pretraining.
            backbone.embedding.new.data.copy_(answer.expand(self.num_readouts, -1))
        return backbone

    def _text(self, **family: Any) -> dict[str, Any]:
        return dict(
            hidden_size=self.width,
            intermediate_size=self.width * self.mlp_ratio,
            num_hidden_layers=self.text_layers,
            num_attention_heads=self.num_heads,
            num_key_value_heads=self.num_heads,
            head_dim=self.width // self.num_heads,
            vocab_size=len(vocabulary()),
            max_position_embeddings=1024,
            pad_token_id=SPECIAL.index("<pad>"),
            bos_token_id=None,
            eos_token_id=SPECIAL.index("<eos>"),
            **family,
        )

    def _vision(self, **family: Any) -> dict[str, Any]:
        return dict(
            hidden_size=self.width,
            intermediate_size=self.width * self.mlp_ratio,
            num_hidden_layers=self.vision_layers,
            num_attention_heads=self.num_heads,
            image_size=self.image_size,
            patch_size=self.patch_size,
            **family,
        )


@dataclass(frozen=True, kw_only=True)
class TinyPaliGemma(_TinyConfig):
    def build(self, *, pretrained: bool = True) -> Backbone:
        config = PaliGemmaConfig(
            text_config=self._text(model_type="gemma"),
            vision_config=self._vision(
                model_type="siglip_vision_model", vision_use_head=False, projection_dim=self.width
            ),
            image_token_id=SPECIAL.index("<image>"),
            projection_dim=self.width,
            hidden_size=self.width,
            pad_token_id=SPECIAL.index("<pad>"),
        )
        return self._finish(PaliGemma, config, pretrained=pretrained)


@dataclass(frozen=True, kw_only=True)
class TinySmolVLM(_TinyConfig):
    patch_size: int = 8
    pixel_shuffle: int = 2  # patches are merged in squares of this side

    def build(self, *, pretrained: bool = True) -> Backbone:
        config = SmolVLMConfig(
            text_config=self._text(model_type="llama"),
            vision_config=self._vision(),
            image_token_id=SPECIAL.index("<image>"),
            scale_factor=self.pixel_shuffle,
            pad_token_id=SPECIAL.index("<pad>"),
            tie_word_embeddings=True,
        )
        return self._finish(SmolVLM, config, pretrained=pretrained)


def _load(model: Any, path: Path) -> torch.Tensor:
    """Fill the model, strictly; returns the embedding of the token that begins an answer, [1, D]."""
    state = load_file(path)
    answer = state.pop("new_tokens")
    missing, unknown = model.load_state_dict(state, strict=False)
    tied = [name for name in missing if name not in model.all_tied_weights_keys]
    if tied or unknown:
        raise ValueError(f"{path} must fit the configured model: missing {tied[:5]}, unknown {unknown[:5]}")
    model.tie_weights()
    return answer


def weights_path(name: str) -> Path:
    """'volition:desk-vlm' -> the file in the package; anything else is a path."""
    path = Path(str(files("volition.backbones"))) / "weights" / f"{name.removeprefix('volition:')}.safetensors"
    path = path if name.startswith("volition:") else Path(name)
    if not path.exists():
        raise ValueError(f"backbone weights {name!r} must name an existing safetensors file; there is no {path}")
    return path
