"""What a resumed run must have in common with how it began: its recipe, but for how far it goes and how it is run."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from volition.config import DataConfig, dump
from volition.data.fingerprint import fingerprint
from volition.data.remote import located
from volition.names import locate

# How far it goes, how it is written down, with what it began and where its data lies, on how many machines it runs and
# in how many parts.
_MAY_CHANGE = re.compile(
    r"loop\.(num_steps|log_every|save_every|keep_last|keep_best|accumulate|distributed\..*)"
    r"|start|data\.(path|sources\.\d+\.path)|data\.recording(\..*)?"
)


def require_same_recipe(before: Any, now: Any, run: Path) -> None:
    """ValueError that names every field of the recipe in which a run differs from what it began with.

    A field that did not exist when the run began has its default, which is what the run did.
    """
    now = json.loads(json.dumps(now))
    old, new = dict(_leaves(_completed(before, now))), dict(_leaves(now))
    changed = [
        f"{name}: {old.get(name)!r} != {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and not _MAY_CHANGE.fullmatch(name)
    ]
    if changed:
        listed = "\n  ".join(changed)
        raise ValueError(f"{run} must go on with the recipe that it began with; it differs in\n  {listed}")


def _completed(before: Any, now: Any) -> Any:
    """A config's JSON with the defaults of the fields that only the newer one has."""
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [_completed(x, y) for x, y in zip(before, now)]
    if not isinstance(before, dict) or not isinstance(now, dict) or before.get("type") != now.get("type"):
        return before
    known = {f.name: f for f in dataclasses.fields(locate(now["type"]))} if "type" in now else {}
    added = {}
    for name in now.keys() - before.keys():
        if (default := known[name].default) is not dataclasses.MISSING:
            added[name] = dump(default)
        elif (make := known[name].default_factory) is not dataclasses.MISSING:
            added[name] = dump(make())
    return json.loads(json.dumps(added)) | {name: _completed(x, now.get(name)) for name, x in before.items()}


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """('loop.optim.lr', 0.001) for every leaf of a config's JSON."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    if children is None:
        yield path, tree
        return
    for name, child in children:
        yield from _leaves(child, f"{path}.{name}" if path else str(name))


def dataset_hashes(data: DataConfig) -> list[str]:
    """Of the recipe's dataset and of those beside it."""
    return [fingerprint(located(path)) for path in (data.path, *(source.path for source in data.sources))]


def require_same_data(state: dict[str, Any], hashes: Sequence[str], run: Path) -> None:
    """ValueError where a dataset is not what the checkpoint with this state was trained on."""
    before = state.get("data", [])
    changed = [i for i, (old, new) in enumerate(zip(before, hashes)) if old != new]
    if changed:
        names = ["data.path" if i == 0 else f"data.sources[{i - 1}].path" for i in changed]
        raise ValueError(
            f"{run} must go on with the data that it began with, and what lies at {', '.join(names)} was changed "
            "since: put it back, or begin another run"
        )


def require_ahead(done: int, num_steps: int, run: Path) -> None:
    """ValueError where a run has gone further than it is to go."""
    if done > num_steps:
        raise ValueError(
            f"{run} has done {done} steps already, and loop.num_steps is {num_steps}: ask for more to go on, or begin "
            "another run"
        )
