"""How the report writes numbers: a rate is never without its interval, a unit never far from its number."""

from __future__ import annotations

import math

from volition.evaluation.statistics import Estimate

THIN = "\u202f"  # a thin space that does not break


def percent(value: float) -> str:
    """0.936 -> '94 %'; never 100 or 0 unless it is exact."""
    rounded = round(100.0 * value)
    if rounded == 100 and value < 1.0:
        rounded = 99
    if rounded == 0 and value > 0.0:
        rounded = 1
    return f"{rounded}{THIN}%"


def rate(estimate: Estimate) -> str:
    """As `percent`, with the sign smaller: for figures in large type. HTML."""
    number, _, sign = percent(estimate.value).partition(THIN)
    return f"{number}<small>{sign}</small>"


def interval(estimate: Estimate) -> str:
    """'91–97 %', rounded outwards."""
    low, high = math.floor(100.0 * estimate.low + 1e-9), math.ceil(100.0 * estimate.high - 1e-9)
    return f"{low}\u2013{high}{THIN}%"


def change(difference: float, low: float, high: float) -> str:
    """'+12 (+3 to +20)': points, of a difference of two rates and its interval."""
    return f"{100 * difference:+.0f} ({100 * low:+.0f} to {100 * high:+.0f})"


def p_value(p: float) -> str:
    """'0.021', '< 0.001'"""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def duration(seconds: float) -> str:
    """'4.2 s', '38 s', '4 min 52 s', '1 h 07 min'"""
    return " ".join(f"{number}{THIN}{unit}" for number, unit in _parts(seconds))


def unit_duration(seconds: float) -> str:
    """As `duration`, with the units smaller: for figures in large type. HTML."""
    return "".join(f"<span>{number}</span><small>{unit}</small>" for number, unit in _parts(seconds))


def plural(count: int) -> str:
    """What a noun ends with after this number."""
    return "" if count == 1 else "s"


def words(task: str) -> str:
    """'push_blue_block_left' -> 'push blue block left'"""
    return task.replace("_", " ")


def _parts(seconds: float) -> list[tuple[str, str]]:
    if seconds < 9.95:
        return [(f"{seconds:.1f}", "s")]
    whole = round(seconds)
    if whole < 60:
        return [(str(whole), "s")]
    if whole < 3600:
        return [(str(whole // 60), "min"), (f"{whole % 60:02d}", "s")]
    return [(str(whole // 3600), "h"), (f"{whole % 3600 // 60:02d}", "min")]
