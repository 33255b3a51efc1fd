"""The examples run as their headers say, and the documentation shows nothing else."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source_tree import ROOT
from volition import cli, recipes
from volition.studies.train_command import parse
from volition.training.metrics import read_metrics

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def volition(*words: str) -> int:
    try:
        cli.main(words)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to run examples in; what they record is shared, as it is for a person who types them one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples")
        patch.chdir(tmp_path_factory.mktemp("examples"))
        importlib.import_module("02_your_own_vlm").make_model()
        yield Path.cwd()


def test_your_own_head(folder: Path) -> None:
    assert volition("train", "01_your_own_head:recipe") == 0
    losses = [line["loss"] for line in read_metrics(folder / "runs/recipe/metrics.jsonl")]
    assert losses[0] > 2.5
    assert losses[-1] < 1.5
    words = ("eval", "runs/recipe", "--starts", "1", "--tasks", "open_drawer", "--max-steps", "10", "--workers", "0")
    assert volition(*words) == 2  # a checkpoint that names foreign code is not opened just so
    assert volition(*words, "--allow", "01_your_own_head", "--json", "score.json") == 0
    assert json.loads((folder / "score.json").read_text())["num_episodes"] == 1


@pytest.mark.parametrize("recipe", ["as_it_is", "with_its_prompt"])
def test_your_own_vlm(folder: Path, recipe: str) -> None:
    assert volition("train", f"02_your_own_vlm:{recipe}") == 0
    words = ("eval", f"runs/{recipe}", "--starts", "1", "--tasks", "open_drawer", "--max-steps", "10")
    assert volition(*words, "--workers", "0", "--allow", "02_your_own_vlm", "--json", "score.json") == 0


def test_the_prompt_of_your_own_vlm_reaches_the_model(folder: Path) -> None:
    example = importlib.import_module("02_your_own_vlm")
    plain, asked = (getattr(example, name)().backbone.build() for name in ("as_it_is", "with_its_prompt"))
    ids = [backbone.adapter.collate(["open the drawer"], 1)["input_ids"] for backbone in (plain, asked)]
    assert ids[1].shape[1] > ids[0].shape[1]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["add-a-head.md", "add-a-vlm.md"])
def test_code_in_the_documentation_is_code_of_the_examples(page: str) -> None:
    sources = "\n".join(path.read_text() for path in EXAMPLES)
    shown = blocks(ROOT / "docs" / page, "python")
    assert shown
    for block in shown:
        for part in block.split("...\n"):
            assert part.strip("\n") in sources


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_in_the_documentation_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    here = [target for target in targets if "://" not in target]
    assert [target for target in here if not (page.parent / target).exists()] == []


def commands() -> list[tuple[str, str]]:
    """Every command line of ours that a page or an example's header shows."""
    found = []
    for page in PAGES:
        for block in blocks(page, "bash"):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(page.name, line.strip()) for line in lines if line.strip().startswith(("volition ", "make "))]
    for example in EXAMPLES:
        lines = example.read_text().split('"""')[1].splitlines()
        found += [(example.name, line.strip()) for line in lines if line.startswith("    volition ")]
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_in_the_documentation_exist(
    page: str, line: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, verb, *words = shlex.split(re.split(r"  +", line)[0], comments=True)
    flags = [word.split("=")[0] for word in words if word.startswith("--")]
    if program == "make":
        assert re.search(rf"^{verb}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    assert verb in cli.VERBS
    if verb == "train" and words and "--help" not in words:
        name, *rest = words
        if name.startswith("my_lab"):
            name = "smoke"  # stands for the reader's own
        assert name in recipes.__all__ or ":" in name
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            parse(name, rest)
        return
    # A verb with verbs or environments of its own has flags for each.
    own = [words[0]] if verb in ("data", "record") and words and words[0].isalpha() else []
    if "--env" in words:
        own += words[words.index("--env") :][:2]
    volition(verb, *own, "--help")
    known = capsys.readouterr().out
    assert all(re.search(rf"{flag}\b", known) for flag in flags)
