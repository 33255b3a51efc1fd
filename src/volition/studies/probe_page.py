"""The page of `volition eval --probes`: what each disturbance costs, whether it listens, which tasks prove nothing.

It needs nothing beside itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from volition.evaluation.episodes import last_line
from volition.evaluation.statistics import Estimate
from volition.studies.html_page import html_page
from volition.studies.report_numbers import THIN, change, interval, p_value, percent, rate, words
from volition.studies.report_sections import rate_row, rate_scale

STYLE = """
.row { padding: .3rem 0; } .row .name small { display: block; color: var(--soft); font-size: .8125rem; }
.said { margin-top: 1.25rem; } .said li { margin: .35rem 0 .35rem 1.1rem; }
.said li::first-letter { text-transform: uppercase; }
.cells { overflow-x: auto; } .cells th, .cells td { font-size: .8125rem; text-align: right; padding: .3rem .5rem; }
.cells th { font-weight: 400; color: var(--soft); vertical-align: bottom; }
.cells td { background: color-mix(in oklab, var(--good-soft) calc(var(--share) * 100%), var(--paper)); }
.cells td.task { text-align: left; background: none; white-space: nowrap; padding-left: 0; }
"""


def page(found: Mapping[str, Any], policy: str, env: str) -> str:
    """`found`: as `probing.probe` gives it. Text from outside is escaped."""
    sections = (
        _head(found, policy, env),
        _rows(found["rows"]),
        _swap(found["swap"]),
        _nothing(found["prove_nothing"]),
        _by_task(found),
    )
    return html_page(f"What {policy} uses", sections, STYLE)


def _head(found: Mapping[str, Any], policy: str, env: str) -> str:
    sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in found["uses"])
    return (
        f'<div class="brand"><b>Volition</b><span>{escape(env)}</span></div>'
        f'<header class="hero"><div><h1>What does it use?</h1><p class="lead">{escape(policy)}, from the same starts '
        f'again and again, each time with one thing disturbed.</p></div></header><ul class="said">{sentences}</ul>'
    )


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    plain = _estimate(rows[0]) if "error" not in rows[0] else None
    drawn = [rate_row("mean", "undisturbed", plain)] if plain is not None else []
    for row in rows[1:]:
        if "error" in row:
            why = escape(last_line(row["error"]))
            drawn.append(
                f'<div class="row"><span class="name">{escape(row["name"])}</span><span>{why}</span><span></span></div>'
            )
            continue
        drawn.append(
            rate_row("", row["name"], _estimate(row), ring=plain, ring_name="undisturbed", more=_change(row["change"]))
        )
    return (
        "<section><h2>One thing disturbed</h2><p>Success as the mean over tasks. The change is that of the same "
        "starts, by a paired test; a twin is another policy, which was trained without eyes or ears.</p>"
        '<div class="legend"><span><i class="seeing"></i>success rate</span>'
        f'<span><i class="range"></i>95{THIN}% interval</span><span><i class="blind"></i>undisturbed</span></div>'
        f'<div class="tasks">{rate_scale()}<div>{"".join(drawn)}</div></div></section>'
    )


def _change(found: Mapping[str, Any]) -> str:
    return f"{change(found['difference'], *found['interval'])} points, p: {p_value(found['p_value'])}"


def _swap(swap: Mapping[str, Any] | None) -> str:
    if swap is None:
        return ""
    commanded, original = (
        _estimate({**swap, "success_rate": swap[f"{name}_rate"], "success_interval": swap[f"{name}_interval"]})
        for name in ("commanded", "original")
    )
    return (
        "<section><h2>Told another task</h2><p>The same starts with the sentence of another task that can be done "
        "there.</p>"
        f'<div class="versus"><div class="good"><b>{rate(commanded)}</b><p>did what was said</p>'
        f"<p>{commanded.count} swaps, {interval(commanded)}</p></div>"
        f'<div class="bad"><b>{rate(original)}</b><p>did what the start was made for</p>'
        f"<p>{interval(original)}</p></div></div></section>"
    )


def _nothing(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    lines = "".join(
        f'<div class="row"><span class="name">{escape(words(row["task"]))}</span><span>needs no {row["needs_no"]}: '
        f"{escape(row['shown_by'])}</span><span class='value'><b>{percent(row['success_rate'])}</b>"
        f"<small>{interval(_estimate(row))}</small></span></div>"
        for row in rows
    )
    return (
        "<section><h2>Tasks that prove nothing</h2><p>From at least half of the starts they are solved without that "
        f"sense, so success at them is no sign of it.</p><div>{lines}</div></section>"
    )


def _by_task(found: Mapping[str, Any]) -> str:
    names = [row["name"] for row in found["rows"] if "error" not in row]
    if not names:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        f'<tr><td class="task">{escape(words(task))}</td>{"".join(_cells(rates, names))}</tr>'
        for task, rates in found["tasks"].items()
    )
    return (
        "<section><h2>Task by task</h2>"
        f'<div class="cells"><table><tr><th></th>{head}</tr>{body}</table></div></section>'
    )


def _cells(rates: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if (told := rates.get(name)) is None:
            yield "<td></td>"
            continue
        about = f"{told['num_episodes']} times, {interval(_estimate(told))}"
        share = told["success_rate"]
        yield f'<td style="--share:{share:.2f}" title="{escape(about, quote=True)}">{percent(share)}</td>'


def _estimate(row: Mapping[str, Any]) -> Estimate:
    low, high = row["success_interval"]
    return Estimate(value=row["success_rate"], low=low, high=high, count=row["num_episodes"])
