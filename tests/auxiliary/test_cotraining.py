"""Questions about real pictures of the desk, through two families of models."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.families import make_family
from tests.tiny import make_backbone
from volition.auxiliary import cotraining
from volition.auxiliary.cotraining import NOT_SAID, Answers, CoTrainingConfig, Questions, collate_answers
from volition.backbones.adapter import Adapter
from volition.data.transforms import Transform
from volition.data.vision_language import QuestionSet
from volition.envs.desk.desk import Desk
from volition.records import VisionLanguageSample
from volition.studies.pretraining.desk_moments import MomentSampler
from volition.studies.pretraining.desk_questions import ask
from volition.types import Target

TINY = ("paligemma", "smolvlm")
# Where answers go differs: after a prefix, into a decoder, beside pictures that are crossed to or turned in rows.
FAMILIES = ("florence2", "gemma3", "kosmos-2", "mllama", "paligemma", "qwen2_vl", "smolvlm")
NO_TARGET = Target(actions=torch.zeros(1, 1, 1, 1), mask=torch.ones(1, 1, 1).bool())


@pytest.fixture(scope="module")
def samples() -> list[VisionLanguageSample]:
    desk = Desk(image_sizes={"static": (40, 48)})
    moments = MomentSampler(desk)
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        facts = moments.facts(moments.draw(rng))
        question = ask(facts, rng)
        found.append(VisionLanguageSample((desk.render("static").copy(),), question.asked, question.answer))
    assert len({len(one.answer.split()) for one in found}) > 1
    return found


@pytest.fixture(scope="module", params=TINY)
def backbone(request):
    return make_backbone(request.param)


@pytest.fixture(scope="module", params=FAMILIES)
def any_family(request):
    return make_family(request.param)


def loss(backbone, answers) -> torch.Tensor:
    made = CoTrainingConfig().build(backbone, cameras=(), transforms=Transform(), training=False)
    return made.loss(backbone, backbone.encode(answers.batch), answers, NO_TARGET)


def test_rows_hold_question_and_answer_and_tell_what_is_said_where(backbone, samples) -> None:
    answers = collate_answers(samples, backbone.adapter)
    tokenizer, ids = backbone.adapter.tokenizer, answers.batch.inputs["input_ids"]
    for i, sample in enumerate(samples):
        said = answers.ids[i][answers.ids[i] != NOT_SAID]
        assert tokenizer.decode(said[:-1]).split() == sample.answer.split()
        assert said[-1] == tokenizer.eos_token_id
        before = answers.positions[i, : len(said)]
        assert ids[i, before[0]] == backbone.adapter.readout_ids[-1]
        assert torch.equal(ids[i, before + 1], said)
        asked = backbone.adapter.prompt(sample.question, 1)
        assert ids[i, : len(asked)].tolist() == asked
    assert answers.batch.images["0"].shape == (6, 1, *backbone.adapter.pictures.size, 3)


def test_answers_move_with_their_batch(backbone, samples) -> None:
    moved = collate_answers(samples, backbone.adapter).to(torch.device("meta"))
    tensors = [moved.positions, moved.ids, moved.batch.images["0"], *moved.batch.inputs.values()]
    assert {x.device.type for x in tensors} == {"meta"}


def test_only_the_tokens_of_the_answers_are_scored(any_family, samples) -> None:
    """The mean over the answers' own tokens, each as its row alone would have it."""
    backbone = any_family
    with torch.no_grad():
        together = loss(backbone, collate_answers(samples, backbone.adapter))
        errors = []
        for sample in samples:
            alone = collate_answers([sample], backbone.adapter)
            logits = backbone.logits(backbone.encode(alone.batch).tokens[0, alone.positions[0]])
            errors.append(F.cross_entropy(logits, alone.ids[0], reduction="none"))
    torch.testing.assert_close(together, torch.cat(errors).mean(), rtol=1e-4, atol=1e-5)


