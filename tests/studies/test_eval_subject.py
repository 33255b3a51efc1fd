"""What a command asks for becomes a plan: no number is swallowed, and only what may change a result names it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.worlds import TASKS, Seeker
from tests.studies.test_probing import subject
from tests.toy import ToyConfig
from volition.envs.base import Counted, as_evaluated
from volition.envs.calvin.config import CalvinSimConfig
from volition.envs.demonstration import DemonstrationConfig
from volition.envs.desk.environment import DeskConfig
from volition.envs.gymnasium.libero import LiberoConfig
from volition.envs.gymnasium.metaworld import MetaworldConfig
from volition.envs.gymnasium.simpler import SimplerConfig
from volition.evaluation.chunking import Execute
from volition.evaluation.suite import task_trials
from volition.studies import eval_run, eval_subject
from volition.studies.eval_config import EvalConfig
from volition.studies.eval_run import Plan, settings_hash
from volition.studies.eval_subject import make_plan
from volition.studies.evaluating import plans
from volition.studies.export_command import Export

TOY = ToyConfig()


@pytest.fixture(autouse=True)
def no_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eval_subject, "checkpoint_hash", str)


def config(**asked: Any) -> EvalConfig[Any]:
    return EvalConfig(checkpoint=Path("x"), environment=ToyConfig(), **{"starts": 2, **asked})


def plan(env: Any = TOY, **asked: Any) -> Plan:
    trials = task_trials(TASKS, num_starts=2, first_seed=1)
    return make_plan(config(**asked), subject(Seeker(), Path("x")), env, trials, "starts-2")


def test_cards_of_one_machine_are_one_evaluation() -> None:
    named = {device: settings_hash(plan(device=device).settings()) for device in ("cuda", "cuda:0", "cuda:1", "cpu")}
    assert named["cuda"] == named["cuda:0"] == named["cuda:1"] != named["cpu"]


def test_how_demonstrations_are_made_does_not_name_an_evaluation() -> None:
    noisy = DemonstrationConfig(noise=0.3)
    named = {
        settings_hash(plan(env).settings())
        for env in (DeskConfig(), DeskConfig(demonstration=noisy), DeskConfig(shift=True))
    }
    assert len(named) == 2
    calvin = CalvinSimConfig(scenes=("A",))
    recorded = replace(calvin, more_sentences=20, demonstration=noisy)
    assert as_evaluated(recorded) == calvin
    assert plan(recorded).env == calvin, "what names an evaluation is what takes place"


def test_a_package_of_ones_own_names_an_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = tmp_path / "my_lab_here" / "parts"
    lab.mkdir(parents=True)
    (lab / "head.py").write_text("GAIN = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    named = []
    for line in ("GAIN = 1\n", "GAIN = 2\n", "GAIN = 1\n"):
        (lab / "head.py").write_text(line)
        eval_run._sources_hash.cache_clear()
        named.append(settings_hash(plan(allow=("my_lab_here.parts",)).settings()))
    assert named[0] == named[2] != named[1]
    assert sorted(plan(allow=("my_lab_here", "native_code")).about["own_code"]) == ["my_lab_here", "tests"]
    assert "own_code" not in plan(DeskConfig()).about
    with pytest.raises(ValueError, match="packages that can be imported, got 'no_such_lab'"):
        plan(allow=("no_such_lab",))


class FewStarts(ToyConfig):
    starts_per_task = 3


def test_more_starts_than_there_are_are_refused() -> None:
    EvalConfig(checkpoint=Path("x"), environment=FewStarts(), starts=3)
    with pytest.raises(ValueError, match=r"--starts must be at most 3, for .* tells nothing new, got 4"):
        EvalConfig(checkpoint=Path("x"), environment=FewStarts(), starts=4)
    counted = [env for env in (MetaworldConfig(), LiberoConfig(), SimplerConfig()) if isinstance(env, Counted)]
    assert [env.starts_per_task for env in counted] == [50, 50, 24]
    assert not isinstance(DeskConfig(), Counted)


def test_resampled_chains_are_others_than_the_protocols() -> None:
    asked = EvalConfig(checkpoint=Path("x"), environment=DeskConfig(), chains=20, resampled=20)
    found = plans(asked, subject(Seeker(), Path("x")), DeskConfig())
    seeds = {key: {trial.start.seed for trial in plan.trials} for key, plan in found.items()}
    assert len(seeds[""]) == len(seeds["resampled"]) == 20
    assert not seeds[""] & seeds["resampled"]
    assert [t.start.tasks for t in found[""].trials] != [t.start.tasks for t in found["resampled"].trials]


def test_numbers_are_taken_as_they_are() -> None:
    asked = plan(max_steps=1, replan_steps=1, batch=1).rollout
    assert (asked.max_steps, asked.chunking, asked.batch) == (1, Execute(steps=1), 1)
    usual = plan().rollout
    assert (usual.max_steps, usual.batch) == (ToyConfig().max_steps, eval_subject.MAX_BATCH)
    assert plan(least_confidence=0.6, replan_steps=3).rollout.chunking == Execute(steps=3, least_confidence=0.6)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"max_steps": 0}, "--max-steps must be at least 1, got 0"),
        ({"replan_steps": 0}, "--replan-steps must be at least 1, got 0"),
        ({"batch": 0}, "--batch must be at least 1, got 0"),
        ({"seed": -7}, "--seed must be at least 0, got -7"),
        ({"starts": -1}, "--starts must be at least 0, got -1"),
        ({"workers": -1}, "--workers must be at least 0, got -1"),
        ({"patience": -1.0}, "--patience must be above 0 seconds, got -1"),
        ({"latency": -1}, "--latency and --latencies must be at least 0"),
        ({"latencies": (0, -2)}, "--latency and --latencies must be at least 0"),
        ({"least_confidence": 0.5, "chunking": "overlap"}, "--least-confidence belongs to --chunking execute"),
    ],
)
def test_numbers_that_mean_nothing_are_named(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**asked)


@pytest.mark.parametrize("asked", [{"max_steps": 0}, {"seed": -1}, {"looks": 0}])
def test_export_names_them_too(asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        Export(checkpoint=Path("x"), environment=ToyConfig(), out=Path("y"), **asked)
