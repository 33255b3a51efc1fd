"""openpi's own client package, unmodified, drives the server from an environment of its own.

It pins numpy < 2, so it lives apart:
    python3 -m venv openpi-venv && openpi-venv/bin/pip install openpi-client typing_extensions
    VOLITION_OPENPI_PYTHON=openpi-venv/bin/python make test TESTS=tests/serving/test_openpi.py
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.serving.robots import expected, look, served
from volition.serving.config import ServeConfig
from volition.serving.server import background

PYTHON = os.environ.get("VOLITION_OPENPI_PYTHON", "")
PROGRAM = """
import json, sys
import numpy as np
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.websocket_client_policy import WebsocketClientPolicy
port, file, key = int(sys.argv[1]), sys.argv[2], sys.argv[3]
seen = np.load(file)
policy = WebsocketClientPolicy(host="127.0.0.1", port=port, api_key=key or None)
def look(i, prompt="open the drawer"):
    return {f"observation/{name}": seen[name][i] for name in ("static", "gripper", "state")} | {"prompt": prompt}
actions = [policy.infer(look(i))["actions"].tolist() for i in range(3)]
after = policy.infer(look(0, "close the drawer"))["actions"].tolist()
try:
    policy.infer({"prompt": "blind"})
    error = ""
except RuntimeError as raised:
    error = str(raised)
broker = ActionChunkBroker(policy, action_horizon=2)
single = [broker.infer({**look(i), "reset": i == 0})["actions"].tolist() for i in range(3)]
said = {"metadata": policy.get_server_metadata()["policy"], "actions": actions, "after": after, "error": error}
print(json.dumps({**said, "single": single, "numpy": np.__version__}))
"""


@pytest.mark.skipif(not Path(PYTHON or "none").exists(), reason="VOLITION_OPENPI_PYTHON names no openpi environment")
@pytest.mark.parametrize("token", ["", "first-secret-0123456"])
def test_openpis_client_drives_the_server_unmodified(token: str, tmp_path: Path) -> None:
    messages = [look(seed) for seed in range(3)]
    seen = {name: np.stack([m[f"observation/{name}"] for m in messages]) for name in ("static", "gripper", "state")}
    np.savez(tmp_path / "seen.npz", **seen)
    tokens = tmp_path / "tokens"
    tokens.write_text("arm first-secret-0123456\n")
    with background(served(), ServeConfig(port=0, tokens=tokens if token else None)) as running:
        port = running.addresses.url.rpartition(":")[2]
        command = [PYTHON, "-c", PROGRAM, port, str(tmp_path / "seen.npz"), token]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["metadata"] == "test/step_1"
    assert said["numpy"].startswith("1.")
    assert np.array_equal(np.array(said["actions"], np.float32), np.stack(expected(messages)))
    closing = {**messages[0], "prompt": "close the drawer"}
    assert np.array_equal(np.array(said["after"], np.float32), expected([closing])[0])
    assert '"type": "bad_observation"' in said["error"]
    one, two = expected([messages[0], messages[2]])
    assert np.array_equal(np.array(said["single"], np.float32), np.stack([one[0], one[1], two[0]]))
