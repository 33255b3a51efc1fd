"""Two processes over gloo train as one does: every strategy, its checkpoints, and a run that goes on with fewer."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.distributed.run import get_args_parser

from tests.toy import SPEC
from tests.training.ranks_program import BASE, RUNS, episodes, experiment
from tests.training.test_train import lasting
from volition.studies.training import load_policy, run_training_on
from volition.training import checkpoint as checkpoints
from volition.training.distributed import DistributedConfig
from volition.training.metrics import read_metrics
from volition.training.pieces import Stored

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
# Sums of float32 in another order; nothing else may differ.
LOSS = 2e-5
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # imports three times over


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    done = subprocess.run(
        [*TORCHRUN, "-m", "tests.training.ranks_program", str(folder)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    run_training_on(BASE, episodes(), SPEC, folder / "alone")
    return folder


def lines(folder: Path) -> list[dict[str, float | int]]:
    return lasting(read_metrics(folder / "metrics.jsonl"))


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_as_one(runs: Path, name: str) -> None:
    alone, found = lines(runs / "alone"), lines(runs / name)
    assert [line["step"] for line in found] == [1, 2, 3, 4]
    for expected, line in zip(alone, found):
        shared = expected.keys() & line.keys()
        assert shared >= {"loss", "action_loss", "future_image_loss", "grad_norm", "grad_norm_vision", "lr_scale"}
        assert {k: line[k] for k in shared} == pytest.approx({k: expected[k] for k in shared}, rel=2e-4, abs=LOSS)
    assert found[-1]["validation_loss"] == pytest.approx(alone[-1]["validation_loss"], rel=1e-4)


@pytest.mark.parametrize("name", RUNS)
def test_their_weights_are_those_of_one(runs: Path, name: str) -> None:
    for stem in ("weights", "average"):
        with (
            Stored(runs / "alone/checkpoints/step_4", stem) as alone,
            Stored(runs / name / "checkpoints/step_4", stem) as own,
        ):
            assert set(alone) == set(own)
            for tensor in alone:
                assert alone.shape(tensor) == own.shape(tensor)
                # Adam's first steps divide by the size of the gradient: where it is next to nothing, signs may differ.
                error = (alone.read(tensor) - own.read(tensor)).abs()
                assert error.mean() < 1e-4, tensor
    files = {path.name for path in (runs / name / "checkpoints/step_4").glob("weights*")}
    assert len(files) == (1 if name == "replicate" else 2)


@pytest.mark.parametrize("name", ["shard", "tensor", "shard-tensor", "pipeline"])
def test_pieces_are_one_policy_to_whoever_loads_them(runs: Path, name: str) -> None:
    checkpoints.verify(runs / name / "checkpoints/step_4")
    policy, _ = load_policy(runs / name)
    with Stored(runs / name / "checkpoints/step_4", "average") as stored:
        for tensor in stored:
            assert torch.equal(dict(policy.named_parameters())[tensor].float(), stored.read(tensor))


@pytest.mark.parametrize("name", ["shard", "replicate", "pipeline"])
def test_a_run_goes_on_with_another_number_of_ranks(runs: Path, name: str, tmp_path: Path) -> None:
    """Two processes until step 4, one from there on: the same samples, so the same losses."""
    longer = lambda e: replace(e, loop=replace(e.loop, num_steps=8, distributed=DistributedConfig()))
    shutil.copytree(runs / name, tmp_path / "run")
    run_training_on(longer(experiment(name)), episodes(), SPEC, tmp_path / "run", resume=True)
    run_training_on(longer(BASE), episodes(), SPEC, tmp_path / "whole")
    expected, found = lines(tmp_path / "whole"), lines(tmp_path / "run")
    assert [line["step"] for line in found] == list(range(1, 9))
    for one, other in zip(expected[4:], found[4:]):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-3)


def test_a_rank_that_dies_stops_all_with_one_message(tmp_path: Path) -> None:
    done = subprocess.run(
        [*TORCHRUN, "-m", "tests.training.ranks_program", str(tmp_path), "--die"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("volition:")]
    # torchrun may stop the other rank before it can speak; then it names the signal itself.
    assert len(said) <= 1
    assert "ended without a word" in "".join(said) or "SIGKILL" in done.stderr or "-9" in done.stderr
    assert [path.name for path in checkpoints.list_checkpoints(tmp_path)] == ["step_2"]
    checkpoints.verify(tmp_path / "checkpoints/step_2")


def torchrun_commands() -> list[str]:
    """Of the docs and the SLURM example, each in one line."""
    texts = [path.read_text() for path in (*sorted((ROOT / "docs").glob("*.md")), ROOT / "examples/train.slurm")]
    lines = [line for text in texts for line in text.replace("\\\n", " ").splitlines()]
    return [line for line in lines if re.match(r"(srun )?torchrun ", line)]


@pytest.mark.parametrize("command", torchrun_commands())
def test_what_torchrun_is_told_reaches_volition(command: str) -> None:
    """Without `--` before it, torchrun takes `--run` for an option of its own and stops."""
    words = shlex.split(command.replace('"$@"', "--run x"), comments=True)
    counts = {"$SLURM_NNODES": "2", "$SLURM_GPUS_ON_NODE": "4"}
    words = [counts.get(word, word) for word in [*words[words.index("torchrun") + 1 :], "--run", "runs/x"]]
    parsed = get_args_parser().parse_args(words)
    assert [parsed.training_script, *parsed.training_script_args[:1]] == ["volition", "train"]
    assert parsed.training_script_args[-2:] == ["--run", "runs/x"]
