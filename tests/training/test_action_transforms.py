"""Transforms that a recipe asks for, end to end: fitted to the data, learned, saved, and undone when acting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.toy import SPEC, STEP, Toy
from tests.training.test_train import EXPERIMENT, Recorded
from volition.contract import ActionSpace, Dimension
from volition.data.action_transforms import BinaryGripper, MuLaw, RelativePosition
from volition.data.transforms import NormalizeActions, Scale
from volition.records import Observation, Start
from volition.studies.training import load_policy, make_batches, make_transforms, run_training_on


class InCentimetres(Recorded):
    """Where to be next, absolute and in centimetres, though the state is in metres; a gripper, 0 open and 1 closed."""

    def actions(self, steps: np.ndarray) -> np.ndarray:
        target = 100 * (self.states(steps) + STEP * super().actions(steps))
        return np.concatenate([target, np.where(target[:, :1] > 0, 0.9, 0.1)], axis=1).astype(np.float32)


AXES = tuple(Dimension(name=name, unit="cm", low=-120.0, high=120.0) for name in "xy")
GRIPPER = Dimension(name="gripper", unit="0 open, 1 closed", low=0.0)
ROBOT = replace(SPEC, action_space=ActionSpace(dimensions=(*AXES, GRIPPER), relative=False))
METRES = NormalizeActions(scale=Scale(offset=(0.0,) * 3, factor=(100.0, 100.0, 1.0)))
RELATIVE = RelativePosition(dimensions=(0, 1), state=(0, 1))
BINARY = BinaryGripper(dimension=2, open=0.0, closed=1.0, threshold=0.5)
ASKED = replace(
    EXPERIMENT,
    data=replace(EXPERIMENT.data, transforms=(METRES, RELATIVE, BINARY), normalize="min_max"),
    loop=replace(EXPERIMENT.loop, num_steps=4),
)


@pytest.fixture(scope="module")
def episodes() -> list[InCentimetres]:
    return [InCentimetres(seed, task) for seed in range(3) for task in ("reach_red", "reach_blue")]


def observe(x: float, y: float) -> Observation:
    toy = Toy()
    toy.reset(Start(seed=0, tasks=("reach_red",)))
    toy.position = np.array([x, y])
    return toy.observe("go to the red square")


def test_a_policy_learns_what_the_recipe_asks_for_and_answers_in_the_robots_units(
    episodes: list[InCentimetres], tmp_path: Path
) -> None:
    run_training_on(ASKED, episodes, ROBOT, tmp_path)
    policy, contract = load_policy(tmp_path)
    assert contract.transforms == make_transforms(ASKED, episodes, ROBOT)
    _, target = make_batches(ASKED, policy, episodes)[0](1)
    learned = target.actions[target.mask].numpy()
    assert np.abs(learned).max() <= 1
    assert set(learned[:, 2]) <= {-1, 1}
    scale = contract.transforms.transforms[-2].scale
    reach = [100 * (abs(offset) + factor) for offset, factor in zip(scale.offset, scale.factor)][:2]
    assert 10 < min(reach) < max(reach) < 90  # of a chunk of three moves of 20 cm at most, noise included
    corners = [(0.95, 0.95), (-0.95, -0.95)]
    chunks, _ = policy.act([observe(*corner) for corner in corners], policy.start(2))
    assert chunks.shape == (2, 3, 3)
    for chunk, corner in zip(chunks, corners):
        assert (np.abs(chunk[:, :2] - 100 * np.array(corner)) <= np.array(reach) + 1e-3).all()
        assert set(chunk[:, 2]) <= {0, 1}


def test_data_fills_the_range_that_heads_answer_in(episodes: list[InCentimetres]) -> None:
    transforms, steps = make_transforms(ASKED, episodes, ROBOT), ASKED.window.action_horizon
    encoded = []
    for episode in episodes:
        for start in range(len(episode)):
            rows = np.arange(start, min(start + steps, len(episode)))
            now = Observation(images={}, state=episode.states(rows[:1]), instruction="")
            encoded.append(transforms.encode(episode.actions(rows), now))
            back = transforms.decode(encoded[-1], now)
            np.testing.assert_allclose(back[:, :2], episode.actions(rows)[:, :2], atol=1e-3)
            np.testing.assert_array_equal(back[:, 2], np.round(episode.actions(rows)[:, 2]))
    together = np.concatenate(encoded)
    np.testing.assert_allclose(together.min(0), -1, atol=1e-6)
    np.testing.assert_allclose(together.max(0), 1, atol=1e-6)


def test_a_transform_that_does_not_fit_is_refused_before_training(episodes: list[InCentimetres]) -> None:
    wrong = replace(ASKED, data=replace(ASKED.data, transforms=(MuLaw(dimensions=(7,)),)))
    with pytest.raises(ValueError, match=r"the dimensions \(7,\) of actions that have 3 only"):
        make_transforms(wrong, episodes, ROBOT)
