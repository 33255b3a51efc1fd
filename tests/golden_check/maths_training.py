"""g_lr and g_process_batch: learning rates, and how a batch is taken apart."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from tests.golden_check.fixture import Fixture
from volition.compat.schedules import Schedule

RELATIVE = 1e-9
EVERY = 5  # steps between two values of the bare half-cosine


def learning_rates(fixture: Fixture) -> None:
    for name, case in fixture.json(fixture.name).items():
        if found := re.fullmatch(r"adjust_learning_rate_(\d+)_(\d+)_([\d.]+)", name):
            warmup, total, lowest = (float(part) for part in found.groups())
            schedule = Schedule(kind="half-cosine", warmup=warmup, total=total, min_scale=lowest)
            scales = [schedule.scale(step * EVERY) for step in range(len(case))]
            fixture.compare_value(fixture.name, (name,), scales, rtol=RELATIVE, atol=1e-15)
            continue
        config = case["cfg"]
        schedule = Schedule.of(
            config["scheduler"],
            steps_per_epoch=case["total"] / case["epochs"],
            epochs=case["epochs"],
            max_steps=case["max_steps"],
            warmup_epochs=float(config["warmup_epochs"]),
            warmup_steps=config["warmup_steps"],
            min_scale=config["min_lr_scale"],
        )
        rates = [config["learning_rate"] * schedule.scale(step) for step in range(len(case["lr_per_step"]))]
        fixture.compare_value(fixture.name, (name, "lr_per_step"), rates, rtol=RELATIVE, atol=1e-15)


def process_batch(fixture: Fixture) -> None:
    """The window's pictures, and every action as the arm's part and the gripper's."""
    window = fixture.shape("in_chunck_mask")[1]
    for camera in ("rgb", "hand_rgb"):
        fixture.compare(f"out_{camera}", fixture.input(f"in_{camera}")[:, :window])
    fixture.compare("out_language", fixture.input("in_text"))
    fixture.compare("out_text_mask", fixture.input("in_text_mask"))
    fixture.compare("out_chunck_mask", fixture.input("in_chunck_mask"))
    fixture.compare("out_fwd_mask", fixture.input("in_fwd_mask").astype(bool))
    actions, chunks = fixture.input("in_action"), fixture.input("in_action_chunck")
    fixture.compare("out_arm_action", actions[..., :-1])
    fixture.compare("out_gripper_action", np.trunc((actions[..., -1] + 1) / 2))
    fixture.compare("out_arm_action_chunck", chunks[..., :-1])
    fixture.compare("out_gripper_action_chunck", chunks[..., -1])


CHECKS: list[tuple[re.Pattern[str], Callable[[Fixture], None]]] = [
    (re.compile(r"g_lr.*"), learning_rates),
    (re.compile(r"g_process_batch.*"), process_batch),
]
