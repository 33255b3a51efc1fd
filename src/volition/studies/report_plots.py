"""Plots of the report, drawn as SVG that takes its colours from the page and so follows light and dark.

A plot is drawn twice, wide and narrow, and the page shows the one that fits: scaling one drawing would make its text
unreadable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from volition.studies.report_parts import Curve

MAX_POINTS = 400  # more make no difference on a screen


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The frame of a plot: labels, the range of y, whether y is logarithmic, how a y tick is written."""

    x_label: str
    y_label: str
    log: bool = False
    y_range: tuple[float, float] | None = None  # None: from the data
    x_from_zero: bool = True
    y_text: Callable[[float], str] = lambda y: f"{y:g}"


@dataclass(frozen=True, kw_only=True)
class _Canvas:
    """From data to pixels."""

    width: float
    height: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    log: bool
    left: float = 46.0
    right: float = 16.0
    top: float = 26.0
    bottom: float = 40.0

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        low, high = (math.log10(v) for v in self.y_range) if self.log else self.y_range
        share = ((math.log10(value) if self.log else value) - low) / (high - low)
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)


def line_plot(curves: Sequence[Curve], axes: Axes) -> str:
    """Both drawings of a plot as one piece of HTML."""
    drawings = (
        _draw(curves, axes, 860.0, 320.0, "wide"),
        _draw(curves, axes, 400.0, 300.0, "narrow"),
    )
    return f'<div class="plot">{"".join(drawings)}</div>'


def _draw(curves: Sequence[Curve], axes: Axes, width: float, height: float, kind: str) -> str:
    canvas = _Canvas(
        width=width, height=height, x_range=_x_range(curves, axes), y_range=_y_range(curves, axes), log=axes.log
    )
    parts = [_frame(canvas, axes, sparse=kind == "narrow")]
    for number, curve in enumerate(curves):
        parts.append(_curve(canvas, curve, number))
    names = ", ".join(curve.name for curve in curves)
    label = escape(f"{axes.y_label} over {axes.x_label}: {names}", quote=True)
    return (
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    )


def _curve(canvas: _Canvas, curve: Curve, number: int) -> str:
    """Intervals and dots where there are intervals; else the raw line, pale, below a running median."""
    points = _thin(curve.points)
    if curve.intervals:
        bars = "".join(
            f'<line class="bar" x1="{canvas.x(x):.1f}" x2="{canvas.x(x):.1f}" '
            f'y1="{canvas.y(low):.1f}" y2="{canvas.y(high):.1f}"/>'
            for (x, _), (low, high) in zip(curve.points, curve.intervals)
        )
        dots = "".join(f'<circle r="3.5" cx="{canvas.x(x):.1f}" cy="{canvas.y(y):.1f}"/>' for x, y in curve.points)
        return f'<g class="curve c{number}">{bars}{_line(canvas, curve.points, "line")}{dots}</g>'
    if len(points) < 40:
        return f'<g class="curve c{number}">{_line(canvas, points, "line")}</g>'
    smooth = _running_median(points, max(3, len(points) // 20))
    return f'<g class="curve c{number}">{_line(canvas, points, "raw")}{_line(canvas, smooth, "line")}</g>'


def _line(canvas: _Canvas, points: Sequence[tuple[float, float]], kind: str) -> str:
    path = " ".join(f"{canvas.x(x):.1f},{canvas.y(y):.1f}" for x, y in points)
    return f'<polyline class="{kind}" points="{path}"/>'


def _frame(canvas: _Canvas, axes: Axes, *, sparse: bool) -> str:
    left, right, floor = canvas.left, canvas.width - canvas.right, canvas.height - canvas.bottom
    across = f'x1="{left:g}" x2="{right:g}"'
    parts = [f'<text class="name" x="0" y="12">{escape(axes.y_label)}</text>']
    for value in _log_ticks(canvas.y_range) if axes.log else _ticks(canvas.y_range, 5):
        y, text = canvas.y(value), escape(axes.y_text(value))
        parts.append(f'<line class="grid" {across} y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick end" x="{left - 8:g}" y="{y + 4:.1f}">{text}</text>')
    parts.append(f'<line class="axis" {across} y1="{floor:g}" y2="{floor:g}"/>')
    parts.extend(
        f'<text class="tick middle" x="{canvas.x(value):.1f}" y="{floor + 18:g}">{value:,.10g}</text>'
        for value in _ticks(canvas.x_range, 4 if sparse else 8)
    )
    parts.append(f'<text class="name end" x="{right:g}" y="{canvas.height - 4:g}">{escape(axes.x_label)}</text>')
    return "".join(parts)


def _x_range(curves: Sequence[Curve], axes: Axes) -> tuple[float, float]:
    values = [x for curve in curves for x, _ in curve.points]
    low, high = (0.0 if axes.x_from_zero else min(values)), max(values)
    return (low, high) if high > low else (low, low + 1.0)


def _y_range(curves: Sequence[Curve], axes: Axes) -> tuple[float, float]:
    if axes.y_range is not None:
        return axes.y_range
    values = [y for curve in curves for _, y in curve.points] + [
        y for c in curves for pair in c.intervals for y in pair
    ]
    low, high = min(values), max(values)
    if axes.log:
        assert low > 0, "a logarithmic axis needs positive values"
        return low / 1.1, high * 1.1
    return min(0.0, low), high + 0.05 * (high - min(0.0, low)) if high > min(0.0, low) else low + 1.0


def _ticks(span: tuple[float, float], about: int) -> list[float]:
    """Round numbers within the span, `about` so many: multiples of 1, 2 or 5 times a power of ten."""
    raw = (span[1] - span[0]) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw)
    first, last = math.ceil(span[0] / step - 1e-9), math.floor(span[1] / step + 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def _log_ticks(span: tuple[float, float]) -> list[float]:
    """1, 2 and 5 times powers of ten within the span; only powers where there are many."""
    powers = range(math.floor(math.log10(span[0])), math.ceil(math.log10(span[1])) + 1)
    factors = (1.0,) if len(powers) > 4 else (1.0, 2.0, 5.0)
    return [v for p in powers for f in factors if span[0] <= (v := float(f"{f:g}e{p}")) <= span[1]]


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most MAX_POINTS: means over neighbours."""
    if len(points) <= MAX_POINTS:
        return list(points)
    parts = np.array_split(np.asarray(points, dtype=np.float64), MAX_POINTS)
    return [(float(part[:, 0].mean()), float(part[:, 1].mean())) for part in parts]


def _running_median(points: Sequence[tuple[float, float]], width: int) -> list[tuple[float, float]]:
    values = np.array([y for _, y in points])
    half = width // 2
    return [(x, float(np.median(values[max(0, i - half) : i + half + 1]))) for i, (x, _) in enumerate(points)]
