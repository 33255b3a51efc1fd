"""Models from folders: what is loaded, what is asked of the tower, and errors before any time is spent."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, LlamaConfig

from tests.families import config, make_family, marked_tokenizer
from volition.backbones import HubBackbone
from volition.backbones.adapter import Adapter
from volition.backbones.grids import Grids
from volition.backbones.hub import picture_size
from volition.backbones.minicpm import MiniCPM
from volition.backbones.tiny import tiny_tokenizer
from volition.config import REMOTE_CODE, dump, load
from volition.studies.backbone_checks import make_batch
from volition.studies.backbones import lines, probe

CLIP = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28], "resample": 3, "size": {"shortest_edge": 32}}


def save(folder: Path, family: str = "llava") -> Any:
    """As a download looks like: weights, tokenizer, preprocessor."""
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config(family))
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(CLIP))
    return model


def test_a_folder_gives_its_weights_and_its_pictures(tmp_path: Path) -> None:
    model = save(tmp_path)
    backbone = HubBackbone(model_id=str(tmp_path)).build()
    state = backbone.hub_state()
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items() if name in state)
    pictures = backbone.adapter.pictures
    assert (pictures.size, pictures.mean, pictures.bicubic) == ((32, 32), (0.48, 0.46, 0.41), True)


def test_without_weights_they_are_not_read(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    backbone = HubBackbone(model_id=str(tmp_path), bfloat16=False).build(pretrained=False)
    assert backbone.encode(make_batch(backbone)).readout.isfinite().all()


def test_how_attention_is_computed_is_the_recipes_choice(tmp_path: Path) -> None:
    """In every part of the model, and with equal numbers."""
    save(tmp_path)
    found = {}
    for attention in ("eager", "sdpa"):
        torch.manual_seed(0)  # of [LRN]
        backbone = HubBackbone(model_id=str(tmp_path), bfloat16=False, attention=attention).build().eval()
        configs = [m.config for m in backbone.model.modules() if hasattr(m, "config")]
        assert {c._attn_implementation for c in configs} == {attention}
        found[attention] = backbone.encode(make_batch(backbone)).readout
    torch.testing.assert_close(found["eager"], found["sdpa"], atol=1e-5, rtol=1e-5)


def test_what_is_saved_opens_with_plain_transformers(tmp_path: Path) -> None:
    """[LRN] stays out, and every key is the library's own."""
    backbone = make_family("qwen2_vl")
    backbone.model.config.save_pretrained(tmp_path)
    plain = AutoModelForImageTextToText.from_config(backbone.model.config)
    missing, unknown = plain.load_state_dict(backbone.hub_state(), strict=False)
    assert not unknown
    assert set(missing) <= set(plain.all_tied_weights_keys)


def test_a_family_that_freezes_itself_is_not_frozen(tmp_path: Path) -> None:
    save(tmp_path, "idefics")
    marked_tokenizer().save_pretrained(tmp_path)
    backbone = HubBackbone(model_id=str(tmp_path)).build(pretrained=False)
    assert all(parameter.requires_grad for parameter in backbone.parameters())


def test_a_model_that_cannot_be_reached(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a folder with a saved model or a model on the hub that can be reached"):
        HubBackbone(model_id="nobody/nothing").build()
    with pytest.raises(ValueError, match=r"must hold a config.json with a model_type"):
        HubBackbone(model_id=str(tmp_path)).build()


def test_a_model_without_eyes(tmp_path: Path) -> None:
    blind = LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, vocab_size=99)
    AutoModelForCausalLM.from_config(blind).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"must be a model that reads pictures and text; 'llama' is none"):
        HubBackbone(model_id=str(tmp_path)).build()


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("llava", {"image_token_index": 4000}, r"the tokenizer must know the token for pictures, id 4000"),
        ("kosmos-2", {}, r"the tokenizer must know '<patch_index_0000>'"),
        ("blip", {}, r"must name the token that stands for a piece of a picture"),
    ],
)
def test_a_tokenizer_without_the_mark_for_pictures(
    tmp_path: Path, family: str, change: dict[str, Any], message: str
) -> None:
    """Found before weights are read: there are none."""
    save(tmp_path, family)
    (tmp_path / "model.safetensors").unlink()
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        HubBackbone(model_id=str(tmp_path)).build()


