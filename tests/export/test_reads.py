"""What an artefact is read with and does not hold must be what it was proved with."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForImageTextToText

from tests.families import config
from tests.tiny import LSTM, SMALL
from tests.toy import SPEC
from volition.backbones import HubBackbone, TinyPaliGemma
from volition.backbones.base import BackboneConfig
from volition.backbones.tiny import tiny_tokenizer
from volition.config import Contract, DataConfig, Experiment, WindowConfig, dump
from volition.data.files import read_json, write_json
from volition.data.transforms import Chain
from volition.export import artefact
from volition.export.artefact import EXPORT, Source, write_artefact
from volition.export.load import load_artefact
from volition.export.reads import READS, reads
from volition.training.checkpoint import MANIFEST

pytestmark = pytest.mark.slow
WINDOW = WindowConfig(num_obs_steps=1, replan_steps=2, action_horizon=4)
EYES = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28], "size": {"shortest_edge": 32}}


def export(backbone: BackboneConfig, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything but its passes, which take time and are read from the artefact itself."""
    recipe = Experiment(window=WINDOW, backbone=backbone, head=LSTM, data=DataConfig(cameras=("base",)))
    contract = Contract(robot=SPEC, window=WINDOW, transforms=Chain())
    folder.mkdir()
    for name, document in (("config.json", dump(recipe)), ("contract.json", dump(contract)), (MANIFEST, {})):
        write_json(folder / name, document)
    policy = recipe.build(SPEC, Chain(), pretrained=False)
    monkeypatch.setattr(artefact, "write_passes", lambda *given: [])
    source = Source(folder=folder, policy=policy.eval(), contract=contract, calls={})
    return write_artefact(source, "onnx", folder.parent / "exported")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """As a download looks like."""
    folder = tmp_path / "model"
    AutoModelForImageTextToText.from_config(config("llava")).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(EYES))
    return folder


def change(path: Path, edit: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def swap(document: Any) -> None:
    """Two words of the vocabulary change places: nothing of it shows in any shape."""
    words = document["model"]["vocab"]
    words["drawer"], words["slider"] = words["slider"], words["drawer"]


CHANGES: dict[str, tuple[str, Callable[[Any], None], str]] = {
    "vocabulary": ("tokenizer.json", swap, "tokenizer"),
    "capitals": ("tokenizer.json", lambda x: x["normalizer"]["normalizers"].pop(), "tokenizer"),
    "colours": ("preprocessor_config.json", lambda x: x.update(image_mean=[0.5, 0.5, 0.5]), "picture settings"),
    "filter": ("preprocessor_config.json", lambda x: x.update(resample=3), "picture settings"),
    "config": ("config.json", lambda x: x["text_config"].update(rms_norm_eps=0.1), "model config"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_models_folder_that_was_changed_is_refused(
    name: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export(HubBackbone(model_id=str(model)), tmp_path / "run", monkeypatch)
    load_artefact(folder, unproved=True)
    file, edit, part = CHANGES[name]
    change(model / file, edit)
    with pytest.raises(ValueError, match=rf"here differs the model's {part}\. Bring back .* or export again"):
        load_artefact(folder, unproved=True)


def test_another_package_is_refused_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = export(TinyPaliGemma(**SMALL), tmp_path / "run", monkeypatch)
    load_artefact(folder, unproved=True)
    about = read_json(folder / EXPORT)
    write_json(folder / EXPORT, {**about, "versions": {**about["versions"], "transformers": "4.0"}})
    load_artefact(folder, unproved=True)  # another version that reads alike
    with_capitals = tiny_tokenizer()
    with_capitals.backend_tokenizer.normalizer = None
    monkeypatch.setattr("volition.backbones.tiny.tiny_tokenizer", lambda: with_capitals)
    with pytest.raises(ValueError, match=r"the model's tokenizer \(transformers 4\.0 then, .* now\)"):
        load_artefact(folder, unproved=True)


def test_what_says_nothing_of_it_is_taken_as_before_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = export(TinyPaliGemma(**SMALL), tmp_path / "run", monkeypatch)
    about = read_json(folder / EXPORT)
    assert set(about.pop(READS)) == {"tokenizer", "picture settings", "model config"}
    write_json(folder / EXPORT, about)
    with caplog.at_level(logging.WARNING):
        load_artefact(folder, unproved=True)
    assert "a change of those is not seen; export again" in caplog.text


def test_it_does_not_depend_on_calls_or_folders(model: Path, tmp_path: Path) -> None:
    adapter = HubBackbone(model_id=str(model)).build(pretrained=False).adapter
    before = reads(adapter)
    adapter.tokenizer(["one", "two words"], padding=True, truncation=True, max_length=8)
    assert reads(adapter) == before
    elsewhere = model.rename(tmp_path / "elsewhere")
    assert reads(HubBackbone(model_id=str(elsewhere), bfloat16=False).build(pretrained=False).adapter) == before
