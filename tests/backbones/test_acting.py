"""A model that is made ready to act answers as before, to the bit, and does not cast its weights at every call."""

from __future__ import annotations

import pytest
import torch

from tests.families import make_family
from tests.tiny import BACKBONES, make_backbone
from volition.backbones import Backbone, base
from volition.studies.backbone_checks import make_batch
from volition.studies.backbones import known


@pytest.fixture(autouse=True)
def in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a CPU that only imitates it, which is slow but gives the same answer twice."""
    monkeypatch.setattr(base, "autocast_type", lambda asked, device: asked)


WORKING = [name for name, family in known()[1].items() if family.works]


@torch.inference_mode()
def compare(backbone: Backbone) -> None:
    backbone.autocast = torch.bfloat16
    before = backbone.encode(make_batch(backbone)).readout
    linear = sum(isinstance(module, torch.nn.Linear) for module in backbone.model.modules())
    backbone.prepare_to_act()
    stored = sum(
        isinstance(module, torch.nn.Linear) and module.weight.dtype == torch.bfloat16
        for module in backbone.model.modules()
    )
    assert stored >= linear // 2
    assert torch.equal(backbone.encode(make_batch(backbone)).readout, before)


@pytest.mark.parametrize("name", WORKING)
def test_every_family_answers_the_same(name: str) -> None:
    compare(make_family(name))


@pytest.mark.parametrize("name", BACKBONES)
def test_our_own_answer_the_same(name: str) -> None:
    compare(make_backbone(name).eval())


def test_in_float32_nothing_changes() -> None:
    backbone = make_family("llava")
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone.prepare_to_act()
    assert all(value.dtype == torch.float32 for value in backbone.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
