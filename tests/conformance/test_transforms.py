"""What every transform must do: come back, stay in the space that it tells, travel as JSON, and combine."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from volition import geometry
from volition.config import dump, load
from volition.contract import ActionSpace, Dimension
from volition.data import action_transforms, frame_transforms, transforms
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
from volition.data.transforms import (
    BlackOut,
    Chain,
    Deafen,
    NormalizeActions,
    NormalizeState,
    Scale,
    SelectState,
    Transform,
    clip_to,
)
from volition.records import Observation

T, H = 2, 3
POSITION, TURN, GRIPPER = (0, 1, 2), (3, 4, 5), 6


def arm(angle: float) -> ActionSpace:
    """A position in +-1, three angles in +-`angle`, a gripper that is 0 open and 1 closed."""
    numbers = [Dimension(name=name, unit="m") for name in "xyz"]
    numbers += [Dimension(name=f"r{name}", unit="rad", low=-angle, high=angle) for name in "xyz"]
    return ActionSpace(
        dimensions=(*numbers, Dimension(name="gripper", unit="0 open, 1 closed", low=0.0)), frame="world"
    )


# Any angles; and angles so small that two transforms in a row leave them unambiguous.
WIDE, NARROW = arm(3.0), arm(0.3)
Seen = Callable[[np.ndarray, Observation], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Case:
    make: Callable[[ActionSpace], Transform]
    seen: Seen = lambda actions, observation: actions  # what must come back: orientations, not angles
    error: float = 5e-6  # the most by which it may be off
    keeps: Callable[[np.ndarray], np.ndarray] = lambda encoded: encoded  # a lossy one: what stays of anything


def orientation(actions: np.ndarray, observation: Observation) -> np.ndarray:
    return with_matrix(actions, actions[..., TURN])


def new_orientation(actions: np.ndarray, observation: Observation) -> np.ndarray:
    """Where increments of Euler angles lead to."""
    return with_matrix(actions, observation.state[:, None, TURN] + actions[..., TURN])


def with_matrix(actions: np.ndarray, angles: np.ndarray) -> np.ndarray:
    matrix = geometry.euler_to_matrix(angles.astype(np.float64))
    return np.concatenate([np.delete(actions, TURN, -1), matrix.reshape(*angles.shape[:-1], 9)], -1)


def scaling(first: float) -> Scale:
    return Scale(offset=(0.1, *(0.0,) * 6), factor=(first, *(1.5,) * 6))


def reordered(space: ActionSpace) -> Transform:
    """Without the third, with a torso, and back to front."""
    torso = Dimension(name=f"torso of {space.dimensions[0].name}", unit="m", low=0.0)
    third = space.dimensions[2]
    shown = dataclasses.replace(space, dimensions=(torso, *(d for d in space.dimensions[::-1] if d != third)))
    return MapActions(given=space, shown=shown, constants=((third.name, third.high), (torso.name, 0.5)))


def without_z(actions: np.ndarray, observation: Observation) -> np.ndarray:
    return np.delete(actions, 2, -1)  # the third


TOOL = ToolFrame(position=POSITION, rotation=TURN, state=TURN)
CASES = {
    "identity": Case(make=lambda _: Transform()),
    "chain": Case(make=lambda _: Chain(transforms=(GripperRange(dimension=6, open=0.0, closed=1.0), BlackOut()))),
    "normalise": Case(make=lambda _: NormalizeActions(scale=scaling(0.5))),
    "normalise the state": Case(make=lambda _: NormalizeState(scale=scaling(2.0))),
    "select from the state": Case(make=lambda _: SelectState(entries=(2, 1, 0, 5, 4, 3, 6))),
    "black out": Case(make=lambda _: BlackOut()),
    "deafen": Case(make=lambda _: Deafen()),
    "clip": Case(make=clip_to),
    "mu-law": Case(make=lambda _: MuLaw(dimensions=(0, 1, 3, 6))),
    "weak mu-law": Case(make=lambda _: MuLaw(dimensions=(1,), mu=0.01)),
    "relative position": Case(make=lambda _: RelativePosition(dimensions=POSITION, state=POSITION)),
    "rotation in the tool's frame": Case(
        make=lambda _: RelativeRotation(dimensions=TURN, state=TURN), seen=orientation
    ),
    "rotation in the world's frame": Case(
        make=lambda _: RelativeRotation(dimensions=TURN, state=TURN, frame="world"), seen=orientation
    ),
    "tool frame": Case(make=lambda _: TOOL, seen=new_orientation),
    "tool frame of moves": Case(make=lambda _: ToolFrame(position=POSITION, state=TURN)),
    "gripper range": Case(make=lambda _: GripperRange(dimension=GRIPPER, open=0.0, closed=1.0)),
    "binary gripper": Case(
        make=lambda _: BinaryGripper(dimension=GRIPPER, open=0.0, closed=1.0, threshold=0.4), error=0.6
    ),
    "map": Case(make=reordered, seen=without_z),
    "inverse": Case(make=lambda space: Inverse(of=MuLaw(dimensions=(0, 1)), shown=space)),
}
LOSSY = ("clip", "binary gripper", "map")
SHARES = arrays(np.float32, (T, H, 7), elements=st.floats(0, 1, width=32))
SIGNED = arrays(np.float32, (T, 7), elements=st.floats(-1, 1, width=32))
FEW = settings(max_examples=25, derandomize=True, database=None)


def spread(shares: np.ndarray, space: ActionSpace) -> np.ndarray:
    """0..1 -> low..high, and no further"""
    low, high = (np.array([getattr(d, end) for d in space.dimensions], np.float32) for end in ("low", "high"))
    return np.clip(low + shares * (high - low), low, high)


def observe(signed: np.ndarray, angle: float = 3.0) -> Observation:
    state = signed * np.array([1, 1, 1, angle, angle / 2, angle, 1], np.float32)
    images = {"base": np.arange(T * 12, dtype=np.uint8).reshape(T, 2, 2, 3)}
    for array in (state, images["base"]):
        array.flags.writeable = False
    return Observation(images=images, state=state, instruction="go")


def test_every_transform_is_tested() -> None:
    there = {
        kind
        for module in (transforms, action_transforms, frame_transforms)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Transform)
    }
    assert there == {type(case.make(WIDE)) for case in CASES.values()}


@pytest.mark.parametrize("name", CASES)
@FEW
@given(shares=SHARES, signed=SIGNED)
def test_decode_undoes_encode(name: str, shares: np.ndarray, signed: np.ndarray) -> None:
    case, actions, observation = CASES[name], spread(shares, WIDE), observe(signed)
    actions.flags.writeable = False
    transform = case.make(WIDE)
    encoded = transform.encode(actions, observation)
    decoded = transform.decode(encoded, observation)
    assert encoded.dtype == decoded.dtype == np.float32
    np.testing.assert_allclose(case.seen(decoded, observation), case.seen(actions, observation), atol=case.error)


@pytest.mark.parametrize("name", CASES)
@FEW
@given(shares=SHARES, signed=SIGNED)
def test_what_is_learned_lies_in_the_space_that_is_told(name: str, shares: np.ndarray, signed: np.ndarray) -> None:
    for given_space in (WIDE, NARROW):
        transform = CASES[name].make(given_space)
        shown = transform.space(given_space)
        encoded = transform.encode(spread(shares, given_space), observe(signed))
        assert encoded.shape == (T, H, shown.dim)
        for i, dimension in enumerate(shown.dimensions):
            assert encoded[..., i].min() >= dimension.low - 1e-5
            assert encoded[..., i].max() <= dimension.high + 1e-5
            if dimension.kind == "binary":
                assert set(encoded[..., i].flat) <= {dimension.low, dimension.high}


@pytest.mark.parametrize("name", LOSSY)
@FEW
@given(shares=arrays(np.float32, (T, H, 7), elements=st.floats(-2, 3, width=32)), signed=SIGNED)
def test_what_is_lost_is_lost_once(name: str, shares: np.ndarray, signed: np.ndarray) -> None:
    transform, observation = CASES[name].make(WIDE), observe(signed)
    wild = (shares * 2 - 1).astype(np.float32)
    once = transform.encode(wild, observation)
    assert np.array_equal(transform.encode(transform.decode(once, observation), observation), once)
    answered = transform.decode(wild, observation)
    assert np.array_equal(transform.decode(transform.encode(answered, observation), observation), answered)


@FEW
@given(value=st.floats(0, 1, width=32), threshold=st.floats(0.01, 0.99), swap=st.booleans())
def test_a_binary_gripper_is_off_by_its_error_at_most(value: float, threshold: float, swap: bool) -> None:
    ends = {"open": 1.0, "closed": 0.0} if swap else {"open": 0.0, "closed": 1.0}
    transform, observation = BinaryGripper(dimension=0, threshold=threshold, **ends), observe(np.zeros((T, 7)))
    decoded = transform.decode(transform.encode(np.float32([value]), observation), observation)
    assert abs(decoded - value) <= transform.error + 1e-6
    assert transform.error == max(threshold, 1 - threshold)


@pytest.mark.parametrize("name", CASES)
def test_any_leading_shape(name: str) -> None:
    """One step's chunk alone is what it is within the window: as in acting."""
    rng = np.random.default_rng(0)
    transform, observation = CASES[name].make(WIDE), observe(rng.uniform(-1, 1, (T, 7)).astype(np.float32))
    actions = spread(rng.random((T, H, 7), np.float32), WIDE)
    now = dataclasses.replace(observation, state=observation.state[-1:])
    for direction, values in (("encode", actions), ("decode", transform.encode(actions, observation))):
        change = getattr(transform, direction)
        whole = change(values, observation)
        np.testing.assert_array_equal(change(values[-1], observation), whole[-1])
        np.testing.assert_array_equal(change(values[-1], now), whole[-1])
        np.testing.assert_array_equal(change(values[-1, 0], now), whole[-1, 0])