def test_a_token_is_said_from_what_stands_before_it_only(any_family, samples) -> None:
    """Else the answer could be copied instead of found."""
    backbone = any_family
    answers = collate_answers(samples, backbone.adapter)
    (row,) = torch.nonzero(answers.ids[:, -1] != NOT_SAID)[:1, 0].tolist()  # one of the longest
    changed = answers.batch.inputs["input_ids"].clone()
    changed[row, answers.positions[row, -1]] = 7  # what comes before the last token that is to be said
    inputs = answers.batch.inputs | {"input_ids": changed}
    with torch.no_grad():
        before, after = (
            backbone.encode(batch).logits(answers.positions)[row]
            for batch in (answers.batch, replace(answers.batch, inputs=inputs))
        )
    torch.testing.assert_close(before[:-1], after[:-1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(before[-1], after[-1], rtol=1e-3)


def test_its_gradient_reaches_eyes_words_and_readout(backbone, samples) -> None:
    backbone.zero_grad()
    loss(backbone, collate_answers(samples, backbone.adapter)).backward()
    moved = {name for name, p in backbone.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert any("patch_embedding" in name for name in moved)
    assert backbone.embedding.base.weight.grad.abs().sum() > 0
    assert (backbone.embedding.new.grad.abs().sum(-1) > 0).all()


def test_the_backbone_learns_the_answers(samples) -> None:
    backbone = make_backbone("paligemma").train()
    answers = collate_answers(samples, backbone.adapter)
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=3e-3)
    for _ in range(100):
        optimizer.zero_grad()
        error = loss(backbone, answers)
        error.backward()
        optimizer.step()
    assert error.item() < 0.1


def test_the_schedule_is_a_function_of_the_step(backbone, samples) -> None:
    config = CoTrainingConfig(batch_size=2, every=3, seed=5)
    feed = Questions(config, samples, backbone.adapter)
    assert [step for step in range(1, 13) if feed([], step) is not None] == [3, 6, 9, 12]
    first, again = feed([], 6), Questions(config, samples, backbone.adapter)([], 6)
    assert torch.equal(first.batch.inputs["input_ids"], again.batch.inputs["input_ids"])
    assert torch.equal(first.batch.images["0"], again.batch.images["0"])
    assert not torch.equal(first.batch.images["0"], feed([], 9).batch.images["0"])


def test_what_cannot_be_a_batch_is_refused(backbone, samples) -> None:
    two = VisionLanguageSample(samples[0].images * 2, "what do you see", "a desk")
    with pytest.raises(ValueError, match=r"the same number of pictures, got \[1, 2\]"):
        collate_answers([samples[0], two], backbone.adapter)
    with pytest.raises(ValueError, match="at least one question"):
        Questions(CoTrainingConfig(), [], backbone.adapter)
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        CoTrainingConfig(every=0)


class Mixed(QuestionSet):
    """Seven questions about one picture and three about two, which are told by their words; one cannot be read."""

    num_images = np.array([1, 1, 2, 1, 1, 2, 1, 1, 2, 1])
    damaged = -1

    def __len__(self) -> int:
        return len(self.num_images)

    def __getitem__(self, index: int) -> VisionLanguageSample:
        if index == self.damaged:
            raise ValueError("x.png must be a picture")
        pictures = (np.zeros((4, 4, 3), np.uint8),) * int(self.num_images[index])
        return VisionLanguageSample(pictures, "what", "abcdefghij"[index])


@pytest.fixture
def dealt(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The answers, which tell questions apart, of every batch that is collated."""
    found: list[list[str]] = []

    def collate(samples: Sequence[VisionLanguageSample], adapter: Adapter) -> Answers:
        found.append([sample.answer for sample in samples])
        return collate_answers(samples, adapter)

    monkeypatch.setattr(cotraining, "collate_answers", collate)
    return found


def test_every_question_comes_before_any_comes_again(backbone, dealt) -> None:
    """Batches have one number of pictures each; a deal is four batches of the ones and two of the others."""
    feed = Questions(CoTrainingConfig(batch_size=2), Mixed(), backbone.adapter)
    for step in range(1, 7):
        feed([], step)
    assert {letter for batch in dealt for letter in batch} == set("abcdefghij")
    assert {len({Mixed.num_images["abcdefghij".index(x)] for x in batch}) for batch in dealt} == {1}


def test_a_question_that_cannot_be_read_is_replaced_aloud(backbone, dealt, caplog) -> None:
    questions = Mixed()
    questions.damaged = 3
    feed = Questions(CoTrainingConfig(batch_size=2), questions, backbone.adapter)
    for step in range(1, 7):
        feed([], step)
    assert {letter for batch in dealt for letter in batch} == set("abcefghij")
    assert "question 3 is left out, the next one takes its place: x.png must be a picture" in caplog.text
