"""Backbones of parts: every way to fuse passes the suite of all families, and pretrained parts are really loaded."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
    SiglipVisionModel,
)
from transformers.models.kosmos2.configuration_kosmos2 import Kosmos2TextConfig, Kosmos2VisionConfig

from volition.backbones import Backbone, FusedBackbone
from volition.backbones.efficientnet import EfficientNetLiteConfig
from volition.backbones.fused import finish, fuse
from volition.backbones.images import Pictures
from volition.backbones.tiny import tiny_tokenizer, vocabulary
from volition.studies.backbone_checks import CHECKS
from volition.studies.backbone_overfit import LEARNT, overfit
from volition.studies.backbones import give_signal

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
CLIP = CLIPVisionConfig(image_size=32, patch_size=8, projection_dim=32, **SIZES)
SIGLIP = SiglipVisionConfig(image_size=48, patch_size=8, vision_use_head=False, **SIZES)
KOSMOS = Kosmos2VisionConfig(image_size=32, patch_size=8, **SIZES)
SPECIAL = {"vocab_size": len(vocabulary()), "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
LLAMA = LlamaConfig(num_key_value_heads=2, **SPECIAL, **SIZES)
KOSMOS_TEXT = Kosmos2TextConfig(
    vocab_size=len(vocabulary()),
    embed_dim=32,
    layers=2,
    ffn_dim=64,
    attention_heads=2,
    dropout=0.0,
    attention_dropout=0.0,
)
MODELS: dict[str, tuple[list[Any], Any, Any]] = {
    "clip": ([CLIP], LLAMA, "channels"),
    "clip and siglip by channel": ([CLIP, SIGLIP], LLAMA, "channels"),
    "clip and siglip by token": ([CLIP, SIGLIP], LLAMA, "tokens"),
    "efficientnet": ([EfficientNetLiteConfig(image_size=64)], LLAMA, "channels"),
    "kosmos-2 and clip": ([KOSMOS, CLIP], KOSMOS_TEXT, "channels"),
}


@lru_cache(maxsize=1)
def made(name: str) -> Backbone:
    torch.manual_seed(0)
    eyes, text, how = MODELS[name]
    model = fuse(eyes, text, how, [Pictures(size=(c.image_size, c.image_size)) for c in eyes])
    backbone = finish(model, tiny_tokenizer(), 1, False)
    give_signal(backbone)
    return backbone.eval()


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", MODELS)
def test_conformance(name: str, check: str) -> None:
    assert not CHECKS[check](made(name))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in MODELS if name != "efficientnet"]
)  # which nobody trains from nothing
def test_it_learns(name: str) -> None:
    made.cache_clear()
    assert overfit(made(name))[1] < LEARNT
    made.cache_clear()


@pytest.mark.parametrize(
    ("name", "tokens"), [("clip and siglip by channel", 16), ("clip and siglip by token", 16 + 36)]
)
def test_tokens_of_a_picture(name: str, tokens: int) -> None:
    assert len(made(name).adapter.picture_ids) == tokens


@pytest.mark.parametrize("tower", [0, 1])
def test_every_encoder_is_seen(tower: int) -> None:
    backbone = made("clip and siglip by channel")
    backbone.zero_grad()
    pixels = backbone.adapter.pixels([torch.rand(2, 3, 48, 48)])
    backbone.model.get_image_features(**pixels).pooler_output.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in backbone.model.towers[tower].encoder.layers[0].parameters())
    backbone.zero_grad()


def test_every_encoder_gets_its_own_numbers() -> None:
    wanted = [Pictures(size=(32, 32), mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5)), Pictures(size=(48, 48))]
    backbone = finish(fuse([CLIP, SIGLIP], LLAMA, "channels", wanted), tiny_tokenizer(), 1, False)
    pixels = backbone.adapter.pixels([torch.full((1, 3, 48, 48), 0.6)])
    assert [x.shape[-1] for x in pixels.values()] == [32, 48]
    assert pixels["pixel_values_0"][0, :, 0, 0].tolist() == pytest.approx([1.0, 0.8, 0.6])
    assert pixels["pixel_values_1"][0, :, 0, 0].tolist() == pytest.approx([0.2, 0.2, 0.2])


def parts(folder: Path) -> tuple[list[Any], FusedBackbone]:
    """Encoders and a language model as downloads look like."""
    torch.manual_seed(1)
    models = [CLIPVisionModel(CLIP), SiglipVisionModel(SIGLIP), AutoModelForCausalLM.from_config(LLAMA)]
    names = [str(folder / name) for name in ("clip", "siglip", "llama")]
    for model, name in zip(models, names):
        model.save_pretrained(name)
    CLIPImageProcessorPil().save_pretrained(names[0])
    SiglipImageProcessorPil().save_pretrained(names[1])
    tiny_tokenizer().save_pretrained(names[2])
    return models, FusedBackbone(vision_ids=(names[0], names[1]), language_id=names[2], bfloat16=False)


def test_pretrained_parts_are_loaded(tmp_path: Path) -> None:
    models, config = parts(tmp_path)
    backbone = config.build()
    built = [*backbone.model.towers, backbone.model.language_model]
    for model, part in zip(models, built):
        loaded = {name.replace(".embedding.base.", "."): x for name, x in part.state_dict().items()}
        same = [name for name, x in model.state_dict().items() if name in loaded and torch.equal(loaded[name], x)]
        assert len(same) >= len(model.state_dict()) - 1  # the words are wrapped
    assert backbone.adapter.config.means[0] == pytest.approx([0.48145466, 0.4578275, 0.40821073])
    assert backbone.adapter.config.means[1] == [0.5, 0.5, 0.5]


def test_a_part_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    _, config = parts(tmp_path)
    CLIPVisionModel(CLIPVisionConfig(**CLIP.to_dict() | {"num_hidden_layers": 1})).save_pretrained(tmp_path / "short")
    (tmp_path / "clip" / "model.safetensors").write_bytes((tmp_path / "short" / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="must hold all weights of a CLIPVisionModel"):
        config.build()


def test_a_fused_backbone_needs_eyes() -> None:
    with pytest.raises(ValueError, match="at least one vision encoder"):
        FusedBackbone(vision_ids=())
    with pytest.raises(ValueError, match="can be reached"):
        FusedBackbone(vision_ids=("nobody/clip",)).build()
