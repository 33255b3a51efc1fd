"""Omni wheels: the two frames are inverse, no wheel is asked for more than it can, and a lag is a lag."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volition.envs.mobile import drive

twists = st.tuples(*[st.floats(-3.0, 3.0)] * 3).map(np.array)


@settings(max_examples=50)
@given(twists)
def test_wheels_and_twists_are_the_same_in_two_frames(twist: np.ndarray) -> None:
    np.testing.assert_allclose(drive.twist_of(drive.wheels_of(twist)), twist, atol=1e-9)


def test_wheels_turn_as_their_places_say() -> None:
    left, rear, right = drive.wheels_of(np.array([0.5, 0.0, 0.0]))
    assert left == pytest.approx(-right)  # straight ahead: the two in front, against each other
    assert rear == pytest.approx(0.0, abs=1e-12)
    turning = drive.wheels_of(np.array([0.0, 0.0, 1.0]))
    assert turning == pytest.approx(np.full(3, drive.WHEEL_DISTANCE / drive.WHEEL_RADIUS))


@settings(max_examples=50)
@given(twists)
def test_what_the_wheels_cannot_do_is_slowed_down_and_keeps_its_direction(twist: np.ndarray) -> None:
    given_ = drive.twist_of(drive.commanded_wheels(twist))
    limits = np.array([drive.LINEAR_LIMIT, drive.LINEAR_LIMIT, drive.ANGULAR_LIMIT])
    asked = np.clip(twist, -limits, limits)
    assert np.abs(drive.commanded_wheels(twist)).max() <= drive.WHEEL_LIMIT + 1e-9
    share = float(given_ @ asked) / max(1e-12, float(asked @ asked))
    np.testing.assert_allclose(given_, share * asked, atol=1e-9)
    assert share <= 1 + 1e-9


def test_a_twist_within_the_limits_is_given_in_the_end_after_a_lag() -> None:
    commanded = drive.commanded_wheels(np.array([0.3, -0.2, 0.5]))
    times = np.array([drive.TIME_CONSTANT, 20 * drive.TIME_CONSTANT])
    soon, late = drive.follow(np.zeros(3), commanded, times)
    np.testing.assert_allclose(soon, (1 - np.exp(-1)) * commanded)
    np.testing.assert_allclose(drive.twist_of(late), [0.3, -0.2, 0.5], atol=1e-6)
