"""Writing CALVIN's format so that nothing finished is lost.

    add(episode) --> its frames as .npz, then a line in the journal
    close()      --> ranges, lengths and, last, the annotations: what makes the folder a CALVIN split

Killed at any moment, the same folder goes on after the last line of the journal. What only CALVIN's own simulator knows
(scene_obs, absolute actions, depth, sentence embeddings) is not there, rather than made up.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from volition.data import lerobot_layout as layout
from volition.data.calvin import ANNOTATIONS, CAMERAS, LENGTHS, RANGES, SPEC, frame_name
from volition.data.files import json_differences, read_json, replacing, write_json
from volition.data.lerobot_stage import EpisodeData

ABOUT, JOURNAL = layout.PRIVATE / "calvin.json", layout.PRIVATE / "calvin.jsonl"


class CalvinWriter:
    """Open one with `open`; use it as a context, or call `close`."""

    spec = SPEC

    def __init__(self, root: Path) -> None:
        self.root = root
        path = root / JOURNAL
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        whole = text[: text.rfind("\n") + 1]  # the last line may have been cut
        path.write_text(whole, encoding="utf-8")
        self._lines: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]

    @classmethod
    def open(cls, root: Path, note: dict[str, Any]) -> CalvinWriter:
        """Begin a split in a folder that does not exist or is empty, or go on with one begun with the same `note`."""
        if (root / ABOUT).is_file():
            require_same(note, read_json(root / ABOUT), root)
            return cls(root)
        require_empty(root)
        (root / layout.PRIVATE).mkdir(parents=True)
        write_json(root / ABOUT, note)
        return cls(root)

    @property
    def num_episodes(self) -> int:
        return len(self._lines)

    @property
    def last_source(self) -> dict[str, Any] | None:
        """The `source` of the newest episode; None when there is none."""
        return self._lines[-1]["source"] if self._lines else None

    def add(self, episode: EpisodeData) -> None:
        """Append an episode as a recording of its own; each further wording is an annotation of the same frames."""
        episode.check(SPEC)
        first = int(self._lines[-1]["last"]) + 1 if self._lines else 0
        for step in range(len(episode)):
            pictures = {f"rgb_{camera.name}": episode.images[camera.name][step] for camera in CAMERAS}
            np.savez_compressed(
                self.root / frame_name(first + step),
                **pictures,
                rel_actions=episode.actions[step],
                robot_obs=episode.states[step],
            )
        line = json.dumps(
            {
                "first": first,
                "last": first + len(episode) - 1,
                "task": episode.task,
                "instructions": list(episode.instructions),
                "source": episode.source,
            }
        )
        with (self.root / JOURNAL).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        self._lines.append(json.loads(line))  # as it is read later: going on makes the same files to the byte

    def close(self) -> None:
        """Make the folder a split of what has been added."""
        ranges = np.array([(line["first"], line["last"]) for line in self._lines], dtype=np.int64).reshape(-1, 2)
        said = [(line, sentence) for line in self._lines for sentence in line["instructions"]]
        tree = {
            "language": {"ann": [sentence for _, sentence in said], "task": [line["task"] for line, _ in said]},
            "info": {"indx": [(line["first"], line["last"]) for line, _ in said], "episodes": []},
        }
        lengths = ranges[:, 1] - ranges[:, 0] + 1
        for name, values in ((RANGES, ranges), (LENGTHS, lengths), (ANNOTATIONS, np.array(tree, dtype=object))):
            with replacing(self.root / name) as path:
                np.save(path, values)

    def __enter__(self) -> CalvinWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()


def require_empty(root: Path) -> None:
    if root.exists() and any(root.iterdir()):
        raise ValueError(f"{root} must not exist or be empty to begin a dataset; choose another folder")


def require_same(now: Any, then: Any, root: Path) -> None:
    """ValueError unless what is asked for is what `root` was begun with."""
    different = json_differences(now, then)
    if different:
        raise ValueError(
            f"{root} was begun otherwise; to go on, ask for the same, else choose another folder. "
            f"Now != then:\n  " + "\n  ".join(different)
        )
