"""Where the reference errs: what `compat` repeats for the sake of what was trained so, and what we do instead.

The numbers are the list of defects in tests/golden/INDEX.md.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.source_tree import ROOT
from volition import geometry
from volition.action_tokens import ActionTokenizer
from volition.backbones.images import Augmentation
from volition.compat import actions, calvin, oxe, shift, text
from volition.compat.labelled import IGNORED
from volition.compat.postprocess import CalvinOutput
from volition.compat.schedules import Schedule
from volition.data.transforms import Chain, NormalizeActions, Scale
from volition.data.windows import Windows
from volition.records import Observation
from volition.training.optim import OptimConfig

GOLDEN = ROOT / "tests" / "golden"
NOTHING_SEEN = Observation(images={}, state=np.zeros((1, 0), np.float32), instruction="")
RNG = np.random.default_rng(0)


def random_actions(*shape: int) -> np.ndarray:
    made = RNG.uniform(-1, 1, (*shape, 7))
    made[..., -1] = np.sign(made[..., -1])
    return made


def test_1_the_way_back_from_the_tools_frame_runs_and_is_the_way_back() -> None:
    given, state = random_actions(4, 8), RNG.uniform(-1, 1, (4, 8, 15))
    for there, back in (
        (actions.world_to_tcp, actions.tcp_to_world),
        (
            lambda a, s: geometry.world_to_tcp(a, s[..., 3:6], rotation_scale=0.05),
            lambda a, s: geometry.tcp_to_world(a, s[..., 3:6], rotation_scale=0.05),
        ),
    ):
        np.testing.assert_allclose(back(there(given, state), state), given, atol=1e-9)


def test_1_ours_turns_the_tool_forwards_the_references_backwards() -> None:
    action = np.array([0.0, 0, 0, 1, 0, 0, 1])
    assert actions.world_to_tcp(action, np.zeros(15))[3] == pytest.approx(-1)
    assert geometry.world_to_tcp(action, np.zeros(3), rotation_scale=0.05)[3] == pytest.approx(1)


def test_2_chunks_keep_their_time_axis() -> None:
    with np.load(GOLDEN / "a_frames.npz") as stored:
        given, state, theirs = (stored[f"chunk4d/{key}"] for key in ("action", "robot_obs", "tcp"))
    ours = actions.world_to_tcp(given, state)
    assert ours.shape == given.shape == (4, 8, 2, 7)
    assert theirs.shape == (4, 16, 1, 7)


def test_3_the_gripper_is_what_normalising_leaves_alone_not_the_last_step() -> None:
    steps = np.zeros((3, 7), np.float32)
    steps[:, -1] = 1  # open all along
    theirs = actions.ActionScaling(regular=(0.0, 1.0)).apply(steps)
    assert actions.gripper_to_label(theirs[:, -1]).tolist() == [0, 0, 1]  # closed, but for the last
    ours = NormalizeActions(scale=Scale(offset=(0.1,) * 6 + (0.0,), factor=(0.5,) * 6 + (1.0,)))
    assert ours.encode(steps, NOTHING_SEEN)[:, -1].tolist() == [1, 1, 1]
    np.testing.assert_allclose(ours.encode(steps, NOTHING_SEEN)[:, 0], -0.2)  # every step


def test_4_what_training_scales_acting_scales_back() -> None:
    steps = random_actions(5).astype(np.float32)
    theirs = actions.ActionScaling(regular=(0.1, 0.5))
    assert np.abs(theirs.undo(theirs.apply(steps)[0])[:6] - steps[0, :6]).max() > 0.1
    scale = Scale(offset=(0.1,) * 6 + (0.0,), factor=(0.5,) * 6 + (1.0,))
    ours = Chain(transforms=(NormalizeActions(scale=scale),))
    np.testing.assert_allclose(ours.decode(ours.encode(steps, NOTHING_SEEN), NOTHING_SEEN), steps, atol=1e-6)


def test_6_a_question_asks_for_as_many_steps_as_are_predicted() -> None:
    assert text.question("open the drawer", 1) == "What action should the robot take to open the drawer?"
    assert text.question("open the drawer", 1 + 1).startswith("What 2 step actions")  # what its wrapper asks for one


def oxe_text() -> oxe.OxeText:
    return oxe.OxeText(words=lambda _: [0, 7, 8, 2], tokens=ActionTokenizer(base=300, bins=17), chunk=2)


def test_7_and_8_its_interleaved_rows_hide_actions_and_mask_the_wrong_end() -> None:
    rows = oxe_text().interleave("", random_actions(3), np.array([False, True, True]))
    answer = slice(3, 3 + 14)
    assert not rows.mask[:, answer].any()
    assert (rows.labels[0, answer] != IGNORED).tolist() == [True] * 7 + [False] * 7  # the first step is the invalid one
    masked = calvin.discrete_rows(
        [[0, 7, 8, 2]],
        random_actions(1, 3),
        np.array([[False, True, True]]),
        2,
        ActionTokenizer(base=300, bins=17),
        end=2,
        learn_end=True,
    )
    assert masked.mask[:, :, answer].all()
    assert (masked.labels[0, 0, answer] != IGNORED).tolist() == [False] * 7 + [True] * 7


def test_9_a_closed_gripper_is_the_lowest_token_except_in_its_segments() -> None:
    closed = np.zeros((3, 7))
    valid = np.ones(3, bool)
    tokens = oxe_text().tokens
    assert tokens is not None
    lowest, middle = tokens.encode(np.array([-1.0, 0.0]))
    assert oxe_text().interleave("", closed, valid).ids[0, 3 + 6] == lowest
    assert oxe_text().segment("", closed[:0], closed[1:], valid[1:]).ids[3 + 6] == middle


def test_15_what_is_executed_was_predicted_for_the_newest_frame() -> None:
    arm, gripper = RNG.uniform(-1, 1, (5, 10, 6)), RNG.normal(size=(5, 10, 1))
    newest, oldest = CalvinOutput(), CalvinOutput(frame=0)
    np.testing.assert_array_equal(newest(arm, gripper, np.zeros(15))[:6], arm[-1, 0])
    np.testing.assert_array_equal(oldest(arm, gripper, np.zeros(15))[:6], arm[0, 0])


def test_20_a_cosine_stays_down() -> None:
    theirs = Schedule(kind="half-cosine", warmup=10.0, total=100.0, min_scale=0.01)
    ours = OptimConfig(warmup_steps=10, min_lr_scale=0.01, schedule="cosine")
    assert theirs.scale(100) == pytest.approx(0.01)
    assert ours.lr_scale(100, 100) == pytest.approx(0.01)
    assert theirs.scale(145) == pytest.approx(0.505)
    assert ours.lr_scale(145, 100) == pytest.approx(0.01)
    assert (theirs.scale(0), ours.lr_scale(1, 100)) == (0.0, 0.1)  # no step is spent at 0


def test_20_a_warm_up_as_long_as_the_training_divides_by_nothing() -> None:
    assert Schedule(kind="half-cosine", warmup=10.0, total=10.0).scale(10) == 1.0
    assert OptimConfig(warmup_steps=10).lr_scale(10, 10) == 1.0


def test_20_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="'linear'"):
        Schedule(kind="linear")


def test_23_a_window_is_shifted_as_one_and_may_stay_where_it_is() -> None:
    generator = torch.Generator().manual_seed(0)
    theirs = shift.draw_shifts(2000, 4, lowest=1, generator=generator)
    assert theirs.unique().tolist() == list(range(1, 9))
    picture = torch.arange(10, dtype=torch.uint8)[:, None, None].expand(10, 10, 3)
    window = picture.expand(40, 3, 10, 10, 3)
    shifted = Augmentation(shift=0.2)({"static": window}, generator)["static"]
    assert (shifted == shifted[:, :1]).all()  # every frame of a window alike
    assert {int(first) for first in shifted[:, 0, 5, 0, 0] - 5 + 2} == {0, 1, 2, 3, 4}  # 2 is no shift


class OneSegment:
    """A recording of 5 frames, each of which does what its number is."""

    task, instructions = "", ("go",)

    def __len__(self) -> int:
        return 5

    def images(self, steps: np.ndarray) -> dict[str, np.ndarray]:
        return {}

    def states(self, steps: np.ndarray) -> np.ndarray:
        return np.zeros((len(steps), 1), np.float32)

    def actions(self, steps: np.ndarray) -> np.ndarray:
        return steps[:, None].astype(np.float32)


def test_the_last_frame_of_a_segment_and_short_histories_are_samples_too() -> None:
    theirs = list(calvin.items([(0, 4)], window=3))
    assert [item.start for item in theirs] == [0, 1]
    frames, valid = theirs[-1].frames(3 + 1)
    assert (frames.tolist(), valid.tolist()) == ([1, 2, 3, 4], [True, True, True, False])
    ours = Windows([OneSegment()], num_obs_steps=3, action_horizon=1)
    assert len(ours) == 5
    assert ours.sample(4).mask[-1].all()
    assert ours.sample(4).actions[-1, 0, 0] == 4
