"""Pictures of a dataset, to be looked at: `volition data view` and `volition data stats`.

contact_sheet(trace, spec, steps, path)   PNG: pictures of every camera, actions below, marks where pictures are
film(trace, spec)                         frames: all cameras side by side, actions below with a cursor
histograms(traces, spec)                  PNG: a plot for every dimension of the actions
table(traces, spec)                       the same in numbers
"""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rich.table import Table

from volition.contract import RobotSpec
from volition.data.checks.evidence import Trace
from volition.data.statistics import vector_statistics

NARROW = 0.25  # of the declared range: actions that stay within so little of it are drawn larger
COLORS = ("#3b6fb6", "#d1603d", "#3f9b6c", "#8f63b8", "#b8962e", "#5c6b73", "#c2578c")
INK, FAINT = "#30363d", "#d0d7de"
DPI = 110
FILM_WIDTH, FILM_HEIGHT, PLOT_HEIGHT = 720, 300, 260  # pixels: the film, its pictures at most, its plots
LEFT, RIGHT, BOTTOM, TOP = 0.07, 0.84, 0.17, 0.88  # where the plots lie in their part of a film, as shares of it
BINS, LEAST = 60, 0.05  # of a histogram; the least share that is drawn, in percent
HEADS = ("name", "unit", "min", "q01", "mean", "std", "q99", "max", "at limits")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Dimensions that share a plot, because they share a unit."""

    title: str
    places: tuple[int, ...]
    binary: bool


def groups(spec: RobotSpec) -> list[Group]:
    """Neighbouring dimensions of one unit and kind, at most as many as there are colours."""
    found: list[list[int]] = []
    dimensions = spec.action_space.dimensions
    for i, dimension in enumerate(dimensions):
        last = dimensions[found[-1][-1]] if found else None
        alike = last is not None and (last.unit, last.kind) == (dimension.unit, dimension.kind)
        if alike and len(found[-1]) < len(COLORS):
            found[-1].append(i)
        else:
            found.append([i])
    return [
        Group(title=dimensions[p[0]].unit, places=tuple(p), binary=dimensions[p[0]].kind == "binary") for p in found
    ]


def contact_sheet(trace: Trace, spec: RobotSpec, steps: np.ndarray, path: Path) -> Path:
    """`trace.pictures` are those of `steps` int[k]; every camera is a row."""
    cameras, plots = list(trace.pictures), groups(spec)
    width = 12.0
    rows = [width / len(steps) * x.shape[1] / x.shape[2] for x in trace.pictures.values()]
    heights = [*rows, *(0.7 if plot.binary else 1.5 for plot in plots)]
    figure = Figure(figsize=(width, sum(heights) + 1.1), dpi=DPI, layout="constrained")
    figure.suptitle(_title(trace), fontsize=11, color=INK, x=0.01, ha="left")
    grid = figure.add_gridspec(len(heights), len(steps), height_ratios=heights, hspace=0.02, wspace=0.02)
    for row, camera in enumerate(cameras):
        for column, step in enumerate(steps.tolist()):
            place = figure.add_subplot(grid[row, column])
            place.imshow(trace.pictures[camera][column])
            place.set_xticks([])
            place.set_yticks([])
            for side in place.spines.values():
                side.set_visible(False)
            if row == 0:
                place.set_title(f"{step / spec.control_hz:.2f} s", fontsize=8, color=INK)
            if column == 0:
                place.set_ylabel(camera, fontsize=9, color=INK)
    for row, plot in enumerate(plots, start=len(cameras)):
        place = figure.add_subplot(grid[row, :])
        _draw(place, trace, spec, plot, last=row == len(heights) - 1)
        for step in steps.tolist():
            place.axvline(step / spec.control_hz, color=FAINT, linewidth=0.8, zorder=0)
    path.write_bytes(_png(figure))
    return path


def film(trace: Trace, spec: RobotSpec) -> np.ndarray:
    """uint8[n, height, width, 3], one frame a control step; `trace.pictures` are those of every step."""
    plot = _film_plot(trace, spec)
    begin, end = round((1 - TOP) * PLOT_HEIGHT), round((1 - BOTTOM) * PLOT_HEIGHT)
    height = int(min(FILM_HEIGHT, FILM_WIDTH / sum(x.shape[2] / x.shape[1] for x in trace.pictures.values())))
    frames = []
    for step in range(len(trace)):
        seen = np.concatenate([_scaled(x[step], height) for x in trace.pictures.values()], axis=1)[:, :FILM_WIDTH]
        top = np.full((height, FILM_WIDTH, 3), 255, np.uint8)
        column = (FILM_WIDTH - seen.shape[1]) // 2
        top[:, column : column + seen.shape[1]] = seen
        below = plot.copy()
        at = round(FILM_WIDTH * (LEFT + (RIGHT - LEFT) * step / max(len(trace) - 1, 1)))
        below[begin:end, at - 1 : at + 1] = (30, 30, 30)
        frame = np.concatenate([top, below])
        frames.append(frame[: len(frame) // 2 * 2])
    return np.stack(frames)


def _film_plot(trace: Trace, spec: RobotSpec) -> np.ndarray:
    """The actions as a picture uint8[PLOT_HEIGHT, FILM_WIDTH, 3]."""
    plots = groups(spec)
    figure = Figure(figsize=(FILM_WIDTH / DPI, PLOT_HEIGHT / DPI), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(_title(trace), fontsize=8, color=INK, x=0.01, ha="left", y=0.995, va="top")
    grid = figure.add_gridspec(
        len(plots), 1, height_ratios=[1 if p.binary else 2 for p in plots], hspace=0.25,
        left=LEFT, right=RIGHT, top=TOP, bottom=BOTTOM,
    )  # fmt: skip
    for row, plot in enumerate(plots):
        place = figure.add_subplot(grid[row])
        _draw(place, trace, spec, plot, last=row == len(plots) - 1)
        place.set_xlim(0, max(len(trace) - 1, 1) / spec.control_hz)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw(place: Axes, trace: Trace, spec: RobotSpec, plot: Group, *, last: bool) -> None:
    """A group's actions against seconds."""
    dimensions = spec.action_space.dimensions
    seconds = np.arange(len(trace)) / spec.control_hz
    for color, i in zip(COLORS, plot.places):
        style = "steps-post" if plot.binary else "default"
        place.plot(seconds, trace.actions[:, i], color=color, linewidth=1.3, label=dimensions[i].name, drawstyle=style)
    low = min(dimensions[i].low for i in plot.places)
    high = max(dimensions[i].high for i in plot.places)
    shown = trace.actions[:, list(plot.places)]
    if np.abs(shown).max() < NARROW * max(abs(low), abs(high)):  # a range declared so widely would show flat lines
        low, high = float(min(shown.min(), 0.0)), float(max(shown.max(), 1e-6))
    place.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    place.margins(x=0.01)
    place.tick_params(labelsize=7, colors=INK, labelbottom=last)
    for side, spine in place.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)
    if last:
        place.set_xlabel("seconds", fontsize=8, color=INK)
    unit = plot.title.replace(", ", ",\n")
    place.legend(
        fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, alignment="left",
        title=unit, title_fontsize=7,
    )  # fmt: skip


