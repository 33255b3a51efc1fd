"""The expert as a function of a moment, without the simulator: a hand that simply goes where it is told."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volition.envs.calvin import expert
from volition.envs.calvin.layouts import LAYOUTS
from volition.envs.calvin.moment import Block, Moment
from volition.envs.calvin.situations import BLOCKS, SCENES, TASKS
from volition.envs.calvin.skills_furniture import BUTTON_TOGGLED, DRAWER_BAR
from volition.envs.calvin.waypoints import approach, forward, travel, wrap
from volition.geometry import euler_to_matrix

HOME = np.array([0.026, -0.231, 0.571])
COORDINATE = st.floats(-1.0, 1.0)


def block(
    x: float, y: float, z: float = 0.46, yaw: float = 1.5, touches: frozenset[str] = frozenset({"table"})
) -> Block:
    return Block(position=np.array([x, y, z]), rotation=euler_to_matrix(np.array([0.0, 0.0, yaw])), touches=touches)


def moment(scene: str = "D", **fields: object) -> Moment:
    """Drawer open, door to the right, hand open at home, all blocks on the table."""
    layout = LAYOUTS[scene]
    made = Moment(
        tcp=HOME,
        euler=np.array([math.pi, 0.0, 1.5]),
        width=0.08,
        door=0.0,
        drawer=0.22,
        frames={
            "drawer": np.array(layout.drawer) - np.array([0.0, 0.22, 0.0]),
            "slide": np.array([layout.door[0] + 0.0046, 0.075, 0.535]),
            "switch": np.array([layout.switch, 0.061, 0.495]),
            "button": np.array(layout.button),
        },
        blocks={"red": block(0.05, -0.12), "blue": block(0.2, -0.12), "pink": block(0.32, -0.1)},
        layout=layout,
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def follow(now: Moment, action: np.ndarray) -> Moment:
    """The hand does what an action says, at once and whatever is in its way; the fingers take four steps."""
    width = float(np.clip(now.width + 0.02 * action[6], 0.0, 0.08))
    return replace(now, tcp=now.tcp + 0.02 * action[:3], euler=now.euler + 0.05 * action[3:6], width=width)


@settings(max_examples=150)
@given(
    task=st.sampled_from(TASKS),
    scene=st.sampled_from(SCENES),
    tcp=st.tuples(COORDINATE, COORDINATE, COORDINATE),
    euler=st.tuples(*[st.floats(-math.pi, math.pi)] * 3),
    width=st.floats(0.0, 0.081),
    door=st.floats(0.0, 0.24),
    touches=st.frozensets(st.sampled_from(("robot", "table", "drawer", "cabinet", "door", "red", "blue")), max_size=3),
    place=st.tuples(COORDINATE, COORDINATE, COORDINATE),
)
def test_in_any_state_it_says_one_and_the_same_action(
    task: str, scene: str, tcp: tuple, euler: tuple, width: float, door: float, touches: frozenset[str], place: tuple
) -> None:
    blocks = {
        color: replace(block(*place, touches=touches), position=np.array(place) + i * 0.1)
        for i, color in enumerate(BLOCKS)
    }
    now = moment(scene, tcp=np.array(tcp), euler=np.array(euler), width=width, door=door, blocks=blocks)
    action = expert.label(now, task)
    assert action.shape == (7,)
    assert np.isfinite(action).all()
    assert np.abs(action[:6]).max() <= 1.0 + 1e-12
    assert action[6] in (-1.0, 1.0)
    assert np.array_equal(action, expert.label(now, task))


@settings(max_examples=60)
@given(
    task=st.sampled_from([task for task in TASKS if task.startswith(("lift", "rotate")) and "slider" not in task]),
    x=st.floats(0.0, 0.3),
    y=st.floats(-0.15, -0.09),
    yaw=st.floats(-math.pi, math.pi),
    start=st.tuples(st.floats(-0.1, 0.3), st.floats(-0.35, -0.15), st.floats(0.5, 0.7)),
)
def test_a_free_hand_comes_down_open_over_the_block_and_closes_square_to_it(
    task: str, x: float, y: float, yaw: float, start: tuple[float, float, float]
) -> None:
    color = task.split("_")[1]
    others = {other: block(-0.25, 0.09, touches=frozenset({"cabinet"})) for other in BLOCKS if other != color}
    now = moment(tcp=np.array(start), blocks={**others, color: block(x, y, yaw=yaw)})
    for _ in range(120):
        action = expert.label(now, task)
        if action[6] < 0:
            break
        now = follow(now, action)
    assert action[6] < 0, "the fingers never closed"
    assert np.linalg.norm(now.tcp - now.blocks[color].position) < 0.025
    period = math.pi / 2 if now.layout.lengths[color] < 0.045 else math.pi
    assert abs(wrap(now.yaw - now.blocks[color].yaw, period)) < 0.16


def test_a_hand_with_the_block_goes_up_and_one_with_another_puts_it_down() -> None:
    held = block(0.05, -0.12, 0.465, touches=frozenset({"robot"}))
    now = moment(tcp=np.array([0.05, -0.12, 0.463]), width=0.04, blocks={**moment().blocks, "red": held})
    assert now.held == "red"
    assert expert.label(now, "lift_red_block_table")[2] > 0.9
    for task in ("lift_blue_block_table", "open_drawer", "push_red_block_left"):
        action = expert.label(now, task)
        assert action[6] == -1.0
        assert action[2] < 0.6
    resting = replace(now, blocks={**now.blocks, "red": replace(held, touches=frozenset({"robot", "table"}))})
    assert expert.label(resting, "open_drawer")[6] == 1.0
    turned = expert.label(resting, "rotate_red_block_left")
    assert abs(turned[5]) == 1.0
    assert turned[2] < -0.05, "what is turned must be pressed on the table, whether or not it touches it"


def test_a_block_that_was_dropped_instead_of_stacked_is_picked_up_again() -> None:
    blocks = {
        "red": block(0.05, -0.12, touches=frozenset({"table"})),
        "blue": block(0.2, -0.12, touches=frozenset({"table"})),
        "pink": block(-0.25, 0.09, touches=frozenset({"cabinet"})),
    }
    now = moment(tcp=np.array([0.06, -0.12, 0.5]), width=0.08, blocks=blocks)
    assert np.array_equal(expert.label(now, "stack_block"), expert.label(now, "lift_red_block_table"))
    done = {**blocks, "red": block(0.2, -0.12, 0.515, touches=frozenset({"blue"}))}
    action = expert.label(replace(now, tcp=np.array([0.2, -0.12, 0.52]), blocks=done), "stack_block")
    assert action[2] > 0.9
    assert action[6] == 1.0


@pytest.mark.parametrize("scene", SCENES)
def test_the_drawer_is_pulled_from_behind_its_handle(scene: str) -> None:
    frames = {**moment(scene).frames, "drawer": np.array(LAYOUTS[scene].drawer)}
    now = moment(scene, drawer=0.0, frames=frames, width=0.0)
    bar = frames["drawer"] + DRAWER_BAR
    for _ in range(60):
        action = expert.label(now, "open_drawer")
        if action[1] < -0.95:
            break
        now = follow(now, action)
        # Never through the bar, nor through the table.
        assert not (abs(now.tcp[1] - bar[1]) < 0.02 and now.tcp[2] < bar[2] + 0.02)
    assert action[1] < -0.95, "it never pulled"
    assert bar[1] + 0.01 < now.tcp[1] < bar[1] + 0.07
    assert abs(now.tcp[2] - bar[2]) < 0.03


def test_a_button_that_is_held_down_is_let_go_first() -> None:
    button = np.array(LAYOUTS["D"].button)
    tcp = button + np.array([0.0, 0.0, 0.02])
    pressed = {**moment().frames, "button": button - np.array([0.0, 0.0, BUTTON_TOGGLED + 1e-3])}
    assert expert.label(moment(tcp=tcp, width=0.0), "turn_on_led")[2] < 0
    assert expert.label(moment(tcp=tcp, width=0.0, frames=pressed), "turn_on_led")[2] > 0.5


def test_the_way_out_of_the_cabinet_leads_towards_the_robot_before_it_leads_aside() -> None:
    inside = moment(tcp=np.array([-0.2, 0.09, 0.47]))
    step = travel(inside, np.array([0.2, -0.12, 0.55])) - inside.tcp
    assert step[1] < -0.05
    assert abs(step[0]) < 0.01
    low = moment(tcp=np.array([0.1, -0.25, 0.37]))
    up = travel(low, np.array([0.3, -0.12, 0.55])) - low.tcp
    assert up[2] > 0.1
    assert np.linalg.norm(up[:2]) < 0.01


@settings(max_examples=60)
@given(
    lean=st.floats(0.0, 0.5),
    yaw=st.floats(0.5, 2.5),
    start=st.tuples(st.floats(-0.2, 0.3), st.floats(-0.3, -0.1), st.floats(0.45, 0.7)),
)
def test_an_approach_ends_at_its_target_along_its_axis(
    lean: float, yaw: float, start: tuple[float, float, float]
) -> None:
    target = np.array([0.1, -0.12, 0.46])
    axis = math.cos(lean) * np.array([0.0, 0.0, 1.0]) - math.sin(lean) * forward(yaw)
    now = moment(tcp=np.array(start))
    for _ in range(200):
        wanted = approach(now, target, axis=axis, clearance=0.09, inner=0.009, outer=0.035)
        way = wanted - now.tcp
        now = replace(now, tcp=now.tcp + way * min(1.0, 0.01 / max(1e-9, float(np.linalg.norm(way)))))
        offset = now.tcp - target
        if way @ axis < 0 and 0.005 < offset @ axis < 0.05:  # near the target it comes down along the axis
            assert np.linalg.norm(offset - (offset @ axis) * axis) < 0.045
    assert np.linalg.norm(now.tcp - target) < 0.005


def test_an_unknown_task_is_named() -> None:
    with pytest.raises(ValueError, match="34, got 'fly'"):
        expert.label(moment(), "fly")
