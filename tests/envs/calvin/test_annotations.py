"""CALVIN's sentences, read where they lie."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.envs.calvin.tools import language_clone, protocol_file
from volition.envs.calvin.annotations import FILES, sentences, taught
from volition.envs.calvin.situations import TASKS
from volition.envs.desk.language import instructions


def clone_with(folder: Path, text: str) -> Path:
    path = folder / "calvin_models" / "conf" / "annotations" / FILES["train"]
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return folder


def test_every_task_has_its_wordings(tmp_path: Path) -> None:
    clone = clone_with(tmp_path, yaml.safe_dump({task: [f"do {task}", f"now {task}"] for task in TASKS}))
    assert sentences(clone, "train")["open_drawer"] == ("do open_drawer", "now open_drawer")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("open_drawer: [pull it]", "not so .*close_drawer"),
        (yaml.safe_dump({task: [] for task in TASKS}), "a list of sentences for each"),
        ("- a list", "a list of sentences for each"),
        ("a: [unclosed", "must be a YAML file"),
        ("!!python/object/apply:os.system [true]", "must be a YAML file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sentences(clone_with(tmp_path, text), "train")


def test_missing_files_and_unknown_splits_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"new_playtable_validation.yaml must be a YAML file"):
        sentences(tmp_path, "validation")
    with pytest.raises(ValueError, match="train, validation, got 'test'"):
        sentences(tmp_path, "test")


def test_the_desks_sentences_join_but_never_an_official_one(tmp_path: Path) -> None:
    clone = clone_with(tmp_path, yaml.safe_dump({task: [f"do {task}"] for task in TASKS}))
    official = clone / "calvin_models" / "conf" / "annotations" / FILES["validation"]
    taken = instructions("open_drawer", "train")[0]
    official.write_text(yaml.safe_dump({task: [taken.upper()] for task in TASKS}))
    assert taught(clone, "open_drawer", 0) == ("do open_drawer",)
    for task in TASKS:
        found = taught(clone, task, 20)
        assert found[0] == f"do {task}"
        assert len(set(found)) == 21
        assert taken not in found
    assert len(taught(clone, "open_drawer", 10_000)) == len(instructions("open_drawer", "train"))


@pytest.mark.parametrize("split", FILES)
def test_the_clones_sentences_are_the_protocols(split: str) -> None:
    wanted = yaml.safe_load(protocol_file(FILES[split]).read_text())
    found = sentences(language_clone(), split)
    assert {task: list(words) for task, words in found.items()} == {task: wanted[task] for task in TASKS}
    assert {len(words) == 1 for words in found.values()} == {split == "validation"}
