"""Where a policy is at home: the environment that it learned in, as it was recorded, and the tasks of that.

`volition eval runs/demo --starts 10` asks no more of a policy than it was shown; `--env desk` asks for all of the desk.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import tyro

from volition.envs.base import EnvConfig
from volition.envs.table import ENVIRONMENTS, find_env
from volition.studies.env_command import named_env, parse_of_kind, without_recording

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Home:
    name: str  # as the command line knows the environment
    env: EnvConfig
    tasks: tuple[str, ...]


def parse_at_home(command: Any, words: Sequence[str], prog: str) -> Any:
    """As `env_command.parse`; where no environment is named, its flags begin from the checkpoint's own.

    Flags that only recording asks for are none of such a verb.
    """
    flags = {word.partition("=")[0] for word in words}
    elsewhere = "--offline" in flags and not flags & {"--starts", "--chains", "--resampled", "--probes", "--timing"}
    home = None if "--env" in flags or elsewhere else home_of(words, takes_paths(command))
    kind = find_env(named_env(words) if home is None else home.name)
    shown, default = without_recording(kind), None
    if home is not None:
        own = _as_kind(shown, home.env)
        known = {"checkpoint": tyro.MISSING, "environment": own, "env": home.name, "recorded": home.tasks}
        default = _unchecked(command, known)
    found = parse_of_kind(command, shown, words, prog, default)
    return dataclasses.replace(found, environment=_as_kind(kind, found.environment))


def takes_paths(command: Any) -> frozenset[str]:
    """The flags of a command that a folder may follow, which is then not its checkpoint."""
    fields = dataclasses.fields(command)
    return frozenset(f"--{field.name.replace('_', '-')}" for field in fields if "Path" in str(field.type))


def home_of(words: Sequence[str], not_after: frozenset[str] = frozenset()) -> Home | None:
    """Of the checkpoint that is among the words; None where there is none, or nobody knows where it learned.

    Raises ValueError where the recipe names a package that `--allow` does not.
    """
    places = (Path(word) for before, word in pairwise(["", *words]) if before not in not_after and word[:1] != "-")
    checkpoint = next((found for place in places if (found := _checkpoint(place)) is not None), None)
    if checkpoint is None:
        return None
    from volition.config import load
    from volition.studies.corrections import Corrections

    recording = _recording(json.loads((checkpoint / "config.json").read_text())["data"])
    if recording is None:
        logger.warning("nobody noted where this policy learned: name the environment with --env, or it is the desk's")
        return None
    env, tasks = load(recording["env"], allow=tuple(_allowed(words))), recording["tasks"]
    env = env.env if isinstance(env, Corrections) else env
    kind = f"{type(env).__module__}:{type(env).__qualname__}"
    name = next((name for name, place in ENVIRONMENTS.items() if place == kind), kind)
    return Home(name=name, env=env, tasks=tuple(tasks))


def _checkpoint(place: Path) -> Path | None:
    """The step folder or exported policy that a word names, if it does; what is wrong with it, loading will say."""
    if not place.is_dir():
        return None
    from volition.export.artefact import is_artefact
    from volition.training import checkpoint

    try:
        found = place if is_artefact(place) else checkpoint.resolve(place)
    except ValueError:
        return None
    return found if (found / "config.json").is_file() else None


def _recording(data: Any) -> Any:
    """{"env", "tasks"} as JSON: of the recipe, or as the recorder noted them with the dataset."""
    if data["recording"] is not None:
        return {"env": data["recording"]["env"], "tasks": data["recording"]["record"]["tasks"]}
    from volition.studies.recording import recorded

    note = recorded(Path(data["path"])) if data["path"] and "://" not in data["path"] else None
    return note and {"env": note["environment"], "tasks": note["record"]["tasks"]}


def _allowed(words: Sequence[str]) -> Iterator[str]:
    """The values of `--allow`."""
    inside = False
    for word in words:
        inside = word == "--allow" or (inside and not word.startswith("--"))
        if inside and word != "--allow":
            yield word
        elif word.startswith("--allow="):
            yield word.removeprefix("--allow=")


def _as_kind(kind: Any, config: Any) -> Any:
    """The same fields as an instance of `kind`. They were checked and derived already, so that is not done again."""
    if type(config) is kind:
        return config
    return _unchecked(kind, {field.name: getattr(config, field.name) for field in dataclasses.fields(config)})


def _unchecked(kind: Any, known: dict[str, Any]) -> Any:
    """An instance that the parser takes defaults from. It is not whole, so its own checks must not run."""
    made = object.__new__(kind)
    for field in dataclasses.fields(kind):
        usual = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        usual = tyro.MISSING if usual is dataclasses.MISSING else usual
        object.__setattr__(made, field.name, known.get(field.name, usual))
    return made
