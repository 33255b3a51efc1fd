"""A missing or damaged file is an error that names it; a writer that is killed loses nothing finished."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.data.conftest import read_frames, toy_episode, write_toy
from tests.toy import SPEC
from volition.data.fingerprint import fingerprint
from volition.data.lerobot import load_lerobot
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.lerobot_write import LeRobotWriter
from volition.data.open import detect

DATA, EPISODES = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.base/chunk-000/file-000.mp4"


def _read_all(root: Path) -> None:
    for episode in load_lerobot(root):
        steps = np.arange(len(episode))
        episode.images(steps)
        episode.states(steps)


@pytest.mark.parametrize("name", ["meta/info.json", DATA, VIDEO, EPISODES])
@pytest.mark.parametrize("damage", ["missing", "cut", "garbage"])
def test_the_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    root = tmp_path / "d"
    write_toy(root, (6, 5), LeRobotConfig(images="video"))
    _read_all(root)
    path = root / name
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    else:
        path.write_bytes(b"\0" * path.stat().st_size)
    named = "meta/episodes" if (name, damage) == (EPISODES, "missing") else name
    with pytest.raises((ValueError, FileNotFoundError), match=named):
        _read_all(root)


@pytest.mark.parametrize("part", ["middle", "end"])
def test_damage_inside_a_picture_is_named(tmp_path: Path, part: str) -> None:
    root = tmp_path / "d"
    write_toy(root, (6, 5), LeRobotConfig(images="png"))
    content = bytearray((root / DATA).read_bytes())
    start = content.find(b"\x89PNG") if part == "middle" else content.rfind(b"\x89PNG")
    content[start : start + 60] = b"\0" * 60
    (root / DATA).write_bytes(content)
    with pytest.raises(ValueError, match=DATA):
        _read_all(root)


def test_one_wrong_byte_among_the_numbers_is_noticed(tmp_path: Path) -> None:
    root = tmp_path / "d"
    write_toy(root, (60, 50), LeRobotConfig(images="video"))
    content = bytearray((root / DATA).read_bytes())
    columns = pq.ParquetFile(root / DATA).metadata.row_group(1)
    actions = next(c for c in map(columns.column, range(columns.num_columns)) if c.path_in_schema.startswith("action"))
    content[actions.data_page_offset + actions.total_compressed_size // 2] ^= 1
    (root / DATA).write_bytes(content)
    with pytest.raises(ValueError, match=DATA):
        _read_all(root)


def test_a_file_of_another_dataset_is_noticed(tmp_path: Path) -> None:
    write_toy(tmp_path / "a", (6, 5), LeRobotConfig(images="png"))
    write_toy(tmp_path / "b", (3,), LeRobotConfig(images="png"))
    (tmp_path / "a" / DATA).write_bytes((tmp_path / "b" / DATA).read_bytes())
    with pytest.raises(ValueError, match=r"must hold frames 0\.\.5 of episode 0, but holds 0\.\.2"):
        _read_all(tmp_path / "a")


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.data.conftest import toy_episode
from tests.toy import SPEC
from volition.data import lerobot_write
from volition.data.lerobot_stage import LeRobotConfig
root, moment = Path(sys.argv[1]), sys.argv[2]
die = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL)
writer = lerobot_write.LeRobotWriter.create(root, SPEC, LeRobotConfig(images="video", keep_frames=True))
for number in range(3):
    writer.add(toy_episode(number, 4 + number))
writer.seal()
for number in range(3, 5):
    writer.add(toy_episode(number, 4 + number))
if moment == "staging":
    (root / ".volition/staged/loose-own.part").mkdir()
    die()
if moment == "sealing":
    lerobot_write.write_statistics = die
if moment == "committed":
    lerobot_write.shutil.rmtree = die
writer.seal()
"""


@pytest.mark.parametrize("moment", ["staging", "sealing", "committed"])
def test_kill_minus_nine_loses_nothing_finished(tmp_path: Path, moment: str) -> None:
    whole = tmp_path / "whole"
    write_toy(whole, [4 + number for number in range(7)], LeRobotConfig(images="video", keep_frames=True), (2, 4))
    root = tmp_path / "killed"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), moment], cwd=Path(__file__).parents[2], timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL
    readable = load_lerobot(root)
    assert len(readable) == (5 if moment == "committed" else 3)
    _read_all(root)
    with LeRobotWriter.resume(root) as writer:
        assert writer.num_episodes == 5
        assert writer.last_source == {"number": 4}
        writer.seal()
        for number in (5, 6):
            writer.add(toy_episode(number, 4 + number))
    assert fingerprint(root) == fingerprint(whole)
    assert read_frames(root) == read_frames(whole)


def test_a_dataset_killed_before_its_first_shard_says_so_and_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "d"
    LeRobotWriter.create(root, SPEC, LeRobotConfig(images="png")).add(toy_episode(0, 3))
    with pytest.raises(ValueError, match="interrupted before its first save"):
        detect(root)
    LeRobotWriter.resume(root).close()
    assert [len(episode) for episode in load_lerobot(root)] == [3]


def test_a_staged_episode_that_lost_power_is_dropped(tmp_path: Path) -> None:
    root = tmp_path / "d"
    writer = LeRobotWriter.create(root, SPEC, LeRobotConfig(images="video"))
    for number in range(4):
        writer.add(toy_episode(number, 5))
    video = root / ".volition/staged/episode-00000002/base.mp4"
    video.write_bytes(video.read_bytes()[:-100])
    with LeRobotWriter.resume(root) as writer:
        assert writer.last_source == {"number": 1}
    assert len(load_lerobot(root)) == 2
    _read_all(root)


FULL = """
import resource, signal, sys
from pathlib import Path
from tests.data.conftest import toy_episode
from tests.toy import SPEC
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.lerobot_write import LeRobotWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit is an OSError, as on a full disk
with LeRobotWriter.create(Path(sys.argv[1]), SPEC, LeRobotConfig(images="png")) as writer:
    for number in range(4):
        writer.add(toy_episode(number, 20))
    limit = max(staged.bytes for staged in writer._staged) + 1000  # any one fits, all in one shard do not
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
"""


def test_a_full_disk_keeps_what_was_finished(tmp_path: Path) -> None:
    assert hasattr(resource, "RLIMIT_FSIZE")
    root = tmp_path / "d"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(root)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert not list(root.rglob("*.part*"))
    LeRobotWriter.resume(root).close()
    assert [len(episode) for episode in load_lerobot(root)] == [20] * 4
    _read_all(root)


def test_ctrl_c_a_second_time_while_episodes_are_sealed_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LeRobotWriter.create(tmp_path / "d", SPEC, LeRobotConfig(images="png"))
    for number in range(3):
        writer.add(toy_episode(number, 4 + number))
    retire, calls = writer._retire, []

    def interrupted(folder: Path, number: int) -> None:
        calls.append(number)
        retire(folder, number)
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(writer, "_retire", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.close()
    writer.close()
    assert [len(episode) for episode in load_lerobot(tmp_path / "d")] == [4, 5, 6]
    _read_all(tmp_path / "d")
