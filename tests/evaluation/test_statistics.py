import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volition.evaluation.margin import score_interval
from volition.evaluation.statistics import (
    Estimate,
    bounded_mean,
    chains_needed,
    episodes_needed,
    holm,
    mcnemar,
    mean_over_tasks,
    paired_difference,
    pairs_needed,
    sign_flip,
    student_mean,
    student_quantile,
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


def test_student_quantiles_are_those_of_the_tables() -> None:
    wanted = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 29: 2.045, 1000: 1.962}
    for freedom, quantile in wanted.items():
        assert student_quantile(0.975, freedom) == pytest.approx(quantile, rel=2e-3)
    assert student_quantile(0.95, 2) == pytest.approx(2.920, abs=1e-3)


@pytest.mark.parametrize(("count", "least"), [(2, 0.88), (3, 0.85), (5, 0.85), (10, 0.87), (30, 0.9)])
def test_student_mean_covers_the_truth_of_few_and_skewed_values(count: int, least: float) -> None:
    """A percentile bootstrap does in 70, 80 and 86 % with 3, 5 and 10 of these."""
    rng = np.random.default_rng(2)
    skewed = [student_mean(row.tolist()) for row in rng.exponential(1.0, (1500, count))]
    assert np.mean([e.low <= 1.0 <= e.high for e in skewed]) > least
    normal = [student_mean(row.tolist()) for row in rng.normal(1.0, 1.0, (1500, count))]
    assert 0.93 < np.mean([e.low <= 1.0 <= e.high for e in normal]) < 0.97


@pytest.mark.parametrize("values", [[3.0], [0.1] * 5, [7.0] * 40])
def test_one_value_and_equal_ones_are_never_certain(values: list[float]) -> None:
    found = student_mean(values)
    assert found.value == pytest.approx(values[0])
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert found.known is None
    assert student_mean([*values, values[0] + 1.0]).known is not None


def test_student_mean_does_not_go_below_what_is_possible() -> None:
    assert student_mean([0.0, 0.1, 0.9], least=0.0).low == 0.0
    assert student_mean([0.0, 0.1, 0.9]).low < 0.0


def chain_lengths(rng: np.random.Generator, success: float, count: int) -> np.ndarray:
    """Of five tasks, each with this chance."""
    return np.cumprod(rng.random((count, 5)) < success, axis=1).sum(axis=1)


@pytest.mark.parametrize("success", [0.3, 0.8, 0.97, 0.99])
def test_bounded_mean_covers_the_truth(success: float) -> None:
    rng, truth = np.random.default_rng(4), sum(success**i for i in range(1, 6))
    found = [bounded_mean(chain_lengths(rng, success, 30).tolist(), 0.0, 5.0) for _ in range(500)]
    assert 0.9 < np.mean([e.low <= truth <= e.high for e in found]) < 0.99


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_bounded_mean_is_never_certain_and_mirrors(lengths: list[int]) -> None:
    found, mirrored = bounded_mean(lengths, 0.0, 5.0), bounded_mean([5 - x for x in lengths], 0.0, 5.0)
    assert 0 <= found.low <= found.value <= found.high <= 5
    assert found.high > found.low
    assert found.value == pytest.approx(np.mean(lengths))
    assert found.low == pytest.approx(5 - mirrored.high)


