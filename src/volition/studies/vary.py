"""Which experiments a comparison is made of: a recipe with some of its fields at several values, and seeds.

    head=MLPHeadConfig,LSTMHeadConfig(hidden=64)    train.vision=True,False    window.num_obs_steps=1,2,4

A value is a Python literal, or a config class with literals as its fields: one that the field's type names, or
'package.module:Name' of your own. Everything that is varied together is crossed.
"""

from __future__ import annotations

import ast
import dataclasses
import itertools
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from volition.config import Experiment
from volition.heads import AnyHead
from volition.names import locate, suggest

HISTORIES = ("policy_head", "interleaved", "one_step")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A row of the table: what is varied in it, by name, and the experiment with its first seed."""

    labels: tuple[tuple[str, str], ...]
    experiment: Experiment

    @property
    def name(self) -> str:
        return ", ".join(f"{name}={text}" if name else text for name, text in self.labels) or "as it is"

    @property
    def folder(self) -> str:
        return re.sub(r"[^A-Za-z0-9.=-]+", "_", self.name).strip("_")

    def with_seed(self, seed: int) -> Experiment:
        return replace(self.experiment, loop=replace(self.experiment.loop, seed=seed))


def make_variants(
    rows: Mapping[str, Experiment],
    vary: Sequence[str] = (),
    heads: Sequence[str] = (),
    history: Sequence[str] = (),
) -> list[Variant]:
    """rows: experiments by name, the name "" for a single one. ValueError where a combination cannot be."""
    axes = [
        *_axes(vary),
        *([("head", tuple(heads))] if heads else []),
        *([("history", tuple(history))] if history else []),
    ]
    names = [name for name, _ in axes]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"each field can be varied once, and {sorted(twice)} are named again")
    if again := [f"{name}={text}" for name, texts in axes for text in set(texts) if texts.count(text) > 1]:
        raise ValueError(f"each value can be taken once, and {', '.join(sorted(again))} is named again")
    found = []
    choices = [[(name, text) for text in texts] for name, texts in axes]
    for (row, base), values in itertools.product(rows.items(), itertools.product(*choices)):
        experiment = base
        for name, text in values:
            experiment = _changed(experiment, name, text, short=bool(heads))
        # Rows that have names of their own are not also named after what is the same in all of them.
        told = [(name, text) for name, text in values if not row or len(dict(axes)[name]) > 1]
        labels = (*((("", row),) if row else ()), *told)
        found.append(Variant(labels=labels, experiment=experiment))
    folders = [variant.folder for variant in found]
    assert len(set(folders)) == len(folders), "two variants of one name"
    return found


def _axes(vary: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for text in vary:
        name, _, values = text.partition("=")
        if not values:
            raise ValueError(f"--vary must be path=value,value,..., got {text!r}")
        yield name, tuple(split_values(values))


def _changed(experiment: Experiment, name: str, text: str, *, short: bool) -> Experiment:
    try:
        if name == "history":
            return with_history(experiment, text)
        if name == "head" and short:
            return replace(experiment, head=named_head(text, experiment.head))
        return set_field(experiment, name, text)
    except ValueError as error:
        raise ValueError(f"{name}={text}: {error}") from error


def with_history(experiment: Experiment, history: Any) -> Experiment:
    """one_step sees the present alone; the others as many steps as the recipe does, two where it sees one."""
    if history not in HISTORIES:
        raise ValueError(f"history must be one of {', '.join(HISTORIES)}{suggest(history, HISTORIES)}")
    window = experiment.window
    steps = 1 if history == "one_step" else max(2, window.num_obs_steps)
    stride = window.replan_steps if steps > 1 else window.obs_stride
    return replace(experiment, window=replace(window, history=history, num_obs_steps=steps, obs_stride=stride))


def named_head(name: str, like: Any) -> Any:
    """'mlp' -> MLPHeadConfig, with the loss of the recipe's head where it has such a field; or as in --vary."""
    kinds = {short_name(kind): kind for kind in typing.get_args(AnyHead) if dataclasses.is_dataclass(kind)}
    if name.isidentifier() and not name.endswith("Config"):
        if name not in kinds:
            raise ValueError(f"there is no head {name!r}{suggest(name, kinds)}")
        kind: Any = kinds[name]
        shared = {"loss"} & {f.name for f in dataclasses.fields(kind)} & {f.name for f in dataclasses.fields(like)}
        return kind(**{field: getattr(like, field) for field in shared})
    return parse_value(name, AnyHead)


