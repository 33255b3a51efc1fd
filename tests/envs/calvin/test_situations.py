"""The symbolic rules of the protocol."""

from __future__ import annotations

import pytest

from volition.envs.calvin.situations import TASKS, Situation, after, feasible, initial_situations, kind, outcomes

OPEN = Situation(drawer="open", blue="slider_left", pink="slider_right")  # red on the table


def test_there_are_34_tasks_of_11_kinds_and_192_beginnings() -> None:
    assert len(TASKS) == len(set(TASKS)) == 34
    assert len({kind(task) for task in TASKS}) == 11
    assert len(initial_situations()) == len(set(initial_situations())) == 192
    assert all(len(situation.at("table")) in (1, 2) for situation in initial_situations())


def test_furniture_is_moved_only_where_it_is_not_yet() -> None:
    assert after(OPEN, "open_drawer") is None
    closed = after(OPEN, "close_drawer")
    assert closed is not None
    assert closed.drawer == "closed"
    assert feasible(OPEN, ("turn_on_led", "turn_off_led", "turn_on_led"))
    assert not feasible(OPEN, ("turn_on_led", "turn_on_led"))


def test_a_block_in_the_cabinet_is_reached_where_the_door_is_not() -> None:
    assert OPEN.slider == "right"  # it hides the right half
    lifted = after(OPEN, "lift_blue_block_slider")
    assert lifted is not None
    assert (lifted.blue, lifted.grasped) == ("grasped", 1)
    assert after(OPEN, "lift_pink_block_slider") is None


def test_with_a_block_in_the_hand_it_is_put_somewhere_and_nothing_else_is_done() -> None:
    held = after(OPEN, "lift_red_block_table")
    assert held is not None
    possible = {task for task in TASKS if after(held, task)}
    assert possible == {"place_in_slider", "place_in_drawer"}
    placed = after(held, "place_in_slider")
    assert placed is not None
    assert placed.red == "slider_right"  # CALVIN's oddity: the half that the door hides


def test_what_could_end_in_several_ways_is_not_done() -> None:
    held = Situation(red="grasped", grasped=1)
    assert [situation.at("stacked_bottom") for situation in outcomes(held, "stack_block")] == [["blue"], ["pink"]]
    assert after(held, "stack_block") is None
    assert after(held.put({"pink": "slider_left"}, grasped=1), "stack_block") is not None


def test_one_block_alone_on_the_table_is_pushed_into_the_open_drawer() -> None:
    pushed = after(OPEN, "push_into_drawer")
    assert pushed is not None
    assert pushed.red == "drawer"
    assert after(OPEN.put({"blue": "table"}), "push_into_drawer") is None
    assert after(pushed, "lift_red_block_drawer") is not None


def test_a_task_that_there_is_not_is_named() -> None:
    with pytest.raises(ValueError, match="got 'fly'"):
        outcomes(OPEN, "fly")
