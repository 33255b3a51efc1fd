"""What the fixtures leave open: state that is passed on, thresholds, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from volition.compat.actions import ActionScaling
from volition.compat.postprocess import CalvinOutput, GripperState, SimplerOutput
from volition.compat.text import prompt, question
from volition.compat.windows import chunks, episode_windows

STILL = np.zeros(7)


def gripper_commands(robot: SimplerOutput, opened: list[int]) -> list[float]:
    state, told = GripperState(), []
    for value in opened:
        command, state = robot(np.array([*STILL[:6], value]), state)
        told.append(float(command["gripper"][0]))
    return told


def test_a_change_of_the_gripper_is_repeated_and_then_over() -> None:
    google = SimplerOutput(robot="google_robot", low=(-1.0,) * 7, high=(1.0,) * 7, sticky=3)
    assert gripper_commands(google, [0, 1, 1, 1, 1, 0]) == [0, -2, -2, -2, 0, 2]
    widow = SimplerOutput(robot="widowx_bridge", low=(-1.0,) * 7, high=(1.0,) * 7)
    assert gripper_commands(widow, [1, 1, 0, 0, 0, 1, 1, 1]) == [-1, 1, -1, -1, -1, -1, 1, 1]


def test_a_robot_that_simpler_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="'franka'"):
        SimplerOutput(robot="franka", low=(), high=())


def test_robots_do_not_share_a_state() -> None:
    google = SimplerOutput(robot="google_robot", low=(-1.0,) * 7, high=(1.0,) * 7)
    assert gripper_commands(google, [0, 1]) == gripper_commands(google, [0, 1]) == [0, -2]


@pytest.mark.parametrize("normal", [None, (-0.65, 0.65), (-0.2, 0.9), (-0.3, 0.3)])
def test_scaling_does_not_move_the_grippers_threshold(normal: tuple[float, float] | None) -> None:
    convert = CalvinOutput(scaling=ActionScaling(normal=normal))
    told = [convert(np.zeros((1, 6)), np.array([[logit]]), np.zeros(15))[-1] for logit in (-3.0, -0.01, 0.01, 3.0)]
    assert told == [-1, -1, 1, 1]


def test_scaling_without_regularising_is_undone() -> None:
    scaling = ActionScaling(normal=(-0.65, 0.65), mu=255.0)
    given = np.random.default_rng(0).uniform(-0.65, 0.65, (4, 7))
    back = np.stack([scaling.undo(step) for step in scaling.apply(given)])
    np.testing.assert_allclose(back[:-1, :6], given[:-1, :6], atol=1e-9)  # the last step it leaves uncompanded


def test_windows_cover_every_step_once() -> None:
    steps, valid = episode_windows(6, 3, 2, every_history=False, left_pad=True)
    assert steps[:, 2].tolist() == list(range(6))
    assert valid[:, 2].all()
    short, _ = episode_windows(2, 4, 3, every_history=False, left_pad=False)
    assert short.shape == (0, 7)
    assert chunks(np.arange(4), 2).tolist() == [[0, 1], [1, 2], [2, 3]]


def test_a_prompt_ends_where_the_answer_begins() -> None:
    asked = question("push the button", 3)
    assert prompt("kosmos", asked, bos="<s>", eos="</s>") == f"Input: {asked}\nOutput: \n</s>"
    assert prompt("kosmos", asked, bos="<s>", eos="<s>") == f"Input: {asked}\nOutput:"
    assert asked in prompt("vicuna", asked, bos="<s>", eos="</s>")
