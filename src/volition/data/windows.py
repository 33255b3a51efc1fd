"""Episodes become training samples: every time step of every episode, or every n-th, is the last of one window.

frames   t-(T-1)s ... t-s  t             T observation steps, s = obs_stride frames apart, ending at frame t
actions  entry (j, k) is the action at frame f_j + k, where f_j is the frame of observation step j
mask     False where f_j lies before the episode (frame 0 is shown instead) or f_j + k after its end
future   only where future_steps is above 0: the pictures at f_j + future_steps, masked likewise

With skip_frames = n only frames 0, n, 2n ... of an episode are the last of one: neighbours are nearly alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from volition.records import Episode, Future, Observation, Sample


class Windows:
    """A sequence of `Sample`s; window i costs no search through the episodes before it."""

    def __init__(
        self,
        episodes: Sequence[Episode],
        *,
        num_obs_steps: int,
        obs_stride: int = 1,
        action_horizon: int,
        future_steps: int = 0,
        skip_frames: int = 1,
    ) -> None:
        if not episodes:
            raise ValueError("Windows needs at least one episode, got none; did a filter match nothing?")
        for name, value in (
            ("num_obs_steps", num_obs_steps),
            ("obs_stride", obs_stride),
            ("action_horizon", action_horizon),
            ("skip_frames", skip_frames),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.episodes = episodes
        self.ends = np.cumsum([-(-len(episode) // skip_frames) for episode in episodes])  # int[E]
        self._past = np.arange(1 - num_obs_steps, 1) * obs_stride  # int[T]
        self._planned = np.arange(action_horizon)  # int[H]
        self._future_steps, self._skip = future_steps, skip_frames

    def __len__(self) -> int:
        return int(self.ends[-1])

    def locate(self, index: int) -> tuple[int, int]:
        """Window -> (episode, frame)."""
        if not 0 <= index < len(self):
            raise IndexError(f"window index must be in 0..{len(self) - 1}, got {index}")
        episode = int(np.searchsorted(self.ends, index, side="right"))
        return episode, int(index - (self.ends[episode - 1] if episode else 0)) * self._skip

    def sample(self, index: int | np.integer, instruction_choice: int | np.integer = 0) -> Sample:
        """Window `index` with wording number `instruction_choice`, counted round and round."""
        number, frame = self.locate(int(index))
        episode = self.episodes[number]
        seen = frame + self._past
        ahead = seen[:, None] + self._planned  # int[T, H]
        shown, last = np.maximum(seen, 0), len(episode) - 1
        first = int(shown[0])  # the actions of one stretch, read once
        stretch = episode.actions(np.arange(first, min(int(ahead[-1, -1]), last) + 1))
        observation = Observation(
            images=episode.images(shown),
            state=episode.states(shown),
            instruction=episode.instructions[int(instruction_choice) % len(episode.instructions)],
        )
        return Sample(
            observation=observation,
            actions=stretch[np.clip(ahead, first, last) - first],
            mask=(seen >= 0)[:, None] & (ahead <= last),
            future=self._look_ahead(episode, seen) if self._future_steps else None,
        )

    def _look_ahead(self, episode: Episode, seen: np.ndarray) -> Future:
        later, last = seen + self._future_steps, len(episode) - 1
        return Future(images=episode.images(np.clip(later, 0, last)), mask=(seen >= 0) & (later <= last))
