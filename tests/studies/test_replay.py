"""Recorded demonstrations succeed again through a policy's path; where they do not, the mistake is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.formats import calvin
from volition.config import Recording
from volition.contract import RobotSpec
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.open import load_spec
from volition.data.record import RecordConfig
from volition.envs.desk.environment import DeskConfig, DeskEnv
from volition.geometry import world_to_tcp
from volition.policy import Collator
from volition.records import Env
from volition.studies.recording import record_env
from volition.studies.replay import Demonstration, find, judge, labels_agree, new_collator, replay

TASKS = ("open_drawer", "lift_red_block_table", "rotate_red_block_left")
World = tuple[Env, list[Demonstration], RobotSpec]
ENV = DeskConfig(image_sizes={"static": (32, 32), "gripper": (32, 32)})


def quiet(phase: str, share: float, text: str) -> None:
    pass


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As everybody records, noise included."""
    root = tmp_path_factory.mktemp("replay") / "d"
    storage = LeRobotConfig(images="png")
    config = RecordConfig(tasks=TASKS, episodes_per_task=1, scenes=("A",), storage=storage, workers=0)
    record_env(Recording(env=ENV, record=config), root)
    return root


@pytest.fixture(scope="module")
def world(recording: Path) -> Iterator[World]:
    env = DeskEnv(ENV)
    found, tried = find(env, recording, num_episodes=10)
    assert len(found) == tried == len(TASKS)
    yield env, found, load_spec(recording)
    env.close()


def test_demonstrations_succeed_again(recording: Path) -> None:
    findings = replay(recording, "desk", num_episodes=3, checkpoint=None, say=quiet)
    assert [(finding.name, finding.level) for finding in findings] == [
        ("replay starts", "ok"),
        ("replay", "ok"),
        ("labels", "ok"),
    ]
    assert "3 of 3" in findings[1].said
    assert "cosine" in findings[2].said  # labels differ from what was executed: there was noise


MISTAKES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "of the other gripper polarity": lambda a, s: a * np.array([1, 1, 1, 1, 1, 1, -1], np.float32),
    "in the tool's frame": lambda a, s: world_to_tcp(a, s[:, 3:6], rotation_scale=0.05),
    "ten times too small": lambda a, s: a * np.array([0.1] * 6 + [1], np.float32),
    "with x and y exchanged": lambda a, s: a[:, [1, 0, 2, 3, 4, 5, 6]],
}


@pytest.fixture(scope="module")
def collator(recording: Path) -> Collator:
    return new_collator(load_spec(recording))


def damaged(found: list[Demonstration], mistake: str, *kinds: str) -> list[Demonstration]:
    change = MISTAKES[mistake]
    return [replace(d, **{kind: change(getattr(d, kind), d.states) for kind in kinds}) for d in found]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_what_was_executed_is_named(world: World, collator: Collator, mistake: str) -> None:
    env, found, spec = world
    lifts = [d for d in found if d.task == "lift_red_block_table"]  # fails under each of them
    wrong = damaged(lifts, mistake, "executed", "labels")
    replayed = judge(env, wrong, len(wrong), spec, collator, quiet)[1]
    assert (replayed.name, replayed.level) == ("replay", "error")
    assert f"taken to be {mistake}" in replayed.said


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_labels_alone_is_named(world: World, mistake: str) -> None:
    _, found, spec = world
    finding = labels_agree(damaged(found, mistake, "labels"), spec)
    assert finding.level == "error"
    assert f"taken to be {mistake}" in finding.said


def test_a_start_that_does_not_come_back_is_an_error(world: World, collator: Collator) -> None:
    env, _, spec = world
    finding = judge(env, [], 3, spec, collator, quiet)[0]
    assert (finding.level, finding.said.split(" recorded")[0]) == ("error", "0 of 3")


def test_a_dataset_of_another_origin_cannot_be_replayed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="by `volition record`"):
        replay(calvin.make(tmp_path), "desk", num_episodes=1, checkpoint=None, say=quiet)
