"""One HTML page that needs nothing beside itself, in the look of the reports."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib.resources import files
from string import Template


def html_page(title: str, sections: Iterable[str], more_style: str = "") -> str:
    """Sections are HTML and may be empty; the title is not HTML yet."""
    here = files("volition.studies")
    style = Template(here.joinpath("report.css").read_text(encoding="utf-8")).substitute()
    skeleton = Template(here.joinpath("report.html").read_text(encoding="utf-8"))
    body = "\n".join(section for section in sections if section)
    return skeleton.substitute(title=escape(title), style=style + more_style, body=body)
