"""Offline metrics on frames that the real CALVIN simulator made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volition.contract import relative_arm_7d
from volition.data.calvin import load_calvin
from volition.evaluation.offline import offline_metrics
from volition.records import Observation

MINI = Path(__file__).parents[3] / "shared" / "data" / "calvin_mini" / "training"


class Repeats:
    """Says the same at every step."""

    def __init__(self, action: np.ndarray):
        self.action = action.astype(np.float32)

    def start(self, n: int) -> list[Any]:
        return [None] * n

    def act(self, observations: Sequence[Observation], states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
        return np.repeat(self.action[None, None], len(observations), axis=0), list(states)


@pytest.mark.skipif(not MINI.exists(), reason="shared/data/calvin_mini does not lie beside this checkout")
def test_a_constant_answer_scores_as_the_constant_beside_it() -> None:
    episodes = load_calvin(MINI)
    space = relative_arm_7d()
    actions = np.concatenate([episode.actions(np.arange(len(episode))) for episode in episodes])
    score = offline_metrics(Repeats(np.median(actions, axis=0)), episodes, space)
    assert score.num_episodes == len(episodes) == 12
    assert score.num_steps == len(actions)
    assert {name: e.value for name, e in score.mae.items()} == pytest.approx(score.constant_mae)
    assert score.accuracy["gripper"].value == pytest.approx(score.constant_accuracy["gripper"])
    assert 0 < min(score.constant_mae.values()) < max(score.constant_mae.values()) < 1
    assert score.accuracy["gripper"].value > 0.5
