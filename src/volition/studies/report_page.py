"""The report as one HTML page that needs nothing beside itself.

The order is that of a reader's questions: does it work, what was learned, let me see it, which tasks, does it listen,
does it look, how did it learn, what did it cost, how do I go on.
"""

from __future__ import annotations

import base64
import math
import time
from html import escape

from volition.studies.html_page import html_page
from volition.studies.report_numbers import THIN, duration, interval, percent, plural, rate, unit_duration, words
from volition.studies.report_parts import Chains, Clip, Demonstration, Failing, Report
from volition.studies.report_sections import (
    chains_section,
    curves_section,
    details_section,
    tasks_section,
    time_section,
)


def page(report: Report) -> str:
    """The whole page. Text from outside (instructions, settings) is escaped; nothing in it is run or fetched."""
    sections = (
        _hero(report),
        _facts(report),
        chains_section(report),
        _films(report),
        _failing(report),
        tasks_section(report),
        _listening(report),
        _looking(report),
        curves_section(report),
        time_section(report),
        _commands(report),
        details_section(report),
    )
    return html_page(report.title, sections)


def _hero(report: Report) -> str:
    day = time.strftime("%d %B %Y, %H:%M UTC", time.gmtime(report.created)).lstrip("0") if report.created else ""
    films = [clip for clip in report.clips if clip.success]
    figures = _chain_figures(report.chains) if report.chains else _task_figures(report)
    film = f"<figure>{_video(films[0])}{_caption(films[0])}</figure>" if films else ""
    return (
        f'<div class="brand"><b>Volition</b><span>{escape(day)}</span></div>'
        f'<header class="hero{" filmed" if film else ""}"><div><h1>{escape(report.title)}</h1>'
        f'<p class="lead">{escape(report.lead)}</p></div>{film}</header><div class="headline">{"".join(figures)}</div>'
    )


def _task_figures(report: Report) -> list[str]:
    num_tasks = sum(len(group.tasks) for group in report.groups)
    took = _figure("", unit_duration(report.seconds), "from the first demonstration to this page")
    return [
        _figure("main", rate(report.success), f"of commands obeyed; 95{THIN}% interval {interval(report.success)}"),
        *([took] if report.seconds else []),
        _figure("", str(report.success.count), f"episodes of {num_tasks} tasks"),
    ]


def _chain_figures(chains: Chains) -> list[str]:
    length, every = chains.average_length, chains.reached[-1]
    low, high = math.floor(100 * length.low + 1e-9) / 100, math.ceil(100 * length.high - 1e-9) / 100
    return [
        _figure("main", f"{length.value:.2f}", f"tasks in a row; 95{THIN}% interval {low:.2f}\u2013{high:.2f}"),
        _figure("", rate(every), f"of chains whole, {interval(every)}"),
        _figure("", str(length.count), f"chains of {len(chains.reached)} tasks"),
    ]


def _figure(kind: str, value: str, under: str) -> str:
    return f'<div class="figure {kind}"><b>{value}</b><span class="under">{escape(under)}</span></div>'


def _facts(report: Report) -> str:
    if not report.facts:
        return ""
    rows = "".join(
        f"<div><dt>{escape(fact.label)}</dt><dd>{escape(fact.value)}<small>{escape(fact.note)}</small></dd></div>"
        for fact in report.facts
    )
    return f'<section><h2>{escape(report.facts_title)}</h2><dl class="facts">{rows}</dl></section>'


def _films(report: Report) -> str:
    """All films but the one at the top; the failures are shown as openly as the successes."""
    at_top = next((clip for clip in report.clips if clip.success), None)
    shown = [clip for clip in report.clips if clip is not at_top]
    if not shown:
        return ""
    films = "".join(f"<figure>{_video(clip)}{_caption(clip)}</figure>" for clip in shown)
    return (
        f"<section><h2>See for yourself</h2><p>At the robot's own speed. {escape(report.unseen)}</p>"
        f'<div class="films">{films}</div></section>'
    )


def _failing(report: Report) -> str:
    """Films by the first task that failed, each beside the demonstrations that begin most like it."""
    note = f'<p class="note">{escape(report.failing_note)}</p>' if report.failing_note else ""
    if not report.failing:
        return f"<section>{note}</section>" if note else ""
    near = " Beside a film: what was shown of the task from the most similar beginning, at even times."
    compared = any(failing.among for failing in report.failing)
    return (
        "<section><h2>Where it fails first</h2><p>The task that ended most episodes stands at the top."
        f"{near if compared else ''}</p>{note}{''.join(_failed(failing) for failing in report.failing)}</section>"
    )


