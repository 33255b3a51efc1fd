from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from volition.data.spread import make_keys, spread


def order(size: int, key: np.ndarray, count: int | None = None) -> np.ndarray:
    count = size if count is None else count
    return spread(np.arange(count), np.full(count, size), np.broadcast_to(key, count))


@given(size=st.integers(1, 600), seed=st.integers(0, 2**31), epoch=st.integers(0, 100))
def test_every_order_has_everything_once(size: int, seed: int, epoch: int) -> None:
    assert sorted(order(size, make_keys(seed, epoch))) == list(range(size))


@given(size=st.integers(100, 5000), seed=st.integers(0, 2**31), first=st.integers(0, 90), count=st.integers(2, 10))
def test_any_stretch_is_spread_over_all(size: int, seed: int, first: int, count: int) -> None:
    """No gap on the circle is much longer than the even one, which is size / count."""
    found = np.sort(order(size, make_keys(seed))[first : first + count])
    gaps = np.diff(found, append=found[0] + size)
    assert gaps.max() <= 2.7 * size / count
    assert gaps.min() >= 0.2 * size / count


def test_a_place_can_be_asked_for_alone_and_beside_places_of_other_orders() -> None:
    sizes, keys = np.array([7, 5000, 1]), make_keys(3, np.arange(3), 0)
    places = np.array([4, 4321, 0])
    together = spread(places, sizes, keys)
    assert together.tolist() == [order(int(size), key[None])[place] for size, key, place in zip(sizes, keys, places)]


def test_orders_differ_and_each_thing_comes_first_equally_often() -> None:
    size, num = 12, 6000
    keys = make_keys(0, np.arange(num)).repeat(size)
    orders = spread(np.tile(np.arange(size), num), np.full(size * num, size), keys).reshape(num, size)
    np.testing.assert_allclose(np.bincount(orders[:, 0], minlength=size), num / size, rtol=0.15)
    assert len({tuple(found) for found in orders.tolist()}) > 2 * size  # not one circle, begun elsewhere


def test_keys_tell_numbers_and_their_order_apart() -> None:
    lists = [(0,), (1,), (0, 0), (0, 1), (1, 0), (1, 1), (0, 0, 0)]
    assert len({make_keys(*numbers).item() for numbers in lists}) == len(lists)
    np.testing.assert_array_equal(make_keys(7, np.arange(3)), [make_keys(7, i).item() for i in range(3)])


def test_millions_cost_nothing_that_is_not_asked_for() -> None:
    found = order(2**31, make_keys(0), 100)
    assert len(set(found.tolist())) == 100
    assert found.max() > 2**30
