"""Is one policy not worse than another by more than a margin? For the same starts, whose outcomes are yes or no.

Tango's score interval (Statistics in Medicine 17, 1998): it asks of every difference how well the outcomes go with it,
so it holds its 95 % also where the two hardly ever differ, which is where the usual ones are too narrow.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from statistics import NormalDist

CONFIDENCE = 0.95
PRECISION = 1e-10


def score_interval(
    only_first: float, only_second: float, count: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Of the difference of two rates over `count` common starts, of which so many only one of the two did."""
    if count < 1 or only_first < 0 or only_second < 0 or only_first + only_second > count:
        raise ValueError(f"of {count} starts {only_first} and {only_second} cannot be done by one policy only")
    sure = NormalDist().inv_cdf(0.5 + confidence / 2.0)

    def lowest(first: float, second: float) -> float:
        """Where the score, which falls as the difference grows, is `sure`."""
        low, high = -1.0, (first - second) / count
        while high - low > PRECISION:
            middle = (low + high) / 2.0
            low, high = (middle, high) if _score(first, second, count, middle) > sure else (low, middle)
        return low

    return lowest(only_first, only_second), -lowest(only_second, only_first)


def starts_for_margin(
    only_first: float, only_second: float, count: int, margin: float, *, most: int = 1_000_000
) -> int:
    """Common starts after which the interval's lower end would lie above -margin, if it goes on as in these `count`.

    0: not with `most` of them either. Where the two never differ a margin of 0.02 takes 189.
    """
    if count < 1 or not 0 < margin < 1:
        raise ValueError(f"at least one start and a margin between 0 and 1 are needed, got {count} and {margin}")

    def shown(size: int) -> bool:
        return score_interval(only_first * size / count, only_second * size / count, size)[0] > -margin

    if not shown(most):
        return 0
    return bisect_left(range(1, most), True, key=shown) + 1


def _score(first: float, second: float, count: int, difference: float) -> float:
    """How many standard errors the outcomes lie above `difference`, were it the true one."""
    # The likeliest rate of "only the second" under that difference solves a x^2 + b x + c = 0.
    a, c = 2.0 * count, -second * difference * (1.0 - difference)
    b = -first - second + (2.0 * count - first + second) * difference
    rate = (math.sqrt(max(0.0, b * b - 4.0 * a * c)) - b) / (2.0 * a)
    variance = count * (2.0 * rate + difference * (1.0 - difference))
    above = first - second - count * difference
    if variance <= 0.0:
        return math.copysign(math.inf, above) if above else 0.0
    return above / math.sqrt(variance)
