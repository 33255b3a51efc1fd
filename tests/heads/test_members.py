"""Ensembles and gates over members whose answers are known."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tests.tiny import HEADS, LSTM, MLP, SPACES, make_backbone
from volition.backbones import Backbone
from volition.backbones.encoded import Stored
from volition.contract import ActionSpace
from volition.heads import EnsembleHeadConfig, GateHeadConfig, Head
from volition.heads.base import ActionLoss, ActionOutput, ReadoutFeatures
from volition.heads.regression import RegressionHead
from volition.types import Batch, Target

ARM, BASE = SPACES["arm-7d"], SPACES["base-2d"]


@dataclass(frozen=True, kw_only=True)
class AlwaysConfig:
    """A head that always answers the same: `value`, and a gripper that is open when it is positive."""

    value: float

    def build(
        self, backbone: Backbone, space: ActionSpace, *, num_obs_steps: int, horizon: int, state_dim: int
    ) -> Head:
        return Always(self.value, backbone, space, horizon, state_dim)


class Always(RegressionHead):
    def __init__(self, value: float, backbone: Backbone, space: ActionSpace, horizon: int, state_dim: int):
        super().__init__()
        self.value, self.num_obs_steps, self.action_loss = value, 1, ActionLoss()
        self.features = ReadoutFeatures(backbone.num_readouts, backbone.width, state_dim)
        self.output = ActionOutput(self.features.width, 4, space, horizon)

    def run(self, features: Tensor) -> tuple[Tensor, Tensor]:
        continuous, logits = self.output(features)
        return torch.full_like(continuous, self.value), torch.full_like(logits, self.value)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return make_backbone("paligemma")


def looks(backbone: Backbone, n: int, steps: int = 1) -> tuple[Stored, Batch]:
    """Robots that see one of two things: even ones this, odd ones that."""
    seen = torch.randn(2, backbone.width, generator=torch.Generator().manual_seed(0))
    readout = seen[torch.arange(n) % 2][:, None, None].expand(-1, steps, 1, -1)
    return Stored(readout), Batch(inputs={}, images={}, state=torch.zeros(n, steps, 0))


def build(config: EnsembleHeadConfig | GateHeadConfig, backbone: Backbone, space: ActionSpace) -> Head:
    torch.manual_seed(0)
    return config.build(backbone, space, num_obs_steps=1, horizon=3, state_dim=0)


@pytest.mark.parametrize(
    ("values", "mean", "apart", "gripper"),
    [
        ((0.5, 0.1), 0.3, 0.2, 1.0),
        ((0.5, -0.5), 0.0, 0.5, -1.0),  # a tie is low
        ((0.4, 0.4, -0.8), 0.0, 0.32**0.5, 1.0),  # the majority's, not the mean's
    ],
)
def test_an_ensemble_averages_and_says_how_far_its_members_are_apart(
    backbone: Backbone, values: tuple[float, ...], mean: float, apart: float, gripper: float
) -> None:
    head = build(EnsembleHeadConfig(members=tuple(AlwaysConfig(value=v) for v in values)), backbone, ARM)
    encoded, batch = looks(backbone, 2)
    chunk, states, disagreement = head.predict_with_disagreement(encoded, batch, [head.start()] * 2)
    assert disagreement is not None
    assert chunk.shape == disagreement.shape == (2, 3, 7)
    torch.testing.assert_close(chunk[..., :6], torch.full((2, 3, 6), mean))
    torch.testing.assert_close(disagreement[..., :6], torch.full((2, 3, 6), apart))
    assert (chunk[..., 6] == gripper).all()
    assert [len(state) for state in states] == [len(values)] * 2
    assert torch.equal(head.predict(encoded, batch, [head.start()] * 2)[0], chunk)


@pytest.mark.parametrize(("values", "sure"), [((0.3, 0.3), 1.0), ((0.5, 0.1), 0.8), ((1.0, -1.0), 0.0)])
def test_confidence_is_what_the_worst_dimension_leaves(
    backbone: Backbone, values: tuple[float, ...], sure: float
) -> None:
    head = build(EnsembleHeadConfig(members=tuple(AlwaysConfig(value=v) for v in values)), backbone, ARM)
    encoded, batch = looks(backbone, 2)
    chunk, _, confidence = head.predict_with_confidence(encoded, batch, [head.start()] * 2)
    assert confidence is not None
    torch.testing.assert_close(confidence, torch.full((2, 3), sure))
    assert torch.equal(head.predict(encoded, batch, [head.start()] * 2)[0], chunk)


def test_members_may_be_of_any_kind(backbone: Backbone) -> None:
    """Each learns by its own loss, and keeps a state of its own for every robot."""
    head = build(EnsembleHeadConfig(members=(LSTM, HEADS["flow"])), backbone, ARM)
    encoded, batch = looks(backbone, 2)
    target = Target(actions=torch.full((2, 1, 3, 7), 0.5), mask=torch.ones(2, 1, 3, dtype=torch.bool))
    loss = head.loss(encoded, batch, target)
    parts = [loss.metrics[f"member{i}_loss"] for i in range(2)]
    assert loss.total.item() == pytest.approx(sum(parts).item() / 2)
    states, alone = [head.start()] * 2, [[member.start()] * 2 for member in head.members]
    for _ in range(3):
        chunk, states = head.predict(encoded, batch, states)
        answers = [member.predict(encoded, batch, own) for member, own in zip(head.members, alone)]
        chunks, alone = zip(*answers)
    assert torch.equal(chunk[..., :6], torch.stack(chunks).mean(dim=0)[..., :6])
    assert states[0][1].num_predictions == 3


def test_a_head_without_members_has_nobody_to_disagree_with(backbone: Backbone) -> None:
    head = MLP.build(backbone, ARM, num_obs_steps=1, horizon=3, state_dim=0)
    encoded, batch = looks(backbone, 2)
    chunk, _, disagreement = head.predict_with_disagreement(encoded, batch, [head.start()] * 2)
    assert disagreement is None
    assert head.predict_with_confidence(encoded, batch, [head.start()] * 2)[2] is None
    assert torch.equal(chunk, head.predict(encoded, batch, [head.start()] * 2)[0])


def taught(config: EnsembleHeadConfig | GateHeadConfig, backbone: Backbone, wanted: Tensor) -> Tensor:
    """What 2 robots that see different things do after training on `wanted` [2, 2]: of each, in each dimension."""
    head = build(config, backbone, BASE)
    encoded, batch = looks(backbone, 2)
    actions = wanted[:, None, None].expand(-1, 1, 3, -1)
    target = Target(actions=actions, mask=torch.ones(2, 1, 3, dtype=torch.bool))
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        head.loss(encoded, batch, target).total.backward()
        optimizer.step()
    with torch.no_grad():
        return head.predict(encoded, batch, [head.start()] * 2)[0][:, 0]


OPPOSITE = (AlwaysConfig(value=0.5), AlwaysConfig(value=-0.5))


@pytest.mark.parametrize("choice", ["weigh", "pick"])
def test_a_gate_learns_who_is_right_when(backbone: Backbone, choice: str) -> None:
    wanted = torch.tensor([[0.5, 0.5], [-0.5, -0.5]])
    done = taught(GateHeadConfig(members=OPPOSITE, choice=choice), backbone, wanted)
    torch.testing.assert_close(done, wanted, rtol=0, atol=0.05 if choice == "weigh" else 0.0)


def test_learned_fusion_weighs_every_dimension(backbone: Backbone) -> None:
    wanted = torch.tensor([[0.5, -0.5], [0.0, 0.5]])
    done = taught(EnsembleHeadConfig(members=OPPOSITE, fusion="learned"), backbone, wanted)
    torch.testing.assert_close(done, wanted, rtol=0, atol=0.05)


def test_metrics_tell_members_and_weights_apart(backbone: Backbone) -> None:
    head = build(GateHeadConfig(members=OPPOSITE, choice="pick"), backbone, ARM)
    encoded, batch = looks(backbone, 2, steps=3)
    target = Target(actions=torch.full((2, 3, 3, 7), 0.5), mask=torch.ones(2, 3, 3, dtype=torch.bool))
    metrics = head.loss(encoded, batch, target).metrics
    assert metrics["member0_mae"] == 0
    assert metrics["member1_mae"] == 1
    shares = [metrics[f"member{i}_weight"].item() for i in range(2)]
    assert sum(shares) == 1
    assert metrics["mae"].item() == pytest.approx(shares[1])


@pytest.mark.parametrize("config", [EnsembleHeadConfig, GateHeadConfig])
def test_one_member_is_too_few(backbone: Backbone, config: type) -> None:
    with pytest.raises(ValueError, match="members must name at least two heads, got 1"):
        build(config(members=(MLP,)), backbone, ARM)


@pytest.mark.parametrize("config", [EnsembleHeadConfig(fusion="learned", members=(LSTM, HEADS["flow"]))])
def test_what_samples_cannot_be_weighed(backbone: Backbone, config: EnsembleHeadConfig) -> None:
    with pytest.raises(ValueError, match=r"member 1 is a FlowHead: average it in an ensemble with fusion='mean'"):
        build(config, backbone, ARM)
