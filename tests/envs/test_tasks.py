"""Every condition, on snapshots made by hand: a case where it holds and cases where one thing is missing."""

from dataclasses import replace

import numpy as np
import pytest

from volition.envs.desk.state import BLOCKS, BlockState, Snapshot
from volition.envs.desk.tasks import TASKS, done, held_block, judge


def rotation(angle: float, axis: str = "z") -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    rows = {"z": [[c, -s, 0], [s, c, 0], [0, 0, 1]], "x": [[1, 0, 0], [0, c, -s], [0, s, c]]}
    return np.array(rows[axis], dtype=float)


def block(x: float = 0.0, z: float = 0.48, touches: str = "table", turned: np.ndarray | None = None) -> BlockState:
    return BlockState(
        position=np.array([x, -0.1, z]),
        rotation=np.eye(3) if turned is None else turned,
        linear_velocity=np.zeros(3),
        angular_velocity=np.zeros(3),
        touches=frozenset(touches.split()),
    )


def desk(robot_touches: str = "", **blocks: BlockState) -> Snapshot:
    places = {color: block(x=0.2 * i) for i, color in enumerate(BLOCKS)} | blocks
    return Snapshot(
        door=0.0,
        drawer=0.0,
        button=0.0,
        switch=0.0,
        bulb=False,
        led=False,
        blocks=places,
        robot_touches=frozenset(robot_touches.split()),
    )


def holding(color: str) -> Snapshot:
    return desk(color, **{color: block(z=0.6, touches="robot")})


TOWER = desk(red=block(x=0.2, z=0.52, touches="blue"), blue=block(x=0.2, touches="table red"))

Case = tuple[Snapshot, Snapshot]


def true_case(task: str) -> Case:
    """A start and a now between which exactly this has happened."""
    words = task.split("_")
    sign = {"left": 1, "right": -1}.get(words[-1], 0)
    start = desk()
    if task.startswith("rotate"):
        return start, desk(**{words[1]: replace(start.blocks[words[1]], rotation=rotation(sign * np.radians(65)))})
    if task.startswith("push") and words[1] in BLOCKS:
        moved = start.blocks[words[1]].position - np.array([sign * 0.11, 0, 0])
        return start, desk(**{words[1]: replace(start.blocks[words[1]], position=moved)})
    if task.startswith("lift"):
        surface = {"table": "table", "slider": "shelf", "drawer": "drawer"}[words[3]]
        lifted = 0.035 if surface == "shelf" else 0.055
        return desk(**{words[1]: block(touches=surface)}), desk(
            words[1], **{words[1]: block(z=0.48 + lifted, touches="robot")}
        )
    moments: dict[str, Case] = {
        "move_slider_left": (start, replace(start, door=0.16)),
        "move_slider_right": (replace(start, door=0.16), start),
        "open_drawer": (start, replace(start, drawer=0.13)),
        "close_drawer": (replace(start, drawer=0.13), start),
        "place_in_slider": (holding("blue"), desk(blue=block(touches="shelf"))),
        "place_in_drawer": (holding("pink"), desk(pink=block(touches="drawer"))),
        "stack_block": (holding("red"), TOWER),
        "unstack_block": (
            TOWER,
            replace(holding("red"), blocks=holding("red").blocks | {"red": block(z=0.52, touches="robot")}),
        ),
        "turn_on_lightbulb": (start, replace(start, bulb=True)),
        "turn_off_lightbulb": (replace(start, bulb=True), start),
        "turn_on_led": (start, replace(start, led=True)),
        "turn_off_led": (replace(start, led=True), start),
        "push_into_drawer": (start, desk(blue=block(z=0.4, touches="drawer"))),
    }
    return moments[task]


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_done_by_what_it_names_and_by_nothing_else(task: str) -> None:
    start, now = true_case(task)
    assert judge(task, start, now)
    assert not judge(task, start, start)
    assert not judge(task, now, start)
    assert done(start, now) == {task}


@pytest.mark.parametrize("task", [task for task in TASKS if task.startswith("rotate")])
def test_rotating_in_part_tipping_moving_or_holding_in_the_air_does_not_count(task: str) -> None:
    color = task.split("_")[1]
    start, now = true_case(task)
    after = now.blocks[color]
    wrong = [
        replace(after, rotation=rotation(np.sign(after.rotation[1, 0]) * np.radians(55))),
        replace(after, rotation=after.rotation @ rotation(np.radians(35), "x")),
        replace(after, position=after.position + np.array([0.11, 0, 0])),
        replace(after, touches=frozenset({"robot"})),
    ]
    assert [judge(task, start, desk(**{color: state})) for state in wrong] == [False] * 4


