"""Which demonstrations begin most like an episode that failed: was anything like it shown at all?

    DataConfig --open_demonstrations--> episodes --Beginnings(task)--> nearest(what the policy saw first)

The distance of two beginnings is the mean absolute difference of their pictures, made small, over all cameras: 0 to 255
grey levels. It tells scenes and arm poses apart, and needs neither a model nor the simulator's state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from volition.config import DataConfig
from volition.data.open import load_episodes
from volition.data.remote import RemotePath, located
from volition.data.split import split_numbers
from volition.evaluation.films import film_strip
from volition.records import Episode, Observation
from volition.studies.report_parts import Demonstration

SIDE = 24  # pixels that a picture is made small to, each way
MOST = 100  # demonstrations of a task that are looked at, spread over all
FRAMES = 6  # of a strip


def open_demonstrations(data: DataConfig) -> Mapping[int, Episode]:
    """Number in the recipe's own dataset -> episode that was learned from. Raises what opening a dataset raises."""
    if not data.path:
        raise ValueError("the checkpoint names no dataset")
    path = located(data.path)
    if isinstance(path, RemotePath):
        raise ValueError(f"the dataset is at {path}, and first pictures of many episodes are not read over a network")
    episodes = data.reader.load(path) if data.reader else load_episodes(path)
    return {number: episodes[number] for number in split_numbers(episodes, data.held_out)[0]}


class Beginnings:
    """The first pictures of demonstrations of one task, at most MOST of them, from these cameras."""

    def __init__(self, episodes: Mapping[int, Episode], task: str, cameras: Sequence[str]):
        named = any(episode.task for episode in episodes.values())  # where none is, any may be of the task
        numbers = [i for i, episode in episodes.items() if len(episode) and (episode.task == task or not named)]
        spread = np.unique(np.linspace(0, len(numbers) - 1, min(MOST, len(numbers))).round().astype(int))
        self._episodes = episodes
        self.numbers = [numbers[place] for place in spread]
        self._cameras = cameras
        small = [_small(episodes[number].images(np.zeros(1, np.intp)), cameras) for number in self.numbers]
        self._small = np.stack(small) if small else np.zeros((0, 0))

    def usual(self) -> float:
        """The median distance of a demonstration to the nearest other one; 0 where there are fewer than two."""
        if len(self.numbers) < 2:
            return 0.0
        gaps = np.array([np.abs(self._small - one).mean(1) for one in self._small])
        np.fill_diagonal(gaps, np.inf)
        return float(np.median(gaps.min(1)))

    def nearest(self, seen: Observation, count: int) -> tuple[Demonstration, ...]:
        """The nearest first; fewer where there are fewer."""
        if not self.numbers:
            return ()
        gaps = np.abs(self._small - _small(seen.images, self._cameras)).mean(1)
        return tuple(self._show(self.numbers[place], float(gaps[place])) for place in np.argsort(gaps)[:count])

    def _show(self, number: int, distance: float) -> Demonstration:
        episode = self._episodes[number]
        steps = np.linspace(0, len(episode) - 1, min(FRAMES, len(episode))).round().astype(int)
        frames = episode.images(steps)[self._cameras[0]]
        strip = film_strip(frames, count=FRAMES)
        return Demonstration(number=number, instruction=episode.instructions[0], distance=distance, strip=strip)


def _small(images: Mapping[str, np.ndarray], cameras: Sequence[str]) -> np.ndarray:
    """float32[cameras * SIDE * SIDE * 3]"""
    parts = []
    for camera in cameras:
        if camera not in images:
            raise ValueError(f"demonstrations must have the camera {camera!r} to be compared, got {sorted(images)}")
        picture = Image.fromarray(images[camera][0]).resize((SIDE, SIDE), Image.Resampling.BOX)
        parts.append(np.asarray(picture, np.float32).ravel())
    return np.concatenate(parts)
