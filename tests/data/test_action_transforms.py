"""What transforms of actions mean, in numbers that can be checked by hand; tests/conformance has what all must do."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from volition.contract import ActionSpace, Dimension, relative_arm_7d
from volition.data.action_transforms import (
    BinaryGripper,
    GripperRange,
    Inverse,
    MapActions,
    MuLaw,
    RelativePosition,
    RelativeRotation,
    ToolFrame,
)
from volition.data.fit import encoded_statistics, unit_range
from volition.data.transforms import Chain, NormalizeState, Scale, Transform, clip_to
from volition.records import Observation

POSITION, TURN = (0, 1, 2), (3, 4, 5)
LEFT = (0.0, 0.0, math.pi / 2)  # turned a quarter about z: the tool's x points along the world's y


def at(*rows: tuple[float, ...]) -> Observation:
    return Observation(images={}, state=np.array(rows, np.float32), instruction="")


def test_mu_law() -> None:
    values = np.float32([-1, 0, 1 / 255, 1, 0.5])
    encoded = MuLaw(dimensions=(0, 1, 2, 3)).encode(values, at((0,)))
    np.testing.assert_allclose(encoded, [-1, 0, math.log(2) / math.log(256), 1, 0.5], rtol=1e-6)


def test_a_position_is_measured_from_the_step_that_plans() -> None:
    transform = RelativePosition(dimensions=(0,), state=(1,))
    observation = at((9, 1.0), (9, 3.0))
    chunks = np.float32([[[1.5, 7], [2.5, 7]], [[1.5, 7], [2.5, 7]]])
    encoded = transform.encode(chunks, observation)
    assert encoded.tolist() == [[[0.5, 7], [1.5, 7]], [[-1.5, 7], [-0.5, 7]]]
    assert transform.decode(encoded[1], at((9, 3.0))).tolist() == chunks[1].tolist()


def test_a_pose_as_the_tool_sees_it() -> None:
    """An absolute pose: one metre along the world's y, which is the tool's x; and a turn further about z."""
    chain = Chain(
        transforms=(
            RelativePosition(dimensions=POSITION, state=POSITION),
            RelativeRotation(dimensions=TURN, state=TURN),
            ToolFrame(position=POSITION, state=TURN),
        )
    )
    observation = at((5, 5, 5, *LEFT))
    pose = np.float32([5, 6, 5, 0, 0, 3])
    encoded = chain.encode(pose, observation)
    np.testing.assert_allclose(encoded, [1, 0, 0, 0, 0, 3 - math.pi / 2], atol=1e-6)
    np.testing.assert_allclose(chain.decode(encoded, observation), pose, atol=1e-6)


def test_a_turn_in_either_frame() -> None:
    target = np.float32([0.3, 0, math.pi / 2])  # turned on about the world's x, which is the tool's -y
    tool, world = (
        RelativeRotation(dimensions=POSITION, state=POSITION, frame=frame).encode(target, at(LEFT))
        for frame in ("tool", "world")
    )
    np.testing.assert_allclose(world, [0.3, 0, 0], atol=1e-6)
    np.testing.assert_allclose(tool, [0, -0.3, 0], atol=1e-6)


def test_relative_actions_in_the_tools_frame() -> None:
    transform = ToolFrame(position=POSITION, rotation=TURN, state=POSITION, radians=0.05)
    encoded = transform.encode(np.float32([0, 1, 0, 0, 0, 1, -1]), at(LEFT))
    np.testing.assert_allclose(encoded, [1, 0, 0, 0, 0, 1, -1], atol=1e-5)
    space = transform.space(relative_arm_7d())
    assert (space.frame, relative_arm_7d().frame) == ("tcp", "world")
    assert space.dimensions[0].high == pytest.approx(math.sqrt(3))
    assert space.dimensions[3].high == 3


def test_grippers_end_up_the_house_way() -> None:
    nothing = at((0,))
    width = GripperRange(dimension=0, open=0.08, closed=0.0)
    np.testing.assert_allclose(width.encode(np.float32([0.08]), nothing), [1])
    np.testing.assert_allclose(width.decode(np.float32([0.0]), nothing), [0.04])
    for open_, closed, given, wanted in (
        (1.0, 0.0, 0.6, 1),
        (0.0, 1.0, 0.6, -1),
        (-1.0, 1.0, 0.6, -1),
        (1.0, 0.0, 0.5, -1),
    ):
        binary = BinaryGripper(dimension=0, open=open_, closed=closed, threshold=(open_ + closed) / 2)
        assert binary.encode(np.float32([given]), nothing).tolist() == [wanted]
        assert binary.decode(np.float32([wanted]), nothing).tolist() == [open_ if wanted > 0 else closed]
        assert binary.decode(np.float32([0.0]), nothing).tolist() == [closed]
    space = BinaryGripper(dimension=6, open=0.0, closed=1.0, threshold=0.5).space(relative_arm_7d())
    assert space.binary == (6,)


X, Y, Z = (Dimension(name=name, unit="m") for name in "xyz")
PLANE, LINE = ActionSpace(dimensions=(X, Y)), ActionSpace(dimensions=(Z, X))


def test_dimensions_are_found_by_name() -> None:
    transform = MapActions(given=PLANE, shown=LINE, constants=(("y", 0.5), ("z", -1.0)))
    assert transform.encode(np.float32([[0.1, 0.2]]), at((0,))).tolist() == [[-1, np.float32(0.1)]]
    assert transform.decode(np.float32([[0.3, 0.2]]), at((0,))).tolist() == [[np.float32(0.2), 0.5]]
    assert transform.known(np.array([True, True])).tolist() == [False, True]
    assert not transform.known(np.array([False, True])).any()
    assert transform.space(PLANE) == LINE


def test_what_is_turned_together_is_known_together() -> None:
    given = np.array([True, False, True, True, True, True, True])
    turned = ToolFrame(position=(0, 1, 2), rotation=(3, 4, 5), state=TURN).known(given)
    assert turned.tolist() == [False, False, False, True, True, True, True]
    assert RelativeRotation(dimensions=(3, 4, 5), state=TURN).known(given).tolist() == given.tolist()
    chain = Chain(transforms=(RelativeRotation(dimensions=(1, 2, 3), state=TURN), MuLaw(dimensions=(0,))))
    assert chain.known(given).tolist() == [True, False, False, False, True, True, True]
    assert given.sum() == 6


def test_an_inverse_is_for_datasets_that_have_what_others_make() -> None:
    turned = Inverse(of=MuLaw(dimensions=(0,)), shown=PLANE)
    values = np.float32([0.3, 0.2])
    np.testing.assert_array_equal(turned.encode(values, at((0,))), turned.of.decode(values, at((0,))))
    np.testing.assert_array_equal(turned.decode(values, at((0,))), turned.of.encode(values, at((0,))))


class Ramp:
    """Absolute positions, a metre further every frame; the state lags a metre behind."""

    task, instructions = "", ("go",)

    def __len__(self) -> int:
        return 9

    def images(self, steps: np.ndarray) -> dict[str, np.ndarray]:
        raise AssertionError("statistics of actions must not read pictures")

    def states(self, steps: np.ndarray) -> np.ndarray:
        return steps[:, None].astype(np.float32)

    def actions(self, steps: np.ndarray) -> np.ndarray:
        return np.stack([steps + 1.0, steps % 2], axis=1).astype(np.float32)


def test_statistics_are_those_of_whole_chunks_and_leave_out_what_is_masked() -> None:
    relative = RelativePosition(dimensions=(0,), state=(0,))
    found = encoded_statistics(relative, 2, [Ramp(), Ramp()], horizon=3)
    assert found.count == 2 * (9 + 8 + 7)
    assert (found.min, found.max) == ((1.0, 0.0), (3.0, 1.0))


MEAN, STD = 46 / 24, (104 / 24 - (46 / 24) ** 2) ** 0.5  # of 9 times 1, 8 times 2 and 7 times 3: chunks of a ramp


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [("range", -20, 20), ("min_max", 1, 3), ("quantiles", 1, 3), ("mean_std", MEAN - 3 * STD, MEAN + 3 * STD)],
)
def test_what_a_policy_learns_is_in_the_unit_range(kind: str, low: float, high: float) -> None:
    dimensions = (replace(X, low=-10.0, high=10.0), Dimension(name="gripper", unit="", low=0.0, kind="binary"))
    space, relative = ActionSpace(dimensions=dimensions), RelativePosition(dimensions=(0,), state=(0,))
    fitted = Chain(transforms=unit_range(relative, space, [Ramp()], horizon=3, kind=kind))  # type: ignore[arg-type]
    ends = np.float32([[low, 0], [high, 1]])
    np.testing.assert_allclose(fitted.encode(ends, at((0,))), [[-1, 0], [1, 1]], atol=1e-6)
    np.testing.assert_allclose(fitted.decode(np.float32([[-1, 0], [1, 1]]), at((0,))), ends, atol=1e-5)
    learned = fitted.space(relative.space(space)).scaled()
    assert [(d.low, d.high) for d in learned.dimensions] == [(-1, 1), (0, 1)]


GRIPPER = {"dimension": 0, "open": 1.0, "closed": 0.0}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MuLaw(dimensions=()), r"dimensions must be different places, counted from 0; got \(\)"),
        (lambda: MuLaw(dimensions=(1, 1)), r"different places, counted from 0; got \(1, 1\)"),
        (lambda: MuLaw(dimensions=(-1,)), "counted from 0"),
        (lambda: MuLaw(dimensions=(0,), mu=0.0), "mu must be above 0, is 0.0"),
        (lambda: RelativePosition(dimensions=(0, 1), state=(0,)), r"state must be 2 different places"),
        (lambda: RelativeRotation(dimensions=TURN, state=TURN, frame="base"), "'tool' or 'world', is 'base'"),
        (lambda: ToolFrame(position=POSITION, rotation=(2, 3, 4), state=TURN), "position and rotation must be 6"),
        (lambda: ToolFrame(position=POSITION, state=TURN, radians=-1.0), "radians must be above 0"),
        (lambda: GripperRange(dimension=0, open=1.0, closed=1.0), "must differ, both are 1.0"),
        (lambda: BinaryGripper(**GRIPPER, threshold=1.0), "between open=1.0 and closed=0.0, is 1.0"),
        (lambda: MapActions(given=PLANE, shown=LINE), r"constants must be given for \['y', 'z'\], got them for \[\]"),
        (lambda: MapActions(given=PLANE, shown=LINE, constants=(("y", 0.0), ("z", 2.0))), r"z: 2.0 is not in"),
        (
            lambda: MapActions(given=PLANE, shown=ActionSpace(dimensions=(replace(X, unit="cm"), Y))),
            "must mean the same to dataset and policy:\n  x.unit: 'm' != 'cm'",
        ),
        (
            lambda: Inverse(of=NormalizeState(scale=Scale(offset=(0.0,), factor=(1.0,))), shown=PLANE),
            "only what leaves observations alone can be turned round",
        ),
        (lambda: MuLaw(dimensions=(2,)).space(PLANE), r"the dimensions \(2,\) of actions that have 2 only"),
        (lambda: ToolFrame(position=POSITION, state=TURN).space(PLANE), "of actions that have 2 only"),
        (lambda: MapActions(given=PLANE, shown=PLANE).space(LINE), "maps actions that these are not"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("transform", "actions", "state", "message"),
    [
        (MuLaw(dimensions=(2,)), (2,), (1, 1), r"must have the dimensions \(2,\), got shape \[2\]"),
        (RelativePosition(dimensions=(0,), state=(1,)), (2,), (1, 1), r"state must have the entries \(1,\)"),
        (RelativePosition(dimensions=(0,), state=(0,)), (3, 4, 2), (2, 1), r"\[3, 4, 2\] and states \[2, 1\]"),
        (MapActions(given=PLANE, shown=PLANE), (3,), (1, 1), "must have 2 dimensions"),
        (clip_to(PLANE), (1,), (1, 1), r"must have 2 dimensions, got shape \[1\]"),
    ],
)
def test_arrays_of_another_shape_are_refused(
    transform: Transform, actions: tuple[int, ...], state: tuple[int, ...], message: str
) -> None:
    observation = Observation(images={}, state=np.zeros(state, np.float32), instruction="")
    for direction in (transform.encode, transform.decode):
        with pytest.raises(ValueError, match=message):
            direction(np.zeros(actions, np.float32), observation)


def test_a_gripper_that_is_no_number_is_neither_open_nor_closed() -> None:
    with pytest.raises(ValueError, match="at least one is NaN"):
        BinaryGripper(**GRIPPER, threshold=0.5).encode(np.float32([np.nan]), at((0,)))
