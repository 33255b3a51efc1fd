from __future__ import annotations

import math

import numpy as np
import pytest

from volition.action_tokens import ActionTokenizer
from volition.contract import ActionSpace, Dimension, relative_arm_7d
from volition.robots import ActionLimits, ActionParser, RoboAction, agreement, signed_gripper

ARM = relative_arm_7d(metres=0.02, radians=0.05)
BASE = ActionSpace(dimensions=(Dimension(name="x", unit="m", low=-0.1, high=0.3), Dimension(name="rz", unit="0.5 rad")))
TOKENS = ActionTokenizer(base=1000, bins=256)
STILL = {"translation": (0.0, 0.0, 0.0), "rotation": (0.0, 0.0, 0.0)}


def test_a_chunk_becomes_metres_radians_and_a_gripper_that_is_open_at_one() -> None:
    chunk = np.array([[1, -0.5, 0, 0.2, 0, -1, 1], [0, 0, 0, 0, 0, 0, -1]], np.float32)
    first, last = ActionParser(space=ARM).continuous(chunk)
    np.testing.assert_allclose(first.to_array(), [0.02, -0.01, 0, 0.01, 0, -0.05], atol=1e-8)
    assert (first.gripper, last.gripper) == (1.0, -1.0)
    assert (first.prediction_horizon, last.prediction_horizon) == (2, 1)
    assert first.confidence is None


def test_of_a_whole_window_the_newest_frame_is_read() -> None:
    window = np.zeros((1, 3, 2, 7))
    window[0, -1, :, 0] = 1
    actions = ActionParser(space=ARM).continuous(window)
    assert [a.translation[0] for a in actions] == [0.02, 0.02]
    assert len(ActionParser(space=ARM).continuous(np.zeros(7))) == 1


def test_what_a_space_lacks_is_zero() -> None:
    [action] = ActionParser(space=BASE).continuous(np.array([0.3, -1.0]), confidence=0.5)
    assert action == RoboAction(translation=(0.3, 0.0, 0.0), rotation=(0.0, 0.0, -0.5), gripper=None, confidence=0.5)


def test_tokens_mean_the_same_share_of_every_dimensions_range() -> None:
    ids = TOKENS.encode(np.array([[-1.0, 1.0]]))
    [action] = ActionParser(space=BASE).discrete(ids, TOKENS, probabilities=np.array([[0.25, 1.0]]))
    half_cell = 0.5 / 255
    assert action.translation[0] == pytest.approx(-0.1 + half_cell * 0.4)
    assert action.rotation[2] == pytest.approx(0.5 - half_cell * 1.0)
    assert action.confidence == pytest.approx(0.5)  # the geometric mean


def test_a_gripper_said_in_tokens_is_open_or_closed() -> None:
    ids = TOKENS.encode(np.array([[0, 0, 0, 0, 0, 0, 0.1], [0, 0, 0, 0, 0, 0, -0.1]]))
    assert [a.gripper for a in ActionParser(space=ARM).discrete(ids, TOKENS)] == [1.0, -1.0]


@pytest.mark.parametrize("stranger", [TOKENS.begin, TOKENS.end, 5])
def test_a_token_that_is_no_action_is_refused(stranger: int) -> None:
    with pytest.raises(ValueError, match="action tokens lie between 743 and 1000"):
        ActionParser(space=BASE).discrete(np.array([900, stranger]), TOKENS)


@pytest.mark.parametrize(
    ("space", "match"),
    [
        (ActionSpace(dimensions=(Dimension(name="joint_1", unit="rad"),)), "this space has"),
        (ActionSpace(dimensions=(Dimension(name="x", unit="m"), Dimension(name="x", unit="m"))), "there once"),
        (
            ActionSpace(dimensions=(Dimension(name="x", unit="mm"),)),
            "'m' or a number of them, or 'm/s' for a velocity; is 'mm'",
        ),
        (ActionSpace(dimensions=(Dimension(name="rx", unit="rad"),), rotation="quaternion"), "euler_xyz"),
        (
            ActionSpace(dimensions=(Dimension(name="x", unit="m"),), relative=False),
            "what is missing would be told to be",
        ),
    ],
)
def test_a_space_that_no_robot_action_can_express_is_refused(space: ActionSpace, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ActionParser(space=space)


@pytest.mark.parametrize("shape", [(6,), (2, 8), (2, 1, 1, 7), (0, 7), (1, 2, 7)])
def test_a_prediction_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="with A = 7"):
        ActionParser(space=ARM).continuous(np.zeros(shape))


