"""Which adapter a family needs, by the `model_type` in its checkpoint. What is not here needs none of its own."""

from __future__ import annotations

from inspect import signature
from typing import Any

from volition.backbones.adapter import Adapter
from volition.backbones.composed import Composed, InstructBlip, Llama4
from volition.backbones.crossing import Idefics, Mllama
from volition.backbones.encoder_decoder import EncoderDecoder, T5Gemma2
from volition.backbones.flat import Fuyu, Gemma4, Lfm2
from volition.backbones.git import Git
from volition.backbones.grids import (
    ColoursLast,
    FramesFirst,
    Grids,
    RowByRow,
    SquareGrids,
    TurnedGrids,
    TurnedSquareGrids,
    VideoLlama3,
)
from volition.backbones.kosmos2 import Kosmos2
from volition.backbones.kosmos2_5 import Kosmos25
from volition.backbones.marked import AyaVision, Cohere2Vision, InternVL, Ovis2
from volition.backbones.minicpm import MiniCPM
from volition.backbones.molmo2 import Molmo2
from volition.backbones.paligemma import Gemma3, PaliGemma
from volition.backbones.sized import Mistral3, Sized
from volition.backbones.smolvlm import Idefics2, Idefics3
from volition.backbones.tiles import Tiles, Whole

ADAPTERS: dict[str, type[Adapter]] = {
    "aya_vision": AyaVision,
    "blip-2": Composed,
    "cohere2_vision": Cohere2Vision,
    "cosmos3_edge": ColoursLast,
    "florence2": EncoderDecoder,
    "fuyu": Fuyu,
    "gemma3": Gemma3,
    "gemma4": Gemma4,
    "git": Git,
    "got_ocr2": InternVL,
    "hunyuan_vl": RowByRow,
    "idefics": Idefics,
    "idefics2": Idefics2,
    "idefics3": Idefics3,
    "instructblip": InstructBlip,
    "internvl": InternVL,
    "kimi_k25": SquareGrids,
    "kosmos-2": Kosmos2,
    "kosmos-2.5": Kosmos25,
    "lfm2_vl": Lfm2,
    "lighton_ocr": Sized,
    "llama4": Llama4,
    "llava_next": Tiles,
    "llava_next_video": Tiles,
    "llava_onevision": Whole,
    "minicpmv4_6": MiniCPM,
    "mistral3": Mistral3,
    "mistral_large4": Mistral3,
    "mllama": Mllama,
    "molmo2": Molmo2,
    "muse_glimmer": FramesFirst,
    "ovis2": Ovis2,
    "paddleocr_vl": TurnedSquareGrids,
    "paligemma": PaliGemma,
    "qianfan_ocr": InternVL,
    "shieldgemma2": Gemma3,
    "smolvlm": Idefics3,
    "t5gemma2": T5Gemma2,
    "video_llama_3": VideoLlama3,
}


def adapter_for(model: Any) -> type[Adapter]:
    """By name, else by what the model takes, so that a family that is not known yet may work as well."""
    by_layout: type[Adapter] = Adapter
    if "image_grid_thw" in signature(model.forward).parameters:
        by_layout = TurnedGrids if hasattr(model.base_model, "get_rope_index") else Grids
    return ADAPTERS.get(model.config.model_type, by_layout)
