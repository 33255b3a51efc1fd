"""Recording with the toy demonstrator: real processes, real files, real kills."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import read_frames
from tests.toy import REACHED, SPEC, STEP, TASKS, Toy, ToyConfig
from volition.contract import RobotSpec
from volition.data.fingerprint import fingerprint
from volition.data.lerobot import load_lerobot
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.perform import Job, PerformConfig, RecordableEnv, perform
from volition.data.record import RecordConfig, RecordProgress, record
from volition.records import Start

CLUMSY = ToyConfig(clumsiness=0.3)
CONFIG = RecordConfig(
    tasks=TASKS, episodes_per_task=4, chains=3, storage=LeRobotConfig(images="video", keep_frames=True, megabytes=1)
)


def test_the_toy_is_a_demonstrator() -> None:
    assert isinstance(Toy(), RecordableEnv)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RecordProgress]:
    out = tmp_path_factory.mktemp("whole") / "d"
    return out, record(CLUMSY, CONFIG, out)


def test_the_order_is_task_by_task_then_chains(whole: tuple[Path, RecordProgress]) -> None:
    out, result = whole
    episodes = load_lerobot(out)
    assert [episode.task for episode in episodes[:8]] == list(TASKS) * 4
    assert [episode.source["job"] for episode in episodes[:8]] == list(range(8))
    chains = [episode.source for episode in episodes[8:]]
    assert {source["job"] for source in chains} <= {8, 9, 10}
    assert all(source["chain"] for source in chains)
    for before, after in pairwise(chains):
        assert after["part"] == (before["part"] + 1 if after["job"] == before["job"] else 0)
    assert result.jobs == result.total_jobs == 11
    assert result.episodes == len(episodes)
    assert result.frames == sum(len(episode) for episode in episodes)
    assert result.rejected > 0
    assert all(episode.instructions == Toy().instructions(episode.task, "train") for episode in episodes)


def test_every_episode_ends_in_success_and_shows_what_was_acted_upon(whole: tuple[Path, RecordProgress]) -> None:
    for number, episode in enumerate(load_lerobot(whole[0])[:8]):
        states, labels = (read(np.arange(len(episode))) for read in (episode.states, episode.actions))
        env = Toy(CLUMSY)
        reached = []
        for attempt in range(20):  # the successful attempt: the one that starts where the recording does
            seed = int(np.random.SeedSequence((0, number, attempt)).generate_state(1)[0])
            env.reset(Start(seed, (episode.task,)))
            if np.allclose(env.observe("").state[0], states[0]):
                break
        env.begin(episode.task)
        for t, (state, label) in enumerate(zip(states, labels)):
            env.position = state.astype(np.float64)
            expected = np.clip((env._goal() - env.position) / STEP, -1, 1)
            np.testing.assert_allclose(label, expected, atol=1e-5)  # the clean action, not the noisy one executed
            reached.append(np.linalg.norm(env._goal() - state) < REACHED)
            assert t == 0 or not reached[0]
        assert reached[-2:] == [True, True]  # two frames after success
        assert not any(reached[:-2])


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_makes_the_same_dataset(
    tmp_path: Path, whole: tuple[Path, RecordProgress], workers: int
) -> None:
    out = tmp_path / "d"
    result = record(CLUMSY, dataclasses.replace(CONFIG, workers=workers), out)
    assert fingerprint(out) == fingerprint(whole[0])
    assert read_frames(out) == read_frames(whole[0])
    assert (result.episodes, result.rejected) == (whole[1].episodes, whole[1].rejected)


def test_another_seed_makes_another_dataset(tmp_path: Path, whole: tuple[Path, RecordProgress]) -> None:
    config = dataclasses.replace(CONFIG, perform=PerformConfig(seed=1))
    record(CLUMSY, config, tmp_path / "d")
    first, other = (load_lerobot(path)[0].states(np.arange(2)) for path in (whole[0], tmp_path / "d"))
    assert np.abs(first - other).max() > 0.01


def test_what_is_complete_is_left_alone(tmp_path: Path, whole: tuple[Path, RecordProgress]) -> None:
    before = fingerprint(whole[0])
    again = record(CLUMSY, CONFIG, whole[0])
    assert (again.jobs, again.episodes, again.rejected) == (11, whole[1].episodes, whole[1].rejected)
    assert fingerprint(whole[0]) == before
    with pytest.raises(ValueError, match=r"record\.perform\.seed: 7 != 0"):
        record(CLUMSY, dataclasses.replace(CONFIG, perform=PerformConfig(seed=7)), whole[0])
    with pytest.raises(ValueError, match=r"environment\.noise: 0\.5 != None"):
        record(CLUMSY, CONFIG, whole[0], about_env={"noise": 0.5})
    with pytest.raises(ValueError, match=r"control_hz: 20\.0 != 10\.0"):
        record(Make(_Fast), CONFIG, whole[0])


@pytest.mark.parametrize("after_jobs", [1, 9])
def test_ctrl_c_keeps_what_is_finished_and_the_same_call_finishes(
    tmp_path: Path, whole: tuple[Path, RecordProgress], after_jobs: int
) -> None:
    def interrupt(progress: RecordProgress) -> None:
        if progress.jobs == after_jobs:
            raise KeyboardInterrupt

    out = tmp_path / "d"
    with pytest.raises(KeyboardInterrupt):
        record(CLUMSY, CONFIG, out, progress=interrupt)
    kept = load_lerobot(out)
    assert {episode.source["job"] for episode in kept} <= set(range(after_jobs))
    assert len(kept) >= after_jobs - 1  # a chain may have none
    result = record(CLUMSY, CONFIG, out)
    assert result.rejected == whole[1].rejected
    for episode, original in zip(load_lerobot(out), load_lerobot(whole[0]), strict=True):
        assert episode.source == original.source
        np.testing.assert_array_equal(
            episode.states(np.arange(len(episode))), original.states(np.arange(len(original)))
        )


RECORDING = """
import sys, time
from pathlib import Path
import dataclasses
from tests.data.test_record import CLUMSY, CONFIG, SlowToy
from volition.data.record import record
if __name__ == "__main__":
    record(SlowToy(), dataclasses.replace(CONFIG, workers=2), Path(sys.argv[1]))
