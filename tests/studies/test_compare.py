"""`volition compare`, end to end on recorded demonstrations of the toy world."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.test_cli import volition
from tests.tiny import SMALL
from tests.toy import TASKS, ToyConfig
from volition.backbones import TinyPaliGemma
from volition.config import DataConfig, Experiment, WindowConfig
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.record import RecordConfig, record
from volition.heads import MLPHeadConfig
from volition.studies.compare_page import cells, columns
from volition.studies.compare_rows import make_rows
from volition.training.metrics import read_metrics
from volition.training.train import LoopConfig


def recipe() -> Experiment:
    """A tiny policy for the toy world."""
    return Experiment(
        data=DataConfig(cameras=("base",)),
        window=WindowConfig(num_obs_steps=2, obs_stride=1, action_horizon=3, replan_steps=1),
        backbone=TinyPaliGemma(**SMALL),
        head=MLPHeadConfig(hidden=16),
        loop=LoopConfig(num_steps=6, batch_size=4, log_every=2, save_every=6),
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compare") / "data"
    storage = LeRobotConfig(images="png", keep_frames=True)
    record(ToyConfig(noise=0.1), RecordConfig(tasks=TASKS, episodes_per_task=10, storage=storage, workers=0), out)
    return out


def compare(data: Path, run: Path, *flags: str) -> int:
    shared = ("--data.path", data, "--run", run, "--starts", 0, "--jobs", 0, "--seeds", 2)
    return volition("compare", "tests.studies.test_compare:recipe", *shared, *flags)


@pytest.mark.slow
def test_a_table_of_heads_and_nothing_is_done_twice(data: Path, tmp_path: Path, capsys: Any) -> None:
    flags = ("--heads", "mlp", "lstm", "--json", str(tmp_path / "table.json"))
    assert compare(data, tmp_path / "run", *flags) == 0
    said = capsys.readouterr().out
    assert "head=mlp" in said
    assert "head=lstm" in said
    document = json.loads((tmp_path / "table.json").read_text())
    assert {row["name"] for row in document["rows"]} == {"head=mlp", "head=lstm"}
    for row in document["rows"]:
        assert row["seeds"] == [0, 1]
        assert row["measures"]["mae"]["low"] <= row["measures"]["mae"]["value"] <= row["measures"]["mae"]["high"]
        assert row["measures"]["validation_loss"]["count"] == 2
        assert row["success"] is None
        assert 0 < row["head_parameters"] < row["parameters"]
        assert row["act_seconds"] > 0
    page = (tmp_path / "run" / "compare.html").read_text()
    assert all(text in page for text in ("head=mlp", "head=lstm", "<svg", "training loss"))
    results = sorted((tmp_path / "run" / "runs").glob("*/result.json"))
    assert len(results) == 4
    before = {path: path.stat().st_mtime_ns for path in results}
    results[0].unlink()  # one run is to be finished again, from its checkpoint
    assert compare(data, tmp_path / "run", *flags) == 0
    assert {p: p.stat().st_mtime_ns for p in results[1:]} == {p: before[p] for p in results[1:]}
    assert results[0].exists()
    assert compare(data, tmp_path / "run", *flags, "--loop.optim.lr", "0.1") == 2
    assert "belongs to another comparison (experiment.loop.optim.lr: 0.001 != 0.1)" in capsys.readouterr().err


@pytest.mark.slow
def test_heads_are_screened_on_what_the_vlm_read_out_once(data: Path, tmp_path: Path) -> None:
    assert compare(data, tmp_path, "--screen", "--heads", "mlp", "lstm") == 0
    stored = list((tmp_path / "readouts").glob("*.safetensors"))
    assert len(stored) == 2  # one a seed, and not one a head
    for head in ("mlp", "lstm"):
        lines = read_metrics(tmp_path / "screened" / f"head={head}-seed0" / "metrics.jsonl")
        assert [line["step"] for line in lines] == [2, 4, 6]
        assert "grad_norm_head" in lines[0]
        assert "grad_norm_backbone" not in lines[0]


def result(name: str, seed: int, successes: str, mae: float) -> dict[str, Any]:
    episodes = [
        {"task": f"task{i % 2}", "seed": i, "scene": "A", "success": letter == "1"}
        for i, letter in enumerate(successes)
    ]
    numbers = {"train_loss": 0.5, "validation_loss": 0.6, "mae": mae, "error_m": 0.01, "gripper_accuracy": 0.9}
    about = {"epochs": 1.5, "steps": 10, "action_dim": 7, "parameters": 10, "head_parameters": 2, "act_seconds": 0.01}
    return {"name": name, "seed": seed, "episodes": episodes, "curve": [[1, 1.0]], **numbers, **about}


def test_rows_are_ranked_by_success_and_compared_on_the_same_starts() -> None:
    found = make_rows(
        [
            result("worse", 0, "11110000", 0.1),
            result("better", 0, "11111110", 0.2),
            result("better", 1, "11111111", 0.2),
            result("worse", 1, "11000000", 0.1),
        ]
    )
    assert [row.name for row in found] == ["better", "worse"]
    assert found[0].difference is None
    gap = found[1].difference
    assert gap is not None
    assert (gap.count, gap.only_first, gap.only_second) == (16, 9, 0)
    assert gap.value == pytest.approx(9 / 16)
    assert gap.p_value == pytest.approx(2 / 2**9)
    assert found[1].better == {"mae": 1.0, "train_loss": 0.0, "validation_loss": 0.0}
    success = found[0].success
    assert success is not None
    assert success.value == pytest.approx(15 / 16)
    assert success.count == 16
    for few in (False, True):
        assert all(len(cells(row, found, few=few)) == len(columns(found, few=few)) for row in found)
    assert dict(zip(columns(found), cells(found[1], found)))["p"] == "0.004"


def test_many_rows_make_a_difference_less_sure() -> None:
    rows = make_rows(
        [
            result("first", 0, "1111111111", 0.1),
            result("close", 0, "1111111110", 0.1),
            result("far", 0, "0000000000", 0.1),
        ]
    )
    raw = [row.difference.p_value for row in rows if row.difference]
    assert raw == [1.0, 2 / 2**10]
    assert [row.p_corrected for row in rows] == [None, 1.0, 4 / 2**10]


@pytest.mark.slow
def test_a_run_that_diverges_costs_no_other_run_its_place(data: Path, tmp_path: Path, capsys: Any) -> None:
    run = tmp_path / "run"
    vary = ("--vary", "loop.optim.lr=1e-3,1e30", "--jobs", "2", "--seeds", "1")
    assert compare(data, run, *vary) == 0
    last = capsys.readouterr().out.splitlines()[-4:]
    assert any("(1 of 1 diverged)" in line for line in last), last
    results = [json.loads(path.read_text()) for path in sorted((run / "runs").glob("*/result.json"))]
    assert sorted("diverged" in result for result in results) == [False, True]
    rows = make_rows(results)
    assert (rows[0].diverged, rows[1].diverged) == (0, 1)
    assert "diverged" in (run / "compare.html").read_text()


@pytest.mark.slow
def test_a_folder_answers_one_question(data: Path, tmp_path: Path, capsys: Any) -> None:
    """Also where a run was interrupted before there was a result, and where the data was changed."""
    flags = ("--vary", "loop.optim.lr=1e-3", "--seeds", "1")
    copied = Path(shutil.copytree(data, tmp_path / "data"))
    assert compare(copied, tmp_path / "run", *flags) == 0
    (result,) = (tmp_path / "run" / "runs").glob("*/result.json")
    result.unlink()
    assert compare(copied, tmp_path / "run", *flags, "--loop.num-steps", "4") == 2
    assert "belongs to another comparison (experiment.loop.num_steps: 6 != 4)" in capsys.readouterr().err
    (copied / "more.json").write_text("{}")
    assert compare(copied, tmp_path / "run", *flags) == 2
    assert "belongs to another comparison (datasets: " in capsys.readouterr().err


def test_without_acting_the_error_ranks() -> None:
    found = make_rows([result("a", 0, "", 0.3), result("b", 0, "", 0.1)])
    assert [row.name for row in found] == ["b", "a"]
    assert found[0].success is None
    assert "success" not in columns(found)
    # One seed has no spread: the page says none, and the file can be read by whatever reads JSON.
    assert dict(zip(columns(found), cells(found[0], found)))["MAE"] == "0.1"
    mae = json.loads(json.dumps(found[0].to_json(), allow_nan=False))["measures"]["mae"]
    assert mae == {"value": 0.1, "low": None, "high": None, "count": 1}


def test_a_recipe_without_an_environment_says_so_before_the_first_run(tmp_path: Path, capsys: Any) -> None:
    assert volition("compare", "tests.studies.test_compare:recipe", "--run", tmp_path, "--data.path", tmp_path) == 2
    assert "pass --starts 0" in capsys.readouterr().err
    assert volition("compare", "sedes-table") == 2
    assert "did you mean 'seeds_table'" in capsys.readouterr().err
