"""What robots see in these tests."""

from __future__ import annotations

import numpy as np

from tests.serving.test_policies import PROMPTS, look
from volition.records import Observation


def seen(seed: int, prompt: str) -> Observation:
    message = look(seed, prompt)
    images = {c: message[f"observation/{c}"][None] for c in ("static", "gripper")}
    return Observation(images, np.zeros((1, 1), np.float32), prompt)


# Of three robots with instructions of three lengths; longer than a window, so that every memory goes round.
EPISODES = [[seen(10 * i + k, PROMPTS[i]) for k in range(4)] for i in range(3)]
