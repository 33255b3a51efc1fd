"""Actions of any range: what is learned is scaled, what the policy answers is the robot's."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.toy import SPEC, Toy
from tests.training.test_train import EXPERIMENT, Recorded
from volition.heads import DiscreteHeadConfig
from volition.records import Observation, Start
from volition.studies.training import make_transforms


@pytest.fixture(scope="module")
def episodes() -> list[Recorded]:
    return [Recorded(seed) for seed in range(2)]


@pytest.fixture(scope="module")
def observation() -> Observation:
    toy = Toy()
    toy.reset(Start(seed=0, tasks=("reach_red",)))
    return toy.observe("")


DEGREES = tuple(replace(d, low=-30.0, high=90.0) for d in SPEC.action_space.dimensions)
IN_DEGREES = replace(SPEC, action_space=replace(SPEC.action_space, dimensions=DEGREES))


def test_actions_of_any_range_can_be_learned(episodes, observation) -> None:
    """A dataset in degrees: what the policy answers is in degrees, over the whole range."""
    transforms = make_transforms(EXPERIMENT, episodes, IN_DEGREES)
    degrees = np.array([[-30.0, 90.0], [30.0, 30.0]], np.float32)
    encoded = transforms.encode(degrees, observation)
    np.testing.assert_allclose(encoded, [[-1.0, 1.0], [0.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(transforms.decode(encoded, observation), degrees, atol=1e-4)


def test_heads_that_know_their_range_know_the_scaled_one(episodes, observation) -> None:
    """Tokens of a dataset in degrees cover its degrees: transforms scale to -1..1, and the head must not once more."""
    transforms = make_transforms(EXPERIMENT, episodes, IN_DEGREES)
    policy = replace(EXPERIMENT, head=DiscreteHeadConfig()).build(IN_DEGREES, transforms)
    degrees = np.linspace(-30, 90, EXPERIMENT.window.action_horizon * 2, dtype=np.float32).reshape(-1, 2)
    tokens = policy.head.tokens(torch.from_numpy(transforms.encode(degrees, observation)))
    assert (tokens.min(), tokens.max()) == (0, 255)
    said = transforms.decode(policy.head.actions(tokens.flatten()).numpy(), observation)
    np.testing.assert_allclose(said, degrees, atol=120 / 255)
