"""Random tiny models of the reference's two families that run here, and observations for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoTokenizer,
    Kosmos2Config,
    Kosmos2ForConditionalGeneration,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
)

from volition.compat import RoboVLM, RoboVLMsConfig
from volition.compat.actions import ActionScaling
from volition.compat.config import ActHeadConfig
from volition.records import Observation

TOKENIZER = Path(__file__).parents[1] / "golden" / "tiny_tokenizer"
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION |= {"image_size": 28, "patch_size": 14}
KOSMOS_TEXT = {"vocab_size": 320, "embed_dim": 32, "layers": 2, "ffn_dim": 64, "attention_heads": 4, "dropout": 0.0}
GEMMA_TEXT = {"model_type": "gemma", "vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "head_dim": 8}
GEMMA_TEXT |= {"intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 1}
HEAD = ActHeadConfig(hidden_size=32, num_layers=1)
CONFIG = RoboVLMsConfig(
    window_size=3,
    fwd_pred_next_n=4,
    image_size=28,
    use_hand_rgb=True,
    act_head=HEAD,
    scaling=ActionScaling(normal=(-0.65, 0.65)),
)
PALIGEMMA = replace(CONFIG, robovlm_name="RoboPaligemma", model="paligemma")


def kosmos_config() -> Kosmos2Config:
    text = {**KOSMOS_TEXT, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    return Kosmos2Config(text_config=text, vision_config=VISION, latent_query_num=3)


def vlm(config: RoboVLMsConfig) -> Any:
    if config.robovlm_name == "RoboKosMos":
        return Kosmos2ForConditionalGeneration(kosmos_config())
    vision = {**VISION, "model_type": "siglip_vision_model", "vision_use_head": False}
    return PaliGemmaForConditionalGeneration(
        PaliGemmaConfig(text_config=GEMMA_TEXT, vision_config=vision, projection_dim=32, hidden_size=32)
    )


def model(config: RoboVLMsConfig = CONFIG, seed: int = 0) -> RoboVLM:
    """With weights large enough that everything that goes in is felt at the other end."""
    torch.manual_seed(seed)
    made = RoboVLM(config, vlm(config))
    for name, parameter in made.named_parameters():
        if parameter.ndim > 1 or name == "action_token":
            torch.nn.init.normal_(parameter, std=0.3 if "act_head" not in name else 0.1)
    return made.eval()


def head(**changes: Any) -> RoboVLMsConfig:
    return replace(CONFIG, act_head=replace(HEAD, **changes))


def words() -> Any:
    return AutoTokenizer.from_pretrained(TOKENIZER, local_files_only=True)


def observation(seed: int, instruction: str = "push the red block") -> Observation:
    rng = np.random.default_rng(seed)
    return Observation(
        images={
            "static": rng.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8),
            "gripper": rng.integers(0, 256, (1, 20, 20, 3), dtype=np.uint8),
        },
        state=rng.uniform(-0.4, 0.4, (1, 15)).astype(np.float32),
        instruction=instruction,
    )
