"""What a policy looks at, seen in what it learns from it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.tiny import CAMERAS, SPACES, make_backbone, make_batch, make_head, make_target
from volition.data.transforms import Chain
from volition.policy import Collator, Policy
from volition.records import Observation
from volition.types import Batch

TEXTS = ["lift red", "push the blue block"]
SPACE = SPACES["arm-7d"]


@pytest.fixture(scope="module", params=["mlp", "lstm", "gpt2"])
def policy(request) -> Policy:
    backbone = make_backbone("paligemma")
    head = make_head(request.param, backbone, SPACE, state_dim=2)
    return Policy(backbone, head, Collator(Chain(), backbone.adapter, CAMERAS, (0, 1)))


def gradients(policy: Policy, batch: Batch) -> dict[str, torch.Tensor]:
    policy.zero_grad()
    policy(batch, make_target(batch, SPACE)).total.backward()
    return {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}


def test_every_entry_of_the_state_reaches_its_projection(policy: Policy) -> None:
    batch = make_batch(policy.backbone, TEXTS, state_dim=2)
    assert gradients(policy, batch)["head.features.state.0.weight"].any(0).all()
    batch.state[..., 1] = 0.0  # as if the second entry were not there
    first, second = gradients(policy, batch)["head.features.state.0.weight"].unbind(1)
    assert first.any()
    assert not second.any()


def test_a_camera_that_an_observation_lacks_is_named(policy: Policy) -> None:
    seen = Observation({"static": np.zeros((1, 32, 32, 3), np.uint8)}, np.zeros((1, 2), np.float32), TEXTS[0])
    with pytest.raises(ValueError, match=r"must have the cameras \['gripper'\], and has \['static'\]"):
        policy.act([seen], policy.start(1))


@pytest.mark.parametrize("camera", CAMERAS)
def test_every_camera_changes_what_the_eyes_learn(policy: Policy, camera: str) -> None:
    batch = make_batch(policy.backbone, TEXTS, state_dim=2)
    other = replace(batch, images=batch.images | {camera: 255 - batch.images[camera]})
    (name,) = (n for n, _ in policy.named_parameters() if n.endswith("patch_embedding.weight"))
    before, after = (gradients(policy, seen)[name] for seen in (batch, other))
    assert before.any()
    assert not torch.allclose(before, after, rtol=0.01)
