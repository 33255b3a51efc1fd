import numpy as np
import pytest

from volition.envs.desk import layout as at
from volition.envs.desk.chains import after, chains
from volition.envs.desk.desk import Desk
from volition.envs.desk.environment import DeskConfig, DeskEnv
from volition.envs.desk.starts import APART, DEMO, NONE, ShiftRange, furniture_to_world, sample
from volition.envs.desk.state import BLOCKS, SCENES, Shift
from volition.envs.desk.tasks import TASKS, done, held_block
from volition.records import Start


@pytest.fixture(scope="module")
def desk() -> Desk:
    return Desk()


@pytest.fixture(scope="module")
def shifted() -> DeskEnv:
    return DeskEnv(DeskConfig(shift=True))


def test_the_same_draw_gives_the_same_start() -> None:
    for task in TASKS:
        one, two = (sample((task,), "B", np.random.default_rng(3), DEMO) for _ in range(2))
        np.testing.assert_array_equal(one.state.scene_obs, two.state.scene_obs)
        assert one.state.shift == two.state.shift
        other = sample((task,), "B", np.random.default_rng(4), DEMO)
        assert not np.array_equal(one.state.scene_obs, other.state.scene_obs)


def test_the_furniture_frame_is_the_desks(desk: Desk) -> None:
    shift = Shift(x=0.05, y=-0.03, yaw=0.2)
    start = sample(("open_drawer",), "A", np.random.default_rng(0), NONE)
    desk.reset(type(start.state)(scene="A", scene_obs=start.state.scene_obs, shift=shift))
    position, rotation = desk.furniture_pose()
    points = np.random.default_rng(1).normal(size=(5, 3))
    np.testing.assert_allclose(furniture_to_world(points, shift), points @ rotation.T + position, atol=1e-12)


def test_shifts_fill_their_range_and_none_moves_nothing() -> None:
    rng = np.random.default_rng(0)
    drawn = [DEMO.draw(rng) for _ in range(400)]
    for name in ("x", "y", "yaw"):
        values, limit = [getattr(shift, name) for shift in drawn], getattr(DEMO, name)
        assert max(map(abs, values)) <= limit
        assert min(values) < -0.9 * limit
        assert max(values) > 0.9 * limit
    assert NONE.draw(rng) == Shift()
    assert DEMO.x >= 0.06
    assert DEMO.yaw >= np.radians(15.0)
    assert ShiftRange(x=0.01).draw(rng).yaw == 0.0


@pytest.mark.parametrize("scene", SCENES)
def test_starts_are_what_their_words_say_and_nothing_happens_by_itself(desk: Desk, scene: str) -> None:
    surfaces = {"table": "table", "hand": "table", "shelf_left": "shelf", "shelf_right": "shelf", "drawer": "drawer"}
    for index, task in enumerate(TASKS):
        start = sample((task,), scene, np.random.default_rng([7, index]), DEMO)
        assert after(start.arrangement, task) is not None
        desk.reset(start.state)
        at_reset = desk.snapshot()
        for color in BLOCKS:
            place = start.arrangement.place(color)
            below = {surfaces.get(place, place)}
            above = {other for other in BLOCKS if start.arrangement.place(other) == color}
            assert at_reset.blocks[color].touches == below | above, (task, color, place)
        assert at_reset.bulb is start.arrangement.bulb
        assert at_reset.led is start.arrangement.led
        for _ in range(15):
            desk.step(np.zeros(7))
        later = desk.snapshot()
        assert not done(at_reset, later)
        for color in BLOCKS:
            moved = later.blocks[color].position - at_reset.blocks[color].position
            assert np.linalg.norm(moved) < 0.003, (task, color, moved)


def test_blocks_keep_their_distance_and_a_pushed_one_has_a_lane() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        start = sample(("push_red_block_right",), "C", rng, NONE)
        positions = {c: start.state.scene_obs[6 + 6 * i : 9 + 6 * i] for i, c in enumerate(BLOCKS)}
        red = positions["red"]
        assert red[0] < 0.1
        for color, position in positions.items():
            if color != "red" and start.arrangement.place(color) == "table":
                assert np.linalg.norm(position - red) >= APART
                assert not (0.0 < position[0] - red[0] < 0.2 and abs(position[1] - red[1]) < 0.06)


def test_chains_start_so_that_their_first_task_can_begin() -> None:
    for index, chain in enumerate(chains(40, seed=3)):
        start = sample(chain.tasks, SCENES[index % 4], np.random.default_rng(index), NONE)
        assert start.prepare is None
        assert after(start.arrangement, chain.tasks[0]) is not None
        assert start.state.shift == Shift()


@pytest.mark.parametrize("task", ["place_in_slider", "place_in_drawer", "stack_block"])
def test_who_needs_a_block_in_the_hand_starts_with_one(shifted: DeskEnv, task: str) -> None:
    for seed, scene in enumerate(SCENES):
        shifted.reset(Start(seed, (task,), scene))
        moment = shifted.desk.snapshot()
        color = held_block(moment)
        assert color is not None
        assert moment.blocks[color].position[2] > at.TOP + 0.05


def test_unknown_scenes_tasks_and_impossible_orders_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="'E'"):
        sample(("open_drawer",), "E", rng)
    with pytest.raises(ValueError, match="wave"):
        sample(("wave",), "A", rng)
    with pytest.raises(ValueError, match="close_drawer, close_drawer"):
        sample(("close_drawer", "close_drawer"), "A", rng)
