"""The records that flow through the system. Read this file first.

    Episode --Windows--> Sample --Collator--> Batch, Target --Backbone--> Encoded --Head--> Loss
    Observation --Collator--> Batch --Backbone--> Encoded --Head--> chunk --decode--> robot

Shape letters, the same in every docstring and annotation of the package:
    B batch   T observation steps   H action horizon   A action dim   S state dim
    N = B * T rows of the backbone  L tokens   K readout tokens   D backbone width

This file imports numpy and nothing else: robots and simulators use it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Observation:
    """What a robot or simulator reports: plain numpy, no batch axis."""

    images: dict[str, np.ndarray]  # camera name -> uint8[T, height, width, 3], RGB
    state: np.ndarray  # float32[T, S], in robot units
    instruction: str


@dataclass(frozen=True)
class Sample:
    """A window of observations and what the demonstrator did from each of its steps on."""

    observation: Observation
    actions: np.ndarray  # float32[T, H, A]; entry (t, k) is the action at frame t + k
    mask: np.ndarray  # bool[T, H], False outside the episode
    future: Future | None = None  # only where asked for
    known: np.ndarray | None = None  # bool[A], False for a dimension that this robot lacks; None: it has all


@dataclass(frozen=True)
class Future:
    """What was seen some frames after each step of an observation."""

    images: dict[str, np.ndarray]  # as in the observation
    mask: np.ndarray  # bool[T], False where it, or the step itself, lies outside the episode


@dataclass(frozen=True)
class VisionLanguageSample:
    """A question about pictures and its answer, for co-training; the question of a caption is empty."""

    images: tuple[np.ndarray, ...]  # uint8[height, width, 3], RGB
    question: str
    answer: str


@runtime_checkable
class Episode(Protocol):
    """One demonstration, read lazily. Every dataset format returns these."""

    @property
    def task(self) -> str: ...  # short name, "" when unknown: groups episodes for balanced sampling and metrics
    @property
    def instructions(self) -> tuple[str, ...]: ...  # at least one wording of the same command
    def __len__(self) -> int: ...
    def images(self, steps: np.ndarray) -> dict[str, np.ndarray]: ...  # camera -> uint8[n, height, width, 3]
    def states(self, steps: np.ndarray) -> np.ndarray: ...  # float32[n, S]
    def actions(self, steps: np.ndarray) -> np.ndarray: ...  # float32[n, A]


@runtime_checkable
class Actor(Protocol):
    """A policy as evaluation and serving know it: local, remote and scripted ones look the same.

    A state is opaque and belongs to one robot or environment; it is never an attribute of a module.
    """

    def start(self, n: int) -> list[Any]: ...
    def act(self, observations: Sequence[Observation], states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]: ...

    # `act`: one observation (T = 1) and one state a robot -> chunks float32[B, H, A] in robot units, new states


@runtime_checkable
class Padding(Actor, Protocol):
    """A policy that pads the instructions of a call to the longest: the last bits of its answers may depend on it."""

    def padded_for(self, instructions: Sequence[str]) -> Actor: ...  # the same, padding always to the longest of these


@dataclass(frozen=True)
class Settled:
    """What a robot is going to do before an answer comes, and perhaps after: a chunk is to continue it."""

    actions: np.ndarray  # float32[P, A] in robot units; entry k is the action k steps from now
    weights: np.ndarray  # float32[P]: 1 is executed whatever is answered, towards 0 it matters less and less


@runtime_checkable
class Inpainter(Actor, Protocol):
    """A policy that can make chunks which continue what is settled."""

    @property
    def continues(self) -> bool: ...  # whether its head can
    def act_on(
        self, observations: Sequence[Observation], states: Sequence[Any], settled: Sequence[Settled | None]
    ) -> tuple[np.ndarray, list[Any]]: ...


@runtime_checkable
class Noisy(Actor, Protocol):
    """A policy that may draw noise to act, and does so by a number for each robot."""

    def start_with(self, noise: Sequence[int]) -> list[Any]: ...


@runtime_checkable
class Confident(Protocol):
    """A state that also tells how sure the policy was of the chunk that it came with."""

    @property
    def confidence(self) -> np.ndarray | None: ...  # float32[H] in 0..1, or None: the policy has no opinion


@dataclass(frozen=True)
class Start:
    """Where an episode of closed-loop evaluation begins: an environment makes it from (task, seed) alone."""

    seed: int
    tasks: tuple[str, ...]  # one task, or the five of a chain
    scene: str = ""


@runtime_checkable
class Env(Protocol):
    """A simulator or robot with tasks that it can judge. One lives in each worker process."""

    def reset(self, start: Start) -> None: ...  # bit-exact, independent of what ran before
    def begin(self, task: str) -> None: ...  # the judge remembers this moment; nothing moves
    def observe(self, instruction: str) -> Observation: ...  # renders now, T = 1
    def step(self, action: np.ndarray) -> bool: ...  # float[A] -> whether the begun task is done now
    def instructions(self, task: str, split: str) -> tuple[str, ...]: ...  # split: "train" or "validation"
    def frame(self) -> np.ndarray: ...  # uint8[200, 200, 3], for films
    def close(self) -> None: ...


@runtime_checkable
class Demonstrator(Env, Protocol):
    """An environment that can also show how it is done."""

    def demonstrate(self, task: str, rng: np.random.Generator) -> Any: ...

    # `demonstrate`: iterator of (executed action float[A], label float[A]); the label is what the expert would have
    # done without the injected noise. The caller steps the environment between two items and stops at success.
