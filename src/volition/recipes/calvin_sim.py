"""A policy for the real CALVIN simulator, trained on demonstrations that its scripted expert gives there.

volition train desk                                           whose weights are a good beginning
volition train calvin_sim --start runs/desk                   records first (your clones: docs/calvin.md)
volition eval runs/calvin_sim --env calvin --chains 1000      the official sequences
"""

from __future__ import annotations

from dataclasses import replace

from volition.config import DataConfig, Experiment, Recording
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.perform import PerformConfig
from volition.data.record import RecordConfig
from volition.envs.calvin.config import CalvinSimConfig
from volition.envs.calvin.situations import TASKS
from volition.recipes.desk import OFTEN, corrected, demo, desk

IMAGE_SIZE = 96
ENV = CalvinSimConfig(
    image_sizes={"static": (IMAGE_SIZE, IMAGE_SIZE), "gripper": (IMAGE_SIZE, IMAGE_SIZE)}, more_sentences=20
)


# As `OFTEN`, for the later rounds of corrections.
OFTEN_LATER = {task: 1.2 for task in TASKS if task.startswith("lift")} | {
    "stack_block": 2.5,
    "unstack_block": 1.2,
    "push_into_drawer": 1.8,
    "place_in_slider": 2.0,
}


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
    return corrected(
        calvin_sim(),
        start="runs/calvin_sim",
        weight=0.4,
        corrections={"runs/calvin-corrections": 0.6},
        often=OFTEN | {"push_into_drawer": 1.5},
        num_steps=3000,
    )


def calvin_sim_corrected_2() -> Experiment:
    """Once more, with corrections of that through what ends its sequences. Record those first:

    volition record calvin --out runs/calvin-corrections-2 --learner runs/calvin_sim_corrected --more-sentences 20 \\
        --episodes-per-task 14 --chains 80 --tasks stack_block place_in_slider push_into_drawer --seed 30303
    """
    return corrected(
        calvin_sim(),
        start="runs/calvin_sim_corrected",
        weight=0.3,
        corrections={"runs/calvin-corrections": 0.35, "runs/calvin-corrections-2": 0.35},
        often=OFTEN_LATER,
        num_steps=2000,
        lr=7e-4,
    )


def calvin_sim_corrected_3() -> Experiment:
    """And once more. Record those first:

    volition record calvin --out runs/calvin-corrections-3 --learner runs/calvin_sim_corrected_2 --more-sentences 20 \\
        --episodes-per-task 20 --chains 70 --seed 71717 --tasks stack_block push_into_drawer place_in_slider \\
        unstack_block rotate_red_block_right rotate_blue_block_left
    """
    return corrected(
        calvin_sim(),
        start="runs/calvin_sim_corrected_2",
        weight=0.28,
        corrections={
            "runs/calvin-corrections": 0.28,
            "runs/calvin-corrections-2": 0.24,
            "runs/calvin-corrections-3": 0.2,
        },
        often=OFTEN_LATER,
        num_steps=2500,
        lr=7e-4,
    )
