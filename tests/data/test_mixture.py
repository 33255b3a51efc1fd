"""Datasets of other robots become the first one's, and batches hold all of them by weight."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volition.contract import ActionSpace, Camera, Dimension, RobotSpec
from volition.data.action_transforms import Inverse, MapActions, RelativePosition
from volition.data.fit import Part, encoded_statistics
from volition.data.mixture import Adaptation, Mixture, Source, SourceConfig, match, resized
from volition.data.transforms import Chain, NormalizeActions, Scale
from volition.data.windows import Windows
from volition.records import Sample

ROBOT = RobotSpec(
    action_space=ActionSpace(
        dimensions=(
            Dimension(name="x", unit="m"),
            Dimension(name="y", unit="m"),
            Dimension(name="gripper", unit="+1 open, -1 closed", kind="binary"),
        )
    ),
    cameras=(Camera(name="static", height=8, width=8), Camera(name="gripper", height=4, width=6)),
    state=("x", "y", "width"),
    control_hz=10.0,
)
OTHER = RobotSpec(
    action_space=ActionSpace(
        dimensions=(
            Dimension(name="y", unit="?", low=-50.0, high=50.0),
            Dimension(name="x", unit="?", low=-50.0, high=50.0),
        )
    ),
    cameras=(Camera(name="front", height=16, width=16),),
    state=("joint", "y", "place_x"),
    control_hz=10.0,
)
IN_METRES = ActionSpace(dimensions=(ROBOT.action_space.dimensions[1], ROBOT.action_space.dimensions[0]))
# Its numbers are metres times 50, y first, and there is no gripper.
CONFIG = SourceConfig(
    path="elsewhere",
    transforms=(
        Inverse(of=NormalizeActions(scale=Scale(offset=(0.0, 0.0), factor=(0.02, 0.02))), shown=IN_METRES),
        MapActions(given=IN_METRES, shown=ROBOT.action_space, constants=(("gripper", 1.0),)),
    ),
    cameras=(("static", "front"), ("gripper", "")),
    state=(("x", "place_x"),),
)


@dataclass(frozen=True)
class Moving:
    """At frame t: actions (t, -t), state (7, t, 2 t), a camera of brightness t."""

    length: int
    task: str = "move"
    number: int = 0
    instructions: tuple[str, ...] = ("move",)

    def __len__(self) -> int:
        return self.length

    def images(self, steps: np.ndarray) -> dict[str, np.ndarray]:
        return {"front": np.ones((1, 16, 16, 3), np.uint8) * steps[:, None, None, None].astype(np.uint8)}

    def states(self, steps: np.ndarray) -> np.ndarray:
        return np.stack([np.full(len(steps), 7), steps, 2 * steps], axis=1).astype(np.float32)

    def actions(self, steps: np.ndarray) -> np.ndarray:
        return np.stack([steps, -steps], axis=1).astype(np.float32)


def adaptation(config: SourceConfig = CONFIG, spec: RobotSpec = OTHER, robot: RobotSpec = ROBOT) -> Adaptation:
    return match(config, spec, robot, cameras=("static", "gripper"), state=("x", "y"))


def test_a_sample_of_another_robot_becomes_the_robots() -> None:
    windows = Windows([Moving(60)], num_obs_steps=2, action_horizon=3, future_steps=5)
    made = adaptation()(windows.sample(20))
    moved = np.array([[19, 20, 21], [20, 21, 22]]) / 50
    np.testing.assert_allclose(made.actions, np.stack([-moved, moved, np.ones((2, 3))], axis=-1), atol=1e-6)
    np.testing.assert_array_equal(made.observation.state, [[38, 19, np.nan], [40, 20, np.nan]])
    assert made.observation.images["static"].shape == (2, 8, 8, 3)
    assert made.observation.images["static"][:, 0, 0, 0].tolist() == [19, 20]
    assert made.observation.images["gripper"].shape == (2, 4, 6, 3)
    assert not made.observation.images["gripper"].any()
    assert made.future is not None
    assert made.future.images["static"][:, 0, 0, 0].tolist() == [24, 25]
    assert made.observation.instruction == "move"
    assert made.known is not None
    assert made.known.tolist() == [True, True, False]
    np.testing.assert_array_equal(made.mask, windows.sample(20).mask)


def test_actions_are_clipped_to_what_the_dataset_says_before_they_are_changed() -> None:
    windows = Windows([Moving(60)], num_obs_steps=1, action_horizon=1)
    np.testing.assert_allclose(adaptation()(windows.sample(59)).actions[0, 0], [-1, 1, 1])


def test_actions_measured_from_the_state_use_the_state_of_their_own_robot() -> None:
    config = replace(CONFIG, transforms=(RelativePosition(dimensions=(0, 1), state=(1, 2)),))
    space = RelativePosition(dimensions=(0, 1), state=(1, 2)).space(OTHER.action_space)
    made = adaptation(config, robot=replace(ROBOT, action_space=space))
    sample = made(Windows([Moving(30)], num_obs_steps=1, action_horizon=2).sample(10))
    np.testing.assert_allclose(sample.actions[0], [[0, -30], [1, -31]])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(CONFIG, transforms=()), r"elsewhere: its actions must be those of the first dataset"),
        (replace(CONFIG, transforms=CONFIG.transforms[:1]), r"actions\.dimensions"),
        (replace(CONFIG, cameras=()), r"cameras must pair .* \['static', 'gripper'\] have no pair"),
        (replace(CONFIG, cameras=(*CONFIG.cameras, ("top", "front"))), r"\('top', 'front'\)\] are none"),
        (replace(CONFIG, cameras=(("static", "side"), ("gripper", ""))), r"\('static', 'side'\)\] are none"),
        (replace(CONFIG, state=()), r"state must pair .*\['x'\] have no pair"),
        (replace(CONFIG, state=(("x", ""),)), r"\('x', ''\)\] are none"),
    ],
)
def test_what_does_not_come_to_the_robots_is_refused_by_name(config: SourceConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adaptation(config)


def test_another_control_rate_is_said_aloud(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        adaptation(spec=replace(OTHER, control_hz=30.0))
    assert "recorded at 30 Hz, the first dataset at 10 Hz" in caplog.text


def mixture(*, batch_size: int = 8, seed: int = 0, weight: float = 3.0) -> Mixture:
    """The robot's own episodes 0 and 1, told apart by their actions, and another's."""
    own = Source(episodes=[Own(12, number=0), Own(30, number=1)])
    other = Source(episodes=[Moving(40)], weight=weight, adaptation=adaptation())
    make = partial(Windows, num_obs_steps=2, action_horizon=3)
    return Mixture([own, other], make, batch_size=batch_size, seed=seed, balance="frames")


@dataclass(frozen=True)
class Own(Moving):
    """Of the robot itself; its gripper is closed."""

    def images(self, steps: np.ndarray) -> dict[str, np.ndarray]:
        sizes = ROBOT.image_sizes
        return {name: np.full((len(steps), *size, 3), 100 + self.number, np.uint8) for name, size in sizes.items()}

    def states(self, steps: np.ndarray) -> np.ndarray:
        return np.zeros((len(steps), 3), np.float32)

    def actions(self, steps: np.ndarray) -> np.ndarray:
        return np.stack([steps / 100, steps / 100 + self.number, -np.ones(len(steps))], axis=1).astype(np.float32)


def names(samples: list[Sample]) -> list[tuple[float, ...]]:
    return [tuple(sample.actions[-1, 0].tolist()) for sample in samples]


def test_samples_of_all_sources_stack_to_one_batch_by_weight() -> None:
    made = mixture()
    samples = [sample for step in range(1, 6) for sample in made.samples(step)]
    assert sum(sample.actions[-1, 0, 2] == 1 for sample in samples) == 30  # three of four from the other robot
    for name, size in ROBOT.image_sizes.items():
        assert np.stack([sample.observation.images[name] for sample in samples]).shape == (40, 2, *size, 3)
    assert np.stack([sample.observation.state for sample in samples]).shape == (40, 2, 3)
    assert np.stack([sample.actions for sample in samples]).shape == (40, 2, 3, 3)


@settings(max_examples=10)
@given(step=st.integers(1, 500), num_ranks=st.sampled_from([1, 2, 4, 8]), seed=st.integers(0, 5))
def test_the_samples_of_a_step_are_the_same_after_a_resume_and_for_any_number_of_ranks(
    step: int, num_ranks: int, seed: int
) -> None:
    ran, fresh = mixture(seed=seed), mixture(seed=seed)
    for before in range(max(1, step - 3), step):
        ran.samples(before)
    whole = ran.samples(step)
    assert names(whole) == names(fresh.samples(step))
    shares = [fresh.samples(step, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
    assert sorted(names(whole)) == sorted(name for share in shares for name in names(share))


def test_every_window_of_every_source_comes_once_in_its_own_epoch() -> None:
    made = mixture(batch_size=12, weight=1.0)
    seen = [name for step in range(1, 15) for name in names(made.samples(step))]
    own, other = ([name for name in seen if name[2] == gripper] for gripper in (-1, 1))
    assert len(own) == len(other) == 84  # two epochs of 42 windows, and two of 40 and a bit
    assert len(set(own[:42])) == 42
    assert sorted(own[:42]) == sorted(own[42:])
    assert own[:42] != own[42:]
    assert sorted(set(Counter(other).values())) == [2, 3]


def test_task_weights_are_of_tasks_that_there_are() -> None:
    sources = [Source(episodes=[Own(5, task="a")]), Source(episodes=[Own(5, task="b")])]
    make = partial(Windows, num_obs_steps=1, action_horizon=1)
    Mixture(sources, make, batch_size=2, task_weights={"a": 2.0})
    with pytest.raises(ValueError, match=r"tasks \['c'\] that no dataset has; there are \['a', 'b'\]"):
        Mixture(sources, make, batch_size=2, task_weights={"c": 2.0})


def test_statistics_are_of_all_sources_in_the_robots_units() -> None:
    """A dimension that another robot lacks has the first one's alone."""
    adapt = adaptation()
    other = Part(encoder=adapt.transforms, episodes=[Moving(51)], known=adapt.known)
    found = encoded_statistics(Chain(), 3, [Own(12)], 1, [other])
    np.testing.assert_allclose(found.min, [-1, 0, -1], atol=1e-6)
    np.testing.assert_allclose(found.max, [0.11, 1, -1], atol=1e-6)
    assert found.mean[0] == pytest.approx(np.concatenate([-np.arange(51) / 50, np.arange(12) / 100]).mean(), rel=1e-5)
    assert found.count == 63


def test_pictures_are_resized_without_stripes() -> None:
    stripes = np.zeros((1, 8, 8, 3), np.uint8)
    stripes[:, :, ::2] = 200
    made = resized(stripes, (8, 2))
    assert made.shape == (1, 8, 2, 3)
    assert np.abs(made.astype(int) - 100).max() <= 30
    assert resized(stripes, (8, 8)) is stripes
