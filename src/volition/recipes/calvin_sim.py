"""A policy for the real CALVIN simulator, trained on demonstrations that its scripted expert gives there.

volition train calvin_sim --run runs/calvin-sim               records first (your clones: docs/calvin.md)
volition eval runs/calvin-sim --env calvin --chains 1000      the official sequences
"""

from __future__ import annotations

from dataclasses import replace

from volition.config import DataConfig, Experiment, Recording, WindowConfig
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.perform import PerformConfig
from volition.data.record import RecordConfig
from volition.envs.calvin.config import CalvinSimConfig
from volition.envs.calvin.situations import TASKS
from volition.recipes.desk import demo

IMAGE_SIZE = 96
ENV = CalvinSimConfig(
    image_sizes={"static": (IMAGE_SIZE, IMAGE_SIZE), "gripper": (IMAGE_SIZE, IMAGE_SIZE)}, more_sentences=20
)


def calvin_sim() -> Experiment:
    """All 34 tasks in scene D, single episodes and chains, both cameras."""
    base = demo()
    record = RecordConfig(
        tasks=TASKS,
        episodes_per_task=40,
        chains=600,
        scenes=ENV.scenes,
        perform=PerformConfig(seed=1),
        storage=LeRobotConfig(images="jpeg", keep_frames=True),
        workers=2,
    )
    return replace(
        base,
        data=DataConfig(path="runs/calvin-sim-data", recording=Recording(env=ENV, record=record)),
        window=WindowConfig(num_obs_steps=2, obs_stride=5, action_horizon=8, replan_steps=5),
        loop=replace(base.loop, num_steps=12_000, save_every=1000),
    )
