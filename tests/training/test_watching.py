"""What a run tells while it goes on: metrics, trackers, the first batch as a picture, operations a second."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.toy import SPEC
from tests.training.test_train import EXPERIMENT, Recorded
from volition.studies.training import run_training_on
from volition.training.metrics import MetricsFile, read_metrics
from volition.training.trackers import open_trackers


@pytest.fixture(scope="module")
def episodes() -> list[Recorded]:
    return [Recorded(seed, task) for seed in range(6) for task in ("reach_red", "reach_blue")]


def test_a_line_says_what_was_learned_and_what_it_cost(episodes, tmp_path: Path) -> None:
    loop = replace(EXPERIMENT.loop, num_steps=4, log_every=2, save_every=2, count_flops=True, spike_factor=1e-6)
    run_training_on(replace(EXPERIMENT, loop=loop), episodes, SPEC, tmp_path)
    line = read_metrics(tmp_path / "metrics.jsonl")[-1]
    parts = [
        line[f"grad_norm_{part}"] for part in ("vision", "projector", "embeddings", "backbone", "readouts", "head")
    ]
    assert np.linalg.norm(parts) == pytest.approx(line["grad_norm"], rel=1e-4)
    assert line["flops_per_second"] > 1e6
    assert 0 < line["share_of_peak_flops_per_second"] < 1
    assert line["memory_bytes"] > 50e6
    assert 0 <= line["data_wait_share_of_seconds"] < 1
    assert line["action_loss"] > 0
    picture = np.asarray(Image.open(tmp_path / "first_batch.png"))
    assert picture.shape[2] == 3
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50  # squares, points, words


def test_operations_of_a_step_are_those_of_all_its_parts(episodes, tmp_path: Path) -> None:
    """The step that is counted does not count: counting takes longer than computing."""
    shares = {}
    for parts in (1, 2):
        loop = replace(EXPERIMENT.loop, num_steps=2, log_every=1, save_every=2, count_flops=True, accumulate=parts)
        run_training_on(replace(EXPERIMENT, loop=loop), episodes, SPEC, tmp_path / f"{parts}")
        first, line = read_metrics(tmp_path / f"{parts}" / "metrics.jsonl")
        assert "flops_per_second" not in first
        shares[parts] = line["flops_per_second"] * line["step_seconds"]
    assert shares[2] == pytest.approx(shares[1], rel=0.05)


def test_a_spike_keeps_its_batch(episodes, tmp_path: Path) -> None:
    """From step 17 on there are enough losses to compare with; any loss is above a tiny factor of them."""
    loop = replace(EXPERIMENT.loop, num_steps=18, log_every=2, save_every=18, spike_factor=1e-6)
    run_training_on(replace(EXPERIMENT, loop=loop), episodes, SPEC, tmp_path)
    assert sorted(path.name for path in tmp_path.glob("spike_*")) == [f"spike_step_{n}.safetensors" for n in (17, 18)]
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["spikes"] == 2


class Heard:
    def __init__(self) -> None:
        self.lines: list[Mapping[str, float | int]] = []
        self.closed = False

    def write(self, metrics: Mapping[str, float | int]) -> None:
        self.lines.append(metrics)

    def close(self) -> None:
        self.closed = True


def test_trackers_hear_what_the_file_gets(tmp_path: Path) -> None:
    heard = Heard()
    with MetricsFile(tmp_path / "m.jsonl", trackers=[heard]) as metrics:
        metrics.write({"step": 1, "loss": 0.5})
    assert heard.lines == read_metrics(tmp_path / "m.jsonl") == [{"step": 1, "loss": 0.5}]
    assert heard.closed


def test_tensorboard_has_the_numbers(tmp_path: Path) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (tracker,) = open_trackers(["tensorboard"], tmp_path, {})
    for step in (1, 2):
        tracker.write({"step": step, "loss": 1.0 / step})
    tracker.close()
    events = reading.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 1.0), (2, 0.5)]


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("trackio", "trackio"), ("wandb", "wandb")]
)
def test_a_tracker_that_is_not_installed_names_its_extra(name: Any, module: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"pip install 'volition\[{name}\]'"):
        open_trackers([name], tmp_path, {})
