"""Recording in any environment, going on with what an earlier version began."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.toy import TASKS, Toy, ToyConfig
from volition.config import Recording
from volition.data.record import RecordConfig
from volition.envs.desk.environment import DeskConfig
from volition.records import Env
from volition.studies import recording
from volition.studies.recording import _ChainsThrough, noted, record_env

RECORD = RecordConfig(tasks=TASKS, episodes_per_task=1)
NOTE = "meta/volition.json"


class Silent:
    """An environment that cannot show how a task is done."""

    def __init__(self) -> None:
        toy = Toy()
        for name in ("reset", "begin", "observe", "step", "instructions", "frame", "close"):
            setattr(self, name, getattr(toy, name))


@dataclass(frozen=True, kw_only=True)
class SilentConfig(ToyConfig):
    def make(self) -> Env:  # type: ignore[override]
        return Silent()  # type: ignore[return-value]


def test_a_dataset_begun_before_a_field_came_is_gone_on_with(tmp_path: Path) -> None:
    begun = Recording(env=ToyConfig(), record=RECORD)
    done = record_env(begun, tmp_path)
    about = json.loads((tmp_path / NOTE).read_text())
    del about["note"]["environment"]["clumsiness"]  # as if it had come since
    (tmp_path / NOTE).write_text(json.dumps(about))
    again = record_env(begun, tmp_path)
    assert (again.episodes, again.frames) == (done.episodes, done.frames)
    with pytest.raises(ValueError, match=r"noise: 0.1 != 0.2"):
        record_env(replace(begun, env=ToyConfig(noise=0.1)), tmp_path)


def test_an_environment_without_a_demonstrator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must have `demonstrate` and `spec`; Silent has not"):
        record_env(Recording(env=SilentConfig(), record=RECORD), tmp_path)
    assert noted(tmp_path) is None


def test_a_task_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no task 'reach_rde'; did you mean 'reach_red'"):
        record_env(Recording(env=ToyConfig(), record=replace(RECORD, tasks=("reach_rde",))), tmp_path)


def test_chains_pass_through_a_task_that_is_named() -> None:
    through = _ChainsThrough(DeskConfig(), ("stack_block",))
    chains = [through(seed) for seed in range(20)]
    assert all(len(chain) == 5 and "stack_block" in chain for chain in chains)
    assert len(set(chains)) > 15
    assert chains == [through(seed) for seed in range(20)]
    every = _ChainsThrough(DeskConfig(), DeskConfig().tasks)
    assert [every(seed) for seed in range(5)] == [DeskConfig().chains(1, seed)[0].tasks for seed in range(5)]


def test_a_task_that_no_chain_has_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "_DRAWS", 5)
    with pytest.raises(ValueError, match="of 5 none did through fly: record them without --chains"):
        _ChainsThrough(DeskConfig(), ("fly",))(0)
