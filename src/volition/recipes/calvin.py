"""CALVIN's own format: one npz file a frame and language annotations, recorded in the real simulator.

    volition train calvin --data.path PATH/training --run runs/calvin
    volition train calvin --data.path PATH/training --data.reader.segments few_shot.json --run runs/calvin-few
    volition eval runs/calvin --offline PATH/training

Expected on the 12 segments of our small recording (scene D, 523 frames), trained and evaluated on the same: the mean
absolute error falls well below that of a constant answer. It shows that the path reads such data, not that it
generalises.
"""

from __future__ import annotations

from dataclasses import replace

from volition.backbones.images import Augmentation
from volition.config import DataConfig, Experiment, WindowConfig
from volition.data.calvin_select import CalvinConfig
from volition.recipes.desk import demo


def calvin() -> Experiment:
    """Relative actions from both cameras of a CALVIN split; pictures are resized on the device."""
    base = demo()
    return replace(
        base,
        data=DataConfig(balance_tasks=False, reader=CalvinConfig()),
        window=WindowConfig(num_obs_steps=2, obs_stride=5, action_horizon=8, replan_steps=5),
        loop=replace(
            base.loop, num_steps=300, batch_size=16, save_every=100, augmentation=Augmentation(shift=0.03, contrast=0.1)
        ),
    )
