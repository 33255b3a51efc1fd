"""Eight rows of VLM, head, normalisation and augmentation: the comparison that Mobile VLA began with, at laptop size.

    volition compare seeds-table --seeds 3                     on the desk, recorded on first use
    volition compare seeds-table-mobile --seeds 3              on the mobile base: 3-D, and its first row in 2-D too
    volition compare my_lab.recipes:rows --seeds 3             `rows_on` with a recipe of yours: 2-D, 3-D, any robot

All weights are random and every row has the same steps: it tells the parts apart, not what they could reach.
"""

from __future__ import annotations

from dataclasses import replace

from volition.backbones import TinyFused
from volition.backbones.images import Augmentation
from volition.config import Experiment
from volition.heads import ActionLoss, LSTMHeadConfig, MLPHeadConfig
from volition.recipes.desk import demo
from volition.recipes.mobile import mobile_2d, mobile_3d

AUGMENTED = Augmentation(shift=0.03, brightness=0.1, contrast=0.1)


def seeds_table() -> dict[str, Experiment]:
    """Kosmos-2 and CLIP, LSTM and MLP, with and without normalisation and augmentation, on the desk."""
    base = demo()
    return rows_on(replace(base, loop=replace(base.loop, num_steps=900, batch_size=16)))


def seeds_table_mobile() -> dict[str, Experiment]:
    """Kosmos-2 and CLIP, LSTM and MLP, three action dimensions and two, with and without normalisation, on the base."""
    rows, flat = rows_on(mobile_3d()), rows_on(mobile_2d())
    del rows["Kosmos-2 + CLIP, LSTM"]
    (first, *others) = rows
    return {first: rows[first], f"{first}, 2-D": flat[first], **{name: rows[name] for name in others}}


def rows_on(base: Experiment) -> dict[str, Experiment]:
    """The rows for the data, window and budget of a recipe."""
    clip = TinyFused(eyes=("clip",), bfloat16=True)
    kosmos = TinyFused(eyes=("kosmos-2",), language="kosmos-2", bfloat16=True)
    both = TinyFused(eyes=("kosmos-2", "clip"), language="kosmos-2", bfloat16=True)
    loss = ActionLoss(kind="l1", binary_weight=0.3)
    lstm, mlp = LSTMHeadConfig(hidden=256, loss=loss), MLPHeadConfig(hidden=256, loss=loss)
    plain = replace(base, data=replace(base.data, normalize="range"))
    normal = replace(base, data=replace(base.data, normalize="quantiles"))
    augmented = replace(plain, loop=replace(plain.loop, augmentation=AUGMENTED))
    return {
        "Kosmos-2 + CLIP, LSTM, normalised": replace(normal, backbone=both, head=lstm),
        "Kosmos-2 + CLIP, LSTM": replace(plain, backbone=both, head=lstm),
        "Kosmos-2 + CLIP, MLP, normalised": replace(normal, backbone=both, head=mlp),
        "CLIP + LSTM": replace(plain, backbone=clip, head=lstm),
        "Kosmos-2 + LSTM": replace(plain, backbone=kosmos, head=lstm),
        "Kosmos-2 + MLP": replace(plain, backbone=kosmos, head=mlp),
        "CLIP + MLP": replace(plain, backbone=clip, head=mlp),
        "CLIP + LSTM, augmented": replace(augmented, backbone=clip, head=lstm),
    }
