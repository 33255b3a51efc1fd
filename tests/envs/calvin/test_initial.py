"""Initial states in metres, against the clone's own function."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.envs.calvin.tools import language_clone
from volition.envs.calvin.initial import ROBOT_OBS, block_slot, fnv1, official_scene
from volition.envs.calvin.situations import initial_situations

# Runs two functions of the clone's file in a process of their own; what else it imports is dead.
THEIRS = """
import ast, contextlib, json, sys
import numpy as np
def hasher(text):
    value = 0
    for byte in text.encode():
        value = (value * 16777619) % 2**32 ^ byte
    return value
tree = ast.parse(open(sys.argv[1]).read())
wanted = {"temp_seed", "get_env_state_for_initial_condition"}
body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in wanted]
names = {"np": np, "pi": np.pi, "contextlib": contextlib, "hasher": hasher}
exec(compile(ast.Module(body, []), sys.argv[1], "exec"), names)
keys = ["led", "lightbulb", "slider", "drawer", "red_block", "blue_block", "pink_block", "grasped"]
for values in json.load(sys.stdin):
    robot, scene = names["get_env_state_for_initial_condition"](dict(zip(keys, values)))
    print(json.dumps([robot.tolist(), scene.tolist()]))
"""


def test_the_hash_is_fnv1_with_first_value_0() -> None:
    assert fnv1("hello world") == 2805756500
    assert fnv1("") == 0


def test_all_192_are_those_of_the_clone_to_the_bit() -> None:
    path = language_clone() / "calvin_models" / "calvin_agent" / "evaluation" / "utils.py"
    if not path.is_file():
        pytest.skip(f"the clone has no {path.name}")
    asked = json.dumps([situation.values for situation in initial_situations()])
    done = subprocess.run(
        [sys.executable, "-c", THEIRS, str(path)], input=asked, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == 192
    for situation, (robot, scene) in zip(initial_situations(), answers):
        assert robot == ROBOT_OBS.tolist()
        assert scene == official_scene(situation).tolist()


@given(number=st.integers(0, 191))
def test_a_scene_says_what_its_situation_says(number: int) -> None:
    situation = initial_situations()[number]
    scene = official_scene(situation)
    assert (scene[0] > 0.2) == (situation.slider == "left")
    assert (scene[1] > 0.2) == (situation.drawer == "open")
    assert scene[4:6].tolist() == [situation.lightbulb, situation.led]
    places = {}
    for color in ("red", "blue", "pink"):
        slot = block_slot(color)
        places[color] = scene[slot : slot + 2]
        assert (scene[slot + 1] > 0) == situation.place(color).startswith("slider")
        assert abs(scene[slot + 5] - np.pi / 2) <= np.pi / 8
    assert (
        min(np.linalg.norm(places[a] - places[b]) for a, b in (("red", "blue"), ("red", "pink"), ("blue", "pink")))
        > 0.1
    )
