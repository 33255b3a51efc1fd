"""The demo and its study, whole but very small: every variant is trained, evaluated and drawn."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from volition.envs.desk.environment import STATE_NAMES
from volition.recipes.desk import DEMO_TASKS, demo_recording
from volition.studies.demo import DemoConfig
from volition.studies.demo_study import StudyConfig, run_study, variants

pytestmark = pytest.mark.slow


def small(run) -> DemoConfig:
    config = DemoConfig.small(run)
    loop = replace(config.experiment.loop, num_steps=4, batch_size=2, log_every=2, save_every=2)
    data = replace(config.experiment.data, recording=demo_recording(1))
    return replace(config, max_steps=6, num_films=1, experiment=replace(config.experiment, data=data, loop=loop))


def test_every_variant_is_in_the_report(tmp_path) -> None:
    config = StudyConfig(demo=small(tmp_path), lengths=(0.5, 1.0), seeds=(0,), blind_states=(STATE_NAMES,))
    expected = {variant.folder for variant in variants(config)}
    assert len(expected) == len(variants(config)) == 4  # pretrained, from scratch, blind, untrained
    page = run_study(config)
    summary = json.loads((tmp_path / "study.json").read_text())
    assert set(summary) == expected
    assert all(line["num_episodes"] == len(DEMO_TASKS) for line in summary.values())
    assert summary["untrained-x0.00-seed0"]["steps"] == 0
    report = json.loads(page.with_name("report.json").read_text())
    assert [curve["name"] for curve in report["progress"]] == ["seed 0"]
    assert [len(curve["points"]) for curve in report["progress"]] == [2]
