"""What every family must do, whatever its model looks like inside: `volition.studies.backbone_checks` says what."""

from __future__ import annotations

import pickle
from functools import lru_cache

import pytest
import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from tests.families import CANNOT, make_family
from tests.source_tree import ROOT
from tests.tiny import BACKBONES, make_backbone
from volition.backbones import Backbone
from volition.studies.backbone_checks import CHECKS, TEXTS, make_batch
from volition.studies.backbone_overfit import LEARNT, overfit
from volition.studies.backbones import known, page

VERSION, FAMILIES = known()
WORKING = [name for name, family in FAMILIES.items() if family.works]
TINY = {f"tiny {name}": name for name in BACKBONES}  # ours, with pretraining and recipes
NAMES = [*TINY, *WORKING]
# Of every way to be a VLM one: tower and projector, prefix, queries, crossing, encoder and decoder, grids, frames.
LEARNERS = ("llava", "paligemma", "kosmos-2", "blip-2", "mllama", "idefics", "florence2", "qwen2_5_vl", "git", "fuyu")
same_version = pytest.mark.skipif(transformers.__version__ != VERSION, reason=f"results are of transformers {VERSION}")


@lru_cache(maxsize=1)
def made(name: str) -> Backbone:
    return make_backbone(TINY[name]) if name in TINY else make_family(name)


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", NAMES)
def test_conformance(name: str, check: str) -> None:
    assert not CHECKS[check](made(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_it_learns_an_action_that_depends_on_picture_and_word(name: str) -> None:
    """All families were put to this when the table was written: `overfit_left` there."""
    assert overfit(make_family(name))[1] < LEARNT


@pytest.mark.parametrize("name", ["paligemma", "kosmos-2", "qwen2_5_vl", "mllama", "florence2"])
def test_several_readouts(name: str) -> None:
    backbone = make_family(name, num_readouts=2)
    for check in ("readout", "padding", "causal", "gradient", "own forward", "decoding"):
        assert not CHECKS[check](backbone)


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_is_light(name: str) -> None:
    """Data workers carry it: it must pickle, and without the model's weights."""
    adapter = made(name).adapter
    copy = pickle.loads(pickle.dumps(adapter))
    assert len(pickle.dumps(copy)) < 200_000
    assert torch.equal(*(a.collate(TEXTS, 2)["input_ids"] for a in (adapter, copy)))


@pytest.mark.parametrize("name", ["paligemma", "llava", "mllama", "florence2"])
def test_logits_are_computed_where_asked(name: str) -> None:
    backbone = made(name)
    positions = make_batch(backbone).inputs["readout_positions"]
    logits = backbone.encode(make_batch(backbone)).logits(positions)
    assert logits.shape == (4, 1, backbone.model.get_output_embeddings().out_features)
    assert logits.isfinite().all()


@same_version
def test_every_type_was_tried() -> None:
    assert set(FAMILIES) == set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    assert {name for name, family in FAMILIES.items() if not family.works} == set(CANNOT)


def test_the_table_says_what_the_suite_found() -> None:
    for name in WORKING:
        family = FAMILIES[name]
        assert family.adapter == type(made(name).adapter).__name__
        assert list(family.checks) == list(CHECKS)
        assert not any(family.checks.values())
        assert family.overfit_left <= LEARNT
    assert len({FAMILIES[name].modelling for name in WORKING}) >= 30


def test_the_page_is_current() -> None:
    """`python -m tests.families --write` or `volition backbones --markdown` renew it."""
    assert (ROOT / "docs/backbones.md").read_text() == page()
    assert "docs/backbones.md" in (ROOT / "README.md").read_text()
