"""The pretraining data: facts that are true of the pictures, and no instruction among the questions."""

import numpy as np
import pytest

from volition.backbones.tiny import tiny_tokenizer
from volition.envs.desk.desk import Desk
from volition.envs.desk.language import instructions
from volition.envs.desk.tasks import TASKS
from volition.studies.pretraining.asking import location
from volition.studies.pretraining.desk_moments import WIDTH, MomentSampler, pack, unpack
from volition.studies.pretraining.desk_questions import REACH, ask, caption, distance

SIZES = {"static": (96, 96), "gripper": (96, 96)}


@pytest.fixture(scope="module")
def desk() -> Desk:
    return Desk(image_sizes=SIZES)


@pytest.fixture(scope="module")
def facts(desk: Desk) -> list:
    moments = MomentSampler(desk)
    return [moments.facts(moments.draw(np.random.default_rng(seed))) for seed in range(40)]


def test_pack_and_unpack_are_inverse(facts) -> None:
    for one in facts:
        row = pack(one)
        assert row.shape == (WIDTH,)
        np.testing.assert_array_equal(pack(unpack(row)), row)


def test_a_red_block_is_red_where_it_is_said_to_be(desk: Desk) -> None:
    """Point into the picture as the facts say, and look."""
    moments = MomentSampler(desk)
    hits = 0
    for seed in range(30):
        moment = moments.draw(np.random.default_rng(seed))
        u, v = moments.facts(moment).static["red"]
        picture = desk.render("static")
        r, g, b = picture[min(int(v * 96), 95), min(int(u * 96), 95)].astype(int)
        hits += r > 120 and r > 2 * g and r > 2 * b
    assert hits >= 18, "hidden behind the arm or the cabinet now and then, but in view most of the time"


def test_questions_are_no_instructions(facts) -> None:
    told = {
        sentence.lower()
        for task in TASKS
        for split in ("train", "validation")
        for sentence in instructions(task, split)
    }
    rng = np.random.default_rng(0)
    asked = {ask(one, rng).asked for one in facts for _ in range(50)}
    assert len(asked) > 50
    assert not asked & told


def test_every_word_is_in_the_vocabulary(facts) -> None:
    known = tiny_tokenizer().get_vocab()
    rng = np.random.default_rng(0)
    for one in facts:
        for _ in range(20):
            question = ask(one, rng)
            said = f"{question.asked} {question.answer} {caption(one, rng)}"
            assert not [word for word in said.split() if word not in known]


def test_a_distance_is_finest_near_zero() -> None:
    number = lambda token: int(token.removeprefix("<loc").removesuffix(">"))
    bins = [number(distance(x)) for x in np.linspace(-REACH, REACH, 1001)]
    assert bins == sorted(bins)
    assert {bins[0], bins[-1]} == {0, 63}
    assert number(distance(0.005)) - number(distance(-0.005)) >= 5
    assert location(0.0) == "<loc00>"
    assert location(1.0) == "<loc63>"
