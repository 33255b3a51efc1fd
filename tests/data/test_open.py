from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.conftest import write_toy
from tests.toy import SPEC
from volition.data.info import info
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.open import detect, load_spec


def test_a_recording_of_ours(tmp_path: Path) -> None:
    root = tmp_path / "d"
    write_toy(root, (5, 2, 3), LeRobotConfig())
    assert detect(root).name == "lerobot"
    assert load_spec(root) == SPEC
    summary = info(root)
    json.dumps(summary)
    assert summary["format"] == "lerobot"
    assert (summary["episodes"], summary["frames"], summary["instructions"]) == (3, 10, 4)
    assert summary["episode_length"] == {"min": 2, "mean": pytest.approx(10 / 3), "max": 5}
    assert summary["tasks"] == {"reach_blue": 1, "reach_red": 2}
    assert summary["cameras"] == {"base": [28, 28]}
    assert summary["state"]["x"]["max"] == 2
    assert summary["action"]["y"]["min"] == -0.5
    assert summary["bytes"] > 1000


def test_folders_that_are_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must hold .*meta/info\.json \(LeRobot v3\.0\) or "):
        detect(tmp_path)
    with pytest.raises(FileNotFoundError, match="must be a dataset folder"):
        detect(tmp_path / "nothing")


def test_a_damaged_spec_is_named(tmp_path: Path) -> None:
    root = tmp_path / "d"
    write_toy(root, (5,), LeRobotConfig())
    path = root / "meta/volition.json"
    tree = json.loads(path.read_text())
    del tree["spec"]["cameras"]
    path.write_text(json.dumps(tree))
    with pytest.raises(ValueError, match=r"volition\.json must hold a robot spec .*KeyError: 'cameras'"):
        load_spec(root)
