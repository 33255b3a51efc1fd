"""Where a policy is at home: the environment that its recipe recorded, as it was recorded, and the tasks of that.

`volition eval runs/demo --starts 10` asks no more of a policy than it was shown; `--env desk` asks for all of the desk.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from volition.envs.base import EnvConfig
from volition.envs.table import ENVIRONMENTS
from volition.studies.env_command import named_env, parse


@dataclass(frozen=True, kw_only=True)
class Home:
    name: str  # as the command line knows the environment
    env: EnvConfig
    tasks: tuple[str, ...]


def parse_at_home(command: Any, words: Sequence[str], prog: str) -> Any:
    """As `env_command.parse`; where no environment is named, its flags begin from the checkpoint's own."""
    named = any(word == "--env" or word.startswith("--env=") for word in words)
    home = None if named else home_of(words)
    if home is None:
        return parse(command, named_env(words), words, prog)
    known = {"checkpoint": tyro.MISSING, "environment": home.env, "env": home.name, "recorded": home.tasks}
    return parse(command, home.name, words, prog, default=_unchecked(command, known))


def home_of(words: Sequence[str]) -> Home | None:
    """Of the checkpoint that the words begin with; None where they do not, or its data was recorded elsewhere.

    Raises ValueError where the recipe names a package that `--allow` does not.
    """
    if not words or words[0].startswith("-") or not Path(words[0]).is_dir():
        return None
    from volition.config import load
    from volition.training import checkpoint

    path = checkpoint.resolve(Path(words[0])) / "config.json"
    recording = json.loads(path.read_text())["data"]["recording"] if path.exists() else None
    if recording is None:
        return None
    found = load(recording, allow=_allowed(words))
    kind = f"{type(found.env).__module__}:{type(found.env).__qualname__}"
    name = next((name for name, place in ENVIRONMENTS.items() if place == kind), kind)
    return Home(name=name, env=found.env, tasks=tuple(found.record.tasks))


def _allowed(words: Sequence[str]) -> tuple[str, ...]:
    """The values of `--allow`."""
    found: list[str] = []
    inside = False
    for word in words:
        inside = word == "--allow" or (inside and not word.startswith("--"))
        found += [word] if inside and word != "--allow" else []
    return tuple(found)


def _unchecked(kind: Any, known: dict[str, Any]) -> Any:
    """An instance that the parser takes defaults from. It is not whole, so its own checks must not run."""
    made = object.__new__(kind)
    for field in dataclasses.fields(kind):
        usual = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        usual = tyro.MISSING if usual is dataclasses.MISSING else usual
        object.__setattr__(made, field.name, known.get(field.name, usual))
    return made
