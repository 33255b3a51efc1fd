"""A damaged episode costs that episode, a file that takes the library down costs that file, and each is named."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.formats import aloha, mobile, robomimic
from tests.data.test_hdf5 import change
from volition.data import hdf5_inspect
from volition.data.episodes import left_out
from volition.data.hdf5 import Hdf5Episode, load_hdf5
from volition.data.open import load_episodes

h5py = pytest.importorskip("h5py", reason="HDF5 needs h5py: pip install 'volition[hdf5]'")

Edit = Callable[[Any], None]
DEMO = "data/demo_2"  # of three frames
PICTURES = f"{DEMO}/obs/agentview_image"


def drop(name: str) -> Edit:
    def edit(file: Any) -> None:
        del file[name]

    return edit


def put(name: str, value: Any) -> Edit:
    def edit(file: Any) -> None:
        del file[name]
        file[name] = value

    return edit


def count_wrongly(file: Any) -> None:
    file[DEMO].attrs["num_samples"] = 9


def nest(file: Any) -> None:
    del file[f"{DEMO}/actions"]
    file[f"{DEMO}/actions/x"] = 1


def link_elsewhere(file: Any) -> None:
    other = f"{file.filename}.other"
    with h5py.File(other, "w") as there:
        there["x"] = np.zeros((3, 7))
    del file[f"{DEMO}/actions"]
    file[f"{DEMO}/actions"] = h5py.ExternalLink(other, "x")


DAMAGE: dict[str, tuple[Edit, str]] = {
    "no actions": (drop(f"{DEMO}/actions"), r"must have data 'actions'"),
    "no state": (drop(f"{DEMO}/obs/robot0_eef_quat"), r"must have data 'obs/robot\?_eef_quat'"),
    "one camera of two": (drop(PICTURES), r"cameras robot0_eye_in_hand_image 8x10, but most"),
    "no observations": (drop(f"{DEMO}/obs"), r"must have data 'obs/robot"),
    "a group for data": (nest, r"must have data 'actions'"),
    "not finite": (put(f"{DEMO}/actions", np.full((3, 7), np.nan)), r"finite, but is nan in row 0, dimension 0"),
    "too large": (put(f"{DEMO}/actions", np.full((3, 7), 1e300)), r"finite, but is inf in row 0, dimension 0"),
    "texts": (put(f"{DEMO}/actions", np.full((3, 7), b"x")), r"must hold numbers \[T, D\], but holds \|S1"),
    "three axes": (put(f"{DEMO}/actions", np.zeros((3, 7, 1))), r"must hold numbers \[T, D\]"),
    "fewer actions": (put(f"{DEMO}/actions", np.zeros((2, 7))), r"as many of everything, but .*'actions': 2"),
    "other actions": (put(f"{DEMO}/actions", np.zeros((3, 6))), r"actions of 6 numbers.* but most have"),
    "no frames": (put(f"{DEMO}/actions", np.zeros((0, 7))), r"there must be one frame or more, .*'actions': 0"),
    "grey": (put(PICTURES, np.zeros((3, 8, 10, 1), np.uint8)), r"but holds uint8\[3, 8, 10, 1\]"),
    "no picture": (put(PICTURES, np.zeros((3, 80), np.uint8)), r"frame 0 of .*agentview_image must be a PNG or JPEG"),
    "another count": (count_wrongly, r"'@num_samples': 9"),
    "a link elsewhere": (link_elsewhere, r"'actions' is a link into .*copy what it points to"),
}
Loaded = tuple[dict[str, Path], list[str], list[Hdf5Episode]]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A file for every damage, in one folder: where they lie, what was logged on loading, what could be read."""
    folder = tmp_path_factory.mktemp("damaged")
    original = robomimic.make(folder / "whole")
    paths = {name: Path(shutil.copy(original, folder / f"{i:02d}.hdf5")) for i, name in enumerate(DAMAGE)}
    for name, (edit, _) in DAMAGE.items():
        change(paths[name], edit)
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("volition.data.hdf5")
    logger.addHandler(handler)
    episodes = load_hdf5(folder)
    logger.removeHandler(handler)
    return paths, said, episodes


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_episode_costs_that_episode_only(damaged: Loaded, name: str) -> None:
    paths, said, episodes = damaged
    (reason,) = [line for line in said if f"{paths[name]}, /{DEMO}" in line]
    assert re.search(DAMAGE[name][1], reason), reason
    assert [e.facts.group for e in episodes if e.facts.path == paths[name]] == ["/data/demo_0", "/data/demo_10"]


def test_the_lost_are_counted(damaged: Loaded) -> None:
    count = len(DAMAGE)
    assert left_out(damaged[2]) == count
    assert any(f"{2 * count} episodes are read, {count} episodes or files are left out" in line for line in damaged[1])


def zero_the_texts(path: Path) -> None:
    """Zeros instead of the heap in which the texts of attributes lie: the library never returns from reading it."""
    content = bytearray(path.read_bytes())
    start = content.index(b"GCOL") + 16
    content[start : start + 4000] = bytes(4000)
    path.write_bytes(content)