def _failed(failing: Failing) -> str:
    episodes, attempts = failing.num_episodes, failing.success.count
    found = (
        f'<div class="failed"><h3>{escape(words(failing.task))}</h3><p class="soft">ended {episodes} '
        f"episode{plural(episodes)}; done in {percent(failing.success.value)} of {attempts} attempt{plural(attempts)} "
        f"({interval(failing.success)})</p>"
    )
    nearest = failing.nearest or ((),) * len(failing.clips)
    rows = "".join(
        f'<div class="beside"><figure>{_video(clip)}{_caption(clip)}</figure>{_near(failing, shown)}</div>'
        for clip, shown in zip(failing.clips, nearest)
    )
    return f"{found}{rows}</div>"


def _near(failing: Failing, shown: tuple[Demonstration, ...]) -> str:
    """Strips of demonstrations, and whether their beginnings are as near as demonstrations are to each other."""
    if not failing.nearest:
        return ""
    if not failing.among:
        return '<div class="near"><p class="note">No demonstration of this task was learned from.</p></div>'
    strips = "".join(
        f'<figure><div class="strip"><img alt="a demonstration" src="{_data("image/jpeg", one.strip)}">'
        f"</div><figcaption><q>{escape(one.instruction)}</q><small>episode {one.number}, differs by "
        f"{one.distance:.1f}</small></figcaption></figure>"
        for one in shown
    )
    scale = f"; demonstrations differ from the nearest other one by {failing.usual:.1f}" if failing.usual else ""
    return (
        f'<div class="near">{strips}<p class="note">Grey levels of 255 in the first pictures, nearest of '
        f"{failing.among} demonstration{plural(failing.among)}{scale}.</p></div>"
    )


def _listening(report: Report) -> str:
    if report.swap is None:
        return ""
    score = report.swap.score
    pairs = "".join(
        f'<div class="pair">{_strip(told, "what this start was made for")}'
        f"{_strip(swapped, 'the same start, other words')}</div>"
        for told, swapped in report.swap.pairs
    )
    return (
        "<section><h2>Does it listen?</h2><p>The same starts, but with the sentence of another task. A policy that "
        "only reacts to what it sees would go on doing what the scene suggests.</p>"
        f'<div class="versus"><div class="good"><b>{rate(score.commanded)}</b><p>did what was said</p>'
        f"<p>{score.commanded.count} swaps, {interval(score.commanded)}</p></div>"
        f'<div class="bad"><b>{rate(score.original)}</b><p>did what the scene was set up for</p>'
        f"<p>without being told to, {interval(score.original)}</p></div></div>{pairs}</section>"
    )


def _looking(report: Report) -> str:
    if report.blind is None:
        return ""
    blind, gain = report.blind, report.blind.difference
    odds = "p &lt; 0.001" if gain.p_value < 0.001 else f"p = {gain.p_value:.3f}"
    return (
        f"<section><h2>Does it look?</h2><p>{escape(blind.description)}</p>"
        f'<div class="versus"><div class="good"><b>{rate(report.success)}</b><p>with its eyes open</p>'
        f"<p>{interval(report.success)}</p></div>"
        f'<div class="bad"><b>{rate(blind.success)}</b><p>blind</p><p>{interval(blind.success)}</p></div>'
        f"<div><b>{100 * gain.value:+.0f}<small>points</small></b><p>from seeing, on the same {gain.count} episodes</p>"
        f"<p>{100 * gain.low:+.0f} to {100 * gain.high:+.0f} points, {odds}; {gain.only_first} episodes only with eyes"
        f", {gain.only_second} only blind</p></div></div></section>"
    )


def _commands(report: Report) -> str:
    if not report.commands:
        return ""
    rows = "".join(f"<div><p>{escape(c.what)}</p><pre>{escape(c.line)}</pre></div>" for c in report.commands)
    return f'<section><h2>Go on</h2><div class="commands">{rows}</div></section>'


def _video(clip: Clip) -> str:
    return (
        f'<video muted loop playsinline preload="auto" aria-label="{escape(clip.instruction, quote=True)}" '
        f'poster="{_data("image/jpeg", clip.poster)}" src="{_data("video/mp4", clip.film)}"></video>'
    )


def _strip(clip: Clip, note: str) -> str:
    return (
        f"<figure>{_caption(clip, note)}"
        f'<div class="strip"><img alt="{escape(words(clip.task), quote=True)}, a row of frames" '
        f'src="{_data("image/jpeg", clip.strip)}"></div></figure>'
    )


def _caption(clip: Clip, note: str = "") -> str:
    mark = '<span class="mark yes">done</span>' if clip.success else '<span class="mark no">not done</span>'
    after = f"in {duration(clip.duration)}" if clip.success else f"after {duration(clip.duration)}"
    tail = f" · {escape(note)}" if note else ""
    return f"<figcaption><q>{escape(clip.instruction)}</q><small>{mark} {after}{tail}</small></figcaption>"


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
