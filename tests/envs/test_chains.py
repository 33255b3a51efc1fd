from collections import Counter

import pytest

from volition.envs.desk.chains import CHAIN_LENGTH, Arrangement, after, arrangements, chains, feasible, fits, kind
from volition.envs.desk.tasks import TASKS

START = Arrangement(door="right", drawer="open", bulb=False, led=True, places=("table", "shelf_left", "table"))


def test_furniture_goes_only_where_it_is_not() -> None:
    moved = after(START, "move_slider_left")
    assert moved is not None
    assert moved.door == "left"
    assert after(START, "move_slider_right") is None
    assert after(START, "open_drawer") is None
    assert after(START, "turn_on_led") is None
    lit = after(START, "turn_on_lightbulb")
    assert lit is not None
    assert lit.bulb


def test_a_block_is_lifted_from_where_it_is_and_within_reach() -> None:
    assert after(START, "lift_blue_block_table") is None
    lifted = after(START, "lift_blue_block_slider")
    assert lifted is not None
    assert lifted.held == "blue"
    hidden = after(START, "move_slider_left")
    assert hidden is not None
    assert after(hidden, "lift_blue_block_slider") is None


def test_a_full_hand_can_only_put_down() -> None:
    holding = START.put("red", "hand")
    possible = {task for task in TASKS if after(holding, task) is not None}
    assert possible == {"place_in_drawer", "stack_block"}  # the open half of the cabinet is taken
    assert after(START, "place_in_drawer") is None


def test_the_lower_block_of_a_tower_is_not_touched() -> None:
    tower = START.put("red", "pink")
    for task in ("lift_pink_block_table", "rotate_pink_block_left", "push_pink_block_right", "push_into_drawer"):
        assert after(tower, task) is None
    undone = after(tower, "unstack_block")
    assert undone is not None
    assert undone.held == "red"


@pytest.mark.parametrize("task", TASKS)
def test_every_task_can_begin_somewhere_and_changes_what_it_says(task: str) -> None:
    found = arrangements((task,))
    assert found
    assert all(a.unusual <= 1 for a in found)
    assert all(after(a, task) is not None for a in found)


def test_chains_are_feasible_varied_and_reproducible() -> None:
    made = chains(120, seed=5)
    for chain in made:
        assert len(chain.tasks) == CHAIN_LENGTH
        assert feasible(chain.initial, chain.tasks)

        assert len({kind(task) for task in chain.tasks}) == CHAIN_LENGTH
        assert all(fits(b, a) for a, b in zip(chain.tasks, chain.tasks[1:]))
        assert chain.initial.held is None
    assert set(Counter(task for chain in made for task in chain.tasks)) == set(TASKS)
    assert all(chain.initial in arrangements(chain.tasks) for chain in made[:10])
    assert made[:20] == chains(20, seed=5)
    assert made[:20] != chains(20, seed=6)


def test_impossible_orders_are_refused() -> None:
    with pytest.raises(ValueError, match="open_drawer, open_drawer"):
        arrangements(("open_drawer", "open_drawer"))
    with pytest.raises(ValueError, match="juggle"):
        after(START, "juggle")
