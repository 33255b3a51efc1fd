"""BridgeData V2 as RLDS: a real WidowX arm at 5 Hz, one camera over its shoulder.

    volition train bridge --data.path bridge_dataset/1.0.0 --run runs/bridge
    volition eval runs/bridge --offline HELD_OUT

It is small enough for a sample of 25 episodes: what it learns from 20 of them is in docs/results.md.
"""

from __future__ import annotations

from dataclasses import replace

from volition.backbones import TinyPaliGemma
from volition.backbones.images import Augmentation
from volition.config import DataConfig, Experiment, WindowConfig
from volition.heads import ActionLoss, LSTMHeadConfig
from volition.recipes.desk import demo
from volition.training.optim import OptimConfig


def bridge() -> Experiment:
    """Two looks a fifth of a second apart and the state; all of a small model is trained."""
    base = demo()
    return replace(
        base,
        data=DataConfig(
            cameras=("image_0",),
            state=("x", "y", "z", "roll", "pitch", "yaw", "gripper"),
            balance_tasks=False,
            normalize="quantiles",  # the declared range of a turn is a hundred times what a step makes
        ),
        window=WindowConfig(num_obs_steps=2, obs_stride=1, action_horizon=4, replan_steps=1),
        backbone=TinyPaliGemma(),
        head=LSTMHeadConfig(hidden=128, loss=ActionLoss(kind="l1")),
        loop=replace(
            base.loop,
            num_steps=400,
            batch_size=8,
            save_every=200,
            augmentation=Augmentation(shift=0.03, contrast=0.1),
            optim=OptimConfig(lr=1e-3, backbone_lr=1e-3, warmup_steps=20),
        ),
    )
