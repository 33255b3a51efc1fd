import re
from itertools import product

import pytest

from volition.envs.mobile.language import SPLITS, instructions
from volition.envs.mobile.tasks import TASKS, order_of

MAX_WORDS = 18


def words(sentence: str) -> list[str]:
    return re.findall(r"[a-z]+", sentence.lower())


def test_every_task_has_its_wordings() -> None:
    for task in TASKS:
        assert len(set(instructions(task, "train"))) >= 12, task
        assert len(set(instructions(task, "validation"))) == 4, task


def test_no_sentence_is_shared_by_tasks_or_splits() -> None:
    sentences = [tuple(words(s)) for task, split in product(TASKS, SPLITS) for s in instructions(task, split)]
    assert len(sentences) == len(set(sentences))


def test_no_sentence_is_too_long_or_half_filled() -> None:
    for task, split in product(TASKS, SPLITS):
        for sentence in instructions(task, split):
            assert len(words(sentence)) <= MAX_WORDS, sentence
            assert not set("{}_") & set(sentence), sentence


def test_validation_says_nothing_with_a_word_that_training_never_used() -> None:
    known = {word for task in TASKS for s in instructions(task, "train") for word in words(s)}
    for task in TASKS:
        for sentence in instructions(task, "validation"):
            assert set(words(sentence)) <= known, (sentence, set(words(sentence)) - known)


def test_each_sentence_says_the_sides_in_order_and_the_thing() -> None:
    for task, split in product(TASKS, SPLITS):
        order = order_of(task)
        for sentence in instructions(task, split):
            assert [word for word in words(sentence) if word in ("left", "right")] == list(order.sides), sentence
            if order.kind:
                assert order.kind.replace("_", " ") in sentence
            else:
                assert not {"red", "blue", "cup", "cone"} & set(words(sentence))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="fly_away"):
        instructions("fly_away", "train")
    with pytest.raises(ValueError, match="train, validation"):
        instructions("left_then_left", "test")