def foreign(folder: Path) -> Path:
    """A model that brings its own code, which leaves a trace when it runs."""
    trace = folder / "ran"
    (folder / "theirs.py").write_text(f"import pathlib\npathlib.Path({str(trace)!r}).touch()\nclass Config: pass\n")
    auto = {"AutoConfig": "theirs.Config", "AutoModelForImageTextToText": "theirs.Model"}
    (folder / "config.json").write_text(json.dumps({"model_type": "theirs", "auto_map": auto}))
    return trace


def test_code_of_a_model_does_not_run_unasked(tmp_path: Path) -> None:
    trace = foreign(tmp_path)
    with pytest.raises(ValueError, match="brings its own code; if you trust its origin, set trust_remote_code"):
        HubBackbone(model_id=str(tmp_path)).build()
    assert not trace.exists()


def test_a_checkpoint_cannot_ask_for_code_to_run() -> None:
    """Only who loads it can: trust_remote_code in its config needs --allow."""
    tree = dump(HubBackbone(model_id="somewhere", trust_remote_code=True))
    with pytest.raises(ValueError, match=rf"trust_remote_code.*--allow {REMOTE_CODE}"):
        load(tree)
    assert load(tree, allow=(REMOTE_CODE,)).trust_remote_code
    assert load(dump(HubBackbone(model_id="somewhere"))) == HubBackbone(model_id="somewhere")


@pytest.mark.parametrize(
    ("vision", "preprocessor", "adapter", "side", "expected"),
    [
        ({"image_size": 336, "patch_size": 14}, {}, Adapter, 0, (336, 336)),
        ({"image_size": [448, 448], "patch_size": [14, 14]}, {}, Adapter, 0, (448, 448)),
        ({"patch_size": [7, 3]}, {"size": {"height": 768, "width": 640}}, Adapter, 0, (768, 640)),
        ({}, {"size": {"shortest_edge": 384}}, Adapter, 0, (384, 384)),
        ({}, {"size": {"shortest_edge": 336}, "crop_size": {"height": 320, "width": 320}}, Adapter, 0, (320, 320)),
        ({"patch_size": 14, "spatial_merge_size": 2}, {"size": {"shortest_edge": 3136}}, Grids, 0, (224, 224)),
        ({"patch_size": 16, "spatial_merge_size": 3}, {}, Grids, 0, (192, 192)),
        ({"patch_size": 16, "pooling_kernel_size": 3}, {}, Grids, 0, (192, 192)),
        ({"patch_size": 14, "spatial_merge_size": 2, "image_size": 1540}, {}, Grids, 280, (280, 280)),
        ({"patch_size": 14, "image_size": 980}, {}, MiniCPM, 0, (224, 224)),
        ({"patch_size": 16, "image_size": 224}, {}, MiniCPM, 0, (192, 192)),
    ],
)
def test_size_of_pictures(
    vision: dict[str, Any], preprocessor: dict[str, Any], adapter: type[Adapter], side: int, expected: tuple[int, int]
) -> None:
    model = SimpleNamespace(vision_config=SimpleNamespace(**vision))
    assert picture_size(model, preprocessor, adapter, side) == expected


def test_a_size_that_does_not_fit_the_patches() -> None:
    model = SimpleNamespace(vision_config=SimpleNamespace(patch_size=14, spatial_merge_size=2))
    with pytest.raises(ValueError, match="image_size=100 must be a multiple of 28"):
        picture_size(model, {}, Grids, 100)


def test_probing_a_model_says_what_was_found(tmp_path: Path) -> None:
    save(tmp_path, "qwen2_vl")
    found = probe(str(tmp_path))
    assert (found.model_type, found.adapter, found.fine) == ("qwen2_vl", "TurnedGrids", True)


def test_the_table_lists_every_family() -> None:
    text = "\n".join(lines())
    for name in ("paligemma", "kosmos-2", "mllama", "chameleon"):
        assert f"\n{name} " in text


def test_steps_in_one_row_need_a_model_that_reads_pictures_in_place() -> None:
    for name in ("florence2", "git"):
        with pytest.raises(ValueError, match="interleaved history needs a model that reads pictures where they stand"):
            make_family(name).adapter.collate(["lift red"], 2, steps=2)
