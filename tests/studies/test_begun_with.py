"""A run that begins with another run's weights: which ones it takes, and which it refuses."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tiny import SMALL
from tests.toy import SPEC
from tests.training.test_train import EXPERIMENT, Recorded
from volition.backbones import TinyPaliGemma
from volition.config import DataConfig, Experiment
from volition.heads import MLPHeadConfig
from volition.studies.training import load_policy, run_training_on

EPISODES = [Recorded(seed) for seed in range(3)]


def steps(experiment: Experiment, count: int) -> Experiment:
    return replace(experiment, loop=replace(experiment.loop, num_steps=count))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_policy(run)[0].state_dict()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("first")
    run_training_on(steps(EXPERIMENT, 4), EPISODES, SPEC, run)
    return run


def test_it_begins_where_the_other_ended_and_goes_on_without_it(first: Path, tmp_path: Path) -> None:
    following = replace(EXPERIMENT, start=str(first))
    run_training_on(steps(following, 0), EPISODES, SPEC, tmp_path / "second")
    before, now = weights(first), weights(tmp_path / "second")
    assert before.keys() == now.keys()
    assert all(torch.equal(before[name], now[name]) for name in before)

    def stop(line: Mapping[str, float]) -> None:
        if line["step"] == 6:  # past the checkpoint of step 4
            raise InterruptedError

    run_training_on(steps(following, 8), EPISODES, SPEC, tmp_path / "whole")
    assert any(not torch.equal(before[name], after) for name, after in weights(tmp_path / "whole").items())
    with pytest.raises(InterruptedError):
        run_training_on(steps(following, 8), EPISODES, SPEC, tmp_path / "third", progress=stop)
    run_training_on(steps(EXPERIMENT, 8), EPISODES, SPEC, tmp_path / "third", resume=True)
    resumed, whole = weights(tmp_path / "third"), weights(tmp_path / "whole")
    assert all(torch.equal(resumed[name], whole[name]) for name in resumed)


def test_another_model_and_other_actions_are_refused(first: Path, tmp_path: Path) -> None:
    begun = steps(replace(EXPERIMENT, start=str(first)), 1)
    with pytest.raises(ValueError, match="weights"):
        run_training_on(replace(begun, head=MLPHeadConfig(hidden=32)), EPISODES, SPEC, tmp_path / "head")
    wider = TinyPaliGemma(**{**SMALL, "width": 64})
    with pytest.raises(ValueError, match="weights"):
        run_training_on(replace(begun, backbone=wider), EPISODES, SPEC, tmp_path / "width")
    in_tool = replace(SPEC, action_space=replace(SPEC.action_space, frame="tcp"))
    with pytest.raises(ValueError, match=r"begins with and the dataset must agree(.|\n)*frame: 'world' != 'tcp'"):
        run_training_on(begun, EPISODES, in_tool, tmp_path / "frame")
    assert not list(tmp_path.glob("*/checkpoints"))
    with pytest.raises(ValueError, match="from_scratch begins with random weights"):
        replace(begun, from_scratch=True)


def test_other_transforms_are_told_of(first: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    begun = steps(replace(EXPERIMENT, start=str(first)), 0)
    with caplog.at_level(logging.WARNING):
        run_training_on(begun, EPISODES, SPEC, tmp_path / "same")
        assert "other transforms" not in caplog.text
        scaled = DataConfig(cameras=("base",), normalize="min_max")
        run_training_on(replace(begun, data=scaled), EPISODES, SPEC, tmp_path / "scaled")
    assert "was trained with other transforms" in caplog.text
