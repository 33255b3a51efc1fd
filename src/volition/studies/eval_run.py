"""One evaluation as a folder: settings that name it, results as they come, a score when all are there.

    Plan --folder_of--> RUN/eval/desk-chains-20-1a2b3c4d/ --run_plan--> results*.jsonl --> {number: result}

The folder's name ends with a hash of everything that may change a result (checkpoint, environment, protocol, code), so
the same command finds what it began, on this machine or, with --shard, beside others; and nothing else does.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import volition
from volition.config import dump
from volition.envs.base import EnvConfig
from volition.evaluation.episodes import EpisodeResult, Trial
from volition.evaluation.journal import Journal, read_all, require_same
from volition.evaluation.perturb import Perturbation, Perturbed
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.workers import EnvFactory
from volition.export.artefact import is_artefact
from volition.export.names import CODE
from volition.records import Actor
from volition.training import checkpoint as checkpoints

Say = Callable[[str, float, str], None]
NOT_OF_RESULTS = ("studies", "recipes", "cli.py")  # parts of the package that cannot change one


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is evaluated: these trials in this environment. `name` is for people."""

    name: str
    env: EnvConfig
    trials: Sequence[Trial]
    rollout: RolloutConfig
    perturbations: tuple[Perturbation, ...] = ()
    about: Mapping[str, Any]  # JSON: whatever else may change a result

    @property
    def factory(self) -> EnvFactory:
        if not self.perturbations:
            return self.env.make
        return Perturbed(self.env.make, self.perturbations, self.env.spec.action_space)

    def settings(self) -> dict[str, Any]:
        """JSON that is equal exactly where results must be."""
        kept = ("latency", "max_steps", "batch")
        return {
            "name": self.name,
            "environment": dump(self.env),
            "simulator": self.env.about(),
            "num_trials": len(self.trials),
            "trials": _hash_of(self.trials),
            "perturbations": dump(self.perturbations),
            "rollout": {
                "chunking": dump(self.rollout.chunking),
                **{name: getattr(self.rollout, name) for name in kept},
            },
            **self.about,
            "versions": {name: version(name) for name in ("volition", "torch", "transformers", "numpy")},
            "code": code_hash(),
        }


@dataclass(frozen=True, kw_only=True)
class Share:
    """The part of the trials that falls to this call: every `of`-th, from number `index` (1-based)."""

    index: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.of:
            raise ValueError(f"--shard must be I/N with I in 1..N, got {self.index}/{self.of}")

    @classmethod
    def parse(cls, text: str) -> Share:
        """'2/8' -> the second of eight; '' -> everything."""
        words = text.split("/") if text else ["1", "1"]
        if len(words) != 2 or not all(word.isdecimal() for word in words):
            raise ValueError(f"--shard must be I/N, such as 2/8, got {text!r}")
        return cls(index=int(words[0]), of=int(words[1]))

    @property
    def file(self) -> str:
        return "results.jsonl" if self.of == 1 else f"results-{self.index}-of-{self.of}.jsonl"

    def __contains__(self, number: int) -> bool:
        return number % self.of == self.index - 1


@dataclass(frozen=True, kw_only=True)
class Done:
    """Results by the number of their trial, all there are in the folder, and how this call came to its part."""

    folder: Path
    settings: Mapping[str, Any]
    results: Mapping[int, EpisodeResult]
    ran: tuple[int, ...]  # by this call
    seconds: float  # of this call

    @property
    def complete(self) -> bool:
        return len(self.results) == self.settings["num_trials"]

    @property
    def ordered(self) -> list[EpisodeResult]:
        return [self.results[number] for number in sorted(self.results)]


def run_plan(
    plan: Plan,
    actor: Actor,
    folder: Path,
    *,
    share: Share = Share(),
    factory: EnvFactory | None = None,
    retry_errors: bool = False,
    say: Say = lambda phase, share, text: None,
) -> Done:
    """Run what is missing of the share, then read all results that the folder has."""
    settings, began = plan.settings(), time.perf_counter()
    with Journal(folder / share.file, settings) as journal:
        there = _others(folder, settings) | journal.results
        _require_own(there, plan.trials, folder)
        numbers = [
            n for n in range(len(plan.trials))
            if n in share and (n not in there or (retry_errors and there[n].error))
        ]  # fmt: skip
        solved = sum(result.num_successes for result in there.values())
        left = len(numbers)

        def hear(number: int, result: EpisodeResult) -> None:
            nonlocal solved, left
            journal.write(number, result)
            solved, left = solved + result.num_successes, left - 1
            say(plan.name, 1 - left / len(numbers), f"{solved} tasks done")

        evaluate(actor, factory or plan.factory, plan.trials, plan.rollout, hear, numbers=numbers)
    seconds = time.perf_counter() - began
    _, results = read_all(result_files(folder))
    _require_own(results, plan.trials, folder)
    return Done(folder=folder, settings=settings, results=results, ran=tuple(numbers), seconds=seconds)