"""


@dataclasses.dataclass(frozen=True)
class SlowToy:
    """Leaves time to be killed in the middle."""

    def __call__(self) -> Toy:
        return _Slow(CLUMSY)


class _Slow(Toy):
    def step(self, action: np.ndarray) -> bool:
        time.sleep(0.01)
        return super().step(action)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_or_interrupted_in_the_middle_and_then_the_same_dataset(
    tmp_path: Path, whole: tuple[Path, RecordProgress], how: signal.Signals
) -> None:
    out, script = tmp_path / "d", tmp_path / "recording.py"
    script.write_text(RECORDING)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, str(script), str(out)], env=environment, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(list((out / ".volition/staged").glob("episode-*"))) < 4:
        assert process.poll() is None, "the recording ended before it could be killed"
        assert time.monotonic() < deadline, "the recording made no episodes"
        time.sleep(0.01)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does: the workers get it as well
        process.wait(20)
        assert len(load_lerobot(out)) >= 4
        assert not list((out / ".volition/staged").iterdir())
    else:
        process.send_signal(how)
        process.wait(20)
    result = record(CLUMSY, dataclasses.replace(CONFIG, workers=2), out)
    assert (result.episodes, result.rejected) == (whole[1].episodes, whole[1].rejected)
    if how == signal.SIGKILL:  # nothing was sealed in between, so even the files are the same
        assert fingerprint(out) == fingerprint(whole[0])
    assert read_frames(out) == read_frames(whole[0])
    for episode, same in zip(load_lerobot(out), load_lerobot(whole[0]), strict=True):
        assert episode.source == same.source
        np.testing.assert_array_equal(episode.actions(np.arange(len(episode))), same.actions(np.arange(len(same))))


def test_a_journal_that_is_lost_or_cut_changes_nothing(tmp_path: Path, whole: tuple[Path, RecordProgress]) -> None:
    def interrupt(progress: RecordProgress) -> None:
        if progress.jobs == 9:
            raise KeyboardInterrupt

    for damage in ("lost", "cut"):
        out = tmp_path / damage
        with pytest.raises(KeyboardInterrupt):
            record(CLUMSY, CONFIG, out, progress=interrupt)
        journal = out / ".volition/record.jsonl"
        if damage == "lost":
            journal.unlink()
        else:
            journal.write_text(journal.read_text()[:-25])
        result = record(CLUMSY, CONFIG, out)
        assert (result.episodes, result.rejected) == (whole[1].episodes, whole[1].rejected)
        sources = [episode.source for episode in load_lerobot(out)]
        assert sources == [episode.source for episode in load_lerobot(whole[0])]


class _Broken(Toy):
    def demonstrate(self, task: str, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if rng.random() < 2:
            raise ZeroDivisionError("the arm fell off")
        yield np.zeros(2), np.zeros(2)


class _Fast(Toy):
    @property
    def spec(self) -> RobotSpec:
        return dataclasses.replace(SPEC, control_hz=20.0)


class _Dying(Toy):
    def begin(self, task: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclasses.dataclass(frozen=True)
class Make:
    kind: type[Toy]

    def __call__(self) -> Toy:
        return self.kind(ToyConfig())


def test_a_worker_that_fails_or_dies_says_so(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, workers=1)
    with pytest.raises(RuntimeError, match=r"(?s)a recording worker failed.*ZeroDivisionError: the arm fell off"):
        record(Make(_Broken), config, tmp_path / "a")
    with pytest.raises(RuntimeError, match=r"died \(exit code -9\)"):
        record(Make(_Dying), config, tmp_path / "b")


def test_a_task_that_never_succeeds_is_an_error_that_names_it(tmp_path: Path) -> None:
    config = RecordConfig(tasks=TASKS, perform=PerformConfig(max_attempts=3, max_steps=50))
    with pytest.raises(ValueError, match="task 'reach_red' must succeed within 3 attempts of 50 steps"):
        record(ToyConfig(clumsiness=1.0), config, tmp_path / "d")


def test_an_attempt_ends_after_max_steps() -> None:
    config = PerformConfig(max_attempts=50, max_steps=4)
    episodes, rejected = perform(Toy(ToyConfig(noise=0.8)), Job(number=3, tasks=TASKS[:1], scene=""), config)
    assert rejected > 0
    assert len(episodes[0]) <= 4 + config.tail_steps


def test_chains_come_from_the_caller(tmp_path: Path) -> None:
    config = RecordConfig(tasks=TASKS, episodes_per_task=0, chains=2)
    record(ToyConfig(), config, tmp_path / "d", chain_tasks=lambda seed: (TASKS[1], TASKS[0], TASKS[1]))
    episodes = load_lerobot(tmp_path / "d")
    assert [episode.task for episode in episodes] == [TASKS[1], TASKS[0], TASKS[1]] * 2
    ends, starts = episodes[0].states(np.array([len(episodes[0]) - 1]))[0], episodes[1].states(np.array([0]))[0]
    assert np.abs(ends - starts).max() <= STEP + 1e-6  # it goes on where the last one ended: one step later


def test_configs_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="tasks must be given once each"):
        RecordConfig(tasks=("a", "a"))
    with pytest.raises(ValueError, match="not both 0"):
        RecordConfig(tasks=("a",), episodes_per_task=0)
    with pytest.raises(ValueError, match="max_steps=0"):
        PerformConfig(max_steps=0)
