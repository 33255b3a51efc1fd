"""The report as one HTML page that needs nothing beside itself.

The order is that of a reader's questions: does it work, what was learned, let me see it, which tasks, does it listen,
does it look, how did it learn, what did it cost, how do I go on.
"""

from __future__ import annotations

import base64
import time
from html import escape
from importlib.resources import files
from string import Template

from volition.studies.report_numbers import THIN, duration, interval, rate, unit_duration, words
from volition.studies.report_parts import Clip, Report
from volition.studies.report_sections import curves_section, details_section, tasks_section, time_section


def page(report: Report) -> str:
    """The whole page. Text from outside (instructions, settings) is escaped; nothing in it is run or fetched."""
    sections = (
        _hero(report),
        _facts(report),
        _films(report),
        tasks_section(report),
        _listening(report),
        _looking(report),
        curves_section(report),
        time_section(report),
        _commands(report),
        details_section(report),
    )
    here = files("volition.studies")
    skeleton = Template(here.joinpath("report.html").read_text(encoding="utf-8"))
    style = Template(here.joinpath("report.css").read_text(encoding="utf-8")).substitute()
    return skeleton.substitute(title=escape(report.title), style=style, body="\n".join(s for s in sections if s))


def _hero(report: Report) -> str:
    day = time.strftime("%d %B %Y, %H:%M UTC", time.gmtime(report.created)).lstrip("0") if report.created else ""
    films = [clip for clip in report.clips if clip.success]
    num_tasks = sum(len(group.tasks) for group in report.groups)
    figures = [
        _figure("main", rate(report.success), f"of commands obeyed; 95{THIN}% interval {interval(report.success)}"),
        _figure("", unit_duration(report.seconds), "from the first demonstration to this page"),
        _figure("", str(report.success.count), f"episodes of {num_tasks} tasks"),
    ]
    film = f"<figure>{_video(films[0])}{_caption(films[0])}</figure>" if films else ""
    return (
        f'<div class="brand"><b>Volition</b><span>{escape(day)}</span></div>'
        f'<header class="hero{" filmed" if film else ""}"><div><h1>{escape(report.title)}</h1>'
        f'<p class="lead">{escape(report.lead)}</p></div>{film}</header><div class="headline">{"".join(figures)}</div>'
    )


def _figure(kind: str, value: str, under: str) -> str:
    return f'<div class="figure {kind}"><b>{value}</b><span class="under">{escape(under)}</span></div>'


def _facts(report: Report) -> str:
    if not report.facts:
        return ""
    rows = "".join(
        f"<div><dt>{escape(fact.label)}</dt><dd>{escape(fact.value)}<small>{escape(fact.note)}</small></dd></div>"
        for fact in report.facts
    )
    return f'<section><h2>What was learned</h2><dl class="facts">{rows}</dl></section>'


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
