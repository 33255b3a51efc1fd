"""The loss over mixed dimensions, number by number, and the windows that robots remember."""

import math

import pytest
import torch

from volition.contract import ActionSpace, Dimension
from volition.heads.base import ActionLoss, assemble, is_high, newest, pad, slide
from volition.types import Loss, Target

# A binary dimension before and between the continuous ones, with ranges of their own.
SPACE = ActionSpace(
    dimensions=(
        Dimension(name="pump", unit="0 off, 1 on", low=0.0, high=1.0, kind="binary"),
        Dimension(name="x", unit="m"),
        Dimension(name="gripper", unit="1 open", kind="binary"),
        Dimension(name="y", unit="m"),
    )
)
PREDICTED = torch.tensor([[[[0.5, -1.0], [0.0, 0.0]]]])  # x, y of two steps
LOGITS = torch.tensor([[[[2.0, -1.0], [5.0, 5.0]]]])  # pump, gripper
WANTED = torch.tensor([[[[1.0, 0.2, -1.0, 1.0], [0.0, 9.0, 1.0, 9.0]]]])


def loss(
    kind: str, *, valid: tuple[bool, bool] = (True, False), binary_weight: float = 0.1, delta: float = 1.0
) -> Loss:
    target = Target(actions=WANTED, mask=torch.tensor([[valid]]))
    return ActionLoss(kind=kind, binary_weight=binary_weight, huber_delta=delta)(PREDICTED, LOGITS, target, SPACE)


# Errors of the first step: 0.3 and 2. Huber: e^2 / 2 up to delta, then delta * (e - delta / 2).
@pytest.mark.parametrize(
    ("kind", "delta", "expected"),
    [
        ("l1", 1.0, (0.3 + 2.0) / 2),
        ("mse", 1.0, (0.09 + 4.0) / 2),
        ("huber", 1.0, (0.045 + 1.5) / 2),
        ("huber", 0.2, (0.2 * 0.2 + 0.2 * 1.9) / 2),
    ],
)
def test_continuous_dimensions(kind: str, delta: float, expected: float) -> None:
    found = loss(kind, delta=delta, binary_weight=0.0)
    assert found.total.item() == pytest.approx(expected)
    assert found.metrics["action_loss"].item() == pytest.approx(expected)
    assert found.metrics["mae"].item() == pytest.approx(1.15)


def test_binary_dimensions() -> None:
    """-log of the probability of what was wanted: pump on (logit 2), gripper closed (logit -1)."""
    found = loss("l1", binary_weight=0.1)
    entropy = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1))) / 2
    assert found.metrics["binary_loss"].item() == pytest.approx(entropy)
    assert found.total.item() == pytest.approx(1.15 + 0.1 * entropy)
    assert found.metrics["binary_accuracy"] == 1


def test_the_mean_is_over_valid_steps() -> None:
    assert loss("l1", valid=(False, True), binary_weight=0.0).total.item() == pytest.approx(9.0)
    assert loss("l1", valid=(True, True), binary_weight=0.0).total.item() == pytest.approx((1.15 + 9.0) / 2)
    assert loss("l1", valid=(False, False)).total == 0
    assert loss("l1", valid=(False, True)).metrics["binary_accuracy"] == 0.5


def test_every_dimension_finds_its_place() -> None:
    actions = assemble(PREDICTED[0], LOGITS[0], SPACE)
    assert torch.equal(actions, torch.tensor([[[1.0, 0.5, -1.0, -1.0], [1.0, 0.0, 1.0, 0.0]]]))
    assert torch.equal(is_high(actions, SPACE), LOGITS[0] > 0)


def test_windows_slide_and_are_filled_up_behind() -> None:
    def steps(*numbers: float) -> torch.Tensor:
        return torch.tensor(numbers, dtype=torch.float32)[:, None]

    windows = slide([None, steps(1), steps(1, 2, 3)], torch.full((3, 1, 1), 4.0), 3)
    assert [window.flatten().tolist() for window in windows] == [[4], [1, 4], [2, 3, 4]]
    padded = pad(windows, 3)
    assert padded[..., 0].tolist() == [[4, 0, 0], [1, 4, 0], [2, 3, 4]]
    assert newest(padded, windows).flatten().tolist() == [4, 4, 4]
