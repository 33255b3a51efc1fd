"""Every head in a recipe: on its way to disk and back, and on the command line, members of members included."""

import json
import sys
from dataclasses import replace
from types import ModuleType

import pytest

from tests.tiny import HEADS, MLP
from volition.config import dump, load
from volition.heads import FlowHeadConfig, GateHeadConfig, HeadConfig
from volition.recipes import smoke
from volition.studies.train_command import parse


@pytest.mark.parametrize("name", HEADS)
def test_it_survives_the_way_to_disk(name: str) -> None:
    assert isinstance(HEADS[name], HeadConfig)
    assert load(json.loads(json.dumps(dump(HEADS[name])))) == HEADS[name]


def test_members_have_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = ModuleType("gated_lab")
    lab.recipe = lambda: replace(smoke(), head=GateHeadConfig(members=(MLP, FlowHeadConfig())))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gated_lab", lab)
    flags = ["--head.choice", "pick", "--head.members.0.hidden", "7", "--head.members.1.denoiser.width", "64"]
    head = parse("gated_lab:recipe", flags).experiment.head
    assert isinstance(head, GateHeadConfig)
    assert head.choice == "pick"
    first, second = head.members
    assert first == replace(MLP, hidden=7)
    assert isinstance(second, FlowHeadConfig)
    assert second.denoiser.width == 64