@pytest.mark.parametrize("name", CASES)
def test_the_way_to_disk_and_back(name: str) -> None:
    transform = CASES[name].make(WIDE)
    assert load(json.loads(json.dumps(dump(transform)))) == transform


@pytest.mark.parametrize("name", CASES)
def test_observing_gives_float32_and_changes_no_actions_stage(name: str) -> None:
    observation = observe(np.linspace(-1, 1, T * 7, dtype=np.float32).reshape(T, 7))
    seen = CASES[name].make(WIDE).observe(observation)
    assert seen.state.dtype == np.float32
    assert (len(seen.state), seen.images["base"].shape) == (T, (T, 2, 2, 3))


@pytest.mark.parametrize(("first", "second"), list(itertools.product(CASES, CASES)))
def test_a_chain_of_any_two_comes_back(first: str, second: str) -> None:
    rng = np.random.default_rng(1)
    before = CASES[first].make(NARROW)
    chain = Chain(transforms=(before, CASES[second].make(before.space(NARROW))))
    observation = observe(rng.uniform(-1, 1, (T, 7)).astype(np.float32), angle=0.3)
    actions = spread(rng.random((T, H, 7), np.float32), NARROW)
    encoded = chain.encode(actions, observation)
    assert encoded.shape[-1] == chain.space(NARROW).dim
    again = chain.encode(chain.decode(encoded, observation), observation)
    np.testing.assert_allclose(again, encoded, atol=1e-4)
    if not {first, second} & set(LOSSY):
        np.testing.assert_allclose(chain.decode(encoded, observation), actions, atol=1e-4)
