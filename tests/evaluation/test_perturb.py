"""Each perturbation does what it says, alike however often it is run, and alone or after others."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.worlds import TASKS, Seeker, WatchedWorld
from tests.toy import SPEC, Toy, ToyConfig
from volition.contract import ActionSpace, Dimension
from volition.evaluation.episodes import Resting, Watcher
from volition.evaluation.perturb import (
    Acting,
    ActionDelay,
    ActionNoise,
    BlackOut,
    Brightness,
    Perturbation,
    Perturbed,
    PixelNoise,
    Say,
    ShiftPicture,
)
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.suite import score_tasks, task_trials
from volition.records import Env, Observation, Start

HERE = RolloutConfig(num_workers=0, slots_per_worker=4, batch=4, max_steps=20)
TRIALS = task_trials(TASKS, num_starts=6, first_seed=100)
RNG = np.random.default_rng
ALL = (BlackOut(), PixelNoise(), Brightness(), ShiftPicture(), Say(), ActionNoise(), ActionDelay())


def disturbed(*perturbations: Perturbation, seed: int = 0) -> Perturbed:
    return Perturbed(ToyConfig().make, perturbations, SPEC.action_space, seed)


def look() -> Observation:
    env = Toy()
    env.reset(Start(3, TASKS))
    seen = env.observe("go to the red square")
    return replace(seen, images={**seen.images, "wrist": np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)})


def test_one_camera_or_all_go_black() -> None:
    seen = look()
    one = BlackOut(camera="wrist").see(seen, RNG(0))
    assert not one.images["wrist"].any()
    assert np.array_equal(one.images["base"], seen.images["base"])
    assert not any(image.any() for image in BlackOut().see(seen, RNG(0)).images.values())
    with pytest.raises(ValueError, match=r"no camera 'left' to black out; there are \['base', 'wrist'\]"):
        BlackOut(camera="left").see(seen, RNG(0))


def test_noise_has_its_size_and_stays_within_a_byte() -> None:
    grey = replace(look(), images={"base": np.full((1, 100, 100, 3), 128, np.uint8)})
    noise = PixelNoise(sigma=10.0).see(grey, RNG(0)).images["base"].astype(float) - 128
    assert noise.std() == pytest.approx(10.0, rel=0.05)
    assert noise.mean() == pytest.approx(0.0, abs=0.5)
    strong = PixelNoise(sigma=500.0).see(grey, RNG(0)).images["base"]
    assert (strong.dtype, strong.min(), strong.max()) == (np.uint8, 0, 255)


def test_pictures_get_darker_and_brighter() -> None:
    seen = look()
    dark = Brightness(factor=0.5).see(seen, RNG(0)).images["base"]
    np.testing.assert_allclose(dark, seen.images["base"] * 0.5, atol=0.5)
    bright = Brightness(factor=2.0).see(seen, RNG(0)).images["base"]
    np.testing.assert_array_equal(bright, np.minimum(seen.images["base"].astype(int) * 2, 255))


def test_pictures_move_right_and_down() -> None:
    seen = look()
    moved = ShiftPicture(right=0.25, down=0.5).see(seen, RNG(0)).images["wrist"]
    before = seen.images["wrist"]
    np.testing.assert_array_equal(moved[:, 2:, 1:], before[:, :2, :3])
    np.testing.assert_array_equal(moved[:, 0], moved[:, 2])
    back = ShiftPicture(right=-0.25, down=0.0).see(seen, RNG(0)).images["wrist"]
    np.testing.assert_array_equal(back[:, :, :3], before[:, :, 1:])


def test_something_else_is_said() -> None:
    assert Say().see(look(), RNG(0)).instruction == ""
    assert Say(instruction="dance").see(look(), RNG(0)).instruction == "dance"


def test_noise_on_actions_leaves_the_gripper_and_the_range_alone() -> None:
    grip = Dimension(name="grip", unit="", kind="binary")
    space = ActionSpace(dimensions=(Dimension(name="x", unit="m", low=0.0, high=4.0), grip))
    asked, acting = [np.array([2.0, 1.0], np.float32)], Acting(space, None)
    done = np.stack([ActionNoise(share=0.1).act(asked, acting, RNG(i)) for i in range(400)])
    assert done[:, 0].std() == pytest.approx(0.2, rel=0.1)
    assert set(done[:, 1]) == {1.0}
    wild = np.stack([ActionNoise(share=9.0).act(asked, acting, RNG(i)) for i in range(50)])
    assert (wild[:, 0].min(), wild[:, 0].max()) == (0.0, 4.0)


def test_actions_come_late_and_the_robot_rests_before() -> None:
    env = disturbed(ActionDelay(steps=2))()
    plain = Toy()
    for made in (env, plain):
        made.reset(Start(3, TASKS))
        made.begin("reach_red")
    moves = RNG(0).uniform(-1, 1, (5, 2)).astype(np.float32)
    for move in moves:
        env.step(move)
    for move in moves[:3]:
        plain.step(move)
    np.testing.assert_array_equal(env.observe("").state, plain.observe("").state)
    with pytest.raises(ValueError, match="a method `rest"):
        ActionDelay(steps=1).act([moves[0]], Acting(SPEC.action_space, None), RNG(0))


@pytest.mark.parametrize("perturbation", ALL, ids=lambda p: type(p).__name__)
def test_an_episode_is_disturbed_alike_however_it_is_run(perturbation: Perturbation) -> None:
    factory = pickle.loads(pickle.dumps(disturbed(perturbation, PixelNoise(sigma=1.0))))
    alone = evaluate(Seeker(), factory, TRIALS, HERE)
    again = evaluate(Seeker(), factory, TRIALS, replace(HERE, num_workers=2, slots_per_worker=1, batch=1))
    some = evaluate(Seeker(), factory, TRIALS, replace(HERE, slots_per_worker=1, batch=2), numbers=[5])
    actions = lambda results: [a.actions.tobytes() for r in results for a in r.attempts]
    assert (alone, actions(alone)) == (again, actions(again))
    assert actions(some) == actions(alone[5:6])


def test_looking_twice_changes_nothing_and_seeds_differ() -> None:
    views = []
    for seed, start in ((0, 3), (0, 3), (1, 3), (0, 4)):
        env = disturbed(PixelNoise(), seed=seed)()
        env.reset(Start(start, TASKS))
        env.begin("reach_red")
        views.append([env.observe("").images["base"].tobytes() for _ in range(2)])
    assert views[0][0] == views[0][1] == views[1][0]
    assert len({view[0] for view in views}) == 3


def test_they_are_applied_in_their_order() -> None:
    env = disturbed(BlackOut(), Brightness(factor=2.0), Say(instruction="a"), Say(instruction="b"))()
    env.reset(Start(3, TASKS))
    env.begin("reach_red")
    seen = env.observe("go")
    assert (seen.instruction, int(seen.images["base"].max())) == ("b", 0)


def test_the_rest_of_the_environment_shows_through() -> None:
    watched = Perturbed(WatchedWorld(), (Say(),), SPEC.action_space)()
    plain = disturbed(Say())()
    assert isinstance(watched, Watcher)
    assert not isinstance(plain, Watcher)
    assert isinstance(plain, Resting)
    assert isinstance(plain, Env)
    assert plain.instructions("reach_red", "validation") == ("please touch the red square",)
    plain.reset(Start(3, TASKS))
    assert plain.frame().shape == (200, 200, 3)
    plain.close()


def test_a_policy_that_looks_and_listens_suffers_from_what_it_should() -> None:
    rate = lambda *p: score_tasks(evaluate(Seeker(), disturbed(*p), TRIALS, HERE)).success.value
    assert rate() == 1.0
    assert rate(BlackOut()) == 0.0
    assert rate(Say(instruction="red")) == 0.5
    assert rate(ActionNoise(share=0.1)) > 0.5