def result_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("results*.jsonl"))


def merge(folders: Sequence[Path]) -> Done:
    """What several folders, from several machines, hold of one evaluation. ValueError where something is missing."""
    found = {folder: [folder] if folder.is_file() else result_files(folder) for folder in folders}
    if empty := [str(folder) for folder, paths in found.items() if not paths]:
        raise ValueError(f"there must be results*.jsonl to merge in {', '.join(empty)}, but there are none")
    settings, results = read_all([path for paths in found.values() for path in paths])
    missing = sorted(set(range(settings["num_trials"])) - set(results))
    if missing:
        shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        raise ValueError(
            f"{len(missing)} of {settings['num_trials']} episodes are missing (numbers {shown}): run the command "
            "again on the machine whose shard it is, or name its folder too"
        )
    if _hash_of([results[number].trial for number in sorted(results)]) != settings["trials"]:
        raise ValueError(
            f"{', '.join(map(str, folders))} must hold the trials of one evaluation under their own numbers, but some "
            "lines have another's: restore results*.jsonl from a copy, or evaluate again"
        )
    folder = folders[0] if folders[0].is_dir() else folders[0].parent
    return Done(folder=folder, settings=settings, results=results, ran=(), seconds=0.0)


def folder_of(run: Path, plan: Plan) -> Path:
    return run / "eval" / f"{plan.name}-{settings_hash(plan.settings())}"


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Eight digits that tell one evaluation from others: its folder's name ends with them."""
    return short_hash(json.dumps(settings, sort_keys=True).encode(), 8)


def run_folder(checkpoint: Path) -> Path:
    """The run that a step folder lies in, or the folder around it; an exported policy's own."""
    step = checkpoints.resolve(checkpoint)
    if is_artefact(step):
        return step
    return step.parent.parent if step.parent.name == "checkpoints" else step.parent


def checkpoint_hash(checkpoint: Path) -> str:
    """Of all its files, by the sums that were written with them."""
    return short_hash((checkpoints.resolve(checkpoint) / checkpoints.MANIFEST).read_bytes())


def short_hash(content: bytes, digits: int = 16) -> str:
    return hashlib.sha256(content).hexdigest()[:digits]


@cache
def code_hash() -> str:
    """Of every source file of the package that can change a result."""
    root, found = files(volition), hashlib.sha256()
    assert isinstance(root, Path), "the package is installed as files"
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] not in NOT_OF_RESULTS:
            found.update(_source(path, root))
    return found.hexdigest()[:16]


def own_code(names: Iterable[str]) -> dict[str, str]:
    """Top-level package or module of these names that is not ours -> a hash of its source files."""
    own = sorted({name.partition(".")[0] for name in names} - {"volition", CODE})
    return {name: _sources_hash(name) for name in own}


@cache
def _sources_hash(package: str) -> str:
    spec = find_spec(package)
    if spec is None:
        raise ValueError(f"--allow must name packages that can be imported, got {package!r}")
    found = hashlib.sha256()
    for root in map(Path, spec.submodule_search_locations or [spec.origin or ""]):
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            found.update(_source(path, root.parent))
    return found.hexdigest()[:16]


def _source(path: Path, root: Path) -> bytes:
    """A file and its name, as they are hashed."""
    return path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0"


def _hash_of(trials: Sequence[Trial]) -> str:
    return short_hash(json.dumps([asdict(trial) for trial in trials]).encode())


def _require_own(results: Mapping[int, EpisodeResult], trials: Sequence[Trial], folder: Path) -> None:
    """ValueError where a result stands under a number that is not its trial's."""
    for number, result in results.items():
        if not 0 <= number < len(trials) or result.trial != trials[number]:
            raise ValueError(
                f"{folder} must hold the {len(trials)} trials of this evaluation under their own numbers, but "
                f"'{result.trial}' is number {number} there: restore results*.jsonl from a copy, or delete them to "
                "evaluate again"
            )


def _others(folder: Path, settings: Mapping[str, Any]) -> dict[int, EpisodeResult]:
    """What other shards have left in the folder."""
    paths = result_files(folder)
    if not paths:
        return {}
    found, results = read_all(paths)
    require_same(settings, found, folder)
    return results
