"""Which part of a CALVIN split is read: what a recipe can ask for."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from volition.data.calvin import CalvinEpisode, load_annotated, load_play
from volition.data.episodes import Episodes
from volition.data.files import understood

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CalvinConfig:
    """By default every annotated segment."""

    annotations: str = "lang_annotations"
    """The folder within the split whose auto_lang_ann.npy counts."""
    play: bool = False
    """Whole recordings without words in place of annotated segments."""
    segments: str = ""
    """A file that lists the only segments to read: JSON {task: [[first, last], ...]}, or lines `number first last`."""
    exclude_tasks: tuple[str, ...] = ()
    share: float = 1.0
    """Read this part of what is left, drawn with `seed`."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {self.share}")
        if self.play and (self.segments or self.exclude_tasks):
            raise ValueError("play data has neither tasks nor annotated segments: leave out segments and exclude_tasks")

    @property
    def format(self) -> str:
        return "calvin"

    def selection(self) -> str:
        """A word for what is read, by which its frame cache is known."""
        if self == CalvinConfig():
            return ""
        listed = Path(self.segments).read_bytes() if self.segments else b""
        return f"-{hashlib.sha256(repr(self).encode() + listed).hexdigest()[:8]}"

    def load(self, root: Path) -> Episodes[CalvinEpisode]:
        """In the order of the split; ValueError where nothing is left or something asked for is not there."""
        read = load_play(root) if self.play else load_annotated(root, self.annotations)
        found: Sequence[CalvinEpisode] = read if self.play else self._listed(self._without_tasks(read, root))
        count = math.ceil(self.share * len(found))
        if not count:
            raise ValueError(f"{self} must leave a segment of {root} to read, but leaves none")
        kept = np.sort(np.random.default_rng(self.seed).permutation(len(found))[:count])
        return Episodes([found[number] for number in kept], left_out=read.left_out, reasons=read.reasons)

    def _without_tasks(self, episodes: Sequence[CalvinEpisode], root: Path) -> Sequence[CalvinEpisode]:
        tasks = {episode.task for episode in episodes}
        unknown = sorted(set(self.exclude_tasks) - tasks)
        if unknown:
            raise ValueError(f"exclude_tasks must name tasks of {root}, but {unknown} are not among {sorted(tasks)}")
        return [episode for episode in episodes if episode.task not in self.exclude_tasks]

    def _listed(self, episodes: Sequence[CalvinEpisode]) -> Sequence[CalvinEpisode]:
        if not self.segments:
            return episodes
        wanted = read_segments(Path(self.segments))
        kept = [episode for episode in episodes if (episode.first, episode.last) in wanted]
        missing = wanted - {(episode.first, episode.last) for episode in kept}
        if missing:
            logger.warning(
                "%s lists %d segments, of which %d are not there: %s and so on",
                *(self.segments, len(wanted), len(missing), min(missing)),
            )
        return kept


def read_segments(path: Path) -> set[tuple[int, int]]:
    """(first, last) of a list such as published few-shot and partial-data lists."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a list of segments, but there is none")
    with understood(path, "hold JSON {task: [[first, last], ...]} or lines `number first last`"):
        text = path.read_text(encoding="utf-8")
        if text.lstrip().startswith("{"):
            return {(int(first), int(last)) for pairs in json.loads(text).values() for first, last in pairs}
        lines = [line.split() for line in text.splitlines() if line.strip()]
        return {(int(first), int(last)) for _, first, last in lines}
