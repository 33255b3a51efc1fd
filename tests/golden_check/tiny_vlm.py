"""The tiny models of the fixtures, rebuilt from the settings beside them."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration, PaliGemmaConfig
from transformers import PaliGemmaForConditionalGeneration as PaliGemma

from tests.golden_check import beside, procedural
from tests.golden_check.fixture import Fixture
from volition.compat.config import ActHeadConfig, RoboVLMsConfig
from volition.compat.model import RoboVLM

HEAD_NAMES = {"lstm": "LSTMDecoder", "gpt": "GPTDecoder", "fc": "FCDecoder", "discrete": "DiscreteDecoder"}


def head_config(settings: dict) -> ActHeadConfig:
    """`act_head` of a fixture's settings; what the reference overrides or never reads is left out."""
    fields = {field.name: field.default for field in dataclasses.fields(ActHeadConfig)}
    known = {key: value for key, value in settings.items() if key in fields}
    return ActHeadConfig(**{k: float(v) if isinstance(fields[k], float) else v for k, v in known.items()})


def kosmos(fixture: Fixture) -> Any:
    """With the reference's order of additions in attention, so that fewer activations cross zero by rounding alone."""
    settings = beside.document(fixture, "d_e2e")
    config = Kosmos2Config(**{key: settings[key] for key in ("text_config", "vision_config", "latent_query_num")})
    return Kosmos2ForConditionalGeneration._from_config(config, attn_implementation="eager")


def paligemma(fixture: Fixture) -> Any:
    settings = beside.document(fixture, "p_paligemma")
    sizes = {name: settings[name] for name in ("text_config", "vision_config", "projection_dim", "hidden_size")}
    return PaliGemma(PaliGemmaConfig(**sizes))


MAKE = {"RoboKosMos": kosmos, "RoboPaligemma": paligemma}


def build(fixture: Fixture, config: RoboVLMsConfig) -> RoboVLM:
    """The whole model with the weights that the rule gives it, in evaluation mode (all its dropout is 0)."""
    model = RoboVLM(config, MAKE[config.robovlm_name](fixture)).eval()
    procedural.fill(model, model.reference_name)
    return model


def case_config(row: dict) -> RoboVLMsConfig:
    """The settings of a case of d_e2e.json or d_extra.json."""
    settings = row["config"]
    return RoboVLMsConfig(
        window_size=settings["window_size"],
        fwd_pred_next_n=settings["fwd_pred_next_n"],
        use_hand_rgb=settings["use_hand_rgb"],
        use_vision_resampler="resampler" in row["name"],
        act_head=head_config(settings["act_head"]),
    )


def parameter_names(fixture: Fixture, config: RoboVLMsConfig) -> list[str]:
    """Reference names in our order."""
    with torch.device("meta"):
        model = RoboVLM(config, MAKE[config.robovlm_name](fixture))
    return [model.reference_name(name) for name, _ in model.named_parameters()]
