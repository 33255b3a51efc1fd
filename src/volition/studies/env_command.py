"""Verbs whose flags are also the fields of an environment's config: its name on the command line decides which.

volition eval CHECKPOINT --env desk --shift     `--shift` is a field of DeskConfig
volition record my_lab.sims:Kitchen --out DIR --lights off
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar, get_type_hints

import tyro

from volition.envs.base import EnvConfig
from volition.envs.table import ENVIRONMENTS, find_env

AnyEnv = TypeVar("AnyEnv", bound=EnvConfig)
EnvFlags = Annotated[AnyEnv, tyro.conf.arg(name="")]  # its fields are flags of their own: --shift, not --env.shift


def parse(command: Any, env: str, flags: Sequence[str], prog: str) -> Any:
    """`command`, generic over its environment's config, from the flags. ValueError for an unknown environment."""
    return parse_of_kind(command, find_env(env), flags, prog)


def parse_of_kind(command: Any, kind: Any, flags: Sequence[str], prog: str, default: Any = None) -> Any:
    """`kind`: of the environment's config. `default`: what the flags leave as it is, if not the fields' own.

    A config cannot have a field that the verb has as well: one flag would mean two things.
    """
    own = {field.name for field in dataclasses.fields(command)}
    if both := sorted(own & set(getattr(kind, "__dataclass_fields__", {}))):
        raise ValueError(f"{kind.__name__} has fields that are flags of `{prog}` itself: rename {', '.join(both)}")
    if default is None:
        return tyro.cli(command[kind], args=flags, prog=prog, config=(tyro.conf.AvoidSubcommands,))
    return tyro.cli(command[kind], args=flags, prog=prog, default=default, config=(tyro.conf.AvoidSubcommands,))


def without_recording(kind: Any) -> Any:
    """The config's class without the flags that say how demonstrations are made: an evaluation would not heed them."""
    fields = [field for field in dataclasses.fields(kind) if field.metadata.get("of_recording")]
    if not fields:
        return kind
    frozen = kind.__dataclass_params__.frozen
    hints = get_type_hints(kind, include_extras=True)
    hidden = {
        "__annotations__": {field.name: Annotated[hints[field.name], tyro.conf.Suppress] for field in fields},
        **{field.name: copy.copy(field) for field in fields},
        **{name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")},
    }
    return dataclasses.dataclass(frozen=frozen, kw_only=True)(type(kind.__name__, (kind,), hidden))


def require_at_least(command: Any, **least: int) -> None:
    """ValueError that names the first flag whose number is below; None is no number."""
    for name, low in least.items():
        value = getattr(command, name)
        if value is not None and value < low:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {low}, got {value}")


def env_and_flags(verb: Callable[[list[str]], None], words: Sequence[str]) -> tuple[str, list[str]]:
    """What follows a verb that begins with an environment; where none does, say how it is used and stop."""
    if words and not words[0].startswith("-"):
        return words[0], list(words[1:])
    name = verb.__name__
    sys.stdout.write(
        f"usage: volition {name} ENV [--FIELD VALUE ...]\n\n{inspect.getdoc(verb)}\n\n"
        f"Environments of ours: {', '.join(ENVIRONMENTS)}; yours are 'package.module:ClassName'. "
        f"`volition {name} ENV --help` lists every flag.\n"
    )
    raise SystemExit(0 if words else 2)


def named_env(words: Sequence[str], default: str = "desk") -> str:
    """The value of the last `--env` among the words."""
    found = default
    for word, following in zip(words, [*words[1:], ""]):
        if word == "--env":
            found = following
        elif word.startswith("--env="):
            found = word.removeprefix("--env=")
    return found
