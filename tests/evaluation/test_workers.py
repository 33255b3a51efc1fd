"""Workers end when they should, whatever happens to those who started them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.evaluation.worlds import TASKS, HelpedWorld, Seeker, WatchedWorld
from tests.toy import ToyConfig
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.slot import Begin, Moment
from volition.evaluation.suite import task_trials
from volition.evaluation.workers import InProcess, Workers, open_pool

TRIALS = task_trials(TASKS, num_starts=2, first_seed=0)


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def ends(pid: int, within: float = 10.0) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not is_running(pid):
            return True
        time.sleep(0.02)
    return False


def test_slots_live_in_as_many_processes_as_there_are_workers() -> None:
    pool = Workers(ToyConfig(), 2, 3, patience_seconds=20.0)
    try:
        assert pool.num_slots == 6
        for slot in range(6):
            pool.send(slot, Begin(trial=TRIALS[slot % 4], index=0))
        heard: dict[int, Moment] = {}
        while len(heard) < 6:
            for slot, reply in pool.receive():
                assert isinstance(reply, Moment)
                heard[slot] = reply
        assert [heard[slot].instruction for slot in range(4)] == [
            "please touch the red square",
            "please touch the red square",
            "please touch the blue square",
            "please touch the blue square",
        ]
        assert len({process.pid for process in pool.processes}) == 2
    finally:
        pool.close()
    assert all(process.returncode == 0 for process in pool.processes)


def test_none_is_left_when_the_caller_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Workers] = []

    def remember(*arguments: object, **options: object) -> Workers:
        made.append(open_pool(*arguments, **options))  # type: ignore[arg-type]
        return made[-1]

    def interrupt(number: int, result: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("volition.evaluation.rollout.open_pool", remember)
    with pytest.raises(KeyboardInterrupt):
        evaluate(Seeker(), WatchedWorld(), TRIALS, RolloutConfig(num_workers=2, slots_per_worker=1), interrupt)
    assert len(made[0].processes) == 2
    assert all(process.returncode is not None for process in made[0].processes)


def test_none_is_left_when_the_caller_is_killed() -> None:
    script = (
        "from tests.toy import ToyConfig\n"
        "from volition.evaluation.workers import Workers\n"
        "import os\n"
        "pool = Workers(ToyConfig(), 2, 1, patience_seconds=9.0)\n"
        "os.write(1, ' '.join(str(p.pid) for p in pool.processes).encode())\n"
        "os.kill(os.getpid(), 9)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    ended = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment, check=False)
    assert ended.returncode == -9
    pids = [int(pid) for pid in ended.stdout.split()]
    assert len(pids) == 2
    assert all(ends(pid) for pid in pids)


@pytest.mark.parametrize("how", ["program", "copy"])
def test_a_process_that_dies_takes_its_helpers_along_and_none_hides_its_death(how: str, tmp_path: Path) -> None:
    trials = task_trials(("reach_red",), num_starts=2, first_seed=12)
    config = RolloutConfig(num_workers=1, slots_per_worker=1, batch=1, max_repeats=0)
    results = evaluate(Seeker(), HelpedWorld(how, tmp_path), trials, config)
    assert [result.seed for result in results if result.error] == [13]
    assert "exit code 7" in next(result.error for result in results if result.error)
    helpers = [int(file.name) for file in tmp_path.iterdir()]
    assert helpers, "of the process that died and, where it came that far, of the one in its place"
    assert all(ends(pid) for pid in helpers)


def test_without_workers_everything_runs_here() -> None:
    pool = open_pool(ToyConfig(), num_workers=0, slots_per_worker=2, patience_seconds=1.0)
    assert isinstance(pool, InProcess)
    pool.send(1, Begin(trial=TRIALS[0], index=0))
    ((slot, reply),) = pool.receive()
    assert slot == 1
    assert isinstance(reply, Moment)
    pool.close()
