"""The OpenAPI document against the server, by Schemathesis, from an environment of its own.

python3 -m venv schemathesis-venv && schemathesis-venv/bin/pip install schemathesis
VOLITION_SCHEMATHESIS=schemathesis-venv/bin/schemathesis make test TESTS=tests/serving/test_openapi.py
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.serving.robots import served
from volition.serving.config import ServeConfig
from volition.serving.server import background
from volition.serving.sessions import SessionLimits

PROGRAM = os.environ.get("VOLITION_SCHEMATHESIS", "")


@pytest.mark.skipif(not Path(PROGRAM or "none").exists(), reason="VOLITION_SCHEMATHESIS names no schemathesis")
@pytest.mark.slow
def test_the_server_does_what_its_document_says(tmp_path: Path) -> None:
    limits = SessionLimits(sessions=4096, sessions_per_token=4096)
    with background(served(), ServeConfig(port=0, sessions=limits), load=served) as running:
        # A schema cannot say what a PNG is, so texts that are none are refused although they fit it.
        flags = ["--max-examples", "20", "--seed", "1", "--exclude-checks", "positive_data_acceptance"]
        command = [PROGRAM, "run", f"{running.addresses.url}/openapi.json", *flags]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=230)
    assert done.returncode == 0, done.stdout[-6000:]
