"""The command line as a person types it: help, mistakes, and one short way from nothing to an evaluated policy."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.toy import ToyConfig
from volition import cli, recipes
from volition.training.metrics import read_metrics


def volition(*words: str) -> int:
    """Exit status of `volition WORDS` in this process."""
    try:
        cli.main([str(word) for word in words])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    return 0


@dataclass(frozen=True, kw_only=True)
class Greedy(ToyConfig):
    """Has a field that is a flag of the verbs as well."""

    workers: int = 0


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert volition(verb, "--help") == 0
    said = capsys.readouterr().out
    assert f"usage: volition {verb}" in said
    assert f"Example:  volition {verb}" in said


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_without_a_verb_all_are_listed(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert volition(*words) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {verb} " in said for verb in cli.VERBS)


@pytest.mark.parametrize("recipe", recipes.__all__)
def test_every_recipe_lists_its_fields(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert volition("train", recipe, "--help") == 0
    said = capsys.readouterr().out
    for flag in ("--loop.num-steps", "--loop.optim.lr", "--head.hidden", "--window.num-obs-steps", "--run", "--resume"):
        assert flag in said


def test_the_fields_of_an_environment_are_flags(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert volition("eval", "--env", "tests.toy:ToyConfig", "--help") == 0
    assert "--clumsiness" in capsys.readouterr().out
    words = ("--out", "d", "--noise", "0", "--episodes-per-task", "1", "--workers", "0")
    assert volition("record", "tests.toy:ToyConfig", *words) == 0
    assert "2 episodes" in capsys.readouterr().out
    assert json.loads((inside / "d/meta/volition.json").read_text())["note"]["environment"]["noise"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trian",), "there is no verb 'trian'; did you mean 'train'?"),
        (("train", "smoek"), "there is no recipe 'smoek'; did you mean 'smoke'?"),
        (("train", "smoke", "--loop.num-step", "4"), "--loop.num-steps"),
        (("train", "smoke", "--window.replan-steps", "9"), "replan_steps=9 must be in"),
        (("train", "no_such_lab:recipe"), "No module named 'no_such_lab'"),
        (("record", "desk", "--out", "d", "--episodes-per-task", "0"), "not both 0"),
        (
            ("record", "desk", "--out", "d", "--tasks", "open_drawr"),
            "no task 'open_drawr'; did you mean 'open_drawer'?",
        ),
        (("eval", "nowhere", "--starts", "1", "--tasks", "turn_on_lead"), "did you mean 'turn_on_led'?"),
        (("eval", "nowhere", "--chains", "1"), "nowhere must be a checkpoint"),
        (("eval", "nowhere", "--chains", "1", "--shard", "2/1"), "nowhere must be a checkpoint"),
        (("eval", "nowhere"), "say what to evaluate: --chains N, --starts N, --probes, --timing, or --offline DATASET"),
        (("eval", "nowhere", "--starts", "1", "--deaf-twin", "x"), "are rows of --probes: ask for it too"),
        (("data", "info", "nowhere"), "nowhere must be a dataset folder"),
        (("eval", "nowhere", "--env", "dsek", "--starts", "1"), "no environment 'dsek'; did you mean 'desk'?"),
        (("eval", "nowhere", "--env=tests.toy:SPEC", "--starts", "1"), "a class with the members of an EnvConfig"),
        (("record", "tests.toy:Toyy", "--out", "d"), "has no 'Toyy'; did you mean 'Toy'?"),
        (("record", "tests.test_cli:Greedy", "--out", "d"), "flags of `volition record tests.test_cli:Greedy` itself"),
        (("verify", "nowhere", "--env", "dsek"), "nowhere must be a dataset folder"),
    ],
)
def test_mistakes_are_named_and_end_with_status_2(
    words: tuple[str, ...], message: str, inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert volition(*words) == 2
    said = capsys.readouterr()
    assert message in " ".join(f"{said.out} {said.err}".split())
    assert list(inside.iterdir()) == []


def test_a_missing_dataset_is_one_line(
    inside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (inside / "lab_without_data.py").write_text(
        "from volition.config import DataConfig, Experiment\n"
        "def ours():\n"
        "    return Experiment(data=DataConfig(path='no-data'))\n"
    )
    monkeypatch.syspath_prepend(inside)
    assert volition("train", "lab_without_data:ours") == 2
    assert capsys.readouterr().err.splitlines() == [
        "volition: data.path='no-data' must be a dataset folder; record one with: volition record desk --out no-data"
    ]


TRANSIENT = (
    "_seconds",
    "_per_second",
    "folder",
    "report",
    "harness_file",
)  # fields that differ between runs of one evaluation
TINY = (
    *("--run", "runs/tiny", "--loop.log-every", "2", "--loop.save-every", "2", "--loop.batch-size", "2"),
    *("--data.recording.record.tasks", "open_drawer", "--data.recording.record.episodes-per-task", "1"),
    *("--data.recording.record.workers", "0", "--backbone.width", "32", "--backbone.vision-layers", "1"),
    *("--backbone.text-layers", "1", "--head.hidden", "32"),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which `volition train smoke` has recorded one demonstration and trained four steps."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert volition("train", "smoke", "--loop.num-steps", "4", "--json", "last.json", *TINY) == 0
        yield folder


def test_training_leaves_a_run_folder(trained: Path) -> None:
    run = trained / "runs" / "tiny"
    assert [line["step"] for line in read_metrics(run / "metrics.jsonl")] == [2, 4]
    assert {path.name for path in run.iterdir()} == {
        *("config.json", "contract.json", "metrics.jsonl", "checkpoints", "first_batch.png"),
    }
    assert {path.name for path in (run / "checkpoints" / "step_4").iterdir()} == {
        *("config.json", "contract.json", "weights.safetensors", "optimizer.safetensors"),
        *("trainer.json", "manifest.json"),
    }
    assert json.loads((trained / "last.json").read_text())["step"] == 4
    assert (trained / "runs" / "smoke-data" / "meta" / "info.json").exists()


def test_a_run_goes_on_only_when_told_to(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert volition("train", "smoke", "--loop.num-steps", "6", *TINY) == 2
    assert "runs/tiny already has step_4: pass --resume to go on" in capsys.readouterr().err
    assert volition("train", "smoke", "--loop.num-steps", "6", "--resume", *TINY) == 0
    assert [line["step"] for line in read_metrics(trained / "runs/tiny/metrics.jsonl")] == [2, 4, 6]


def test_a_dataset_recorded_otherwise_is_learned_from_when_told_to(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("train", "demo", "--data.path", "runs/smoke-data", "--loop.num-steps", "1", "--loop.batch-size", "2")
    assert volition(*words, "--run", "runs/other") == 2
    assert "volition train --no-record" in capsys.readouterr().err
    assert volition(*words, "--run", "runs/other", "--no-record") == 0
    assert [line["step"] for line in read_metrics(trained / "runs/other/metrics.jsonl")] == [1]


@pytest.mark.parametrize("verb", [("train", "smoke", *TINY, "--resume"), ("eval", "runs/tiny", "--starts", "1")])
def test_a_device_that_is_not_there_is_named(
    trained: Path, verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert volition(*verb, "--device", "cuda:99") == 2
    assert "device='cuda:99' must be one that torch can use here" in capsys.readouterr().err


def test_chains_are_evaluated_with_intervals(trained: Path) -> None:
    words = ("eval", "runs/tiny", "--env", "desk", "--chains", "2", "--workers", "1", "--max-steps", "6")
    assert volition(*words, "--json", "chains.json") == 0
    score = json.loads((trained / "chains.json").read_text())
    low, high = score["average_length_interval"]
    assert low <= score["average_length"] <= high <= 5
    assert len(score["chain_success"]) == len(score["chain_success_intervals"]) == 5
    for rate, (low, high) in zip(score["chain_success"], score["chain_success_intervals"]):
        assert 0 <= low <= rate <= high <= 1
    assert score["num_chains"] == 2


def test_single_tasks_are_evaluated_with_intervals(trained: Path) -> None:
    words = ("eval", "runs/tiny", "--starts", "2", "--tasks", "open_drawer", "--workers", "0", "--max-steps", "6")
    assert volition(*words, "--json", "tasks.json") == 0
    score = json.loads((trained / "tasks.json").read_text())
    low, high = score["success_interval"]
    assert 0 <= low <= score["success_rate"] <= high <= 1
    assert len(score["episodes"]) == 2


def test_two_checkpoints_are_compared_on_the_same_starts(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = max((trained / "runs/tiny/checkpoints").iterdir(), key=lambda path: int(path.name.split("_")[1]))
    for what in (("--chains", "2", "--resampled", "2"), ("--starts", "1", "--tasks", "turn_on_led")):
        words = ("eval", "runs/tiny", *what, "--max-steps", "4", "--workers", "1", "--against", str(step))
        assert volition(*words, "--json", "against.json") == 0
        found = json.loads((trained / "against.json").read_text())
        for part in (found, *([found["resampled"]] if "resampled" in found else [])):
            against = part["against"]
            assert (against["difference"], against["p_value"]) == (0.0, 1.0)
            low, high = against["interval"]
            assert low < 0 < high
            assert against["theirs"]["tasks"] == part["tasks"]
    assert "+0.000" in capsys.readouterr().out
    assert found["episodes_needed"]["0.05"] > 100


def test_shards_are_merged_into_what_one_call_finds(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("eval", "runs/tiny", "--starts", "4", "--tasks", "turn_on_led", "--max-steps", "6")
    assert volition(*words, "--workers", "1", "--json", "whole.json") == 0
    for index in (1, 2):
        assert volition(*words, "--workers", "0", "--shard", f"{index}/2", "--out", f"part{index}") == 0
    assert "volition eval --merge" in capsys.readouterr().out
    parts = [next((trained / f"part{index}").iterdir()) for index in (1, 2)]
    assert volition("eval", "--merge", *map(str, parts), "--json", "merged.json") == 0
    lasting = [
        {name: x for name, x in json.loads((trained / file).read_text()).items() if not name.endswith(TRANSIENT)}
        for file in ("whole.json", "merged.json")
    ]
    assert {name: x for name, x in lasting[0].items() if name in lasting[1]} == lasting[1]
    report = Path(json.loads((trained / "whole.json").read_text())["report"])
    assert "No demonstrations" not in report.read_text()
    (failing,) = json.loads(report.with_name("report.json").read_text())["failing"]
    assert (failing["task"], failing["num_first_failures"], len(failing["films"])) == ("turn_on_led", 4, 4)
    assert volition("eval", "--merge", str(parts[0])) == 2
    assert "2 of 4 episodes are missing (numbers 1, 3)" in capsys.readouterr().err


def test_a_recording_is_described(trained: Path) -> None:
    assert volition("data", "info", "runs/smoke-data", "--json", "info.json") == 0
    info = json.loads((trained / "info.json").read_text())
    assert info["format"] == "lerobot"
    assert info["episodes"] == 1


def test_a_checkpoint_is_compared_with_recorded_actions(trained: Path) -> None:
    assert volition("eval", "runs/tiny", "--offline", "runs/smoke-data", "--json", "offline.json") == 0
    assert json.loads((trained / "offline.json").read_text())["offline"]


def test_a_checkpoint_whose_contract_does_not_fit_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = max((trained / "runs/tiny/checkpoints").iterdir(), key=lambda path: int(path.name.split("_")[1]))
    copied = tmp_path / "step_1"
    copied.mkdir()
    for path in step.iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    contract = json.loads((copied / "contract.json").read_text())
    contract["robot"]["control_hz"] = 15.0
    del contract["convention"]  # the hash of another robot would be refused as it is read
    (copied / "contract.json").write_text(json.dumps(contract))
    sums = json.loads((copied / "manifest.json").read_text())
    sums["contract.json"] = hashlib.sha256((copied / "contract.json").read_bytes()).hexdigest()
    (copied / "manifest.json").write_text(json.dumps(sums))
    assert volition("eval", str(copied), "--starts", "1", "--tasks", "open_drawer", "--workers", "0") == 2
    assert "control_hz: 15.0 != 30.0" in capsys.readouterr().err


OWN_PROCESS = [sys.executable, "-c", "from volition.cli import main; main()"]


def test_a_machine_that_cannot_draw_says_what_to_install(tmp_path: Path) -> None:
    words, blind = ["record", "desk", "--out", "d", "--workers", "0"], {**os.environ, "MUJOCO_GL": "disable"}
    done = subprocess.run(OWN_PROCESS + words, cwd=tmp_path, env=blind, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "libegl1" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["--help"], ["train", "smoke", "--help"]], ids=len)  # one fits into a buffer
def test_who_has_read_enough_is_no_error(words: list[str]) -> None:
    """`volition --help | head -1`."""
    ours, theirs = os.pipe()
    os.close(ours)  # nobody reads, from the beginning
    with os.fdopen(theirs, "wb") as pipe:
        done = subprocess.run(OWN_PROCESS + words, stdout=pipe, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")
