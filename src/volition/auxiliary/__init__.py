"""Losses beside the head's own. One of yours needs no registration: name its config in your recipe."""

from volition.auxiliary.base import Auxiliary, AuxiliaryConfig, common_step, feed, future_steps
from volition.auxiliary.clip_norm import ClipNormConfig
from volition.auxiliary.cotraining import CoTrainingConfig
from volition.auxiliary.future_image import FutureImageConfig

AnyAuxiliary = ClipNormConfig | FutureImageConfig | CoTrainingConfig | AuxiliaryConfig

__all__ = [
    "AnyAuxiliary",
    "Auxiliary",
    "AuxiliaryConfig",
    "ClipNormConfig",
    "CoTrainingConfig",
    "FutureImageConfig",
    "common_step",
    "feed",
    "future_steps",
]
