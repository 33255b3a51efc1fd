"""Worlds and policies for the tests of evaluation: a Toy that watches all its tasks, ones that break, and actors."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.toy import COLOURS, REACHED, STEP, TASKS, Toy, ToyConfig
from volition.records import Env, Observation, Start


class WatchedToy(Toy):
    """Also says which squares were touched since the command."""

    def begin(self, task: str) -> None:
        super().begin(task)
        self.touched: set[str] = set()

    def step(self, action: np.ndarray) -> bool:
        done = super().step(action)
        near = lambda colour: np.linalg.norm(self.position - self.squares[colour]) < REACHED
        self.touched |= {f"reach_{colour}" for colour in COLOURS if near(colour)}
        return done

    def achieved(self) -> frozenset[str]:
        return frozenset(self.touched)


class MeasuredToy(Toy):
    """Also says how far it has moved since the command, and whether it met the edge; with `wrong`, only that."""

    def __init__(self, wrong: float | None = None) -> None:
        super().__init__()
        self.wrong = wrong

    def begin(self, task: str) -> None:
        super().begin(task)
        self.way, self.edge = 0.0, False

    def step(self, action: np.ndarray) -> bool:
        before = self.position.copy()
        done = super().step(action)
        self.way += float(np.linalg.norm(self.position - before))
        self.edge |= bool(np.abs(self.position).max() >= 1)
        return done

    def measures(self) -> dict[str, float | bool]:
        if self.wrong is not None:
            return {"way": self.wrong}
        return {"way": self.way, "met_the_edge": self.edge} | ({"way_ahead": self.way} if self.way > 0 else {})


class BrokenToy(Toy):
    """Fails in its own way when it is stepped in the world of seed 13; with `left`, as often as there are files."""

    def __init__(self, how: str, left: Path | None = None):
        super().__init__()
        self.how, self.left, self.seed = how, left, -1

    def reset(self, start: Start) -> None:
        super().reset(start)
        self.seed = start.seed

    def step(self, action: np.ndarray) -> bool:
        if self.seed == 13 and self._once_more():
            match self.how:
                case "raise":
                    raise ArithmeticError("the table has fallen over")
                case "die":
                    os._exit(7)
                case "hang":
                    time.sleep(60)
        return super().step(action)

    def instructions(self, task: str, split: str) -> tuple[str, ...]:
        if self.how == "mute" and self._once_more():
            os._exit(7)
        return super().instructions(task, split)

    def _once_more(self) -> bool:
        if self.left is None:
            return True
        files = sorted(self.left.iterdir())
        if files:
            files[0].unlink()
        return bool(files)


class HelpedToy(BrokenToy):
    """Starts a helper, whose number it writes to `noted`, and dies when it is stepped in the world of seed 13."""

    def __init__(self, how: str, noted: Path):
        super().__init__("die")
        helper = subprocess.Popen(["sleep", "600"]).pid if how == "program" else os.fork()
        if helper == 0:  # a copy of this process, which keeps all its pipes open
            time.sleep(600)
            os._exit(0)
        noted.joinpath(str(helper)).touch()


class ScalarToy(MeasuredToy):
    """Answers in numpy's own kinds of numbers."""

    def step(self, action: np.ndarray) -> Any:
        return np.bool_(super().step(action))

    def measures(self) -> dict[str, Any]:
        kinds = {bool: np.bool_, float: np.float32, int: np.int64}
        return {name: kinds[type(value)](value) for name, value in ({"looks": 3} | super().measures()).items()}

    def rest(self) -> Any:
        return [0.0, 0.0]


class UnrepeatableToy(Toy):
    """Its reset depends on what ran before."""

    def reset(self, start: Start) -> None:
        before = self.position.copy()
        super().reset(start)
        self.position = self.position + (0.5 if np.any(before) else 0.0)


class Restless(Toy):
    """Does not say how its robot waits, nor which tasks were done."""

    rest = None  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class RestlessConfig(ToyConfig):
    def make(self) -> Toy:
        return Restless()


@dataclass(frozen=True, kw_only=True)
class WatchedConfig(ToyConfig):
    def make(self) -> Toy:
        return WatchedToy()


@dataclass(frozen=True)
class WatchedWorld:
    def __call__(self) -> Env:
        return WatchedToy()


@dataclass(frozen=True)
class MeasuredWorld:
    wrong: float | None = None

    def __call__(self) -> Env:
        return MeasuredToy(self.wrong)


@dataclass(frozen=True)
class BrokenWorld:
    how: str
    left: Path | None = None

    def __call__(self) -> Env:
        if self.how == "unbuildable":
            raise OSError("no graphics here")
        return BrokenToy(self.how, self.left)


@dataclass(frozen=True)
class HelpedWorld:
    how: str
    noted: Path

    def __call__(self) -> Env:
        return HelpedToy(self.how, self.noted)


@dataclass(frozen=True)
class UnrepeatableWorld:
    def __call__(self) -> Env:
        return UnrepeatableToy()


class Seeker:
    """Finds the square in the picture by its colour and goes there; `horizon` actions a chunk.

    Its state counts its calls. `deaf`: goes to the red one whatever is said. `coupled`: answers depend on the
    neighbours, as they do where padding is not fixed.
    """

    def __init__(self, *, horizon: int = 4, deaf: bool = False, coupled: bool = False):
        self.horizon, self.deaf, self.coupled = horizon, deaf, coupled
        self.batches: list[int] = []
        self.instructions: set[str] = set()
        self.ages: list[int] = []

    def start(self, n: int) -> list[Any]:
        return [0] * n

    def act(self, observations: Sequence[Observation], states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
        self.batches.append(len(observations))
        self.instructions |= {o.instruction for o in observations}
        self.ages.extend(states)
        chunks = np.stack([self._chunk(o) for o in observations]).astype(np.float32)
        if self.coupled:
            chunks += 1e-6 * chunks.sum()
        return chunks, [state + 1 for state in states]

    def _chunk(self, observation: Observation) -> np.ndarray:
        image = observation.images["base"][0].astype(int)
        red = self.deaf or "red" in observation.instruction
        seen = image[..., 0] - image[..., 2] > 100 if red else image[..., 2] - image[..., 0] > 100
        rows, columns = np.nonzero(seen)
        at = observation.state[0]
        goal = np.array([columns.mean(), -rows.mean()]) / 27 * 2 + np.array([-1, 1]) if len(rows) else at
        plan = []
        for _ in range(self.horizon):
            action = np.clip((goal - at) / STEP, -1, 1)
            at = at + STEP * action
            plan.append(action)
        return np.stack(plan)


class Lazy(Seeker):
    """Never moves."""

    def _chunk(self, observation: Observation) -> np.ndarray:
        return np.zeros((self.horizon, 2))


__all__ = [
    "TASKS", "BrokenWorld", "Lazy", "RestlessConfig", "Seeker", "UnrepeatableWorld", "WatchedConfig", "WatchedWorld",
]  # fmt: skip
