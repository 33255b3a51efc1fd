"""The sections of the report's page that are drawn from tables of numbers: tasks, curves, time, settings."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from volition.evaluation.statistics import Estimate
from volition.studies.report_numbers import THIN, duration, interval, percent, words
from volition.studies.report_parts import Curve, Report
from volition.studies.report_plots import Axes, line_plot


def tasks_section(report: Report) -> str:
    """A row a task: its rate as a dot on its interval, the blind twin as a ring."""
    if not report.groups:
        return ""
    blind = any(group.blind is not None for group in report.groups)
    groups = []
    for group in report.groups:
        rows = [rate_row("mean", group.name, group.success, ring=group.blind)]
        rows += [rate_row("", words(row.task), row.success, ring=row.blind) for row in group.tasks]
        groups.append(f"<div>{''.join(rows)}</div>")
    ring = '<span><i class="blind"></i>blind twin</span>' if blind else ""
    unseen = f"<p>{escape(report.unseen)}</p>" if report.unseen else ""
    return (
        f'<section><h2>Task by task</h2>{unseen}<div class="legend">'
        '<span><i class="seeing"></i>success rate</span>'
        f'<span><i class="range"></i>95{THIN}% interval</span>{ring}</div>'
        f'<div class="tasks">{rate_scale()}{"".join(groups)}</div></section>'
    )


def chains_section(report: Report) -> str:
    """The share of chains that came so far, a row a task more."""
    if report.chains is None:
        return ""
    rows = [rate_row("", f"{number} in a row", share) for number, share in enumerate(report.chains.reached, start=1)]
    return (
        f'<section><h2>How far it comes</h2><div class="tasks">{rate_scale()}<div>{"".join(rows)}</div></div></section>'
    )


def rate_scale() -> str:
    """What stands over rows of rates."""
    return (
        '<div class="row scale"><span class="name"></span><span class="ends"><span>0</span><span>50</span>'
        f'<span>100{THIN}%</span></span><span class="value"></span></div>'
    )


def rate_row(
    kind: str, name: str, success: Estimate, *, ring: Estimate | None = None, ring_name: str = "blind", more: str = ""
) -> str:
    """A rate as a dot on its interval, another one as a ring. `more`: a line under the name."""
    share = lambda value: f"{100 * value:.2f}%"
    width = share(success.high - success.low)
    drawn = f'<i class="blind" style="left:{share(ring.value)}"></i>' if ring is not None else ""
    below = f"<small>{escape(more)}</small>" if more else ""
    title = f"{percent(success.value)} of {success.count}, {interval(success)}"
    if ring is not None:
        title += f"; {ring_name} {percent(ring.value)}"
    return (
        f'<div class="row {kind}"><span class="name">{escape(name)}{below}</span>'
        f'<span class="track" title="{escape(title, quote=True)}">'
        f'<i class="span" style="left:{share(success.low)};width:{width}"></i>{drawn}'
        f'<i class="dot" style="left:{share(success.value)}"></i></span>'
        f'<span class="value"><b>{percent(success.value)}</b><small>{interval(success)}</small></span></div>'
    )


def curves_section(report: Report) -> str:
    """Loss over steps, and success over minutes of training where that was measured."""
    parts = []
    if report.losses:
        values = [y for curve in report.losses for _, y in curve.points]
        log = min(values) > 0 and max(values) > 20 * min(values)
        axes = Axes(x_label="training step", y_label="loss, logarithmic" if log else "loss", log=log)
        parts.append(f"<h3>Loss</h3>{_legend(report.losses)}{line_plot(report.losses, axes)}")
    if report.progress:
        axes = Axes(x_label="minutes of training", y_label="success", y_range=(0.0, 1.0), y_text=percent)
        parts.append(
            f"<h3>Success after minutes of training</h3>{_legend(report.progress)}{line_plot(report.progress, axes)}"
        )
    return f"<section><h2>How it learned</h2><div>{''.join(parts)}</div></section>" if parts else ""


def _legend(curves: Sequence[Curve]) -> str:
    if len(curves) < 2:
        return ""
    names = "".join(f'<span><i class="stroke c{i}"></i>{escape(curve.name)}</span>' for i, curve in enumerate(curves))
    return f'<div class="legend">{names}</div>'


def time_section(report: Report) -> str:
    """One bar for the whole run, and its parts."""
    if not report.phases:
        return ""
    total = sum(phase.seconds for phase in report.phases)
    bar = "".join(
        f'<i class="p{i % 5}" style="flex:{phase.seconds:.3f}" title="{escape(phase.name, quote=True)}"></i>'
        for i, phase in enumerate(report.phases)
    )
    rows = "".join(
        f'<tr><td><i class="key p{i % 5}"></i>{escape(phase.name)}<small>{escape(phase.note)}</small></td>'
        f"<td>{duration(phase.seconds)}</td></tr>"
        for i, phase in enumerate(report.phases)
    )
    rest = report.seconds - total
    if rest > 0.05 * report.seconds:
        rows += f"<tr><td>Everything else</td><td>{duration(rest)}</td></tr>"
    return f'<section><h2>Where the time went</h2><div class="bar">{bar}</div><table>{rows}</table></section>'


def details_section(report: Report) -> str:
    """Settings and machine, side by side: what it takes to get these numbers again."""
    lists = [
        f"<div><h3>{name}</h3><dl>"
        + "".join(f"<dt>{escape(label)}</dt><dd>{escape(value)}</dd>" for label, value in rows)
        + "</dl></div>"
        for name, rows in (("Settings", report.settings), ("Machine", report.machine))
        if rows
    ]
    if not lists:
        return ""
    return f'<section><h2>How to get these numbers again</h2><div class="details">{"".join(lists)}</div></section>'
