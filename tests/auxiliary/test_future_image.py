from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.tiny import SPACES, make_backbone, make_batch, make_target
from volition.auxiliary.future_image import FutureChange, FutureImage, FutureImageConfig
from volition.data.transforms import BlackOut, Transform
from volition.records import Future, Observation, Sample

CAMERAS = ("static", "gripper")
CONFIG = FutureImageConfig(weight=0.1, steps=4, size=4, hidden=32)


def sample(seed: int) -> Sample:
    """Pictures that differ in size; in the future the left half of the static one is brighter by 51 = a fifth."""
    rng = np.random.default_rng(seed)
    now = {
        "static": rng.integers(0, 200, (3, 24, 24, 3), np.uint8),
        "gripper": rng.integers(0, 256, (3, 8, 8, 3), np.uint8),
    }
    later = {name: x.copy() for name, x in now.items()}
    later["static"][:, :, :12] += 51
    observation = Observation(now, np.zeros((3, 0), np.float32), "lift red")
    future = Future(later, np.array([False, True, True]))
    return Sample(observation, np.zeros((3, 1, 1), np.float32), np.ones((3, 1), bool), future)


@pytest.fixture(scope="module")
def backbone():
    return make_backbone("paligemma-two-readouts")


@pytest.fixture
def made(backbone) -> FutureImage:
    torch.manual_seed(0)
    return CONFIG.build(backbone, cameras=CAMERAS, transforms=Transform(), training=True)


def scored(made: FutureImage, backbone, seeds: range = range(2)):
    batch = make_batch(backbone, ["lift red", "push blue"])
    target = make_target(batch, SPACES["arm-7d"])
    return batch, replace(target, extras={"future_image": made.feed([sample(seed) for seed in seeds], 1)})


def test_the_feed_is_the_change_of_small_pictures(made) -> None:
    change = made.feed([sample(0), sample(1)], 1)
    assert change.pixels.shape == (2, 3, 2, 3, 4, 4)
    wanted = torch.zeros(2, 3, 2, 3, 4, 4)
    wanted[:, :, 0, :, :, :2] = 0.2
    torch.testing.assert_close(change.pixels, wanted)
    assert change.mask.tolist() == [[False, True, True]] * 2


def test_it_moves_as_a_whole(made) -> None:
    moved = made.feed([sample(0)], 1).to(torch.device("meta"))
    assert moved.pixels.device.type == moved.mask.device.type == "meta"


def test_a_blind_policy_is_not_told_the_future_either() -> None:
    feed = FutureChange(cameras=CAMERAS, transforms=BlackOut(), size=4)
    assert not feed([sample(0)], 1).pixels.any()


def test_the_loss_is_the_formula(made, backbone) -> None:
    batch, target = scored(made, backbone)
    encoded = backbone.encode(batch)
    term = made.term(backbone, encoded, target)
    assert (term.name, term.weight) == ("future_image_loss", 0.1)
    told = made.network(encoded.readout.flatten(2))[:, 1:].reshape(2, 2, 2, 3, 4, 4)  # the first step is masked
    torch.testing.assert_close(term.value, (told - target.extras["future_image"].pixels[:, 1:]).square().mean())


def test_its_gradient_reaches_the_readout_and_the_eyes(made, backbone) -> None:
    backbone.zero_grad()
    batch, target = scored(made, backbone)
    made.term(backbone, backbone.encode(batch), target).value.backward()
    assert all(p.grad.abs().sum() > 0 for p in made.parameters())
    assert (backbone.embedding.new.grad.abs().sum(-1) > 0).all()
    assert backbone.model.base_model.vision_tower.embeddings.patch_embedding.weight.grad.abs().sum() > 0


def test_it_learns_what_will_change(made, backbone) -> None:
    batch, target = scored(made, backbone)
    encoded = backbone.encode(batch)
    encoded.readout = encoded.readout.detach()
    unchanged = target.extras["future_image"].pixels.square().mean().item()  # the error of "all stays as it is"
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        error = made.term(backbone, encoded, target).value
        error.backward()
        optimizer.step()
    assert error.item() < 0.05 * unchanged


def test_looking_nowhere_ahead_is_refused() -> None:
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        FutureImageConfig(steps=0)
