"""The live page in a real browser: sessions, pictures, latency and actions, and a token where one is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.browser import browser, needs_browser
from tests.serving.robots import look, served
from volition.serving import page
from volition.serving.config import ServeConfig
from volition.serving.server import background
from volition_client import Client

CARDS = "return document.querySelectorAll('article').length"


@needs_browser
@pytest.mark.slow
def test_the_page_shows_robots_live_and_forgets_those_that_left(tmp_path: Path) -> None:
    with background(served(), ServeConfig(port=0)) as running, browser() as tab:
        tab.open(running.addresses.url)
        tab.wait("return document.getElementById('state').textContent === 'serving'")
        tab.wait("return !document.getElementById('none').hidden")
        with Client(running.addresses.websocket) as arm, Client(running.addresses.websocket) as other:
            for seed in range(5):
                arm.infer(look(seed))
            other.infer(look(7, "<b>close</b> the drawer"))
            tab.wait(CARDS, lambda number: number == 2)
            tab.wait("return [...document.querySelectorAll('img')].filter(i => i.naturalWidth === 8).length === 4")
            titles = tab.wait("return [...document.querySelectorAll('h2')].map(x => x.textContent)")
            assert sorted(titles) == ["<b>close</b> the drawer", "open the drawer"]  # as text, not as markup
            shown = f"document.querySelector('[data-session=\"{arm.session}\"]')"
            assert tab.run(f"return {shown}.querySelector('dd').textContent") == "5"
            inked = (
                "const c = {}.querySelectorAll('canvas')[{}];"
                "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(x => x)"
            )
            assert all(tab.run(inked.format(shown, i)) for i in range(2))
            arm.infer(look(9))
            tab.wait(f"return {shown}.querySelector('dd').textContent === '6'")
        tab.wait("return document.querySelectorAll('article.left').length === 2")
        assert not tab.complaints()
        tab.open(f"{running.addresses.url}/docs")
        tab.wait("return [...document.querySelectorAll('h2')].some(x => x.textContent === 'POST /v1/actions')")
        assert not tab.complaints()


@needs_browser
@pytest.mark.slow
def test_the_page_asks_for_a_token(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("me first-secret-0123456\n")
    with background(served(), ServeConfig(port=0, tokens=tokens)) as running, browser() as tab:
        tab.open(running.addresses.url)
        tab.wait("return document.getElementById('ask').classList.contains('asked')")
        tab.run(
            "document.getElementById('token').value = 'first-secret-0123456'; document.querySelector('button').click()"
        )
        tab.wait("return document.getElementById('state').textContent === 'serving'")
        assert not tab.run("return document.getElementById('ask').classList.contains('asked')")


@pytest.mark.parametrize("text", [page.LIVE, page.DOCS])
def test_pages_load_nothing_from_elsewhere(text: str) -> None:
    assert "http://" not in text
    assert "https://" not in text
    assert "innerHTML" not in text
