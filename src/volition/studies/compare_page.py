"""The page of a comparison: the table, what it means, success and losses as plots. It needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from volition.evaluation.statistics import Estimate
from volition.studies.compare_rows import Row
from volition.studies.html_page import html_page
from volition.studies.report_numbers import change, interval, p_value, percent
from volition.studies.report_parts import Curve
from volition.studies.report_plots import Axes, line_plot

MOST_CURVES = 6  # more lines than that cannot be told apart


def page(title: str, lead: str, rows: Sequence[Row], results: Sequence[Mapping[str, Any]]) -> str:
    sections = (
        f'<header class="hero"><div><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p></div></header>',
        _table(rows),
        _success(rows),
        _losses(rows, results),
    )
    extra = (
        ".compared{overflow-x:auto}.compared table{border-collapse:collapse;font-size:.85rem;width:100%}"
        ".compared th,.compared td{padding:.4em .7em;text-align:right;white-space:nowrap;"
        "border-bottom:1px solid color-mix(in srgb,currentColor 18%,transparent)}"
        ".compared th:first-child,.compared td:first-child{text-align:left;white-space:normal;min-width:12em}"
    )
    return html_page(title, sections, extra)


def columns(rows: Sequence[Row], *, few: bool = False) -> list[str]:
    """few: for a terminal, those by which rows are told apart."""
    acted = ["success", "95 %", "by seed", "behind the first", "p"] if any(row.success for row in rows) else []
    measured = ["MAE", "validation loss"] if few else ["MAE", "train loss", "validation loss", *_errors(rows)]
    sizes = ["parameters"] if few else ["epochs", "actions", "parameters", "of the head"]
    return ["variant", *acted, *(name.replace("_", " ") for name in measured), *sizes, "ms to act"]


def cells(row: Row, rows: Sequence[Row], *, few: bool = False) -> list[str]:
    """What stands under `columns`."""
    name = f"{row.name} ({row.diverged} of {len(row.seeds) + row.diverged} diverged)" if row.diverged else row.name
    if not row.seeds:
        return [name, *[""] * (len(columns(rows, few=few)) - 1)]
    told = {
        "variant": name,
        "MAE": _spread(row.measures["mae"]),
        "train loss": _spread(row.measures["train_loss"]),
        "validation loss": _spread(row.measures["validation_loss"]),
        **{name.replace("_", " "): f"{value:.3g}" for name, value in row.errors.items()},
        "epochs": f"{row.epochs:.2g}",
        "actions": f"{row.action_dim}",
        "parameters": f"{row.parameters / 1e6:.2f} M",
        "of the head": f"{row.head_parameters / 1e6:.2f} M",
        "ms to act": f"{1000 * row.act_seconds:.1f}",
    }
    if row.success is not None:
        told |= {"success": percent(row.success.value), "95 %": interval(row.success)}
        told["by seed"] = ", ".join(f"{100 * one.value:.0f}" for one in row.by_seed)
    if (gap := row.difference) is not None:
        told["behind the first"] = change(gap.value, gap.low, gap.high)
    if row.p_corrected is not None:
        told["p"] = p_value(row.p_corrected)
    return [told.get(column, "") for column in columns(rows, few=few)]


def _errors(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.errors))


def _spread(estimate: Estimate | None) -> str:
    """Mean and, with several seeds, its interval."""
    if estimate is None:
        return ""
    reach = f" ({estimate.low:.3g} to {estimate.high:.3g})" if estimate.known else ""
    return f"{estimate.value:.3g}{reach}"


def _table(rows: Sequence[Row]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns(rows))
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells(row, rows))}</tr>" for row in rows)
    seeds = max(len(row.seeds) + row.diverged for row in rows)
    acted = any(row.success for row in rows) and len(rows) > 1
    success = (
        "Success: mean over tasks with its 95 % interval, the difference to the first row over the same starts and "
        f"seeds, and McNemar's p, corrected for so many rows (Holm). The first is the best of {len(rows)}, which "
        "flatters it. Interval and p are of these trained policies: what another seed would change, the column by seed "
        "tells. "
    )
    return (
        f"<section><h2>The table</h2><p>{seeds} training seed{'s' if seeds > 1 else ''} a row; same data, order of "
        f"samples, held-out episodes, steps and starts for all. {success if acted else ''}Losses and errors: mean over "
        "seeds, with Student's interval where there are several.</p>"
        f'<div class="compared"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>'
    )


def _success(rows: Sequence[Row]) -> str:
    acted = [row for row in rows if row.success is not None]
    if not acted:
        return ""
    bars = []
    height = 30 * len(acted) + 26
    for number, row in enumerate(acted):
        assert row.success is not None
        y = 30 * number + 20
        x = lambda share: 330 + 500 * share
        bars.append(
            f'<text class="tick" x="0" y="{y + 4}">{escape(row.name[:46])}</text>'
            f'<g class="curve c0"><line class="bar" x1="{x(row.success.low):.1f}" x2="{x(row.success.high):.1f}" '
            f'y1="{y}" y2="{y}"/><circle r="4" cx="{x(row.success.value):.1f}" cy="{y}"/></g>'
        )
    grid = "".join(
        f'<line class="grid" x1="{330 + 5 * share}" x2="{330 + 5 * share}" y1="4" y2="{height - 18}"/>'
        f'<text class="tick middle" x="{330 + 5 * share}" y="{height - 3}">{share}</text>'
        for share in (0, 25, 50, 75, 100)
    )
    drawing = f'<svg viewBox="0 0 860 {height}" role="img" aria-label="Success in percent">{grid}{"".join(bars)}</svg>'
    return f'<section><h2>Success, percent of commands obeyed</h2><div class="plot">{drawing}</div></section>'


def _losses(rows: Sequence[Row], results: Sequence[Mapping[str, Any]]) -> str:
    curves = []
    for row in rows[:MOST_CURVES]:
        (mine, *_) = [result for result in results if result["name"] == row.name]
        points = tuple((float(step), float(loss)) for step, loss in mine["curve"] if loss > 0)
        if points:
            curves.append(Curve(name=row.name, points=points))
    if not curves:
        return ""
    names = "".join(
        f'<li><span class="key c{number}"></span>{escape(curve.name)}</li>' for number, curve in enumerate(curves)
    )
    plot = line_plot(curves, Axes(x_label="steps", y_label="training loss", log=True))
    return (
        "<section><h2>How they learned</h2><p>The first seed of the first rows. Losses of unlike heads are of unlike "
        f'kinds: compare the slopes, not the heights.</p>{plot}<ul class="keys">{names}</ul></section>'
    )
