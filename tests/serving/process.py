"""A server in a process of its own, to be signalled, killed and fed with anything."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PROGRAM = """
import asyncio, sys
from pathlib import Path
from tests.serving.robots import Recalling, served
from volition.serving.config import ServeConfig
from volition.serving.server import Server
from volition.serving.sessions import SessionLimits
port, file, seconds = int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
config = ServeConfig(port=port, sessions=SessionLimits(requests_per_second=1e9, burst=1_000_000))
server = Server(served(Recalling(seconds=seconds)), config, load=served)
asyncio.run(server.serve(lambda found: file.write_text(found.websocket)))
"""


class Process:
    """`seconds`: how long its policy takes."""

    def __init__(self, folder: Path, port: int = 0, seconds: float = 0.0):
        file = folder / f"address-{time.monotonic_ns()}"
        self._log = file.with_suffix(".log")
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        command = [sys.executable, "-c", PROGRAM, str(port), str(file), str(seconds)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, stderr=log)
        wait_until(lambda: (file.exists() and bool(file.read_text())) or self.process.poll() is not None)
        assert self.process.poll() is None, self._log.read_text()
        self.url = file.read_text()
        self.port = int(self.url.rpartition(":")[2])

    def end(self, number: int) -> tuple[int, str]:
        """Exit status and what it logged."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60), self._log.read_text()


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
