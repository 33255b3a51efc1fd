"""What robots see in these tests."""

from __future__ import annotations

import numpy as np

from tests.serving.test_policies import look
from volition.records import Observation


def seen(seed: int, prompt: str) -> Observation:
    message = look(seed, prompt)
    images = {c: message[f"observation/{c}"][None] for c in ("static", "gripper")}
    return Observation(images, np.zeros((1, 1), np.float32), prompt)
