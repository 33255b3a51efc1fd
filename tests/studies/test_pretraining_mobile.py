"""The pretraining on pictures of the mobile base, and the training itself, on either world."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from volition.backbones import TinyPaliGemma
from volition.envs.mobile.language import SPLITS, instructions
from volition.envs.mobile.mobile import Mobile
from volition.envs.mobile.state import Box, MobileState, Pose, Thing
from volition.envs.mobile.tasks import TASKS
from volition.studies.pretraining.mobile_moments import THINGS, draw, facts, points
from volition.studies.pretraining.mobile_questions import ask, caption, coordinates
from volition.studies.pretraining.pretrain import DrawConfig, TrainConfig
from volition.studies.pretraining.worlds import WORLDS

STATE = MobileState(
    scene="A",
    robot=Pose(0.0, 0.0, math.pi / 2),  # looks along y
    boxes=(Box(Pose(0.0, 1.0, 0.0), (0.4, 0.2, 0.3), (0.2, 0.5, 0.3)),),
    things=(Thing("red_cup", -0.5, 1.5), Thing("blue_cone", 0.0, -1.0)),
)


def test_places_are_told_as_the_robot_sees_them() -> None:
    found = points(facts(STATE))
    assert list(found) == ["near", "near_left", "near_right", "red_cup"], "one box, and nothing that lies behind"
    cup = found["red_cup"]
    assert (cup.ahead, cup.left) == pytest.approx((1.5, 0.5))
    assert 0 < cup.u < 0.5, "on the left of the picture"
    assert found["near"].u == pytest.approx(0.5)
    assert found["near_left"].left == pytest.approx(0.2)
    assert found["near_right"].left == pytest.approx(-0.2)
    numbers = coordinates(found, "red_cup")
    assert numbers[4] == pytest.approx(math.atan2(0.5, 1.5) / (math.pi / 2))
    assert np.isnan(coordinates(found, "blue_cone")).all()


def test_a_red_thing_is_red_where_it_is_said_to_be() -> None:
    """Point into the picture as the facts say, and look."""
    mobile, hits, seen = Mobile(), 0, 0
    for seed in range(40):
        state = draw(np.random.default_rng(seed))
        mobile.reset(state)
        picture = mobile.render("front").astype(int)
        for name, point in points(facts(state)).items():
            if name == "red_cup" and point.in_view:
                r, g, b = picture[min(int(point.v * 72), 71), min(int(point.u * 128), 127)]
                seen, hits = seen + 1, hits + int(r > 1.6 * max(g, b))
    assert seen >= 10
    assert hits >= 0.7 * seen, "hidden behind a box now and then, but in view most of the time"


def test_questions_are_no_instructions_and_ask_of_everything() -> None:
    told = {sentence.lower() for task in TASKS for split in SPLITS for sentence in instructions(task, split)}
    rng = np.random.default_rng(0)
    moments = [points(facts(draw(np.random.default_rng(seed)))) for seed in range(40)]
    questions = [ask(one, rng) for one in moments for _ in range(30)]
    assert len({one.asked for one in questions}) > 50
    assert not {one.asked for one in questions} & told
    assert {one.thing for one in questions} == {*THINGS, ""}
    assert all("<loc" in caption(one) for one in moments if one)


@pytest.mark.parametrize("name", WORLDS)
def test_moments_are_drawn_and_trained_on(name: str, tmp_path: Path) -> None:
    DrawConfig(out=tmp_path, world=name, num_moments=8, workers=1).run()  # type: ignore[arg-type]
    small = TinyPaliGemma(width=32, num_heads=2, vision_layers=1, text_layers=1)
    TrainConfig(out=tmp_path, world=name, num_steps=2, batch_size=4, held_out=4, backbone=small).run()  # type: ignore[arg-type]
    first, second = (json.loads(line) for line in (tmp_path / "vlm.jsonl").read_text().splitlines())
    assert first["step"] == 2
    assert np.isfinite([first["loss"], first["coordinates"], second["held_out_location_error_bins"]]).all()
    again = TinyPaliGemma(**{**vars(small), "weights": str(tmp_path / "vlm.safetensors")}).build()
    assert again.width == 32
