"""What a tiny VLM can be pretrained on: a simulator's pictures, facts about them, and questions with their answers.

World.drawer() --> draw(rng) -> (pictures, facts)      one moment, as arrays that a file of moments can hold
World.ask(facts, rng, count) -> questions              new ones every time
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from volition.envs.desk.desk import Desk
from volition.envs.mobile.mobile import DEFAULT_IMAGE_SIZES, Mobile
from volition.studies.pretraining import desk_moments, desk_questions, mobile_moments, mobile_questions
from volition.studies.pretraining.asking import Question

WorldName = Literal["desk", "mobile"]
# Pictures uint8[height, width, 3] of every camera, and the packed facts float32[width].
Draw = Callable[[np.random.Generator], tuple[list[np.ndarray], np.ndarray]]


@dataclass(frozen=True)
class Asked:
    question: str
    answer: str
    coordinates: np.ndarray  # float32[num_coordinates] of the thing that it is about, NaN where there are none


@dataclass(frozen=True, kw_only=True)
class World:
    image_sizes: Mapping[str, tuple[int, int]]  # of each camera, height and width, the same for all
    width: int  # numbers in the packed facts of a moment
    num_coordinates: int
    drawer: Callable[[], Draw]  # to be called once a process
    unpack: Callable[[np.ndarray], Any]  # packed facts -> what the next two read
    question: Callable[[Any, np.random.Generator], Question]
    coordinates: Callable[[Any, str], np.ndarray]  # of one thing

    def ask(self, packed: np.ndarray, rng: np.random.Generator, count: int) -> list[Asked]:
        facts = self.unpack(packed)
        found = [self.question(facts, rng) for _ in range(count)]
        return [Asked(one.asked, one.answer, self.coordinates(facts, one.thing)) for one in found]


DESK_SIZES = {"static": (96, 96), "gripper": (96, 96)}


def _desk() -> Draw:
    desk = Desk(image_sizes=DESK_SIZES)
    moments = desk_moments.MomentSampler(desk)

    def draw(rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
        facts = desk_moments.pack(moments.facts(moments.draw(rng)))
        return [desk.render(camera) for camera in DESK_SIZES], facts

    return draw


def _mobile() -> Draw:
    mobile = Mobile()

    def draw(rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
        state = mobile_moments.draw(rng)
        mobile.reset(state)
        return [mobile.render(camera) for camera in mobile.image_sizes], mobile_moments.facts(state)

    return draw


WORLDS: Mapping[WorldName, World] = {
    "desk": World(
        image_sizes=DESK_SIZES, width=desk_moments.WIDTH, num_coordinates=desk_questions.NUM_COORDINATES,
        drawer=_desk, unpack=desk_moments.unpack, question=desk_questions.ask, coordinates=desk_questions.coordinates,
    ),
    "mobile": World(
        image_sizes=DEFAULT_IMAGE_SIZES, width=mobile_moments.WIDTH, num_coordinates=mobile_questions.NUM_COORDINATES,
        drawer=_mobile, unpack=mobile_moments.points, question=mobile_questions.ask,
        coordinates=mobile_questions.coordinates,
    ),
}  # fmt: skip
