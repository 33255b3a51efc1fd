"""Not worse by more than a margin: the interval, how often it is wrong, and how many starts it takes."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volition.evaluation.margin import score_interval, starts_for_margin

MARGIN = 0.02


def test_where_nothing_differs_it_is_known_in_closed_form() -> None:
    """z^2 / (n + z^2), and 189 is the first n that brings it below two points."""
    low, high = score_interval(0, 0, 100)
    assert (low, high) == pytest.approx((-3.8415 / 103.8415, 3.8415 / 103.8415), abs=1e-6)
    assert starts_for_margin(0, 0, 1, MARGIN) == 189
    assert score_interval(0, 0, 189)[0] > -MARGIN > score_interval(0, 0, 188)[0]


def score(first: int, second: int, count: int, difference: float) -> float:
    """By its definition: the likeliest rates under a difference are searched for, not solved for."""
    share = np.linspace(max(0.0, -difference), (1 - difference) / 2, 200_001)[1:-1]  # of "only the second"
    both = 1 - difference - 2 * share
    likelihood = first * np.log(share + difference) + second * np.log(share) + (count - first - second) * np.log(both)
    rate = share[likelihood.argmax()]
    variance = 2 * rate + difference - difference**2
    return float((first - second - count * difference) / np.sqrt(count * variance))


@pytest.mark.parametrize(("first", "second", "count"), [(5, 1, 44), (13, 10, 816), (3, 9, 60)])
def test_at_its_ends_the_score_is_the_quantile(first: int, second: int, count: int) -> None:
    low, high = score_interval(first, second, count)
    assert low < (first - second) / count < high
    assert score(first, second, count, low) == pytest.approx(1.959964, abs=1e-4)
    assert score(first, second, count, high) == pytest.approx(-1.959964, abs=1e-4)


def test_few_pairs() -> None:
    low, high = score_interval(1, 0, 44)
    assert low < 1 / 44 < high
    assert score_interval(5, 1, 44) == pytest.approx((-0.0240, 0.2224), abs=1e-4)


@given(st.integers(1, 300), st.integers(0, 40), st.integers(0, 40))
def test_it_holds_the_difference_and_turns_round_with_it(same: int, first: int, second: int) -> None:
    count = same + first + second
    low, high = score_interval(first, second, count)
    assert -1 <= low <= (first - second) / count <= high <= 1
    assert score_interval(second, first, count) == pytest.approx((-high, -low), abs=1e-9)


def signed(count: int, only_first: float, only_second: float) -> float:
    """How often outcomes of these true rates lie above the margin: exact, over all that can come."""
    total = 0.0
    for lost in range(count + 1):
        chance = comb(count, lost) * only_second**lost * (1 - only_second) ** (count - lost)
        if chance < 1e-10:
            continue
        share = only_first / (1 - only_second)
        for won in range(count - lost + 1):
            both = chance * comb(count - lost, won) * share**won * (1 - share) ** (count - lost - won)
            if both > 1e-10 and score_interval(won, lost, count)[0] > -MARGIN:
                total += both
    return total


@pytest.mark.parametrize(("count", "gain", "harm"), [(189, 0.0, 0.02), (340, 0.0, 0.02), (340, 0.01, 0.03)])
def test_a_policy_that_is_worse_by_the_margin_is_rarely_signed(count: int, gain: float, harm: float) -> None:
    assert signed(count, gain, harm) < 0.025


@given(st.integers(1, 30), st.integers(0, 3), st.integers(0, 3))
def test_so_many_starts_and_no_fewer_keep_a_difference_above_a_margin(same: int, won: int, lost: int) -> None:
    count, margin = same + won + lost, 0.2
    enough = starts_for_margin(won, lost, count, margin)
    if not enough:
        assert score_interval(won * 300, lost * 300, count * 300)[0] <= -margin
        return
    copies = -(-enough // count)
    assert score_interval(won * copies, lost * copies, count * copies)[0] > -margin
    if (fewer := (enough - 1) // count) > 0:
        assert score_interval(won * fewer, lost * fewer, count * fewer)[0] <= -margin


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="a margin between 0 and 1"):
        starts_for_margin(0, 0, 1, 0.0)
    with pytest.raises(ValueError, match="cannot be done by one policy only"):
        score_interval(3, 3, 5)
