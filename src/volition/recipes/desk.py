"""Policies for the embedded simulator, from demonstrations of its scripted expert.

volition train smoke                       about half a minute: does everything work here?
volition demo                              records, trains `demo` for some six minutes, evaluates, reports
volition train demo_blind                  the control: the same without eyes
volition train desk                        all 34 tasks; desk_corrected and desk_corrected_2 learn from its mistakes
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from volition.backbones import TinyPaliGemma
from volition.config import DataConfig, Experiment, Recording, WindowConfig
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.mixture import SourceConfig
from volition.data.perform import PerformConfig
from volition.data.record import RecordConfig
from volition.envs.desk.environment import PREVIOUS_NAMES, STATE_NAMES, DeskConfig
from volition.envs.desk.state import BLOCKS, SCENES
from volition.envs.desk.tasks import TASKS
from volition.heads import ActionLoss, LSTMHeadConfig
from volition.training.optim import OptimConfig
from volition.training.train import LoopConfig

FURNITURE = (
    *("open_drawer", "close_drawer", "move_slider_left", "move_slider_right"),
    *("turn_on_lightbulb", "turn_off_lightbulb", "turn_on_led", "turn_off_led"),
)
LIFTS = tuple(f"lift_{block}_block_table" for block in BLOCKS)
PUSHES = tuple(f"push_{block}_block_{side}" for block in BLOCKS for side in ("left", "right"))
# Task -> how often it is drawn, where 1 is usual, by a policy that goes on with corrections: what it does worst.
OFTEN = {task: 1.3 for task in TASKS if task.startswith("lift")} | {"stack_block": 2.0, "unstack_block": 1.5}
DEMO_TASKS = (*FURNITURE, *LIFTS, *PUSHES)
IMAGE_SIZE = 96
# What the demo records, trains and is tested in: one scene, with the furniture and the camera elsewhere at every reset.
DEMO_ENV = DeskConfig(
    image_sizes={"static": (IMAGE_SIZE, IMAGE_SIZE), "gripper": (IMAGE_SIZE, IMAGE_SIZE)}, shift=True, scenes=("D",)
)


def demo_recording(episodes_per_task: int, *, tasks: tuple[str, ...] = DEMO_TASKS, seed: int = 1) -> Recording:
    config = RecordConfig(
        tasks=tasks,
        episodes_per_task=episodes_per_task,
        scenes=DEMO_ENV.scenes,
        perform=PerformConfig(seed=seed),
        storage=LeRobotConfig(images="jpeg", keep_frames=True),
        workers=2,
    )
    return Recording(env=DEMO_ENV, record=config)


def demo() -> Experiment:
    """Seventeen tasks, two cameras and nothing else, an LSTM over two looks, the whole model trained end to end."""
    return Experiment(
        data=DataConfig(path="runs/demo/data", recording=demo_recording(60)),
        window=WindowConfig(num_obs_steps=2, obs_stride=5, action_horizon=8, replan_steps=5),
        backbone=TinyPaliGemma(vision_layers=4, text_layers=4, weights="volition:desk-vlm", bfloat16=True),
        head=LSTMHeadConfig(hidden=256, loss=ActionLoss(kind="l1", binary_weight=0.3)),
        loop=LoopConfig(
            num_steps=1200,
            batch_size=32,
            log_every=20,
            save_every=300,
            optim=OptimConfig(lr=1e-3, backbone_lr=5e-4, warmup_steps=50),
        ),
    )


def smoke() -> Experiment:
    """A few tasks, a small model, 100 steps: about half a minute with its recording."""
    experiment = demo()
    tasks = ("open_drawer", "turn_on_led")
    return replace(
        experiment,
        data=DataConfig(path="runs/smoke-data", recording=demo_recording(6, tasks=tasks)),
        backbone=TinyPaliGemma(bfloat16=True),
        loop=replace(experiment.loop, num_steps=100, batch_size=8, log_every=5, save_every=25),
    )


def demo_blind() -> Experiment:
    """The blind twin: black cameras, but the robot's own state and its previous action."""
    experiment = demo()
    return replace(experiment, data=replace(experiment.data, blind=True, state=(*STATE_NAMES, *PREVIOUS_NAMES)))


