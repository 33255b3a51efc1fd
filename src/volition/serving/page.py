"""The two pages of a server, self-contained: what it does now, and what its routes are."""

from importlib.resources import files

LIVE = files("volition.serving").joinpath("live.html").read_text(encoding="utf-8")
DOCS = files("volition.serving").joinpath("docs.html").read_text(encoding="utf-8")
