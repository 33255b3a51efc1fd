"""Checkpoints of the reference: every format in, the same bits out, nothing silently left over."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.compat import tiny
from volition.compat import RoboVLMsConfig, export_checkpoint, load_checkpoint
from volition.compat.checkpoint import load_state, read_state, reference_state
from volition.compat.config import TrainSetup
from volition.compat.freeze import add_lora

GPT = tiny.head(type="GPTDecoder")


@pytest.fixture
def vlm(tmp_path: Path) -> Path:
    """The folder with the VLM's own config, and no weights."""
    tiny.kosmos_config().save_pretrained(tmp_path / "vlm")
    return tmp_path / "vlm"


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("config", [tiny.CONFIG, GPT], ids=["lstm", "gpt"])
def test_a_round_trip_is_bit_equal(config: RoboVLMsConfig, vlm: Path, tmp_path: Path) -> None:
    model = tiny.model(config)
    export_checkpoint(model, tmp_path / "first.pt")
    loaded = load_checkpoint(tmp_path / "first.pt", config, vlm=vlm)
    export_checkpoint(loaded, tmp_path / "second.pt")
    first, second = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("first", "second"))
    assert same(first["state_dict"], second["state_dict"])
    assert all(
        key.startswith(("model.backbone.", "model.act_head.", "model.action_token")) for key in first["state_dict"]
    )
    words = loaded.backbone.get_output_embeddings().weight
    assert words is loaded.backbone.get_input_embeddings().weight, "still tied"


def test_with_lora_the_backbone_stands_in_the_file_twice(vlm: Path, tmp_path: Path) -> None:
    config = replace(tiny.CONFIG, train_setup=TrainSetup(lora_enable=True, lora_r=2))
    model = tiny.model(config)
    add_lora(model, config.train_setup)
    state = {f"model.{name}": value for name, value in reference_state(model).items()}
    inside = [name for name in state if name.startswith("model.backbone.")]
    again = {name.replace("model.backbone.", "model.model.base_model.model."): state[name] for name in inside}
    torch.save({"state_dict": state | again}, tmp_path / "x.pt")
    loaded = load_checkpoint(tmp_path / "x.pt", config, vlm=vlm)
    assert same(reference_state(loaded), reference_state(model))
    again[next(iter(again))] = torch.zeros(1)
    torch.save({"state_dict": state | again}, tmp_path / "y.pt")
    with pytest.raises(ValueError, match="must equal their namesakes"):
        load_checkpoint(tmp_path / "y.pt", config, vlm=vlm)


def test_gpt2_masks_are_exported_as_the_reference_keeps_them() -> None:
    state = reference_state(tiny.model(GPT))
    assert state["act_head.gpt.h.0.attn.bias"].shape == (1, 1, 32, 32)
    assert state["act_head.gpt.h.7.attn.masked_bias"] == -1e4


@pytest.mark.parametrize("form", ["lightning", "deepspeed", "bare", "data_parallel", "safetensors"])
def test_every_format_is_read(form: str, tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in reference_state(tiny.model()).items()}
    path = tmp_path / ("x.safetensors" if form == "safetensors" else "x.pt")
    lightning = {f"model.{name}": value for name, value in state.items()}
    wrapped = {f"module.{name}": value for name, value in lightning.items()}
    trees: dict[str, Any] = {
        "lightning": {"state_dict": lightning, "epoch": 4, "hyper_parameters": {"configs": {"model": "kosmos"}}},
        "deepspeed": {"state_dict": wrapped, "ds_version": "0.14", "lr_schedulers": []},
        "bare": state,
        "data_parallel": {"model_state_dict": wrapped},
    }
    if form == "safetensors":
        save_file({name: value.contiguous() for name, value in lightning.items()}, path)
    else:
        torch.save(trees[form], path)
    assert same(read_state(path), state)


def test_the_precision_of_the_file_is_kept(vlm: Path, tmp_path: Path) -> None:
    state = {name: value.to(torch.bfloat16) for name, value in reference_state(tiny.model()).items()}
    torch.save({"state_dict": state}, tmp_path / "x.pt")
    loaded = load_checkpoint(tmp_path / "x.pt", tiny.CONFIG, vlm=vlm)
    assert {p.dtype for p in loaded.parameters()} == {torch.bfloat16}


def test_missing_and_unexpected_tensors_are_listed() -> None:
    model = tiny.model()
    state = reference_state(model)
    del state["action_token"]
    state["act_head.rnn.weight_ih_l9"] = torch.zeros(1)
    state["act_head.gripper.mlp.6.bias"] = torch.zeros(5)
    with pytest.raises(ValueError, match="agree on every tensor") as caught:
        load_state(model, state)
    message = str(caught.value)
    assert "missing: action_token" in message
    assert "unexpected: act_head.rnn.weight_ih_l9" in message
    assert "act_head.gripper.mlp.6.bias [5] for [4]" in message


def test_copies_of_a_tied_tensor_must_agree() -> None:
    model = tiny.model()
    state = reference_state(model)
    name = "backbone.text_model.lm_head.weight"
    load_state(model, {key: value for key, value in state.items() if key != name})
    state[name] = state[name] + 1
    with pytest.raises(ValueError, match="not tied"):
        load_state(model, state)


def test_paligemma_has_the_names_that_it_had_then() -> None:
    state = reference_state(tiny.model(tiny.PALIGEMMA))
    assert "backbone.language_model.model.layers.0.self_attn.q_proj.weight" in state
    assert "backbone.vision_tower.vision_model.embeddings.patch_embedding.weight" in state
    assert not any(name.startswith("backbone.model.") for name in state)
    other = tiny.model(tiny.PALIGEMMA, seed=1)
    load_state(other, state)
    assert same(reference_state(other), state)


class Hostile:
    """Unpickling it would make a folder."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_hostile_pickle_is_refused(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": {"model.action_token": torch.zeros(2)}, "x": Hostile(tmp_path / "made")}, tmp_path / "x.pt"
    )
    with pytest.raises(ValueError, match="tensors and plain values only"):
        read_state(tmp_path / "x.pt")
    assert not (tmp_path / "made").exists()


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, vlm: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        read_state(tmp_path / "x.pt")
    with pytest.raises(ValueError, match="convert a DeepSpeed checkpoint"):
        read_state(tmp_path)
    torch.save({"state_dict": {"model.x": 1}}, tmp_path / "y.pt")
    with pytest.raises(ValueError, match=r"these are none: model\.x"):
        read_state(tmp_path / "y.pt")
    export_checkpoint(tiny.model(), tmp_path / "z.pt")
    with pytest.raises(ValueError, match=r"must hold the VLM's config\.json"):
        load_checkpoint(tmp_path / "z.pt", tiny.CONFIG)
