from pathlib import Path

import pytest
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModelWithProjection

from volition.backbones.tiny import tiny_tokenizer, vocabulary

NUM_FEATURES = 12


SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {
    **SMALL,
    "vocab_size": len(vocabulary()),
    "projection_dim": NUM_FEATURES,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 3,
    "initializer_factor": 20.0,
}


@pytest.fixture(scope="session")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with CLIP's text half, random and tiny, and a tokenizer."""
    folder: Path = tmp_path_factory.mktemp("clip-text")
    CLIPTextModelWithProjection(CLIPTextConfig(**TEXT)).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def whole_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same with eyes, as CLIP is published."""
    folder: Path = tmp_path_factory.mktemp("clip")
    vision = {**SMALL, "image_size": 32, "patch_size": 16}
    CLIPModel(CLIPConfig(text_config=TEXT, vision_config=vision, projection_dim=NUM_FEATURES)).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)
