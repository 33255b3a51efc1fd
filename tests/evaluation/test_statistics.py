import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volition.evaluation.statistics import (
    Estimate,
    bootstrap_mean,
    episodes_needed,
    mcnemar,
    mean_over_tasks,
    paired_difference,
    wilson,
)

counted = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
task_outcomes = st.dictionaries(st.text(min_size=1), st.lists(st.booleans(), min_size=1, max_size=30), min_size=1)


@given(counted)
def test_wilson_holds_the_rate_and_is_symmetric(case: tuple[int, int]) -> None:
    successes, count = case
    rate, mirrored = wilson(successes, count), wilson(count - successes, count)
    assert 0 <= rate.low <= rate.value <= rate.high <= 1
    assert rate.high - rate.low > 0, "even 0 and 1 are never certain"
    assert rate.low == pytest.approx(1 - mirrored.high, abs=1e-12)


@given(counted)
def test_more_outcomes_of_the_same_rate_say_more(case: tuple[int, int]) -> None:
    successes, count = case
    few, many = wilson(successes, count), wilson(4 * successes, 4 * count)
    assert many.high - many.low < few.high - few.low


def test_wilson_agrees_with_published_values() -> None:
    # Newcombe 1998, table I: 81 of 263 and 0 of 20.
    assert wilson(81, 263).interval == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20).interval == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_wilson_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for truth in (0.5, 0.9, 0.98):
        found = [wilson(int(s), 60) for s in rng.binomial(60, truth, size=2000)]
        assert 0.93 < np.mean([e.low <= truth <= e.high for e in found]) < 0.985


@pytest.mark.parametrize("case", [(1, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_counts_that_cannot_be(case: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson(*case)


@given(task_outcomes)
def test_mean_over_tasks_weighs_tasks_alike(outcomes: dict[str, list[bool]]) -> None:
    estimate = mean_over_tasks(outcomes)
    assert estimate.value == pytest.approx(np.mean([np.mean(v) for v in outcomes.values()]))
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.count == sum(len(v) for v in outcomes.values())
    assert estimate.high > estimate.low


@pytest.mark.parametrize("truth", [[0.99] * 17, [1.0] * 8 + [0.8] * 9, [0.9] * 5 + [0.05] * 12, [0.99] * 3])
def test_mean_over_tasks_covers_the_truth(truth: list[float]) -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(300):
        outcomes = {str(i): (rng.random(10) < p).tolist() for i, p in enumerate(truth)}
        estimate = mean_over_tasks(outcomes)
        hits += estimate.low <= np.mean(truth) <= estimate.high
    assert hits / 300 > 0.91


def test_mean_over_tasks_is_sharper_than_one_coin_when_tasks_differ() -> None:
    outcomes = {str(i): [i < 5] * 10 for i in range(10)}
    stratified, coin = mean_over_tasks(outcomes), wilson(50, 100)
    assert stratified.high - stratified.low < 0.8 * (coin.high - coin.low)


def test_bootstrap_mean_agrees_with_the_normal_interval_and_is_seeded() -> None:
    values = np.random.default_rng(2).normal(3.0, 1.0, 400).tolist()
    estimate = bootstrap_mean(values)
    half = 1.96 * np.std(values) / 20
    assert estimate.interval == pytest.approx((estimate.value - half, estimate.value + half), abs=0.01)
    assert estimate == bootstrap_mean(values)


def test_bootstrap_within_groups_leaves_out_what_lies_between_them() -> None:
    values, groups = [0.0] * 20 + [1.0] * 20, ["a"] * 20 + ["b"] * 20
    assert bootstrap_mean(values, groups).interval == (0.5, 0.5)
    assert bootstrap_mean(values).low < 0.4


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_bootstrap_mean_is_always_an_estimate(values: list[float]) -> None:
    assert bootstrap_mean(values, num_samples=50).count == len(values)


def test_paired_difference_sees_what_unpaired_counts_hide() -> None:
    first = [True] * 40 + [False] * 40 + [True] * 10
    second = [True] * 40 + [False] * 40 + [False] * 10
    found = paired_difference(first, second)
    assert (found.only_first, found.only_second) == (10, 0)
    assert found.value == pytest.approx(10 / 90)
    assert found.low > 0
    assert found.p_value == pytest.approx(2 / 2**10)


def test_paired_difference_of_the_same_is_nothing() -> None:
    outcomes = [True, False, True]
    assert paired_difference(outcomes, outcomes).p_value == 1.0
    with pytest.raises(ValueError, match="same starts"):
        paired_difference(outcomes, outcomes[:2])


def test_mcnemar_is_exact_and_symmetric() -> None:
    # Two-sided binomial test of 2 against 8 at 1/2: 2 * (1 + 10 + 45) / 1024.
    assert mcnemar(2, 8) == mcnemar(8, 2) == pytest.approx(112 / 1024)
    assert mcnemar(3, 3) == 1.0


def test_episodes_needed_gives_the_power_it_promises() -> None:
    # Fleiss' textbook case without continuity correction: 0.5 against 0.7, 80 %, two-sided 5 %.
    needed = episodes_needed(0.5, 0.7)
    assert needed == 93
    rng = np.random.default_rng(3)
    a, b = rng.binomial(needed, 0.5, 4000) / needed, rng.binomial(needed, 0.7, 4000) / needed
    pooled = (a + b) / 2
    claimed = np.abs(b - a) > 1.96 * np.sqrt(2 * pooled * (1 - pooled) / needed)
    assert 0.77 < claimed.mean() < 0.84


def test_an_estimate_outside_its_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="lie in its interval"):
        Estimate(value=0.5, low=0.6, high=0.7, count=3)