def desk() -> Experiment:
    """All 34 tasks in all four scenes, single episodes and chains, furniture in its place: most of an hour.

    Of its own state the policy is given what pictures do not tell: how high the hand is, to which side the wrist is
    turned (a turned gripper looks alike from both), and how far the fingers are apart (whether it holds something).
    """
    experiment = demo()
    env = replace(DEMO_ENV, shift=False, scenes=SCENES)
    record = replace(demo_recording(64, tasks=TASKS).record, chains=480, scenes=SCENES)
    return replace(
        experiment,
        data=DataConfig(
            path="runs/desk-data",
            recording=Recording(env=env, record=record),
            state=("tcp_z", "joint_7", "gripper_width"),
        ),
        loop=replace(experiment.loop, num_steps=5000, save_every=1000),
    )


def desk_corrected() -> Experiment:
    """The policy of `desk` goes on, also with demonstrations that it begins and the expert ends. Record those first:

    volition record desk --out runs/desk-corrections --learner runs/desk --episodes-per-task 8 --chains 130 --seed 4242
    volition record desk --out runs/desk-turns --learner runs/desk --episodes-per-task 8 --chains 90 --seed 777 \\
        --tasks stack_block unstack_block rotate_{red,blue,pink}_block_{left,right}
    volition record desk --out runs/desk-stacks --learner runs/desk --episodes-per-task 70 --chains 70 --seed 31337 \\
        --tasks stack_block
    """
    return corrected(
        desk(),
        start="runs/desk",
        weight=0.5,
        corrections={"runs/desk-corrections": 0.25, "runs/desk-turns": 0.15, "runs/desk-stacks": 0.1},
        often=OFTEN,
        num_steps=4500,
    )


def desk_corrected_2() -> Experiment:
    """Once more, with corrections of `desk_corrected` through what still ends its chains. Record those first:

    volition record desk --out runs/desk-stacks-2 --learner runs/desk_corrected --episodes-per-task 120 --chains 100 \\
        --tasks stack_block --seed 61337
    volition record desk --out runs/desk-turns-2 --learner runs/desk_corrected --episodes-per-task 4 --chains 150 \\
        --tasks push_{red,blue,pink}_block_{left,right} rotate_{red,blue,pink}_block_{left,right} --seed 62337
    """
    earlier = {"runs/desk-corrections": 0.13, "runs/desk-turns": 0.1, "runs/desk-stacks": 0.07}
    return corrected(
        desk(),
        start="runs/desk_corrected",
        weight=0.4,
        corrections=earlier | {"runs/desk-stacks-2": 0.17, "runs/desk-turns-2": 0.13},
        often=OFTEN | {"stack_block": 2.5},
        num_steps=2800,
    )


def corrected(
    experiment: Experiment,
    *,
    start: str,
    weight: float,
    corrections: Mapping[str, float],
    often: Mapping[str, float],
    num_steps: int,
    lr: float = 8e-4,
) -> Experiment:
    """The run `start` goes on: `weight` of its windows from the demonstrations, and a share from each dataset of
    corrections, at lower learning rates, saved more often. `often`: task -> how often it is drawn, where 1 is usual.
    """
    sources = tuple(SourceConfig(path=path, weight=share) for path, share in corrections.items())
    optim = OptimConfig(lr=lr, backbone_lr=lr / 2, warmup_steps=40)
    return replace(
        experiment,
        start=start,
        data=replace(experiment.data, weight=weight, task_weights=tuple(often.items()), sources=sources),
        loop=replace(experiment.loop, num_steps=num_steps, save_every=500, optim=optim),
    )
