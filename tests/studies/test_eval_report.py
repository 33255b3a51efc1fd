"""What an evaluation leaves beside its results: the page, its numbers, films of failures and what was shown of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.worlds import TASKS, Seeker
from tests.toy import Toy, ToyConfig
from volition.config import DataConfig, Recording
from volition.data.open import load_episodes
from volition.data.record import RecordConfig
from volition.evaluation.chain import chain_trials
from volition.evaluation.films import from_the_failed_one, replay_films
from volition.evaluation.rollout import RolloutConfig
from volition.evaluation.suite import task_trials
from volition.records import Env, Observation
from volition.studies.eval_report import About, evaluation_report
from volition.studies.eval_run import Done, Plan, Share, run_plan
from volition.studies.eval_score import score_of
from volition.studies.evaluating import merged
from volition.studies.nearest import MOST, Beginnings, open_demonstrations
from volition.studies.recording import record_env
from volition.studies.report import write_report
from volition.studies.report_parts import Report

HERE = RolloutConfig(num_workers=0, slots_per_worker=2, batch=2, max_steps=30)
CHAINS = chain_trials(ToyConfig().chains(6))
ABOUT = About(policy="toy-step_1", env_name="toy", env=ToyConfig(), workers=0)


class Elsewhere(Toy):
    """As if the simulator could not be put back: whatever is asked for is done at once."""

    def step(self, action: np.ndarray) -> bool:
        super().step(action)
        return True


@dataclass(frozen=True, kw_only=True)
class BrokenConfig(ToyConfig):
    def make(self) -> Env:  # type: ignore[override]
        raise OSError("the table has fallen over")


@dataclass(frozen=True, kw_only=True)
class ElsewhereConfig(ToyConfig):
    def make(self) -> Env:  # type: ignore[override]
        return Elsewhere()


def run(folder: Path, trials: Sequence = CHAINS, actor: Seeker | None = None) -> Done:
    plan = Plan(name="toy", env=ToyConfig(), trials=trials, rollout=HERE, about={"checkpoint": "0123abcd"})
    return run_plan(plan, actor or Seeker(deaf=True), folder)


def report(done: Done, about: About = ABOUT) -> Report:
    return evaluation_report(done, score_of(done), about)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Six chains of two tasks by a policy that only ever goes to the red square."""
    return run(tmp_path_factory.mktemp("eval"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    out = tmp_path_factory.mktemp("data") / "toy"
    record_env(Recording(env=ToyConfig(), record=RecordConfig(tasks=TASKS, episodes_per_task=4, workers=0)), out)
    return DataConfig(path=str(out), cameras=("base",))


def test_chains_are_told_by_how_far_they_came(done: Done, tmp_path: Path) -> None:
    page = write_report(report(done), tmp_path)
    found = json.loads((tmp_path / "report.json").read_text())
    score = score_of(done)
    for name in ("average_length", "average_length_interval", "chain_success", "chain_success_intervals", "num_chains"):
        assert found["chains"][name] == score[name]
    assert {task: row["success_rate"] for task, row in found["tasks"].items()} == {
        task: row["success_rate"] for task, row in score["tasks"].items()
    }
    text = page.read_text()
    for part in ("tasks in a row", "2 in a row", "Where it fails first", "0123abcd", "renderer numpy", "max steps"):
        assert part in text, part


def test_failures_stand_by_the_first_failed_task_with_what_was_shown_of_it(done: Done, data: DataConfig) -> None:
    found = report(done, replace(ABOUT, data=data))
    (failing,) = found.failing
    ended = [result for result in done.ordered if not result.success]
    assert {result.attempts[-1].task for result in ended} == {"reach_blue"}
    assert (failing.task, failing.num_episodes) == ("reach_blue", len(ended))
    assert failing.success.count == 6
    assert len(failing.clips) == len(failing.nearest) == 6
    assert all("blue" in clip.instruction and "then" not in clip.instruction for clip in failing.clips)
    assert failing.among == 4
    for shown in failing.nearest:
        assert len(shown) == 2
        assert 0 < shown[0].distance <= shown[1].distance
        assert all("blue" in one.instruction for one in shown)
    assert found.failing_note == ""


def test_a_task_that_was_never_shown_says_so(done: Done, tmp_path: Path) -> None:
    out = tmp_path / "red"
    record_env(Recording(env=ToyConfig(), record=RecordConfig(tasks=TASKS[:1], episodes_per_task=2, workers=0)), out)
    found = report(done, replace(ABOUT, data=DataConfig(path=str(out), cameras=("base",)), films=2))
    assert (found.failing[0].task, found.failing[0].among) == ("reach_blue", 0)
    assert "No demonstration of this task was learned from" in write_report(found, tmp_path).read_text()
    assert "No demonstration of this" not in write_report(report(done, replace(ABOUT, films=2)), tmp_path).read_text()


def test_a_chain_that_failed_is_filmed_from_the_failed_command(done: Done) -> None:
    results = [result for result in done.ordered if len(result.attempts) == 2][:1]
    (film,) = replay_films(ToyConfig(), results, every=1, num_workers=0, since=from_the_failed_one)
    env, (first, second) = Toy(), results[0].attempts
    env.reset(results[0].trial.start)
    env.begin(first.task)
    for action in first.actions:
        env.step(action)
    assert np.array_equal(film.frames[0], env.frame())
    assert len(film.frames) == second.num_steps + 1
    assert np.array_equal(film.first.images["base"], env.observe("").images["base"])
    assert film.first.instruction == second.instruction


def test_the_nearest_demonstration_is_the_one_with_the_same_beginning(data: DataConfig) -> None:
    episodes = open_demonstrations(data)
    beginnings = Beginnings(episodes, "reach_red", ["base"])
    assert len(beginnings.numbers) == 4 <= MOST
    number = beginnings.numbers[2]
    images = episodes[number].images(np.zeros(1, np.intp))
    seen = Observation(images=images, state=np.zeros((1, 2), np.float32), instruction="")
    nearest, other = beginnings.nearest(seen, 2)
    assert (nearest.number, nearest.distance) == (number, 0.0)
    assert other.distance > 0
    assert beginnings.usual() > 0
    assert Beginnings(episodes, "juggle", ["base"]).nearest(seen, 2) == ()
    with pytest.raises(ValueError, match="must have the camera 'ceiling'"):
        Beginnings(episodes, "reach_red", ["ceiling"])


def test_a_comparison_with_a_policy_that_never_answered_does_not_cost_the_report(done: Done, tmp_path: Path) -> None:
    score = score_of(done) | {"against": {"checkpoint": "diverged", "error": "Traceback\nValueError: nan"}}
    page = write_report(evaluation_report(done, score, ABOUT), tmp_path)
    assert "no start was judged with both; the first: ValueError: nan" in page.read_text()


def test_a_demonstration_is_called_by_its_number_in_the_dataset(data: DataConfig) -> None:
    whole = load_episodes(Path(data.path))
    learned = open_demonstrations(replace(data, held_out=0.5))
    assert len(learned) == len(whole) // 2
    assert sorted(learned) != [*range(len(learned))], "some before the last must be held out"
    for number in Beginnings(learned, "reach_red", ["base"]).numbers:
        seen = Observation(
            images=whole[number].images(np.zeros(1, np.intp)), state=np.zeros((1, 2), np.float32), instruction=""
        )
        (nearest,) = Beginnings(learned, "reach_red", ["base"]).nearest(seen, 1)
        assert (nearest.number, nearest.distance) == (number, 0.0)


def test_single_tasks_and_a_policy_without_a_failure(tmp_path: Path) -> None:
    done = run(tmp_path, task_trials(TASKS, num_starts=3, first_seed=0), Seeker())
    found = report(done, replace(ABOUT, films=3))
    assert found.chains is None
    assert found.success.value == 1.0
    assert found.failing == ()
    assert len(found.clips) == 2
    text = write_report(found, tmp_path).read_text()
    assert "of commands obeyed" in text
    assert "Where it fails" not in text
    assert "from the first demonstration" not in text, "no time is told that was not measured"


def test_films_are_as_many_as_asked_for(done: Done) -> None:
    for count in (0, 1, 4):
        found = report(done, replace(ABOUT, films=count))
        assert sum(len(failing.clips) for failing in found.failing) == count


def test_demonstrations_that_cannot_be_read_cost_only_themselves(
    done: Done, data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object) -> None:
        raise ValueError("episode 3 is damaged")

    monkeypatch.setattr(Beginnings, "nearest", damaged)
    found = report(done, replace(ABOUT, data=data))
    assert "No demonstrations of reach_blue stand beside its films: episode 3 is damaged." in found.failing_note
    assert len(found.failing[0].clips) == 6
    assert "episode 3 is damaged" in write_report(found, tmp_path).read_text()


def test_what_cannot_be_shown_is_said(done: Done, tmp_path: Path) -> None:
    away = report(done, replace(ABOUT, data=DataConfig(path=str(tmp_path / "away"), cameras=("base",))))
    assert "No demonstrations stand beside the films" in away.failing_note
    assert "away" in away.failing_note
    far = report(done, replace(ABOUT, data=DataConfig(path="https://example.org/data", cameras=("base",))))
    assert "not read over a network" in far.failing_note
    changing = report(done, replace(ABOUT, env=ElsewhereConfig()))
    assert changing.clips == ()
    assert "There are no films: " in changing.failing_note
    assert "must end as it did" in changing.failing_note
    assert changing.failing[0].num_episodes == 6
    perfect = report(run(tmp_path, CHAINS, Seeker()), replace(ABOUT, env=BrokenConfig(), workers=1))
    assert perfect.failing == perfect.clips == ()
    assert "the table has fallen over" in write_report(perfect, tmp_path).read_text()
    assert "the table has fallen over" in json.loads((tmp_path / "report.json").read_text())["failing_note"]


def test_errors_are_told_apart_from_failures(tmp_path: Path) -> None:
    done = run(tmp_path, CHAINS)
    broken = replace(done.results[0], error="Traceback\nArithmeticError: the table has fallen over")
    done = replace(done, results={**done.results, 0: broken})
    found = report(done)
    facts = {fact.label: fact for fact in found.facts}
    assert facts["Without a verdict"].value == "1"
    assert "the table has fallen over" in facts["Without a verdict"].note
    assert found.chains is not None
    assert found.chains.average_length.count == 5


def test_what_shards_did_is_joined_and_reported(tmp_path: Path) -> None:
    for index in (1, 2):
        plan = Plan(name="toy-chains-6", env=ToyConfig(), trials=CHAINS, rollout=HERE, about={"checkpoint": "0123abcd"})
        run_plan(plan, Seeker(deaf=True), tmp_path / f"{index}", share=Share(index=index, of=2))
    folders = [tmp_path / "1", tmp_path / "2"]
    score = merged(folders, films=2, allow=("tests",))
    assert score["average_length"] == score_of(run(tmp_path / "whole"))["average_length"]
    assert json.loads((tmp_path / "1" / "report.json").read_text())["chains"]["num_chains"] == 6
    assert Path(score["harness_file"]).parent == Path(score["report"]).parent == tmp_path / "1"
    assert json.loads((tmp_path / "1" / "score.json").read_text()) == json.loads(json.dumps(score))
    assert "report" not in merged(folders, films=None)
    with pytest.raises(ValueError, match="--allow tests"):
        merged(folders, films=2)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="must be what was evaluated, whose hash is 0123abcd"):
        merged(folders, films=2, checkpoint=tmp_path / "other", allow=("tests",))
