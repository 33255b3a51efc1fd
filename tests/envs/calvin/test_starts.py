"""Starts are drawn without the simulator: what they promise is tested without it."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volition.envs.calvin.config import CalvinSimConfig
from volition.envs.calvin.initial import block_slot, official_scene
from volition.envs.calvin.layouts import LAYOUTS
from volition.envs.calvin.places import draws
from volition.envs.calvin.sequences import official_initial
from volition.envs.calvin.situations import BLOCKS, CABINET, SCENES, TASKS, feasible
from volition.envs.calvin.starts import APART, HAND, OFF_BUTTON, StartState, sample
from volition.records import Start

ANY = {"task": st.sampled_from(TASKS), "scene": st.sampled_from(SCENES), "seed": st.integers(0, 2**32)}


def drawn(task: str, scene: str, seed: int) -> StartState:
    return sample((task,), scene, np.random.default_rng(seed))


def position(start: StartState, color: str) -> np.ndarray:
    slot = block_slot(color)
    return start.scene_obs[slot : slot + 3]


@settings(max_examples=60)
@given(**ANY)
def test_a_start_admits_its_task_and_is_the_same_again(task: str, scene: str, seed: int) -> None:
    start = drawn(task, scene, seed)
    before = () if start.prepare is None else (start.prepare,)
    assert feasible(start.situation, (*before, task))
    assert task in start.admits
    again = drawn(task, scene, seed)
    assert np.array_equal(start.scene_obs, again.scene_obs)
    assert (start.prepare, start.admits) == (again.prepare, again.admits)


@settings(max_examples=60)
@given(**ANY)
def test_blocks_leave_each_other_the_button_and_the_door_room(task: str, scene: str, seed: int) -> None:
    start, layout = drawn(task, scene, seed), LAYOUTS[scene]
    places = {color: start.situation.place(color) for color in BLOCKS}
    flat = {color: position(start, color)[:2] for color in BLOCKS}
    for one, other in combinations(BLOCKS, 2):
        if "stacked_top" not in (places[one], places[other]):
            assert np.linalg.norm(flat[one] - flat[other]) >= APART
    low, high = (edge - start.scene_obs[0] for edge in layout.door)
    for color in BLOCKS:
        if places[color] == "table":
            assert np.linalg.norm(flat[color] - layout.button[:2]) >= OFF_BUTTON
        if places[color] in CABINET and places[color] != f"slider_{start.situation.slider}":
            assert flat[color][0] >= high + HAND - 1e-9 or flat[color][0] <= low - HAND + 1e-9


@settings(max_examples=40)
@given(color=st.sampled_from(BLOCKS), side=st.sampled_from(("left", "right")), seed=st.integers(0, 2**32))
def test_a_push_has_a_free_lane(color: str, side: str, seed: int) -> None:
    start = drawn(f"push_{color}_block_{side}", "D", seed)
    sign = 1.0 if side == "right" else -1.0
    here = position(start, color)
    for other in BLOCKS:
        offset = position(start, other) - here
        assert other == color or not (0 < sign * offset[0] < 0.28 and abs(offset[1]) < 0.1)


@pytest.mark.parametrize("scene", SCENES)
def test_every_task_has_starts_of_many_kinds(scene: str) -> None:
    for task in TASKS:
        found = [drawn(task, scene, seed) for seed in range(12)]
        assert len({start.situation for start in found}) > 2
        assert len({float(start.scene_obs[block_slot("red")]) for start in found}) > 5


def test_a_stack_stands_and_a_drawers_block_lies_in_it() -> None:
    stacked = drawn("unstack_block", "D", 0)
    ((top,), (low,)) = stacked.situation.at("stacked_top"), stacked.situation.at("stacked_bottom")
    assert np.allclose(position(stacked, top) - position(stacked, low), (0, 0, 0.04), atol=1e-3)
    inside = drawn("lift_red_block_drawer", "D", 0)
    assert inside.scene_obs[1] > 0.2
    assert abs(position(inside, "red")[0] - LAYOUTS["D"].drawer[0]) < 0.177 - 0.04


def test_several_tasks_in_a_row_begin_where_all_can_be_done() -> None:
    tasks = ("open_drawer", "lift_red_block_table", "place_in_drawer", "turn_on_led", "close_drawer")
    start = sample(tasks, "D", np.random.default_rng(0))
    assert feasible(start.situation, tasks)
    with pytest.raises(ValueError, match="must be doable one after the other"):
        sample(("open_drawer", "open_drawer"), "D", np.random.default_rng(0))


def test_official_starts_are_the_protocols() -> None:
    config = CalvinSimConfig()
    for number, start in enumerate(config.chains(3)):
        assert start.seed == number
        assert start.scene == "D"
        (place,) = draws(start, config.scenes, config.placement)
        assert np.array_equal(place.scene_obs, official_scene(official_initial(number)))
        assert start.tasks[0] in config.feasible(start)
        assert not place.settle


def test_other_chains_are_drawn_anew_at_the_same_places() -> None:
    config = CalvinSimConfig()
    starts = config.chains(4, seed=7)
    assert starts[:2] == config.chains(2, seed=7)
    assert min(start.seed for start in starts) >= 1000
    for start in starts:
        place = next(draws(start, config.scenes, config.placement))
        assert feasible(place.situation, start.tasks)
        for color in BLOCKS:
            y = float(place.scene_obs[block_slot(color) + 1])
            assert min(abs(y + 0.12), abs(y - 0.0924)) < 1e-3, "not one of the protocol's places"
        assert abs(place.scene_obs[block_slot("red") + 5] - math.pi / 2) <= math.pi / 8
    scattered = next(draws(starts[0], config.scenes, "scattered"))
    assert scattered.settle
    assert not np.allclose(scattered.scene_obs, next(draws(starts[0], config.scenes, "official")).scene_obs)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (Start(5, ()), "got none"),
        (Start(5, ("open_dor",)), r"34 tasks, got \['open_dor'\]"),
        (Start(5, ("open_drawer",), "E"), "one of A, B, C, D or empty, got 'E'"),
        (Start(5, ("open_drawer", "close_drawer") * 2 + ("open_drawer",)), "official sequences, and number 5"),
        (Start(5000, ("close_drawer",) * 5), "no initial situation of CALVIN's admits"),
    ],
)
def test_starts_that_are_none_are_named(start: Start, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        next(draws(start, ("D",), "official"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scenes": ("E",)}, "some of A, B, C, D"),
        ({"scenes": ()}, "some of A, B, C, D"),
        ({"more_sentences": -1}, "more_sentences must be at least 0, got -1"),
        ({"image_sizes": {"ceiling": (96, 96)}}, "height and width of"),
        ({"image_sizes": {}}, "height and width of"),
        ({"image_sizes": {"static": (96, 96), "gripper": (0, 96)}}, "height and width of"),
    ],
)
def test_configs_that_are_none_are_named(fields: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CalvinSimConfig(**fields)


@pytest.mark.parametrize(("name", "known"), [("renderer", "tiny, egl"), ("placement", "official, scattered")])
def test_words_that_are_none_are_named(name: str, known: str) -> None:
    config = CalvinSimConfig()
    object.__setattr__(config, name, "vulkan")  # the tests' own type checker stands before the constructor
    with pytest.raises(ValueError, match=f"{name} must be one of {known}, got 'vulkan'"):
        config.__post_init__()
