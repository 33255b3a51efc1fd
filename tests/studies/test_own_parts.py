"""A recipe with a part of one's own: trusted where it was named, asked about where a checkpoint is opened."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.studies.test_compare import data, recipe
from tests.test_cli import volition
from volition.backbones import HubBackbone
from volition.config import Experiment, packages_of
from volition.data.transforms import Transform
from volition.training.metrics import read_metrics

__all__ = ["data"]  # a fixture


@dataclass(frozen=True)
class Unchanged(Transform):
    """Mine, and not the library's."""


def ours() -> Experiment:
    base = recipe()
    return replace(base, data=replace(base.data, transforms=(Unchanged(),)))


def test_the_packages_of_a_recipe_are_those_it_names() -> None:
    assert packages_of(recipe()) == ()
    assert packages_of(ours()) == ("tests",)
    foreign = replace(recipe(), backbone=HubBackbone(model_id="some/model", trust_remote_code=True))
    assert packages_of(foreign) == ("transformers_modules",)


@pytest.mark.slow
def test_it_is_resumed_and_compared_and_opened_where_it_is_allowed(data: Path, tmp_path: Path, capsys: Any) -> None:
    train = ("train", "tests.studies.test_own_parts:ours", "--data.path", data, "--run", tmp_path / "run")
    steps = ("--loop.log-every", "1", "--loop.save-every", "1")
    assert volition(*train, *steps, "--loop.num-steps", "1") == 0
    assert volition(*train, *steps, "--loop.num-steps", "3", "--resume") == 0
    assert [line["step"] for line in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1, 2, 3]
    assert volition("eval", tmp_path / "run", "--offline", data) == 2
    assert "--allow tests" in capsys.readouterr().err
    assert volition("eval", tmp_path / "run", "--offline", data, "--allow", "tests") == 0
    assert volition("verify", data, "--checkpoint", tmp_path / "run", "--allow", "tests") == 0
    shared = ("--data.path", data, "--run", tmp_path / "compare", "--starts", 0, "--jobs", 0, "--seeds", 1)
    assert volition("compare", "tests.studies.test_own_parts:ours", *shared) == 0