@pytest.mark.parametrize(
    "wrong",
    [
        {"translation": (math.nan, 0.0, 0.0)},
        {"gripper": math.inf},
        {"confidence": 1.5},
        {"prediction_horizon": 0},
        {"kind": "position", "frame": "body"},
    ],
)
def test_an_action_that_means_nothing_cannot_be_made(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        RoboAction(**(STILL | wrong))


def test_conventions_of_grippers() -> None:
    labels = [signed_gripper(value, open_at=1.0, closed_at=0.0) for value in (0.0, 0.5, 1.0)]  # of the reference
    others = [signed_gripper(value, open_at=0.0, closed_at=1.0) for value in (0.0, 0.5, 1.0)]
    assert (labels, others) == ([-1, 0, 1], [1, 0, -1])
    with pytest.raises(ValueError, match="must differ"):
        signed_gripper(0.0, open_at=1.0, closed_at=1.0)


def test_a_twist_is_the_step_made_in_one_period() -> None:
    action = RoboAction(translation=(0.01, 0.0, -0.02), rotation=(0.0, 0.0, 0.1), gripper=1.0)
    twist = action.to_twist(10.0)
    assert twist["linear"] == pytest.approx({"x": 0.1, "y": 0.0, "z": -0.2})
    assert twist["angular"] == pytest.approx({"x": 0.0, "y": 0.0, "z": 1.0})
    quarter = RoboAction(translation=(0.0, 0.0, 0.0), rotation=(math.pi / 2, math.pi / 2, 0.0)).to_twist(1.0)
    size = math.sqrt(sum(value**2 for value in quarter["angular"].values()))
    assert size == pytest.approx(2 * math.pi / 3)  # two quarter turns are a third of a turn about the diagonal


def test_a_dict_is_the_whole_action() -> None:
    action = RoboAction(**STILL, gripper=-1.0, confidence=0.25, prediction_horizon=3)
    assert RoboAction(**action.to_dict()) == action


def test_agreement_is_the_widest_spread_as_a_share_of_the_range() -> None:
    same = np.array([[0.1, 0.2], [0.1, 0.2]])
    assert agreement(same, BASE) == 1.0
    apart = np.array([[0.1, -0.5], [0.2, 0.5]])  # 0.1 of 0.4 and 1 of 2
    assert agreement(apart, BASE) == pytest.approx(0.5)
    assert agreement(np.array([[0.0, -9.0], [0.0, 9.0]]), BASE) == 0.0
    with pytest.raises(ValueError, match="2 or more"):
        agreement(same[:1], BASE)


def test_limits_are_those_that_the_space_declares() -> None:
    limits = ActionLimits.of(BASE)
    [inside] = ActionParser(space=BASE).continuous(np.array([0.3, 1.0]))
    [outside] = ActionParser(space=BASE).continuous(np.array([0.31, -1.2]))
    assert limits.violations(inside) == []
    assert limits.violations(outside) == ["x must be in -0.1..0.3 m, is 0.31", "rz must be in -0.5..0.5 rad, is -0.6"]
    sideways = RoboAction(translation=(0.0, 0.01, 0.0), rotation=(0.0, 0.0, 0.0))
    assert limits.violations(sideways) == ["y must be in 0..0 m, is 0.01"]


def test_lengths_turns_grippers_and_confidence_are_limited_too() -> None:
    limits = ActionLimits(low=(-1.0,) * 6, high=(1.0,) * 6, distance=0.5, angle=0.2, confidence=0.6)
    action = RoboAction(translation=(0.4, 0.4, 0.0), rotation=(0.15, 0.15, 0.0), gripper=1.2, confidence=0.5)
    found = limits.violations(action)
    assert [line.split()[0] for line in found] == ["distance", "angle", "gripper", "confidence"]
    assert limits.violations(RoboAction(**STILL)) == ["confidence must be at least 0.6, is None"]
    assert limits.violations(RoboAction(**STILL, confidence=0.6)) == []
    with pytest.raises(ValueError, match="low not above high"):
        ActionLimits(low=(1.0,) * 6, high=(0.0,) * 6)


def test_limits_are_of_one_kind() -> None:
    velocities = ActionSpace(dimensions=(Dimension(name="linear_x", unit="m/s"),))
    limits = ActionLimits.of(velocities, angle=0.2)
    fast = RoboAction(translation=(1.5, 0.0, 0.0), rotation=(0.0,) * 3, kind="velocity")
    assert limits.violations(fast) == ["x must be in -1..1 m/s, is 1.5"]
    assert limits.violations(RoboAction(**STILL)) == ["kind must be 'velocity', is 'step'"]
    with pytest.raises(ValueError, match="positions are limited by low and high"):
        ActionLimits(low=(-1.0,) * 6, high=(1.0,) * 6, distance=0.5, kind="position")