def _title(trace: Trace) -> str:
    sentence = trace.instructions[0] if trace.instructions else "(no instruction)"
    task = f" ({trace.task})" if trace.task not in ("", sentence) else ""
    return f"{trace.name}: “{sentence}”{task}, {len(trace)} frames"


def _scaled(picture: np.ndarray, height: int) -> np.ndarray:
    width = round(picture.shape[1] * height / picture.shape[0])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def histograms(traces: Sequence[Trace], spec: RobotSpec) -> bytes:
    """PNG with a plot for every dimension of the actions: how often which value, with the range of the contract."""
    actions, dimensions = np.concatenate([trace.actions for trace in traces]), spec.action_space.dimensions
    columns = min(4, len(dimensions))
    rows = -(-len(dimensions) // columns)
    figure = Figure(figsize=(3.0 * columns, 2.1 * rows + 0.4), dpi=DPI, layout="constrained")
    figure.suptitle(
        f"actions of {len(traces)} episodes, {len(actions)} frames", fontsize=10, color=INK, x=0.01, ha="left"
    )
    for i, dimension in enumerate(dimensions):
        place = figure.add_subplot(rows, columns, i + 1)
        low, high = min(dimension.low, actions[:, i].min()), max(dimension.high, actions[:, i].max())
        share = np.full(len(actions), 100 / len(actions))
        place.hist(actions[:, i], bins=BINS, range=(low, high), weights=share, color=COLORS[0])
        for edge in (dimension.low, dimension.high):
            place.axvline(edge, color=COLORS[1], linewidth=0.9, linestyle=(0, (3, 2)))
        place.set_yscale("log")  # rest is so common that nothing else would be seen
        place.set_ylim(LEAST, 100)
        place.set_yticks([0.1, 1, 10, 100], labels=["0.1", "1", "10", "100"])
        place.set_title(f"{dimension.name}  [{dimension.unit}]", fontsize=8, color=INK)
        place.tick_params(labelsize=7, colors=INK, which="both")
        for side, spine in place.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(FAINT)
        if i % columns == 0:
            place.set_ylabel("% of frames", fontsize=8, color=INK)
    return _png(figure)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A dimension of the actions in numbers."""

    name: str
    unit: str
    min: float
    q01: float
    mean: float
    std: float
    q99: float
    max: float
    at_limits: float  # share of the frames at either end of the contract's range


def table(traces: Sequence[Trace], spec: RobotSpec) -> list[Row]:
    actions = np.concatenate([trace.actions for trace in traces])
    found = vector_statistics(actions)
    rows = []
    for i, d in enumerate(spec.action_space.dimensions):
        slack = 1e-3 * (d.high - d.low)
        ends = (actions[:, i] <= d.low + slack) | (actions[:, i] >= d.high - slack)
        rows.append(
            Row(
                name=d.name, unit=d.unit, min=found.min[i], q01=found.q01[i], mean=found.mean[i], std=found.std[i],
                q99=found.q99[i], max=found.max[i], at_limits=float(ends.mean()),
            )
        )  # fmt: skip
    return rows


def page(rows: Sequence[Row], picture: bytes, title: str) -> str:
    """The table and the histograms as one HTML file that needs nothing else."""
    head = "".join(f"<th>{escape(name)}</th>" for name in HEADS)
    body = ""
    for row in rows:
        cells = [f"<td{' class=n' * (i > 1)}>{escape(cell)}</td>" for i, cell in enumerate(_cells(row))]
        body += f"<tr>{''.join(cells)}</tr>"
    image = base64.b64encode(picture).decode()
    style = (
        "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1100px;padding:0 1rem;color:#1f2328}"
        "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .7rem;border-bottom:1px solid #d0d7de}"
        "th{text-align:left}.n{text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%}"
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{style}</style>"
        f"<h1>{escape(title)}</h1><table><tr>{head}</tr>{body}</table>"
        f'<img alt="histograms of the actions" src="data:image/png;base64,{image}"></html>\n'
    )


def show(rows: Sequence[Row], title: str) -> None:
    """The table on the terminal."""
    shown = Table(title=title, title_justify="left")
    for name in HEADS:
        shown.add_column(name, justify="left" if name in HEADS[:2] else "right")
    for row in rows:
        shown.add_row(*_cells(row))
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=120)
    console.print(shown)


def _cells(row: Row) -> list[str]:
    numbers = [f"{getattr(row, kind):.3f}" for kind in HEADS[2:-1]]
    return [row.name, row.unit, *numbers, f"{row.at_limits:.1%}"]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()
