import re
from itertools import product
from pathlib import Path

import pytest

from volition.envs.desk.language import SPLITS, expand, instructions
from volition.envs.desk.tasks import TASKS

PROTOCOL = Path(__file__).parents[3] / "shared" / "data" / "calvin_protocol"
MAX_WORDS = 14


def words(sentence: str) -> list[str]:
    return re.findall(r"[a-z]+", sentence.lower())


def test_every_task_has_its_wordings() -> None:
    for task in TASKS:
        assert len(set(instructions(task, "train"))) >= 90, task
        assert len(set(instructions(task, "validation"))) == 4, task


def test_a_template_stands_for_every_combination_of_its_alternatives() -> None:
    assert expand("open it") == ("open it",)
    assert expand("[please |][open|shut] it") == ("please open it", "please shut it", "open it", "shut it")


def test_verbs_that_tell_tasks_apart_are_met_with_both_sides_and_with_and_without_courtesy() -> None:
    """A verb met in a few sentences only was read as the other task's: 'twist' as a push."""
    for side in ("left", "right"):
        turns, pushes = (instructions(f"{task}_red_block_{side}", "train") for task in ("rotate", "push"))
        for verbs, sentences in ((("twist", "spin", "rotate"), turns), (("shift", "shove", "push"), pushes)):
            for verb in verbs:
                said = [sentence for sentence in sentences if verb in words(sentence)]
                assert any(sentence.startswith("please") for sentence in said), (verb, side)
                assert sum(not sentence.startswith("please") for sentence in said) >= 3, (verb, side)


def test_no_sentence_is_shared_by_tasks_or_splits() -> None:
    sentences = [tuple(words(s)) for task, split in product(TASKS, SPLITS) for s in instructions(task, split)]
    assert len(sentences) == len(set(sentences))


def test_no_sentence_is_too_long_or_half_filled() -> None:
    for task, split in product(TASKS, SPLITS):
        for sentence in instructions(task, split):
            assert len(words(sentence)) <= MAX_WORDS, sentence
            assert not set("{}") & set(sentence), sentence


def test_validation_says_nothing_with_a_word_that_training_never_used() -> None:
    known = {word for task in TASKS for s in instructions(task, "train") for word in words(s)}
    for task in TASKS:
        for sentence in instructions(task, "validation"):
            assert set(words(sentence)) <= known, (sentence, set(words(sentence)) - known)


def test_each_sentence_names_what_sets_its_task_apart() -> None:
    opposites = [("red", "blue", "pink"), ("left", "right"), ("on", "off")]
    for task, split in product(TASKS, SPLITS):
        for names in opposites:
            in_task = [name for name in names if name in task.split("_")]
            if not in_task or (in_task[0] in ("on", "off")):
                continue
            for sentence in instructions(task, split):
                said = [name for name in names if name in words(sentence)]
                assert said == in_task, sentence


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="fly_away"):
        instructions("fly_away", "train")
    with pytest.raises(ValueError, match="train, validation"):
        instructions("open_drawer", "test")


def test_the_wording_is_our_own() -> None:
    if not PROTOCOL.is_dir():
        pytest.skip("needs the shared data beside the checkout: CALVIN's sentences")
    theirs: set[str] = set()
    for name in ("new_playtable.yaml", "new_playtable_validation.yaml"):
        theirs |= set(re.findall(r'"([^"]+)"', (PROTOCOL / name).read_text()))
    assert len(theirs) > 300
    ours = {s for task, split in product(TASKS, SPLITS) for s in instructions(task, split)}
    assert not ours & theirs