def test_a_file_that_hangs_the_library_costs_that_file(tmp_path: Path, monkeypatch: Any, caplog: Any) -> None:
    path = robomimic.make_libero(tmp_path)
    bad, good = sorted(path.iterdir())
    zero_the_texts(bad)
    monkeypatch.setattr(hdf5_inspect, "PATIENCE", 3.0)
    assert {e.facts.path for e in load_hdf5(path)} == {good}
    assert f"{bad}: the HDF5 library hung for 3 s; it is damaged" in caplog.text
    good.unlink()
    with pytest.raises(ValueError, match=r"must hold an episode that can be read, but holds none: .* library hung"):
        load_hdf5(path)


def test_a_file_that_crashes_the_library_costs_that_file(tmp_path: Path, monkeypatch: Any, caplog: Any) -> None:
    path = mobile.make(tmp_path)
    first, second = sorted(path.iterdir())
    facts = hdf5_inspect._facts

    def crashing(files: Any, file: Path, *rest: Any) -> Any:
        if file == second:
            os.kill(os.getpid(), signal.SIGKILL)
        return facts(files, file, *rest)

    monkeypatch.setattr(hdf5_inspect, "_facts", crashing)
    assert [e.facts.path for e in load_hdf5(path)] == [first]
    assert f"{second}: the HDF5 library crashed (exit status -9)" in caplog.text


def test_what_is_missing_can_be_installed(tmp_path: Path, monkeypatch: Any) -> None:
    path = mobile.make(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"reading HDF5 files needs h5py: pip install 'volition\[hdf5\]'"):
        load_episodes(path)


@pytest.mark.parametrize("damage", ["cut", "empty", "zeros", "missing"])
def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, damage: str) -> None:
    path = robomimic.make(tmp_path)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "zeros": bytes(len(whole))}.get(damage, b""))
    if damage == "missing":
        path.unlink()
    kind, message = {
        "missing": (FileNotFoundError, r"image\.hdf5 must be a dataset"),
    }.get(damage, (ValueError, r"image\.hdf5 must be an HDF5 file that can be read"))
    with pytest.raises(kind, match=message):
        load_episodes(path)


def test_damage_after_loading_is_named(tmp_path: Path) -> None:
    path = aloha.make(tmp_path)
    episode = load_hdf5(path)[0]
    smaller = aloha.padded(robomimic.frames(3, 3, (6, 10)))
    change(episode.facts.path, put("observations/images/cam_left_wrist", smaller))
    with pytest.raises(ValueError, match=r"episode_0\.hdf5, /: pictures must be those of .*cam_left_wrist"):
        episode.images(np.array([0]))


def mutated(content: bytes, seed: int) -> bytes:
    """A copy that is cut, or has some bytes, bits or a stretch of it changed."""
    rng = np.random.default_rng(seed)
    data = bytearray(content)
    kind = seed % 4
    if kind == 0:
        return bytes(data[: rng.integers(len(data))])
    for _ in range(rng.integers(1, 20)):
        if kind == 1:
            data[rng.integers(len(data))] = rng.integers(256)
        if kind == 2:
            data[rng.integers(min(len(data), 8192))] ^= 1 << rng.integers(8)
    if kind == 3:
        start, length = rng.integers(len(data) - 256), rng.integers(1, 256)
        data[start : start + length] = bytes([255 * rng.integers(2)]) * length
    return bytes(data)


MAKERS = (robomimic.make, robomimic.make_libero, aloha.make, mobile.make)


def fuzz(folder: Path, count: int, *, first: int = 0) -> Counter[str]:
    """Load and read `count` mutated files of every layout: what became of them. Whatever is refused must be named."""
    outcome: Counter[str] = Counter()
    for number, make in enumerate(MAKERS):
        made = make(folder / str(number))
        original = made if made.is_file() else sorted(made.glob("*.h*5"))[0]
        place = folder / f"mutated-{number}"
        place.mkdir()
        whole = Path(shutil.copy(original, place / f"whole{original.suffix}"))
        for seed in range(first, first + count):
            (place / f"{seed}{original.suffix}").write_bytes(mutated(original.read_bytes(), seed))
        episodes = load_hdf5(place)
        files = {episode.facts.path for episode in episodes}
        assert whole in files
        outcome.update({"files refused": count + 1 - len(files), "files read": len(files)})
        outcome.update(refused_later(episode) for episode in episodes)
    return outcome


def refused_later(episode: Hdf5Episode) -> str:
    try:
        for read in (episode.images, episode.states, episode.actions):
            read(np.arange(len(episode)))
    except ValueError as error:
        return "episodes refused later" if str(episode.facts.path) in str(error) else f"not named: {error}"
    return "episodes read"


@pytest.mark.slow
def test_mutated_files_are_read_or_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(hdf5_inspect, "PATIENCE", 5.0)
    outcome = fuzz(tmp_path, 16)
    assert outcome.keys() <= {"files refused", "files read", "episodes read", "episodes refused later"}
    assert outcome["files refused"] > 10
    assert outcome["files read"] > 20
