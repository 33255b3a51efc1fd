"""`volition data WHAT`: everything that is done with a dataset folder. To be in KINDS is to be a subcommand."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from volition.studies.bench_command import Bench
from volition.studies.output import tell, write
from volition.studies.view_command import Stats, View


@dataclass(frozen=True, kw_only=True)
class Info:
    """What a dataset holds: format, episodes, frames, tasks, cameras, range of every number.

    Example:  volition data info runs/demo/data
              volition data info https://example.org/bridge_dataset/1.0.0
    """

    path: tyro.conf.Positional[Path]
    """A folder, or a URL: https://, s3:// and others."""
    json: Path | None = None
    """Write the answer to this file as well."""

    def __call__(self) -> None:
        from volition.data.info import info
        from volition.data.remote import located

        found = info(located(self.path))
        tell(json.dumps(found, indent=2))
        write(self.json, found)


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Write a dataset in another format, read it back and compare; the source stays as it is.

    Interrupt it whenever you like: the same command goes on where it stopped.

    Example:  volition data convert calvin/task_D_D/training runs/calvin-lerobot --to lerobot
              volition data convert runs/my-data runs/my-calvin --to calvin
    """

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """A dataset of any format that is read: a folder, or a URL."""
    target: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="TARGET")]
    """A folder that is not there yet."""
    to: Literal["lerobot", "calvin"] = "lerobot"
    """LeRobot v3.0, or a CALVIN split: only for CALVIN's arm, cameras and rate."""
    images: Literal["video", "png", "jpeg"] = "video"
    """How LeRobot keeps pictures: video is small and lossy, png exact. CALVIN's are always exact."""
    json: Path | None = None
    """Write the answer to this file as well."""

    def __call__(self) -> None:
        from volition.data.convert import convert
        from volition.data.lerobot_stage import LeRobotConfig
        from volition.data.remote import located
        from volition.studies.progress import Bars

        with Bars() as bars:
            storage = LeRobotConfig(images=self.images)
            done = convert(located(self.source), self.target, to=self.to, storage=storage, progress=bars.say)
        pictures = ", ".join(f"{camera} within {value:.1f} dB" for camera, value in done.psnr.items()) or "equal"
        lines = [
            f"{done.episodes} episodes, {done.frames} frames in {self.target}: numbers equal, pictures {pictures}",
            *([f"{done.damaged_episodes} damaged episodes left out"] if done.damaged_episodes else []),
            *([f"no place for: {', '.join(done.left_out)}"] if done.left_out else []),
        ]
        tell("\n".join(lines))
        write(self.json, dataclasses.asdict(done))


KINDS: dict[str, Callable[..., Callable[[], None]]] = {
    "info": Info,
    "convert": Convert,
    "view": View,
    "stats": Stats,
    "bench": Bench,
}


def data(arguments: list[str]) -> None:
    """Look into a dataset, write it in another format, or measure how fast it is read.

    Example:  volition data info runs/demo/data
              volition data convert runs/demo/data runs/demo-calvin --to calvin
              volition data view runs/demo/data --episode 3 --out episode.mp4
              volition data stats runs/demo/data --out actions.html
              volition data bench runs/demo/data
    """
    tyro.extras.subcommand_cli_from_dict(
        KINDS, args=arguments, prog="volition data", description=inspect.getdoc(data)
    )()
