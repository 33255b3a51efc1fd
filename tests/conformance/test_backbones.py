"""What every family must do, whatever its model looks like inside."""

import pickle
from dataclasses import replace

import pytest
import torch

from tests.tiny import BACKBONES, make_backbone, make_batch
from volition.backbones import Backbone
from volition.types import Batch

TEXTS = ["lift red", "push the blue block to the left, please"]


@pytest.fixture(params=BACKBONES)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return make_backbone(request.param)


def rows(batch: Batch, chosen: slice, backbone: Backbone, texts: list[str]) -> Batch:
    steps = batch.shape[1]
    return Batch(
        inputs=backbone.adapter.collate([t for t in texts[chosen] for _ in range(steps)], len(batch.images)),
        images={name: x[chosen] for name, x in batch.images.items()},
        state=batch.state[chosen],
    )


def test_shape_of_the_readout(backbone: Backbone) -> None:
    readout = backbone.encode(make_batch(backbone, TEXTS)).readout
    assert readout.shape == (2, 3, backbone.num_readouts, backbone.width)
    assert readout.dtype == torch.float32
    assert readout.isfinite().all()


@pytest.mark.parametrize("camera", ["static", "gripper"])
def test_every_camera_reaches_the_readout(backbone: Backbone, camera: str) -> None:
    batch = make_batch(backbone, TEXTS)
    changed = batch.images[camera].clone()
    changed[0, 1, 10:14, 10:14] = 255 - changed[0, 1, 10:14, 10:14]  # a few pixels of one frame
    before = backbone.encode(batch).readout
    after = backbone.encode(batch.with_images(batch.images | {camera: changed})).readout
    assert not torch.equal(before[0, 1], after[0, 1])
    assert torch.equal(before[0, 0], after[0, 0]), "frames of a window go through the model alone"
    assert torch.equal(before[1], after[1])


def test_every_word_reaches_the_readout(backbone: Backbone) -> None:
    batch = make_batch(backbone, ["lift red", "lift red"])
    same = batch.with_images({name: x[:1].expand(2, -1, -1, -1, -1) for name, x in batch.images.items()})
    for other in ("lift blue", "push red"):
        inputs = backbone.adapter.collate([t for t in ("lift red", other) for _ in range(3)], 2)
        readout = backbone.encode(replace(same, inputs=inputs)).readout
        assert not torch.allclose(readout[0], readout[1])


def test_a_padded_row_equals_the_row_alone(backbone: Backbone) -> None:
    batch = make_batch(backbone, TEXTS)
    together = backbone.encode(batch).readout
    for i in range(2):
        alone = backbone.encode(rows(batch, slice(i, i + 1), backbone, TEXTS)).readout
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)


def test_readout_tokens_are_causal(backbone: Backbone) -> None:
    """What stands after a token must not change it; what stands before must (PaliGemma's trap)."""
    batch = make_batch(backbone, ["lift red"])
    inputs = backbone.adapter.collate(["lift red"] * 3, 2)
    end = inputs["readout_positions"][0, -1]
    longer = {
        name: torch.cat([x, x[:, end : end + 1]], dim=1) if x.shape == inputs["input_ids"].shape else x
        for name, x in inputs.items()
    }
    before = backbone.encode(replace(batch, inputs=inputs)).tokens[:, : end + 1]
    after = backbone.encode(replace(batch, inputs=longer)).tokens[:, : end + 1]
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)


def test_the_action_token_learns(backbone: Backbone) -> None:
    backbone.encode(make_batch(backbone, TEXTS)).readout.square().sum().backward()
    gradient = backbone.embedding.new.grad
    assert gradient is not None
    assert (gradient.abs().sum(-1) > 0).all()


def test_gradient_reaches_the_vision_tower_and_the_words(backbone: Backbone) -> None:
    backbone.encode(make_batch(backbone, TEXTS)).readout.square().sum().backward()
    moved = [name for name, p in backbone.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert any("patch_embedding" in name for name in moved)
    words = backbone.embedding.base.weight.grad
    assert words is not None
    assert words.abs().sum() > 0


def test_logits_are_computed_where_asked(backbone: Backbone) -> None:
    batch = make_batch(backbone, TEXTS)
    encoded = backbone.encode(batch)
    positions = batch.inputs["readout_positions"]
    logits = encoded.logits(positions)
    assert logits.shape == (6, backbone.num_readouts, backbone.embedding.num_embeddings)
    assert logits.isfinite().all()


def test_an_adapter_is_light(backbone: Backbone) -> None:
    """Data workers carry it: it must pickle, and without the model's weights."""
    copy = pickle.loads(pickle.dumps(backbone.adapter))
    assert len(pickle.dumps(copy)) < 200_000
    first, second = (a.collate(TEXTS, 2)["input_ids"] for a in (backbone.adapter, copy))
    assert torch.equal(first, second)


def test_words_outside_the_vocabulary_are_spelled(backbone: Backbone) -> None:
    ids = backbone.adapter.tokenizer.encode("zyzzyva", add_special_tokens=False)
    assert len(ids) == 7
    assert backbone.adapter.tokenizer.unk_token_id not in ids
