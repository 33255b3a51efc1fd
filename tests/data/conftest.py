"""Small datasets of known content for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from tests.toy import SPEC, TASKS
from volition.data.lerobot_stage import EpisodeData, LeRobotConfig
from volition.data.lerobot_write import LeRobotWriter

# On a loaded machine a call may take any time; the same cases in every run.
settings.register_profile("data", derandomize=True, database=None)
settings.load_profile("data")

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def toy_episode(number: int, length: int) -> EpisodeData:
    """Smooth pictures (a video keeps them well), numbers that name the episode and the frame."""
    ramp = np.linspace(0, 80, 28)
    picture = (ramp[None, :, None] + ramp[:, None, None] * 0.5 + np.array([0, 20, 40])).astype(np.uint8)
    frames = np.stack([picture + np.uint8((7 * number + 3 * t) % 60) for t in range(length)])
    steps = np.arange(length, dtype=np.float32)
    states = np.stack([np.full(length, number, np.float32), steps], axis=1)
    return EpisodeData(
        task=TASKS[number % 2],
        instructions=(f"sentence {number % 3}", "another wording"),
        images={"base": frames},
        states=states,
        actions=states / 100 - 0.5,
        source={"number": number},
    )


def write_toy(
    root: Path, lengths: Sequence[int], config: LeRobotConfig, seal_after: Sequence[int] = ()
) -> list[EpisodeData]:
    """A dataset of `toy_episode`s; a shard ends after each number in `seal_after`."""
    episodes = [toy_episode(number, length) for number, length in enumerate(lengths)]
    with LeRobotWriter.create(root, SPEC, config) as writer:
        for number, episode in enumerate(episodes):
            writer.add(episode)
            if number in seal_after:
                writer.seal()
    return episodes


def read_frames(root: Path) -> dict[str, bytes]:
    """The frame cache of a dataset, file by file, its index apart."""
    return {path.name: path.read_bytes() for path in (root / ".volition/frames").iterdir() if path.suffix == ".u8"}


@pytest.fixture(scope="session", autouse=True)
def own_cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept about datasets that may not be written to goes elsewhere than to the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def calvin_mini() -> Path:
    path = SHARED / "calvin_mini" / "training"
    if not path.is_dir():
        pytest.skip(f"the CALVIN sample is not at {path}")
    return path
