"""One function over many tasks: the same results from this process, from processes, and from a Ray cluster."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.test_workers import ends
from tests.source_tree import ROOT
from tests.studies.test_compare import compare, data
from tests.test_cli import volition
from volition.data.open import load_episodes
from volition.studies.spread import Engine, spread

__all__ = ["data"]  # a fixture
pytestmark = pytest.mark.slow


def square(number: int) -> tuple[int, int]:
    if number < 0:
        raise ValueError(f"{number} has no root")
    return number * number, os.getpid()


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A real Ray, of this machine alone."""
    ray = pytest.importorskip("ray", reason="an extra: pip install 'volition[ray]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv(
            "PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "examples"), os.environ.get("PYTHONPATH", "")])
        )
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.mark.parametrize(("engine", "jobs"), [("processes", 0), ("processes", 2)])
def test_every_task_is_done_once(engine: Engine, jobs: int) -> None:
    found = dict(spread(square, range(5), jobs=jobs, engine=engine))
    assert {number: result for number, (result, _) in found.items()} == {n: n * n for n in range(5)}
    assert (os.getpid() in {process for _, process in found.values()}) == (jobs == 0)
    if jobs == 0:  # processes take seconds to begin
        with pytest.raises(ValueError, match="-1 has no root"):
            list(spread(square, [1, -1], jobs=jobs, engine=engine))


def test_none_is_left_when_the_caller_is_killed(tmp_path: Path) -> None:
    (tmp_path / "waiting.py").write_text(  # a module that is quickly imported
        "import os, pathlib, time\n"
        "def wait(path):\n"
        "    pathlib.Path(path).write_text(str(os.getpid()))\n"
        "    time.sleep(600)\n"
    )
    script = (
        "import sys\n"
        "from waiting import wait\n"
        "from volition.studies.spread import spread\n"
        "list(spread(wait, sys.argv[1:], jobs=2))\n"
    )
    told = [tmp_path / "one", tmp_path / "two"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    caller = subprocess.Popen([sys.executable, "-c", script, *map(str, told)], env=environment)
    deadline = time.monotonic() + 120
    while not all(path.exists() and path.read_text(encoding="utf-8") for path in told):
        assert caller.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    caller.kill()
    caller.wait()
    assert all(ends(int(path.read_text(encoding="utf-8"))) for path in told)


@pytest.mark.filterwarnings("ignore")  # of Ray, about itself
def test_ray_does_the_same(cluster: None, data: Path, tmp_path: Path) -> None:
    found = dict(spread(square, range(5), jobs=0, engine="ray"))
    assert {number: result for number, (result, _) in found.items()} == {n: n * n for n in range(5)}
    assert os.getpid() not in {process for _, process in found.values()}
    with pytest.raises(ValueError, match="-1 has no root"):
        list(spread(square, [1, -1], jobs=0, engine="ray"))
    tables = []
    for name, flags in (("here", ()), ("there", ("--engine", "ray"))):
        told = tmp_path / f"{name}.json"
        assert compare(data, tmp_path / name, "--heads", "mlp", "--json", str(told), *flags) == 0
        (row,) = json.loads(told.read_text())["rows"]
        tables.append({key: value for key, value in row.items() if key != "act_seconds"})
    assert tables[0] == tables[1]


@pytest.mark.filterwarnings("ignore")
def test_recording_and_evaluating_in_parts(
    cluster: None, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    example = importlib.import_module("04_on_a_cluster")
    out = tmp_path / "data"
    example.main(["--parts", "2", "record", "desk", "--out", str(out), "--episodes-per-task", "1", "--workers", "0",
                  "--tasks", "turn_on_led", "--images", "png"])  # fmt: skip
    one, two = (load_episodes(Path(f"{out}-{part}"))[0] for part in (1, 2))
    first, second = (episode.actions(np.arange(5)) for episode in (one, two))
    assert (first != second).any(), "two parts began from the same start"
    assert compare(data, tmp_path / "run", "--heads", "mlp") == 0
    (run, *_) = sorted((tmp_path / "run" / "runs").iterdir())
    scores = []
    for name, make in (("alone", volition), ("parts", lambda *words: example.main(["--parts", "2", *words]))):
        told = tmp_path / f"{name}.json"
        make("eval", str(shutil.copytree(run, tmp_path / name)), "--env", "tests.toy:ToyConfig", "--starts", "2",
             "--max-steps", "6", "--workers", "0", "--json", str(told))  # fmt: skip
        scores.append(json.loads(told.read_text()))
    assert scores[0]["num_episodes"] == scores[1]["num_episodes"] > 0
    assert scores[0]["tasks"] == scores[1]["tasks"]
    with pytest.raises(RuntimeError, match="ended with status 2"):
        example.main(["--parts", "2", "eval", str(tmp_path / "nothing"), "--starts", "1"])
