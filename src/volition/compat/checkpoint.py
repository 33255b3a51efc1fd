"""Checkpoints of the reference: Lightning files, converted DeepSpeed files and bare state dicts, in and out.

Files are read with `weights_only`: a pickle that would run code is refused. Loading is strict, names are translated to
those of today's `transformers` and back, and an export has the reference's own names and the same bits.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText

from volition.compat.config import RoboVLMsConfig
from volition.compat.freeze import add_lora
from volition.compat.model import RoboVLM

# Constants that the reference's GPT-2 keeps in its checkpoints: the causal mask, as wide as the model, and its value.
CAUSAL, MASKED = (
    re.compile(r"act_head\.gpt\.h\.\d+\.attn\.bias"),
    re.compile(r"act_head\.gpt\.h\.\d+\.attn\.masked_bias"),
)
MASKED_VALUE = -1e4
SECOND_COPY = "model.base_model.model."


def load_checkpoint(path: Path, config: RoboVLMsConfig, *, vlm: Path | None = None) -> RoboVLM:
    """The model with the file's weights, in the file's precision, in evaluation mode.

    `vlm`: the folder with the VLM's own `config.json`; by default `config.vlm_path`. Its weights are not needed.
    """
    state = read_state(path)
    folder = Path(vlm or config.vlm_path)
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder} must hold the VLM's config.json; pass vlm= the folder of {config.robovlm_name}'s VLM"
        )
    backbone = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))
    model = RoboVLM(config, backbone)
    if config.train_setup.lora_enable:
        add_lora(model, config.train_setup)
    load_state(model, state)
    return model.eval()


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors under the reference's names, without `model.` and `module.`."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder: convert a DeepSpeed checkpoint to one file first, with the zero_to_fp32.py inside it"
        )
    if not path.is_file():
        raise ValueError(f"{path} must be a checkpoint of RoboVLMs, there is no such file")
    if path.suffix == ".safetensors":
        tree = load_file(path)
    else:
        try:
            tree = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(
                f"{path} must hold tensors and plain values only; it was not loaded, because it asks for more: {error}"
            ) from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path} must hold a state dict, got {type(tree).__name__}")
    for key in ("state_dict", "model_state_dict"):
        if isinstance(tree.get(key), dict):
            tree = tree[key]
            break
    odd = [key for key, value in tree.items() if not isinstance(value, Tensor)]
    if odd:
        raise ValueError(f"{path} must hold a state dict of tensors; these are none: {', '.join(map(str, odd[:8]))}")
    return {reference_key(key).removeprefix("model."): value for key, value in tree.items()}


def reference_key(key: str) -> str:
    """A name of any of the formats -> the one in the reference's Lightning module, which starts with `model.`."""
    key = key.replace("module.", "")
    return key if key.startswith("model.") else f"model.{key}"


def load_state(model: RoboVLM, state: dict[str, Tensor]) -> None:
    """Strict: ValueError lists what is missing, what is unexpected and what has another shape."""
    wanted = {model.reference_name(name): name for name in model.state_dict()}
    state = _without_second_copy(_without_constants(state))
    if model.config.use_clip_norm:  # the auxiliary loss of training; nothing of it acts
        state = {key: value for key, value in state.items() if not key.startswith("clip_norm_head.")}
    copies = tied(model)
    missing = sorted(wanted.keys() - state.keys() - copies.keys())
    unexpected = sorted(state.keys() - wanted.keys())
    own = model.state_dict()
    shapes = [
        f"{key} {list(value.shape)} for {list(own[wanted[key]].shape)}"
        for key, value in sorted(state.items())
        if key in wanted and own[wanted[key]].shape != value.shape
    ]
    unequal = [
        f"{key} (must equal {of})"
        for key, of in copies.items()
        if key in state and of in state and not torch.equal(state[key], state[of])
    ]
    problems = {"missing": missing, "unexpected": unexpected, "other shapes": shapes, "not tied": unequal}
    if any(problems.values()):
        lines = [f"{what}: {', '.join(names)}" for what, names in problems.items() if names]
        raise ValueError("the checkpoint and the config must agree on every tensor:\n  " + "\n  ".join(lines))
    tensors = {wanted[key]: value for key, value in state.items() if key not in copies}
    model.load_state_dict(tensors, strict=False, assign=True)  # the comparison above is the strict one
    model.backbone.tie_weights()


def tied(model: RoboVLM) -> dict[str, str]:
    """Names of the state dict that are another tensor once more -> that tensor's name."""
    first: dict[int, str] = {}
    copies: dict[str, str] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        key = model.reference_name(name)
        if id(value) in first:
            copies[key] = first[id(value)]
        else:
            first[id(value)] = key
    return copies


def reference_state(model: RoboVLM) -> dict[str, Tensor]:
    """All tensors under the reference's names, constants and tied copies included, as its own state dict has them."""
    state = {model.reference_name(name): value.detach() for name, value in model.state_dict().items()}
    if model.config.act_head.type == "GPTDecoder":
        for name, value in list(state.items()):
            if name.endswith(".attn.c_attn.bias") and name.startswith("act_head.gpt."):
                place, width = name.removesuffix("c_attn.bias"), len(value) // 3
                state[f"{place}bias"] = torch.ones(width, width, dtype=torch.uint8).tril()[None, None]
                state[f"{place}masked_bias"] = torch.tensor(MASKED_VALUE)
    return state


def export_checkpoint(model: RoboVLM, path: Path) -> None:
    """A file that the reference loads: `state_dict` with `model.*` names."""
    torch.save({"state_dict": {f"model.{name}": value for name, value in reference_state(model).items()}}, path)


def _without_second_copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """With LoRA the reference registers its backbone twice; both must be the same."""
    second = {key: f"backbone.{key.removeprefix(SECOND_COPY)}" for key in state if key.startswith(SECOND_COPY)}
    unequal = [key for key, first in second.items() if first not in state or not torch.equal(state[key], state[first])]
    if unequal:
        raise ValueError(f"these tensors must equal their namesakes under backbone.: {', '.join(unequal[:8])}")
    return {key: value for key, value in state.items() if key not in second}


def _without_constants(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """GPT-2's masks must be what they always are; they are made anew on export."""
    kept = {}
    for key, value in state.items():
        if CAUSAL.fullmatch(key):
            if not torch.equal(value.bool(), torch.ones_like(value, dtype=torch.bool).tril()):
                raise ValueError(f"{key} must be a causal mask, and is another tensor")
        elif MASKED.fullmatch(key):
            if value.item() != MASKED_VALUE:
                raise ValueError(f"{key} must be {MASKED_VALUE}, got {value.item()}")
        else:
            kept[key] = value
    return kept
