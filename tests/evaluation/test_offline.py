from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from volition.contract import relative_arm_7d
from volition.evaluation.offline import offline_metrics
from volition.records import Observation

SPACE = relative_arm_7d()


@dataclass(frozen=True)
class Recorded:
    """An episode whose state at a step is the number of the step, and whose actions are given."""

    data: np.ndarray
    task: str = "lift"
    instructions: tuple[str, ...] = ("lift it", "pick it up")

    def __len__(self) -> int:
        return len(self.data)

    def images(self, steps: np.ndarray) -> dict[str, np.ndarray]:
        return {"static": np.zeros((len(steps), 8, 8, 3), np.uint8)}

    def states(self, steps: np.ndarray) -> np.ndarray:
        return np.asarray(steps, np.float32)[:, None]

    def actions(self, steps: np.ndarray) -> np.ndarray:
        return self.data[steps]


def episodes(lengths: Sequence[int]) -> list[Recorded]:
    rng = np.random.default_rng(0)
    made = []
    for length in lengths:
        data = rng.uniform(-1, 1, (length, 7)).astype(np.float32)
        data[:, 6] = np.where(np.arange(length) < length / 2, 1.0, -1.0)
        made.append(Recorded(data))
    return made


@dataclass
class Oracle:
    """Knows the actions of the episode it is at; `offset` is added to x, `flips` turns the gripper round.

    Its state is (episode, step): it answers wrongly unless each episode's own state is handed on.
    """

    episodes: list[Recorded]
    offset: float = 0.0
    flips: bool = False
    horizon: int = 3

    def __post_init__(self) -> None:
        self.begun = 0

    def start(self, n: int) -> list[Any]:
        first, self.begun = self.begun, self.begun + n
        return [(first + i, 0) for i in range(n)]

    def act(self, observations: Sequence[Observation], states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
        assert [o.state[0, 0] for o in observations] == [step for _, step in states]
        chunks = np.zeros((len(states), self.horizon, 7), np.float32)
        for row, (episode, step) in enumerate(states):
            ahead = self.episodes[episode].data[step : step + self.horizon]
            chunks[row, : len(ahead)] = ahead
        chunks[..., 0] += self.offset
        chunks[..., 6] *= -1 if self.flips else 1
        return chunks, [(episode, step + 1) for episode, step in states]


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_an_oracle_makes_no_error(batch: int) -> None:
    recorded = episodes([12, 5, 9, 2])
    score = offline_metrics(Oracle(recorded), recorded, SPACE, batch=batch)
    assert {name: e.value for name, e in score.mae.items()} == dict.fromkeys(("x", "y", "z", "rx", "ry", "rz"), 0.0)
    assert score.accuracy["gripper"].value == 1.0
    assert score.chunk_mae == (0.0, 0.0, 0.0)
    assert (score.num_steps, score.num_episodes) == (28, 4)


def test_errors_are_counted_in_their_own_dimension() -> None:
    recorded = episodes([12, 5])
    score = offline_metrics(Oracle(recorded, offset=0.25, flips=True), recorded, SPACE)
    assert score.mae["x"].value == pytest.approx(0.25, abs=1e-6)
    assert score.mae["y"].value == 0.0
    assert score.accuracy["gripper"].value == 0.0
    assert score.chunk_mae[2] == pytest.approx(0.25 / 6, abs=1e-6)


def test_the_constant_answer_stands_beside_the_policy() -> None:
    recorded = episodes([400])
    score = offline_metrics(Oracle(recorded), recorded, SPACE)
    assert score.constant_mae["x"] == pytest.approx(0.5, abs=0.05), "the median of uniform numbers is 0.5 off"
    assert score.constant_accuracy["gripper"] == 0.5
    assert score.to_json()["mae"]["x"] == {"value": 0.0, "interval": None}


def test_a_chunk_longer_than_every_episode_is_scored_as_far_as_it_goes() -> None:
    recorded = episodes([4])
    score = offline_metrics(Oracle(recorded, horizon=6), recorded, SPACE)
    assert len(score.chunk_mae) == 4


def test_dimensions_must_agree() -> None:
    recorded = [Recorded(np.zeros((3, 2), np.float32))]
    with pytest.raises(ValueError, match="same dimensions, got 7, 2 and 7"):
        offline_metrics(Oracle(episodes([3])), recorded, SPACE)
    with pytest.raises(ValueError, match="at least one episode"):
        offline_metrics(Oracle([]), [], SPACE)


def test_the_history_is_as_far_apart_as_when_acting() -> None:
    """With stride 3, three robots go through an episode; each is shown every third step, in order."""
    shown: list[list[int]] = []

    class Watches(Oracle):
        def start(self, n: int) -> list[Any]:
            shown.extend([] for _ in range(n))
            return [(len(shown) - n + i, 0) for i in range(n)]

        def act(self, observations: Sequence[Observation], states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
            for observation, (robot, _) in zip(observations, states):
                shown[robot].append(int(observation.state[0, 0]))
            return np.zeros((len(states), self.horizon, 7), np.float32), list(states)

    recorded = episodes([8])
    offline_metrics(Watches(recorded), recorded, SPACE, stride=3)
    assert shown == [[0, 3, 6], [1, 4, 7], [2, 5]]
