import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volition.evaluation.statistics import (
    Estimate,
    bootstrap_mean,
    bounded_mean,
    chains_needed,
    episodes_needed,
    holm,
    mcnemar,
    mean_over_tasks,
    paired_difference,
    pairs_needed,
    sign_flip,
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
