"""A real browser, driven by the WebDriver protocol: a few lines instead of a package."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Debian's packages chromium and chromium-driver"
)


class Page:
    def __init__(self, session: str):
        self._session = session

    def open(self, url: str) -> None:
        _post(f"{self._session}/url", {"url": url})

    def run(self, script: str) -> Any:
        """What a piece of JavaScript returns."""
        return _post(f"{self._session}/execute/sync", {"script": script, "args": []})

    def wait(self, script: str, until: Callable[[Any], bool] = bool, seconds: float = 60.0) -> Any:
        deadline = time.monotonic() + seconds
        while not until(found := self.run(script)):
            assert time.monotonic() < deadline, f"{script} gives {found!r}"
            time.sleep(0.1)
        return found

    def picture(self, path: Path) -> None:
        with urllib.request.urlopen(f"{self._session}/screenshot", timeout=60) as answer:
            path.write_bytes(base64.b64decode(json.loads(answer.read())["value"]))

    def complaints(self) -> list[str]:
        """Errors on the page's console."""
        found = _post(f"{self._session}/se/log", {"type": "browser"})
        return [line["message"] for line in found if line["level"] == "SEVERE"]


@contextlib.contextmanager
def browser(width: int = 1200, height: int = 800) -> Iterator[Page]:
    driver = subprocess.Popen([str(DRIVER), "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert driver.stdout is not None
    try:
        line = next(line for line in driver.stdout if "successfully on port" in line)
        port = int("".join(c for c in line.rpartition("port")[2] if c.isdigit()))
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        wanted = {
            "goog:chromeOptions": {"binary": CHROMIUM, "args": [*flags, f"--window-size={width},{height}"]},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        made = _post(f"http://127.0.0.1:{port}/session", {"capabilities": {"alwaysMatch": wanted}})
        session = f"http://127.0.0.1:{port}/session/{made['sessionId']}"
        try:
            yield Page(session)
        finally:
            urllib.request.urlopen(urllib.request.Request(session, method="DELETE"), timeout=60).close()
    finally:
        driver.terminate()
        driver.communicate()


def _post(url: str, document: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(document).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())["value"]
