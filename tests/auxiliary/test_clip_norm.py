from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, BertConfig, BertModel, CLIPModel, CLIPTextModelWithProjection

from tests.auxiliary.conftest import NUM_FEATURES
from tests.tiny import SPACES, make_backbone, make_batch, make_target
from volition.auxiliary.clip_norm import ClipNorm, ClipNormConfig, TextFeatures
from volition.backbones.tiny import tiny_tokenizer, vocabulary
from volition.data.transforms import Transform
from volition.records import Observation, Sample

TEXTS = ["lift red", "push the blue block", "lift red"]


def samples(texts: list[str]) -> list[Sample]:
    nothing = np.zeros((1, 0), np.float32)
    return [Sample(Observation({}, nothing, text), np.zeros((1, 1, 0)), np.ones((1, 1), bool)) for text in texts]


@pytest.fixture(scope="module")
def backbone():
    return make_backbone("paligemma-two-readouts")


@pytest.fixture
def made(backbone, text_model) -> ClipNorm:
    torch.manual_seed(0)
    config = ClipNormConfig(model_id=text_model, num_features=NUM_FEATURES)
    return config.build(backbone, cameras=("static",), transforms=Transform(), training=True)


def test_features_are_those_of_the_text_model_alone(made, text_model) -> None:
    features = made.feed(samples(TEXTS), 1)
    assert features.shape == (3, NUM_FEATURES)
    assert torch.equal(features[0], features[2])
    assert not torch.allclose(features[0], features[1], atol=1e-3)
    tokens = AutoTokenizer.from_pretrained(text_model)(TEXTS[1], return_tensors="pt")
    with torch.no_grad():
        wanted = CLIPTextModelWithProjection.from_pretrained(text_model)(**tokens).text_embeds[0]
    torch.testing.assert_close(features[1], wanted / wanted.norm())


def test_of_a_whole_clip_the_text_half_is_read(whole_clip) -> None:
    features = TextFeatures.load(whole_clip, "main")(samples(TEXTS), 1)
    tokens = AutoTokenizer.from_pretrained(whole_clip)(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        wanted = CLIPModel.from_pretrained(whole_clip)(**tokens, pixel_values=torch.zeros(1, 3, 32, 32)).text_embeds
    torch.testing.assert_close(features[0], wanted[0])


def test_any_text_model_will_do(tmp_path) -> None:
    config = BertConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    config.vocab_size = len(vocabulary())
    BertModel(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    features = TextFeatures.load(str(tmp_path), "main")(samples(TEXTS), 1)
    assert features.shape == (3, 16)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(3))


def test_the_loss_is_the_formula(made, backbone) -> None:
    batch = make_batch(backbone, TEXTS)
    target = make_target(batch, SPACES["arm-7d"])
    features = made.feed(samples(TEXTS), 1)
    target = replace(target, extras={"clip_norm": features})
    encoded = backbone.encode(batch)
    target.mask[0, 0] = False  # a step before the episode
    term = made.term(backbone, encoded, target)
    assert (term.name, term.weight) == ("clip_norm_loss", 0.05)
    told = made.project(torch.maximum(encoded.readout[:, :, 0], encoded.readout[:, :, 1]))
    errors = [F.smooth_l1_loss(told[b, t], features[b]) for b in range(3) for t in range(3) if (b, t) != (0, 0)]
    torch.testing.assert_close(term.value, torch.stack(errors).mean())


def test_its_gradient_reaches_the_policy_and_never_the_target(made, backbone) -> None:
    batch = make_batch(backbone, TEXTS)
    backbone.zero_grad()
    target = replace(make_target(batch, SPACES["arm-7d"]), extras={"clip_norm": made.feed(samples(TEXTS), 1)})
    made.term(backbone, backbone.encode(batch), target).value.backward()
    assert all(p.grad.abs().sum() > 0 for p in made.parameters())
    assert (backbone.embedding.new.grad.abs().sum(-1) > 0).all()
    assert not target.extras["clip_norm"].requires_grad
    assert sorted(made.state_dict()) == ["project.bias", "project.weight"]
    assert not any(p.requires_grad for p in made.feed._model.parameters())


def test_it_learns_to_tell_the_instruction(made, backbone) -> None:
    batch = make_batch(backbone, TEXTS)
    target = replace(make_target(batch, SPACES["arm-7d"]), extras={"clip_norm": made.feed(samples(TEXTS), 1)})
    encoded = backbone.encode(batch)
    encoded.readout = encoded.readout.detach()
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    first = made.term(backbone, encoded, target).value.item()
    for _ in range(100):
        optimizer.zero_grad()
        last = made.term(backbone, encoded, target).value
        last.backward()
        optimizer.step()
    assert last.item() < 0.02 * first


def test_without_features_there_is_no_term(made, backbone) -> None:
    batch = make_batch(backbone, TEXTS)
    assert made.term(backbone, backbone.encode(batch), make_target(batch, SPACES["arm-7d"])) is None


def test_a_policy_that_acts_needs_no_text_model(backbone) -> None:
    config = ClipNormConfig(model_id="nowhere/nothing")
    acting = config.build(backbone, cameras=(), transforms=Transform(), training=False)
    assert acting.feed is None
    assert acting.project.out_features == 768
    with pytest.raises(ValueError, match="'nowhere/nothing' must be a folder with a text model"):
        config.build(backbone, cameras=(), transforms=Transform(), training=True)


def test_features_of_another_width_are_refused(backbone, text_model) -> None:
    with pytest.raises(ValueError, match=f"num_features=768 must be what .* makes: {NUM_FEATURES}"):
        ClipNormConfig(model_id=text_model).build(backbone, cameras=(), transforms=Transform(), training=True)