def short_name(kind: Any) -> str:
    return kind.__name__.removesuffix("Config").removesuffix("Head").lower()


def set_field(config: Any, path: str, text: str) -> Any:
    """The config with the field at 'loop.optim.lr' changed to what the text says."""
    name, _, rest = path.partition(".")
    known = [field.name for field in dataclasses.fields(config)] if dataclasses.is_dataclass(config) else []
    if name not in known:
        raise ValueError(f"{type(config).__name__} has no field {name!r}{suggest(name, known)}")
    if rest:
        return replace(config, **{name: set_field(getattr(config, name), rest, text)})
    hint = typing.get_type_hints(type(config))[name]
    return replace(config, **{name: parse_value(text, hint)})


def parse_value(text: str, hint: Any) -> Any:
    """A literal, a name alone where the field takes words, or a config of a class that the hint names."""
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        tree = None
    classes: dict[str, Any] = {kind.__name__: kind for kind in _members(hint) if isinstance(kind, type)}
    classes = {name: kind for name, kind in classes.items() if dataclasses.is_dataclass(kind)}
    if isinstance(tree, ast.Call) and not tree.args:
        kind = _class(ast.unparse(tree.func), classes)
        return kind(**{word.arg: _literal(word.value, classes) for word in tree.keywords if word.arg})
    if text in classes or ":" in text:
        return _class(text, classes)()
    value = _literal(tree, classes) if tree is not None and not isinstance(tree, ast.Name) else text
    if typing.get_origin(hint) is tuple and isinstance(value, tuple):
        return value
    words = [
        word for kind in _members(hint) for word in typing.get_args(kind) if typing.get_origin(kind) is typing.Literal
    ]
    plain = tuple(kind for kind in _members(hint) if kind in (int, float, str, bool, type(None)))
    if words and value not in words:
        raise ValueError(f"must be one of {', '.join(map(repr, words))}{suggest(str(value), map(str, words))}")
    if float in plain and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if plain and not words and not isinstance(value, plain):
        raise ValueError(f"must be of type {' or '.join(kind.__name__ for kind in plain)}, got {value!r}")
    if classes and not isinstance(value, tuple | type(None)):
        raise ValueError(f"must be a config{suggest(text, classes)}")
    return value


def split_values(text: str) -> list[str]:
    """At commas that stand in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _class(name: str, known: Mapping[str, Any]) -> Any:
    kind = known.get(name) or (locate(name) if ":" in name else None)
    if not dataclasses.is_dataclass(kind):
        raise ValueError(f"{name!r} must be a config class{suggest(name, known)}")
    return kind


def _literal(tree: ast.expr, classes: Mapping[str, Any]) -> Any:
    if isinstance(tree, ast.Tuple):
        return tuple(_literal(item, classes) for item in tree.elts)
    if isinstance(tree, ast.Call):
        kind = _class(ast.unparse(tree.func), classes)
        return kind(**{word.arg: _literal(word.value, classes) for word in tree.keywords if word.arg})
    try:
        return ast.literal_eval(tree)
    except ValueError as error:
        raise ValueError(f"{ast.unparse(tree)!r} must be a literal, such as 3, 1e-4, True or 'word'") from error


def _members(hint: Any) -> list[Any]:
    """What a union is of, also within a tuple of any length."""
    if typing.get_origin(hint) is typing.Literal or hint is None:
        return [hint]
    arguments = [argument for argument in typing.get_args(hint) if argument is not Ellipsis]
    return [m for argument in arguments for m in _members(argument)] if arguments else [hint]
