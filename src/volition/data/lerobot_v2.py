"""Reading LeRobotDataset v2.0 and v2.1: one data file and one video a camera for every episode.

    meta/info.json                                      as in v3.0, with other path templates
    meta/episodes.jsonl                                 one line an episode: its number, sentences and length
    meta/stats.json (2.0)  meta/episodes_stats.jsonl    statistics of all frames, or one line an episode (2.1)
    data/chunk-000/episode_000000.parquet               one row a frame
    videos/chunk-000/KEY/episode_000000.mp4

It is v3.0 with shards of one episode: said in those words here, it is read by the parts that read v3.0.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from volition.contract import RobotSpec
from volition.data import lerobot_layout as layout
from volition.data.files import read_json, understood
from volition.data.lerobot import LeRobotEpisode, LeRobotFiles, read_info
from volition.data.lerobot_spec import spec_of_others

EPISODES = Path("meta/episodes.jsonl")
EPISODES_STATS = Path("meta/episodes_stats.jsonl")


def holds(root: Path) -> bool:
    """Whether info.json says one of the old versions; what else is wrong with it, the reader of v3.0 says."""
    if not (root / layout.INFO).is_file():
        return False
    try:
        return read_info(root)["codebase_version"] in layout.OLD_VERSIONS
    except ValueError:
        return False


def load_lerobot_v2(root: Path) -> list[LeRobotEpisode]:
    """All episodes that info.json counts, in order."""
    info = read_info(root)
    with understood(root / layout.INFO, "say total_episodes, total_frames, chunks_size, data_path and video_path"):
        total, frames, per_chunk = (int(info[name]) for name in ("total_episodes", "total_frames", "chunks_size"))
        if per_chunk < 1:
            raise ValueError(f"chunks_size is {per_chunk}")
        files = LeRobotFiles(root, info | {name: _template(info[name]) for name in ("data_path", "video_path")})
    with understood(root / EPISODES, f"list the {total} episodes that {layout.INFO} counts, of {frames} frames"):
        lines = sorted(_lines(root / EPISODES), key=lambda line: int(line["episode_index"]))
        lengths = [int(line["length"]) for line in lines]
        if (
            [line["episode_index"] for line in lines] != list(range(total))
            or min(lengths, default=0) < 1
            or sum(lengths) != frames
        ):
            raise ValueError(
                f"it lists {len(lines)} of at least {min(lengths, default=0)}, in all {sum(lengths)} frames"
            )
        starts = itertools.accumulate(lengths, initial=0)
        rows = [_row(line, start, per_chunk, files.image_keys) for line, start in zip(lines, starts)]
    return [LeRobotEpisode(files=files, row=row) for row in rows]


def load_spec_v2(root: Path) -> RobotSpec:
    """From the metadata, with units "unknown"; the ranges are in another file in each version."""
    info = read_info(root)
    path = root / (layout.STATS if info["codebase_version"] == "v2.0" else EPISODES_STATS)
    with understood(path, "hold min and max of the feature 'action'"):
        found = [line["stats"] for line in _lines(path)] if path.suffix == ".jsonl" else [read_json(path)]
        lows = [min(column) for column in zip(*(one[layout.ACTION]["min"] for one in found), strict=True)]
        highs = [max(column) for column in zip(*(one[layout.ACTION]["max"] for one in found), strict=True)]
    return spec_of_others(root, info, lows, highs)


def _row(line: dict[str, Any], start: int, per_chunk: int, image_keys: tuple[str, ...]) -> dict[str, Any]:
    """A row of the episodes table of v3.0; `start` is the number of its first frame within the dataset."""
    number = int(line["episode_index"])
    place = {"chunk_index": number // per_chunk, "file_index": number}
    sentences = [str(sentence) for sentence in line["tasks"]]
    row = {
        "episode_index": number,
        "tasks": sentences or [""],  # recorded without words
        "length": int(line["length"]),
        "dataset_from_index": start,
        **{f"data/{name}": value for name, value in place.items()},
    }
    for key in image_keys:
        row |= {f"videos/{key}/{name}": value for name, value in place.items()} | {f"videos/{key}/from_timestamp": 0.0}
    return row


def _template(path: str | None) -> str | None:
    """A path template in the words of v3.0; None where there are no videos."""
    if path is None:
        return None
    return path.replace("{episode_chunk", "{chunk_index").replace("{episode_index", "{file_index")


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} must exist but is missing; is the dataset complete?")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
