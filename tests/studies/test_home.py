"""`volition eval RUN` without an environment: where the policy learned, as it learned, and what it learned."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.toy import ToyConfig
from volition.config import Recording, dump
from volition.data import lerobot_layout as layout
from volition.envs.base import OF_RECORDING
from volition.envs.desk.environment import DeskConfig
from volition.envs.mobile.environment import MobileConfig
from volition.envs.mobile.tasks import TASKS
from volition.envs.table import find_env
from volition.recipes import demo, mobile_3d
from volition.studies.commands import Eval
from volition.studies.corrections import Corrections
from volition.studies.export_command import Export
from volition.studies.home import home_of, parse_at_home
from volition.training.checkpoint import MANIFEST


def made(folder: Path, experiment: Any) -> str:
    """As much of a checkpoint as tells where it learned."""
    folder.mkdir()
    (folder / MANIFEST).write_text("{}")
    (folder / "config.json").write_text(json.dumps(dump(experiment)))
    return str(folder)


def test_a_policy_is_evaluated_where_it_learned(tmp_path: Path) -> None:
    recipe, run = demo(), made(tmp_path / "demo", demo())
    assert recipe.data.recording is not None
    found = parse_at_home(Eval, [run, "--starts", "3"], "volition eval")
    assert found.environment == recipe.data.recording.env
    assert found.environment.shift
    assert (found.env, found.asked_tasks) == ("desk", recipe.data.recording.record.tasks)
    assert found.checkpoint == Path(run)
    changed = parse_at_home(Eval, [run, "--starts", "3", "--no-shift", "--tasks", "open_drawer"], "volition eval")
    assert changed.environment == replace(recipe.data.recording.env, shift=False)
    assert changed.asked_tasks == ("open_drawer",)
    mobile = parse_at_home(Eval, [made(tmp_path / "mobile", mobile_3d()), "--starts", "1"], "volition eval")
    assert (mobile.env, mobile.asked_tasks) == ("mobile", TASKS)
    assert isinstance(mobile.environment, MobileConfig)


def test_an_environment_that_is_named_is_taken_whole(tmp_path: Path) -> None:
    run = made(tmp_path / "demo", demo())
    for words in (["--env", "desk"], ["--env=desk"]):
        found = parse_at_home(Eval, [run, *words, "--starts", "3"], "volition eval")
        assert found.environment == DeskConfig()
        assert found.asked_tasks == DeskConfig().tasks
    assert parse_at_home(Eval, [str(tmp_path / "elsewhere"), "--chains", "3"], "volition eval").env == "desk"


def test_chains_and_exports_know_it_too(tmp_path: Path) -> None:
    run = made(tmp_path / "demo", demo())
    chains = parse_at_home(Eval, [run, "--chains", "3"], "volition eval")
    assert chains.environment.shift
    export = parse_at_home(Export, [run, "--out", str(tmp_path / "out")], "volition export")
    assert export.environment == chains.environment
    assert export.recorded == chains.recorded


def test_what_a_recipe_names_is_made_only_where_it_is_allowed(tmp_path: Path) -> None:
    base = demo()
    assert base.data.recording is not None
    recording = Recording(env=ToyConfig(), record=replace(base.data.recording.record, tasks=("reach_red",)))
    run = made(tmp_path / "toy", replace(base, data=replace(base.data, recording=recording)))
    with pytest.raises(ValueError, match="--allow tests"):
        home_of([run, "--starts", "1"])
    home = home_of([run, "--allow", "other", "tests", "--starts", "1"])
    assert home is not None
    assert (home.name, home.env, home.tasks) == ("tests.toy:ToyConfig", ToyConfig(), ("reach_red",))
    assert home_of([run, "--allow=tests", "--starts", "1"]) == home


def test_the_checkpoint_may_stand_anywhere_among_the_words(tmp_path: Path) -> None:
    run, other = made(tmp_path / "demo", demo()), made(tmp_path / "other", mobile_3d())
    for words in (["--starts", "3", run], ["--against", other, run, "--starts", "3"], ["--starts=3", run]):
        assert parse_at_home(Eval, words, "volition eval").environment.shift
    export = parse_at_home(Export, ["--out", str(tmp_path / "out"), run], "volition export")
    assert export.environment.shift


def test_without_a_recipes_recording_the_datasets_own_note_tells(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As with --no-record: somebody recorded it all the same."""
    base, corrections = demo(), Corrections(env=MobileConfig(space="3d"), learner="runs/a")
    for number, env in enumerate((MobileConfig(space="3d"), corrections)):
        data = tmp_path / f"data{number}"
        note = {"environment": dump(env), "record": {"tasks": ["left_to_red_cup"]}}
        (data / layout.OURS).parent.mkdir(parents=True)
        (data / layout.OURS).write_text(json.dumps({"note": note}))
        run = made(tmp_path / f"run{number}", replace(base, data=replace(base.data, recording=None, path=str(data))))
        home = home_of([run])
        assert home is not None
        assert (home.name, home.env, home.tasks) == ("mobile", MobileConfig(space="3d"), ("left_to_red_cup",))
    nowhere = replace(base.data, recording=None, path=str(tmp_path / "nowhere"))
    bare = made(tmp_path / "bare", replace(base, data=nowhere))
    assert home_of([bare]) is None
    assert "nobody noted where this policy learned" in caplog.text


def test_what_is_no_checkpoint_is_left_to_who_opens_it(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert home_of([str(tmp_path / "empty"), "--starts", "1"]) is None
    found = parse_at_home(Eval, [made(tmp_path / "demo", demo()), "--offline", "data"], "volition eval")
    assert found.recorded == (), "recorded actions need no environment"


@pytest.mark.parametrize(
    ("env", "flag"),
    [("desk", "demonstration.noise"), ("mobile", "demonstration.noise"), ("calvin", "more-sentences")],
)
def test_an_evaluation_takes_no_flag_that_it_would_not_heed(
    env: str, flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path)
    found = parse_at_home(Eval, [run, "--env", env, "--starts", "1"], "volition eval")
    assert type(found.environment) is find_env(env)
    with pytest.raises(SystemExit):
        parse_at_home(Eval, [run, "--env", env, "--starts", "1", f"--{flag}", "1"], "volition eval")
    with pytest.raises(SystemExit):
        parse_at_home(Eval, ["--env", env, "--help"], "volition eval")
    shown = capsys.readouterr()
    assert f"--{flag}" in shown.err
    assert f"--{flag}" not in shown.out
    assert "(default: " in shown.out


@dataclass(frozen=True, kw_only=True)
class Derived(ToyConfig):
    """Somebody's own environment, which completes itself when it is made."""

    noise: float = field(default=0.1, metadata=OF_RECORDING)
    rain: float = 1.0
    twice: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "twice", self.twice + 2 * self.rain)


def test_an_environment_is_completed_once(tmp_path: Path) -> None:
    words = [str(tmp_path), "--env", "tests.studies.test_home:Derived", "--starts", "1", "--rain", "3"]
    found = parse_at_home(Eval, words, "volition eval").environment
    assert (type(found), found.rain, found.twice, found.noise) == (Derived, 3.0, 6.0, 0.1)
