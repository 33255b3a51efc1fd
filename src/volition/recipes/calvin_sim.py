"""A policy for the real CALVIN simulator, trained on demonstrations that its scripted expert gives there.

volition train desk                                           whose weights are a good beginning
volition train calvin_sim --start runs/desk                   records first (your clones: docs/calvin.md)
volition eval runs/calvin_sim --env calvin --chains 1000      the official sequences
"""

from __future__ import annotations

from dataclasses import replace

from volition.config import DataConfig, Experiment, Recording
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.mixture import SourceConfig
from volition.data.perform import PerformConfig
from volition.data.record import RecordConfig
from volition.envs.calvin.config import CalvinSimConfig
from volition.envs.calvin.situations import TASKS
from volition.recipes.desk import OFTEN, demo, desk, going_on

IMAGE_SIZE = 96
ENV = CalvinSimConfig(
    image_sizes={"static": (IMAGE_SIZE, IMAGE_SIZE), "gripper": (IMAGE_SIZE, IMAGE_SIZE)}, more_sentences=20
)


def calvin_sim() -> Experiment:
    """All 34 tasks in scene D, single episodes and chains, both cameras, the state that the desk's policy is given."""
    base = demo()
    record = RecordConfig(
        tasks=TASKS,
        episodes_per_task=14,
        chains=140,
        scenes=ENV.scenes,
        perform=PerformConfig(seed=1),
        storage=LeRobotConfig(images="jpeg", keep_frames=True),
        workers=2,
    )
    return replace(
        base,
        data=DataConfig(
            path="runs/calvin-sim-data", recording=Recording(env=ENV, record=record), state=desk().data.state
        ),
        loop=replace(base.loop, num_steps=5000, save_every=1000),
    )


def calvin_sim_corrected() -> Experiment:
    """The policy of `calvin_sim` goes on, also with demonstrations that it begins and the expert ends. Record first:

    volition record calvin --out runs/calvin-corrections --learner runs/calvin_sim --more-sentences 20 \\
        --episodes-per-task 8 --chains 92 --seed 4242
    """
    base = calvin_sim()
    often = OFTEN | {"push_into_drawer": 1.5}
    sources = (SourceConfig(path="runs/calvin-corrections", weight=0.6),)
    data = replace(base.data, weight=0.4, task_weights=tuple(often.items()), sources=sources)
    return going_on(replace(base, start="runs/calvin_sim", data=data), num_steps=3000)
