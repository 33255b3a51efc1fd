"""`volition compare --tune`: Optuna's trials are real runs, the best is taken, and none is run twice."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.studies.test_compare import compare, data, recipe
from volition.studies.compare import CompareConfig
from volition.studies.compare_command import execute
from volition.studies.tuning import RATES, Search, TuningConfig, search, tune, tuned
from volition.studies.vary import Variant, make_variants
from volition.training.checkpoint import list_checkpoints
from volition.training.metrics import read_metrics

__all__ = ["data"]  # a fixture
pytestmark = pytest.mark.slow
pytest.importorskip("optuna", reason="an extra: pip install 'volition[tune]'")


def test_the_best_rates_are_taken_and_no_trial_is_run_twice(data: Path, tmp_path: Path) -> None:
    base = recipe()
    variant = Variant(labels=(("head", "mlp"),), experiment=replace(base, data=replace(base.data, path=str(data))))
    config = TuningConfig(trials=2, share=0.5, low=1e-4, high=1e-1)
    folder = tmp_path / variant.folder
    best = tuned(Search(variant=variant, folder=folder, config=config)).experiment.loop.optim
    trials = json.loads((folder / "tuning.json").read_text())["trials"]
    assert len(trials) == 2
    for number, trial in enumerate(trials):
        lines = read_metrics(folder / f"trial-{number}" / "metrics.jsonl")
        assert lines[-1]["step"] == 4  # half of six, in whole lines of two
        assert lines[-1]["validation_loss"] == trial["loss"]
        assert all(config.low <= trial["rates"][name] <= config.high for name in RATES)
    assert trials[0]["rates"] != trials[1]["rates"]
    assert {name: getattr(best, name) for name in RATES} == min(trials, key=lambda one: one["loss"])["rates"]
    written = {path: path.stat().st_mtime_ns for path in list_checkpoints(folder / "trial-0")}
    longer = search(variant.experiment, folder, replace(config, trials=3))
    assert longer[:2] == trials
    assert len(longer) == 3
    assert {path: path.stat().st_mtime_ns for path in list_checkpoints(folder / "trial-0")} == written
    other = replace(variant.experiment, loop=replace(variant.experiment.loop, batch_size=3))
    with pytest.raises(ValueError, match=r"holds another search .*batch_size"):
        search(other, folder, config)


def test_rates_at_which_a_run_diverges_are_the_worst(data: Path, tmp_path: Path) -> None:
    base = recipe()
    experiment = replace(base, data=replace(base.data, path=str(data)))
    (trial,) = search(experiment, tmp_path, TuningConfig(trials=1, share=1.0, low=1e30, high=1e31))
    assert trial["loss"] == 1e9


def test_the_verb_compares_what_it_tuned(data: Path, tmp_path: Path) -> None:
    assert compare(data, tmp_path, "--heads", "mlp", "--tune", "1") == 0
    (folder,) = (tmp_path / "tuning").iterdir()
    (trial,) = json.loads((folder / "tuning.json").read_text())["trials"]
    used = json.loads(next((tmp_path / "runs").glob("*-seed0/config.json")).read_text())["loop"]["optim"]
    assert all(math.isclose(used[name], trial["rates"][name]) for name in RATES)


def test_rates_are_varied_or_found_but_not_both(data: Path, tmp_path: Path) -> None:
    (*varied,) = make_variants({"": recipe()}, ["loop.optim.lr=1e-3,1e-4"])
    with pytest.raises(ValueError, match=r"loop\.optim\.lr cannot be varied too"):
        tune(varied, TuningConfig(trials=1), CompareConfig(run=tmp_path))
    with pytest.raises(ValueError, match="leave one of them out"):
        execute("tests.studies.test_compare:recipe", ["--data.path", str(data), "--tune", "1", "--screen"])
