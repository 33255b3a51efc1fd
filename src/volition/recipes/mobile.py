"""Policies for the mobile base, from demonstrations of its scripted expert: around boxes, left or right as told.

volition train mobile_2d                         records, trains for some minutes
volition eval runs/mobile_2d --env mobile --starts 10
volition train mobile_3d                         the same with a robot that also turns
volition train mobile_2d --data.blind            a control without eyes; --data.deaf: without ears
"""

from __future__ import annotations

from volition.backbones import TinyPaliGemma
from volition.backbones.images import Augmentation
from volition.config import DataConfig, Experiment, Recording, WindowConfig
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.perform import PerformConfig
from volition.data.record import RecordConfig
from volition.envs.mobile.environment import MobileConfig, Space
from volition.envs.mobile.tasks import TASKS
from volition.heads import ActionLoss, LSTMHeadConfig
from volition.training.optim import OptimConfig
from volition.training.train import LoopConfig


def recording(space: Space, episodes_per_task: int = 60) -> Recording:
    env = MobileConfig(space=space)
    config = RecordConfig(
        tasks=TASKS,
        episodes_per_task=episodes_per_task,
        scenes=env.scenes,
        perform=PerformConfig(seed=1, max_steps=env.max_steps),
        storage=LeRobotConfig(images="jpeg", keep_frames=True),
        workers=2,
    )
    return Recording(env=env, record=config)


def mobile(space: Space) -> Experiment:
    """Twelve tasks in four rooms, one camera and nothing else, an LSTM over four looks, the whole model trained."""
    return Experiment(
        data=DataConfig(path=f"runs/mobile-{space}-data", cameras=("front",), recording=recording(space)),
        window=WindowConfig(num_obs_steps=4, obs_stride=3, action_horizon=6, replan_steps=3),
        backbone=TinyPaliGemma(vision_layers=4, text_layers=4, weights="volition:mobile-vlm", bfloat16=True),
        head=LSTMHeadConfig(hidden=256, loss=ActionLoss(kind="l1")),
        loop=LoopConfig(
            num_steps=900,
            batch_size=16,
            log_every=20,
            save_every=300,
            augmentation=Augmentation(),
            optim=OptimConfig(lr=1e-3, backbone_lr=5e-4, warmup_steps=50),
        ),
    )


def mobile_2d() -> Experiment:
    return mobile("2d")


def mobile_3d() -> Experiment:
    return mobile("3d")
