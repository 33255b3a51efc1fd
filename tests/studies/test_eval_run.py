"""An evaluation goes on after a crash, is split over machines and joined, and becomes the same to the bit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.worlds import TASKS, BrokenWorld, Seeker
from tests.toy import ToyConfig
from volition.evaluation.chunking import Execute
from volition.evaluation.rollout import RolloutConfig
from volition.evaluation.suite import task_trials
from volition.studies.eval_run import Done, Plan, Share, code_hash, folder_of, merge, run_plan
from volition.studies.eval_score import score_of, speed_of
from volition.studies.eval_text import lines
from volition.studies.evaluating import merged

HERE = RolloutConfig(num_workers=0, slots_per_worker=2, batch=2, max_steps=30)
PLAN = Plan(
    name="toy-starts-4",
    env=ToyConfig(),
    trials=task_trials(TASKS, num_starts=4, first_seed=10),
    rollout=HERE,
    about={"checkpoint": "none"},
)


def run(folder: Path, plan: Plan = PLAN, **options: Any) -> Done:
    return run_plan(plan, Seeker(), folder, **options)


def lasting(done: Done) -> dict[str, Any]:
    """The score without where it lies."""
    return {name: value for name, value in score_of(done).items() if name != "folder"}


def same(left: Done, right: Done) -> bool:
    """Equal to the bit, actions included."""
    actions = lambda done: [a.actions.tobytes() for r in done.ordered for a in r.attempts]
    return lasting(left) == lasting(right) and left.ordered == right.ordered and actions(left) == actions(right)


def test_the_same_command_finds_what_is_there(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert first.complete
    assert first.ran == tuple(range(8))
    again = run(tmp_path)
    assert again.ran == ()
    assert speed_of(again)["control_steps_per_second"] == 0
    assert same(first, again)


def test_a_killed_evaluation_goes_on_and_becomes_the_same(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from tests.studies.test_eval_run import run\n"
        "done = []\n"
        "def say(*_):\n"
        "    done.append(1)\n"
        "    if len(done) == 3: os.kill(os.getpid(), 9)\n"
        "run(Path(sys.argv[1]), say=say)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], env=environment, check=False)
    assert killed.returncode == -9
    with (tmp_path / "a" / "results.jsonl").open("a") as file:
        file.write('{"number": 5, "start": {"se')  # as if it had been in the middle of a line
    done = run(tmp_path / "a")
    assert len(done.ran) == 5
    assert same(done, run(tmp_path / "b"))


def test_shards_in_one_folder_or_from_several_machines_are_the_whole(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", replace(PLAN, rollout=replace(HERE, num_workers=2)))
    parts = []
    for index in (3, 1, 2):
        done = run(tmp_path / "shared", share=Share(index=index, of=3))
        parts.append(done.ran)
        assert done.complete == (len(parts) == 3)
        shutil.copytree(tmp_path / "shared", tmp_path / f"machine{index}")
    assert sorted(n for part in parts for n in part) == list(range(8))
    assert same(done, whole)
    assert same(merge([tmp_path / "machine3", tmp_path / "machine2"]), whole)
    with pytest.raises(ValueError, match=r"5 of 8 episodes are missing \(numbers 0, 1, 3, 4, 6\)|missing"):
        merge([tmp_path / "machine3"])
    with pytest.raises(ValueError, match="there are none"):
        merge([tmp_path])


@pytest.mark.parametrize("numbers", [(1, 0), (0, 99), (-1, 1)])
def test_results_under_numbers_that_are_not_theirs_are_refused(numbers: tuple[int, int], tmp_path: Path) -> None:
    run(tmp_path)
    file = tmp_path / "results.jsonl"
    settings, *rest = map(json.loads, file.read_text().splitlines())
    rest.sort(key=lambda line: line["number"])
    for line, number in zip(rest, numbers):
        line["number"] = number
    file.write_text("".join(json.dumps(line) + "\n" for line in (settings, *rest)))
    with pytest.raises(ValueError, match=rf"under their own numbers, but '.*' is number ({numbers[0]}|99) there"):
        run(tmp_path)
    with pytest.raises(ValueError, match=r"under their own numbers|missing"):
        merge([tmp_path])


def test_a_folder_without_results_among_others_is_named(tmp_path: Path) -> None:
    run(tmp_path / "a")
    with pytest.raises(ValueError, match=r"to merge in \S*/b, but there are none"):
        merge([tmp_path / "a", tmp_path / "b"])


def test_two_evaluations_in_shards_are_compared_by_a_paired_test(tmp_path: Path) -> None:
    other = replace(PLAN, about={"checkpoint": "other"})
    for index in (1, 2):
        run(tmp_path / f"a{index}", share=Share(index=index, of=2))
        run_plan(other, Seeker(deaf=True), tmp_path / f"b{index}", share=Share(index=index, of=2))
    ours, theirs = ([tmp_path / f"{name}{index}" for index in (1, 2)] for name in "ab")
    score = merged(ours, films=None, against=theirs)
    found = score["against"]
    assert (found["checkpoint"], found["difference"], found["num_pairs"]) == ("other", 0.5, 8)
    assert (found["only_first_better"], found["theirs"]["success_rate"]) == (4, 0.5)
    assert any(line.startswith("Against other: +0.500") for line in lines(score))
    assert json.loads((ours[0] / "score.json").read_text())["against"] == found
    run(tmp_path / "short", replace(PLAN, rollout=replace(HERE, max_steps=29)))
    with pytest.raises(ValueError, match=r"differ in the policy alone; they differ in\n  max_steps: 30 != 29$"):
        merged(ours, films=None, against=[tmp_path / "short"])
    run(tmp_path / "elsewhere", replace(PLAN, env=ToyConfig(clumsiness=0.5)))
    with pytest.raises(ValueError, match=r"they differ in\n  environment.clumsiness: 0.0 != 0.5$"):
        merged(ours, films=None, against=[tmp_path / "elsewhere"])


def test_what_another_shard_did_is_not_done_again(tmp_path: Path) -> None:
    run(tmp_path, share=Share(index=1, of=2))
    rest = run(tmp_path)
    assert rest.ran == (1, 3, 5, 7)
    assert rest.complete


def test_errors_are_run_again_only_where_asked_for(tmp_path: Path) -> None:
    files = tmp_path / "left"
    files.mkdir()
    broken = replace(PLAN, rollout=replace(HERE, num_workers=1, max_repeats=0))
    (files / "1").touch()
    first = run(tmp_path / "r", broken, factory=BrokenWorld("raise", files))
    assert [r.seed for r in first.ordered if r.error] == [13]
    assert score_of(first)["num_errors"] == 1
    assert score_of(first)["num_episodes"] == 7
    assert score_of(first)["if_errors_were_failures"]["num_episodes"] == 8
    assert run(tmp_path / "r", broken).ran == ()
    again = run(tmp_path / "r", broken, retry_errors=True)
    assert again.ran == (3,)
    assert same(again, run(tmp_path / "sound"))


def test_errors_that_are_the_same_are_told_together(tmp_path: Path) -> None:
    class Overflown(Seeker):
        def act(self, observations: Any, states: Any) -> Any:
            if any(seen.instruction.endswith("red square") and state for seen, state in zip(observations, states)):
                raise FloatingPointError("the network has overflown")
            return super().act(observations, states)

    said = list(lines(score_of(run_plan(PLAN, Overflown(), tmp_path))))
    at = said.index("  4 episodes ended as errors and are not counted:")
    assert said[at + 1] == "    reach_red from seed 10 and 3 more: FloatingPointError: the network has overflown"


def test_whatever_may_change_a_result_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = [
        replace(PLAN, env=ToyConfig(noise=0.3)),
        replace(PLAN, trials=PLAN.trials[:-1]),
        replace(PLAN, trials=task_trials(TASKS, num_starts=4, first_seed=11)),
        replace(PLAN, rollout=replace(HERE, max_steps=31)),
        replace(PLAN, rollout=replace(HERE, chunking=Execute(steps=2))),
        replace(PLAN, rollout=replace(HERE, batch=4)),
        replace(PLAN, about={"checkpoint": "another"}),
    ]
    equal = [replace(PLAN, rollout=replace(HERE, num_workers=3, slots_per_worker=5, patience_seconds=1.0))]
    folders = {folder_of(tmp_path, plan) for plan in [PLAN, *changed]}
    assert len(folders) == 1 + len(changed)
    assert {folder_of(tmp_path, plan) for plan in equal} < folders
    code_hash.cache_clear()
    monkeypatch.setattr("volition.studies.eval_run.NOT_OF_RESULTS", ("studies", "recipes"))
    assert folder_of(tmp_path, PLAN) not in folders, "other code is another evaluation"
    code_hash.cache_clear()


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(ValueError, match=r"(?s)another evaluation.*max_steps: 31 != 30"):
        run(tmp_path, replace(PLAN, rollout=replace(HERE, max_steps=31)), share=Share(index=1, of=2))


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/2/3", "-1/2"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="shard must be I/N"):
        Share.parse(text)
