"""Checkpoints: what is kept of them, what they remember, and what a full disk does to them."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.toy import SPEC
from tests.training.test_train import EXPERIMENT, Recorded, lasting
from volition.config import Experiment
from volition.data.split import split_episodes
from volition.studies.training import load_policy, run_training_on
from volition.training import checkpoint as checkpoints
from volition.training.guard import Spikes
from volition.training.metrics import read_metrics
from volition.training.pieces import Stored
from volition.training.precision import LossScale

CONSTANT = replace(EXPERIMENT.loop.optim, schedule="constant")  # the same rates, however long a run is


@pytest.fixture(scope="module")
def episodes() -> list[Recorded]:
    return [Recorded(seed, task) for seed in range(6) for task in ("reach_red", "reach_blue")]


def changed(**loop: Any) -> Experiment:
    return replace(
        EXPERIMENT,
        data=replace(EXPERIMENT.data, held_out=0.2),
        loop=replace(EXPERIMENT.loop, **({"num_steps": 8, "log_every": 1, "save_every": 2, "optim": CONSTANT} | loop)),
    )


class StoppedError(Exception):
    pass


def stop_at(step: int) -> Callable[[Any], None]:
    def stop(line: Any) -> None:
        if line["step"] == step:
            raise StoppedError

    return stop


@pytest.mark.parametrize(
    "loop",
    [
        {"ema_decay": 0.9, "accumulate": 2, "spike_factor": 1.01},
        {"precision": "float16", "optim": replace(EXPERIMENT.loop.optim, optimizer="adamw-8bit")},
    ],
    ids=["average-parts-spikes", "float16-eight-bits"],
)
def test_a_resumed_run_equals_the_uninterrupted_one_with(loop: dict[str, Any], episodes, tmp_path: Path) -> None:
    experiment = changed(**loop)
    run_training_on(experiment, episodes, SPEC, tmp_path / "whole")
    with pytest.raises(StoppedError):
        run_training_on(experiment, episodes, SPEC, tmp_path / "cut", progress=stop_at(7))
    assert checkpoints.resolve(tmp_path / "cut").name == "step_6"
    run_training_on(experiment, episodes, SPEC, tmp_path / "cut", resume=True)
    whole, cut = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut"))
    assert lasting(whole) == lasting(cut)
    assert "validation_loss" in whole[-1]
    folders = [checkpoints.resolve(tmp_path / name) for name in ("whole", "cut")]
    files = {path.name for path in folders[0].glob("*.safetensors")}
    assert ("average.safetensors" in files) == ("ema_decay" in loop)
    for name in files:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_the_average_is_what_acts(episodes, tmp_path: Path) -> None:
    run_training_on(changed(ema_decay=0.9), episodes, SPEC, tmp_path)
    policy, _ = load_policy(tmp_path)
    own = dict(policy.named_parameters())
    with (
        Stored(checkpoints.resolve(tmp_path), "average") as average,
        Stored(checkpoints.resolve(tmp_path), "weights") as weights,
    ):
        names = list(average)
        assert all(torch.equal(own[name], average.read(name)) for name in names)
        assert not all(torch.equal(average.read(name), weights.read(name)) for name in names)


def test_the_last_and_the_best_are_kept(episodes, tmp_path: Path) -> None:
    optim = replace(EXPERIMENT.loop.optim, lr=0.05, backbone_lr=0.05)  # so high that it gets worse again
    run_training_on(changed(keep_last=1, keep_best=1, optim=optim), episodes, SPEC, tmp_path)
    losses = {line["step"]: line["validation_loss"] for line in read_metrics(tmp_path / "metrics.jsonl")[1::2]}
    best = min(losses, key=lambda step: losses[step])
    assert best != 8, "the test needs a run that gets worse"
    assert [path.name for path in checkpoints.list_checkpoints(tmp_path)] == [f"step_{best}", "step_8"]
    with pytest.raises(ValueError, match=r"needs a validation loss: set data\.held_out"):
        replace(EXPERIMENT, loop=replace(EXPERIMENT.loop, keep_best=1))


def test_validation_speaks_of_robot_units(episodes, tmp_path: Path) -> None:
    run_training_on(changed(num_steps=2), episodes, SPEC, tmp_path)
    line = read_metrics(tmp_path / "metrics.jsonl")[-1]
    assert 0 < line["validation_error_units"] < 0.4  # the toy's unit has no name: STEP = 0.2 a whole action


def test_changed_data_is_noticed(episodes, tmp_path: Path) -> None:
    run_training_on(changed(num_steps=2), episodes, SPEC, tmp_path, data_hashes=["a", "b"])
    with pytest.raises(ValueError, match=r"what lies at data\.sources\[0\]\.path was changed since"):
        run_training_on(changed(), episodes, SPEC, tmp_path, resume=True, data_hashes=["a", "c"])


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file of this process may become larger: what a full disk does to a write, without filling one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_the_last_good_checkpoint(episodes, tmp_path: Path) -> None:
    run_training_on(changed(num_steps=2), episodes, SPEC, tmp_path)
    with room(50_000), pytest.raises(OSError, match=r"step 4 could not be written.*--resume"):
        run_training_on(changed(), episodes, SPEC, tmp_path, resume=True)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_2"]
    run_training_on(changed(), episodes, SPEC, tmp_path, resume=True)
    run_training_on(changed(), episodes, SPEC, tmp_path / "whole")
    assert lasting(read_metrics(tmp_path / "metrics.jsonl")) == lasting(read_metrics(tmp_path / "whole/metrics.jsonl"))


def test_held_out_episodes_are_of_every_task_and_never_learned() -> None:
    episodes = [Recorded(seed, task) for seed in range(5) for task in ("reach_red", "reach_blue")]
    kept, out = split_episodes(episodes, 0.4)
    assert [e.task for e in out].count("reach_red") == [e.task for e in out].count("reach_blue") == 2
    assert {id(e) for e in kept} | {id(e) for e in out} == {id(e) for e in episodes}
    assert len(kept) + len(out) == len(episodes)
    assert split_episodes(episodes, 0.0) == (episodes, [])
    with pytest.raises(ValueError, match=r"held_out=0.1 of 10 episodes of 2 tasks leaves 10 to learn from and 0"):
        split_episodes(episodes, 0.1)


def test_a_loss_far_above_the_usual_is_a_spike() -> None:
    spikes = Spikes(3.0)
    assert not any(spikes.is_one(1.0 + 0.1 * (i % 5)) for i in range(30))
    assert spikes.is_one(10.0)
    assert not spikes.is_one(1.0)
    assert not any(Spikes(0.0).is_one(loss) for loss in [1.0] * 30 + [1e9])


def test_the_scale_of_the_loss_gives_way_to_overflow_and_comes_back() -> None:
    scale = LossScale(factor=8.0, active=True, patience=2)
    assert not scale.admits(torch.tensor(float("inf")))
    assert scale.factor == 4.0
    assert scale.admits(torch.tensor(1.0))
    assert scale.admits(torch.tensor(1.0))
    assert scale.factor == 8.0
    with pytest.raises(ValueError, match="train with bfloat16"):
        [scale.admits(torch.tensor(float("nan"))) for _ in range(40)]
    assert LossScale().admits(torch.tensor(float("nan")))  # not active: others look after it
