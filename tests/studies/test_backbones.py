"""`volition backbones`: the table, and what is said about one model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoModelForImageTextToText

from tests.families import config
from tests.source_tree import ROOT
from volition import cli
from volition.backbones import HubBackbone
from volition.backbones.tiny import tiny_tokenizer
from volition.studies import backbones
from volition.studies.backbones import known, run_checks


def volition(*words: str) -> int:
    try:
        cli.main(words)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    return 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    AutoModelForImageTextToText.from_config(config("llava")).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def test_the_table_and_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert volition("backbones", "--json", str(tmp_path / "table.json")) == 0
    said = capsys.readouterr().out
    document = json.loads((tmp_path / "table.json").read_text())
    assert set(document["families"]) == set(known()[1])
    assert all(f"\n{name} " in said for name in document["families"])
    assert volition("backbones", "--markdown") == 0
    assert capsys.readouterr().out == (ROOT / "docs/backbones.md").read_text()


def test_probing_a_model(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert volition("backbones", str(folder), "--json", str(tmp_path / "found.json")) == 0
    said = capsys.readouterr().out
    assert "llava with 0.1 M parameters, adapter Adapter; 32 x 32 pixels make 16 tokens" in said
    assert "\nok   padding" in said
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["checks"] == dict.fromkeys(found["checks"], "")


def test_a_model_that_fails_is_an_answer_and_a_status(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(backbones.CHECKS, "words", lambda _: "'lift red' and 'push red' have the same readout")
    assert volition("backbones", str(folder)) == 1
    assert "FAIL words: 'lift red' and 'push red' have the same readout" in capsys.readouterr().out


def test_a_check_that_breaks_down_is_a_finding(folder: Path) -> None:
    backbone = HubBackbone(model_id=str(folder)).build()
    backbone.model.base_model.config.image_token_index = 5  # the model no longer finds its pictures
    assert "RuntimeError" in run_checks(backbone)["readout"] or "ValueError" in run_checks(backbone)["readout"]


def test_a_model_that_cannot_be_had(capsys: pytest.CaptureFixture[str]) -> None:
    assert volition("backbones", "nobody/nothing") == 2
    assert "can be reached" in capsys.readouterr().err