def test_bounded_mean_of_many_is_the_normal_interval_and_of_a_coin_wilsons() -> None:
    lengths = chain_lengths(np.random.default_rng(5), 0.8, 4000)
    half = 1.96 * lengths.std() / np.sqrt(4000)
    found = bounded_mean(lengths.tolist(), 0.0, 5.0)
    assert found.interval == pytest.approx((found.value - half, found.value + half), abs=3e-3)
    coin = bounded_mean([1.0] * 7 + [0.0] * 13, 0.0, 1.0)
    assert coin.interval == pytest.approx(wilson(7, 20).interval)
    with pytest.raises(ValueError, match=r"all in 0..5"):
        bounded_mean([6], 0.0, 5.0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_student_mean_is_always_an_estimate(values: list[float]) -> None:
    assert student_mean(values).count == len(values)


def test_paired_difference_sees_what_unpaired_counts_hide() -> None:
    first = [True] * 40 + [False] * 40 + [True] * 10
    second = [True] * 40 + [False] * 40 + [False] * 10
    found = paired_difference(first, second)
    assert (found.only_first, found.only_second) == (10, 0)
    assert found.value == pytest.approx(10 / 90)
    assert found.low > 0
    assert found.p_value == pytest.approx(2 / 2**10)


def test_of_yes_and_no_the_interval_is_tangos_and_the_p_value_decides() -> None:
    found = paired_difference([1] * 14 + [0] * 86, [0] * 14 + [1] * 5 + [0] * 81)
    assert (found.low, found.high) == score_interval(14, 5, 100)
    assert found.low > 0, "by a hair"
    assert found.p_value == mcnemar(14, 5) > 0.05
    for first in range(1, 30):
        for second in range(first):
            shown = mcnemar(first, second) < 0.05
            assert not shown or score_interval(first, second, 60)[0] > 0, "what is shown lies beside 0"


def test_paired_difference_of_the_same_is_nothing_and_still_not_certain() -> None:
    outcomes = [True, False, True]
    same = paired_difference(outcomes, outcomes)
    assert (same.value, same.p_value, same.needed) == (0.0, 1.0, 0)
    assert same.low < -0.3
    assert same.high > 0.3
    with pytest.raises(ValueError, match="same starts"):
        paired_difference(outcomes, outcomes[:2])


def test_differences_of_chains_are_found_as_often_as_they_should_be() -> None:
    rng = np.random.default_rng(6)
    pairs = [(chain_lengths(rng, 0.8, 60), chain_lengths(rng, 0.8, 60)) for _ in range(200)]
    equal = [paired_difference(a.tolist(), b.tolist(), most=5.0) for a, b in pairs]
    assert 0.01 <= np.mean([d.p_value < 0.05 for d in equal]) <= 0.1
    assert np.mean([d.low <= 0 <= d.high for d in equal]) > 0.9
    better = paired_difference(chain_lengths(rng, 0.9, 400).tolist(), chain_lengths(rng, 0.6, 400).tolist(), most=5.0)
    assert better.p_value < 0.001
    assert better.low > 1
    assert better.only_first > better.only_second
    assert better.count == 400


def test_sign_flip_agrees_with_counting_all_signs() -> None:
    gains = np.array([1, -2, 3, 4, 5, 6, 7, 8], float)
    patterns = np.array(np.meshgrid(*[[-1, 1]] * 8)).reshape(8, -1)
    exact = np.mean(np.abs(np.abs(gains) @ patterns) >= gains.sum())
    assert sign_flip(gains) == pytest.approx(exact, abs=0.004)
    assert sign_flip(gains) == sign_flip(-gains)


def test_as_many_pairs_as_are_said_to_be_needed_show_the_difference() -> None:
    rng = np.random.default_rng(7)
    pilot = chain_lengths(rng, 0.85, 4000) - chain_lengths(rng, 0.75, 4000)
    needed = pairs_needed(pilot.astype(float))
    gains = [chain_lengths(rng, 0.85, needed) - chain_lengths(rng, 0.75, needed) for _ in range(300)]
    shown = np.mean([sign_flip(g.astype(float), num_samples=1000) < 0.05 for g in gains])
    assert 0.72 < shown < 0.88
    independent = chains_needed(chain_lengths(rng, 0.8, 4000).tolist(), float(pilot.mean()), most=5)
    assert independent == pytest.approx(needed, rel=0.15)
    with pytest.raises(ValueError, match="above 0"):
        chains_needed([1, 2], 0.0, most=5)
    assert chains_needed([0] * 20, 0.5, most=5) > 50  # all equal, and still not certain


def test_no_fewer_pairs_are_needed_than_could_show_anything() -> None:
    assert pairs_needed(np.ones(3)) >= 6
    assert mcnemar(5, 0) > 0.05 > mcnemar(6, 0)
    assert pairs_needed(np.array([1.0, 1, 1, 1, 0])) >= 6


def test_mcnemar_is_exact_and_symmetric() -> None:
    # Two-sided binomial test of 2 against 8 at 1/2: 2 * (1 + 10 + 45) / 1024.
    assert mcnemar(2, 8) == mcnemar(8, 2) == pytest.approx(112 / 1024)
    assert mcnemar(3, 3) == 1.0


def test_holm_agrees_with_a_worked_example_and_errs_rarely_among_many() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.2]) == [0.2]
    draws = np.random.default_rng(0).random((2000, 24))  # 24 comparisons of policies that are alike
    wrong = np.mean([min(holm(row.tolist())) < 0.05 for row in draws])
    assert 0.03 < wrong < 0.07
    assert np.mean(draws.min(1) < 0.05) > 0.6


def power_of_mcnemar(first: float, second: float, count: int) -> float:
    """How often the exact test shows that these rates differ, over independent outcomes on so many common starts."""
    ours, theirs = first * (1 - second), second * (1 - first)
    total = 0.0
    for differing, weight in enumerate(binomial(count, ours + theirs)):
        if weight > 1e-8:
            few = next(k for k in range(differing + 1) if mcnemar(k, differing - k) >= 0.05)  # fewer of either show it
            chances = binomial(differing, ours / (ours + theirs))
            total += weight * float(chances[:few].sum() + chances[len(chances) - few :].sum())
    return total


def binomial(count: int, chance: float) -> np.ndarray:
    """The chance of 0 to `count` successes."""
    k = np.arange(count + 1)
    return np.array([float(math.comb(count, i)) for i in k]) * chance**k * (1 - chance) ** (count - k)


@pytest.mark.parametrize(("first", "second"), [(0.95, 0.9), (0.9, 0.8), (0.5, 0.4), (0.5, 0.7), (0.1, 0.3)])
def test_episodes_needed_gives_the_power_it_promises_on_common_starts(first: float, second: float) -> None:
    """Counted out, by the tool's own test."""
    needed = episodes_needed(first, second)
    assert 0.8 <= power_of_mcnemar(first, second, needed) < 0.86
    assert power_of_mcnemar(first, second, round(0.85 * needed)) < 0.8, "and not many more than it takes"


def test_episodes_needed_are_enough_on_other_starts_for_each_as_well() -> None:
    # Fleiss' textbook case has 93 of each without a continuity correction and 103 with it.
    needed = episodes_needed(0.5, 0.7)
    assert 103 <= needed <= 108
    assert power_of_mcnemar(1.0, 0.95, episodes_needed(1.0, 0.95)) > 0.8
    rng = np.random.default_rng(3)
    a, b = rng.binomial(needed, 0.5, 4000) / needed, rng.binomial(needed, 0.7, 4000) / needed
    pooled = (a + b) / 2
    claimed = np.abs(b - a) > 1.96 * np.sqrt(2 * pooled * (1 - pooled) / needed)
    assert 0.8 < claimed.mean() < 0.88


def test_an_estimate_outside_its_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="lie in its interval"):
        Estimate(value=0.5, low=0.6, high=0.7, count=3)
