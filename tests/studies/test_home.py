"""`volition eval RUN` without an environment: where the policy learned, as it learned, and what it learned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.toy import ToyConfig
from volition.config import Recording, dump
from volition.envs.desk.environment import DeskConfig
from volition.envs.mobile.environment import MobileConfig
from volition.envs.mobile.tasks import TASKS
from volition.recipes import demo, mobile_3d
from volition.studies.commands import Eval
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
    bare = made(tmp_path / "bare", replace(base, data=replace(base.data, recording=None)))
    assert home_of([bare]) is None
