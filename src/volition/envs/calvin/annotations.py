"""CALVIN's own sentences, read from the user's clone of `calvin`: never copied.

Validation has one sentence a task: the official one. Training has about eleven, to which ours can be added: the desk
has the same tasks, and says them in a hundred ways.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from volition.envs.calvin.situations import TASKS
from volition.envs.desk import language

FILES = {"train": "new_playtable.yaml", "validation": "new_playtable_validation.yaml"}


@cache
def sentences(clone: Path, split: str) -> Mapping[str, tuple[str, ...]]:
    """Task -> its wordings, at least one, for all 34. ValueError for an unknown split or a file that has not all."""
    if split not in FILES:
        raise ValueError(f"split must be one of {', '.join(FILES)}, got {split!r}")
    path = clone / "calvin_models" / "conf" / "annotations" / FILES[split]
    try:
        tree = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be a YAML file with the sentences of every task: {error}") from error
    tree = tree if isinstance(tree, dict) else {}
    wrong = [task for task in TASKS if not _are_sentences(tree.get(task))]
    if wrong:
        raise ValueError(f"{path} must have a list of sentences for each of the {len(TASKS)} tasks; not so {wrong}")
    return {task: tuple(tree[task]) for task in TASKS}


def digest(clone: Path) -> str:
    """Of the sentences of a clone, 12 digits: what is said is part of what a result depends on."""
    said = json.dumps([sorted(sentences(clone, split).items()) for split in FILES])
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def taught(clone: Path, task: str, more: int) -> tuple[str, ...]:
    """What a task is called in training: CALVIN's sentences and `more` of the desk's, none of them an official one."""
    own = sentences(clone, "train")[task]
    official = {words.lower() for said in sentences(clone, "validation").values() for words in said}
    ours = [words for words in language.instructions(task, "train") if words.lower() not in {*official, *own}]
    return (*own, *(ours[i * len(ours) // more] for i in range(min(more, len(ours)))))


def _are_sentences(found: object) -> bool:
    return isinstance(found, list) and bool(found) and all(isinstance(words, str) and words for words in found)
