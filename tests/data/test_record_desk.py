"""The recorder with the real simulator: any number of workers makes the same dataset, pictures included."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from volition.data.fingerprint import fingerprint
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.open import load_cached, load_spec
from volition.data.record import RecordConfig, record
from volition.data.windows import Windows
from volition.envs.desk.chains import chains
from volition.envs.desk.environment import DeskConfig, DeskEnv

SIZES = {"static": (48, 48), "gripper": (32, 32)}
TASKS = ("turn_on_led", "lift_red_block_table")


def _chain(seed: int) -> tuple[str, ...]:
    return chains(1, seed)[0].tasks[:2]


@pytest.mark.slow
def test_the_desk_is_recorded_the_same_by_any_number_of_workers(tmp_path: Path) -> None:
    make = partial(DeskEnv, DeskConfig(image_sizes=SIZES))
    storage = LeRobotConfig(images="png")
    results = []
    for workers in (0, 2):
        config = RecordConfig(
            tasks=TASKS, episodes_per_task=1, chains=1, scenes=("A", "D"), storage=storage, workers=workers
        )
        results.append(record(make, config, tmp_path / str(workers), chain_tasks=_chain))
    assert fingerprint(tmp_path / "0") == fingerprint(tmp_path / "2")
    assert results[0].episodes == results[1].episodes >= 3
    assert load_spec(tmp_path / "0") == DeskConfig(image_sizes=SIZES).spec
    episodes = load_cached(tmp_path / "0")
    assert tuple(episode.task for episode in episodes[:2]) == TASKS
    sample = Windows(episodes, num_obs_steps=2, obs_stride=5, action_horizon=8).sample(len(episodes[0]) - 1)
    static = sample.observation.images["static"]
    assert static.shape == (2, 48, 48, 3)
    assert static.std() > 10
    assert np.abs(static[0].astype(int) - static[1]).max() > 30  # the arm has moved
    assert sample.observation.state.shape == (2, len(DeskConfig(image_sizes=SIZES).spec.state))
    assert sample.mask.sum() == 6 + 1
