"""`volition data bench`: loading speed of a dataset, and who would wait for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from volition.data.codecs import Encoding
from volition.studies.output import tell, write

_SIDES = {"cache": "packed cache", "npz": "one .npz a frame", "lerobot_video": "LeRobot video"}


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure how fast random windows of a dataset are read: packed cache, CALVIN's .npz frames, LeRobot video.

    Windows are of 8 observation steps and 10 actions, of at most two cameras; figures are of one processor core.

    Example:  volition data bench runs/demo/data --step-seconds 0.5 --json bench.json
    """

    path: tyro.conf.Positional[Path]
    pictures: Encoding = "zstd"
    """How the cache keeps pictures: zstd is exact, jpeg and webp are for real cameras."""
    quality: int = 90
    """Of jpeg and webp, 1 to 100."""
    frames: int = 300
    """How much of the dataset to measure with."""
    rounds: int = 9
    """Each of 16 windows from every side; the median counts."""
    step_seconds: float | None = None
    """What a training step takes: also say which share of the time it would wait for each side."""
    batch_size: int = 16
    """Windows of such a step."""
    json: Path | None = None
    """Write the answer to this file as well."""

    def __post_init__(self) -> None:
        for name in ("frames", "rounds", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.step_seconds is not None and not self.step_seconds > 0:
            raise ValueError(f"step-seconds must be above 0, got {self.step_seconds}")

    def __call__(self) -> None:
        from volition.data.codecs import PackConfig
        from volition.data.remote import located
        from volition.studies.data_bench import BenchConfig, bench, waiting
        from volition.studies.progress import Bars

        pictures = PackConfig(encoding=self.pictures, quality=self.quality)
        config = BenchConfig(frames=self.frames, rounds=self.rounds, pictures=pictures)
        with Bars() as bars:
            found = bench(located(self.path), config, bars.say)
        if self.step_seconds is not None:
            speeds = found["windows_per_second_of"]
            found |= {"step_seconds": self.step_seconds, "batch_size": self.batch_size}
            found["waiting"] = {name: waiting(self.batch_size / speeds[name], self.step_seconds) for name in _SIDES}
        tell(_table(found))
        write(self.json, found)


def _table(found: dict[str, Any]) -> str:
    lines = [
        f"{title:16} {found['windows_per_second_of'][side]:8.1f} windows/s and core  "
        f"{found['share_of_raw'][side]:6.1%} of raw  {_nearness(found['psnr'].get(side, {}))}"
        + (f"  steps wait {found['waiting'][side]:.0%}" if "waiting" in found else "")
        for side, title in _SIDES.items()
    ]
    return "\n".join(
        [
            *lines,
            f"the cache ({found['pictures']}) is {found['cache_over_npz']:.1f} times as fast as .npz, "
            f"{found['cache_over_npz_model_ready']:.1f} times up to tensors of 224 pixels, "
            f"{found['cache_over_lerobot_video']:.1f} times as fast as video",
        ]
    )


def _nearness(psnr: dict[str, float | None]) -> str:
    return ", ".join(f"{camera} {value:.1f} dB" for camera, value in psnr.items() if value is not None) or "exact"
