"""How the reference prepares a picture: PIL's bicubic resize to a square, in 8 bits, then CLIP's mean and deviation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def preprocess(
    picture: np.ndarray, size: int, mean: Sequence[float] = CLIP_MEAN, std: Sequence[float] = CLIP_STD
) -> np.ndarray:
    """uint8[height, width, 3] -> float32[3, size, size]; the aspect ratio is not kept."""
    resized = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(resized, dtype=np.float32) / 255
    scaled = (pixels - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return scaled.transpose(2, 0, 1)