@pytest.mark.parametrize("task", [f"push_{c}_block_{side}" for c in BLOCKS for side in ("left", "right")])
def test_pushing_too_short_off_its_surface_or_from_the_air_does_not_count(task: str) -> None:
    color = task.split("_")[1]
    start, now = true_case(task)
    before, after = start.blocks[color], now.blocks[color]
    short = replace(after, position=before.position + 0.9 * (after.position - before.position))
    fallen = replace(after, touches=frozenset({"other"}))
    assert not judge(task, start, desk(**{color: short}))
    assert not judge(task, start, desk(**{color: fallen}))
    in_hand = desk(**{color: replace(before, touches=frozenset({"robot"}))})
    assert not judge(task, in_hand, now)
    helped = replace(after, touches=after.touches | {"robot"})
    assert judge(task, start, desk(color, **{color: helped}))


@pytest.mark.parametrize("task", [task for task in TASKS if task.startswith("lift")])
def test_a_lift_is_high_enough_in_the_hand_alone_and_from_the_named_surface(task: str) -> None:
    color = task.split("_")[1]
    start, now = true_case(task)
    raised = now.blocks[color]
    low = replace(raised, position=raised.position - np.array([0, 0, 0.01]))
    propped = replace(raised, touches=frozenset({"robot", "other"}))
    assert not judge(task, start, desk(color, **{color: low}))
    assert not judge(task, start, desk(color, **{color: propped}))
    elsewhere = desk(**{color: block(touches="other")})
    assert not judge(task, elsewhere, now)


@pytest.mark.parametrize(("task", "surface"), [("place_in_slider", "shelf"), ("place_in_drawer", "drawer")])
def test_placing_needs_a_held_block_and_a_hand_that_lets_go(task: str, surface: str) -> None:
    placed = desk(red=block(touches=surface))
    assert judge(task, holding("red"), placed)
    assert not judge(task, desk("red table", red=block(z=0.6, touches="robot")), placed)  # the hand touches more
    assert not judge(task, desk("red", red=block(touches="robot table")), placed)  # not lifted
    assert not judge(task, holding("red"), desk("red", red=block(touches=f"{surface} robot")))
    assert not judge(task, holding("red"), desk(red=block(touches="table")))


def test_a_stack_stands_still_on_blocks_alone() -> None:
    start, now = true_case("stack_block")
    top = now.blocks["red"]
    falling = replace(top, linear_velocity=np.array([0, 0, -1.1]))
    spinning = replace(top, angular_velocity=np.array([1.1, 0, 0]))
    leaning = replace(top, touches=frozenset({"blue", "table"}))
    held = replace(top, touches=frozenset({"blue", "robot"}))
    wrong = (falling, spinning, leaning, held)
    assert not any(judge("stack_block", start, desk(red=state)) for state in wrong)
    stacked_before = desk(red=replace(top), blue=block(touches="table red"))
    assert not judge("stack_block", stacked_before, now)


def test_unstacking_needs_a_stack() -> None:
    start, now = true_case("unstack_block")
    side_by_side = desk(red=block(touches="table blue"), blue=block(touches="table red"))
    assert not judge("unstack_block", side_by_side, now)
    still_touching = desk("red", red=block(touches="robot blue"), blue=block(touches="table red"))
    assert not judge("unstack_block", start, still_touching)


def test_pushing_into_the_drawer_is_not_putting_in() -> None:
    start, now = true_case("push_into_drawer")
    touched = desk("blue", blue=block(touches="table robot"))
    assert not judge("push_into_drawer", touched, now)
    assert not judge("push_into_drawer", start, desk("blue", blue=block(touches="drawer robot")))


@pytest.mark.parametrize(
    ("task", "field", "enough", "short"),
    [("move_slider_left", "door", 0.151, 0.149), ("open_drawer", "drawer", 0.121, 0.119)],
)
def test_furniture_has_to_move_far_enough(task: str, field: str, enough: float, short: float) -> None:
    start = desk()
    assert judge(task, start, replace(start, **{field: enough}))
    assert not judge(task, start, replace(start, **{field: short}))


def test_held_block_is_held_by_nothing_else() -> None:
    assert held_block(holding("pink")) == "pink"
    assert held_block(desk()) is None
    assert held_block(desk("pink", pink=block(touches="robot table"))) is None


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="stack_block"):
        judge("dance", desk(), desk())
