"""Words of question sets: marks of pictures, several turns, several people's answers."""

from __future__ import annotations

from typing import Any

import pytest

from volition.data.question_words import turns

ANSWER = {"role": "assistant", "content": "a"}


def llava(*said: str) -> dict[str, Any]:
    parts = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(said)]
    return {"conversations": parts}


def test_every_answer_of_a_conversation_is_a_question_after_what_was_said() -> None:
    record = llava("<image>\nwhat is it?", "a cup", "which colour?", "red", "sure?", "yes")
    assert turns(record, 1) == [
        ("what is it?", "a cup"),
        ("what is it?\na cup\nwhich colour?", "red"),
        ("what is it?\na cup\nwhich colour?\nred\nsure?", "yes"),
    ]


@pytest.mark.parametrize(
    ("said", "pictures", "wanted"),
    [
        ("<image>\nwhere is it", 1, "where is it"),
        ("where is it\n<image>", 1, "where is it"),
        ("<image> where is it", 1, "where is it"),
        ("where is it", 1, "where is it"),
        ("<image><image>what changed", 2, "what changed"),
        ("is <image> older than <image>?", 2, "is picture 1 older than picture 2?"),
        ("<image-1> and <image2>: which one", 2, "and picture 2: which one"),
        ("<image>", 1, ""),
    ],
)
def test_marks(said: str, pictures: int, wanted: str) -> None:
    assert turns(llava(said, "yes"), pictures) == [(wanted, "yes")]


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [{"role": "user", "content": "q"}, ANSWER]},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, ANSWER]},
        {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "q"}]}, ANSWER]},
        {"texts": [{"user": "q", "assistant": "a"}]},
        {"question": "q", "answer": "a"},
        {"question": "q", "answers": ["b", "a", "a"]},
        {"question": "q", "answers": [{"answer": "a"}, {"answer": "b"}]},
    ],
)
def test_other_layouts(record: dict[str, Any]) -> None:
    assert turns(record, 1) == [("q", "a")]


def test_every_caption_is_one() -> None:
    assert turns({"caption": ["a cup", "a red cup"]}, 1) == [("", "a cup"), ("", "a red cup")]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"label": 3}, "must have one of question, answer"),
        ({"question": "q"}, "must have an answer"),
        ({"question": "q", "answer": 3}, "answer must be text, but is '3'"),
        ({"question": "q", "answer": " "}, "every question must have an answer"),
        ({"question": "q", "answers": []}, "must have an answer"),
        (llava("q"), "must go from human or user to gpt or assistant and back"),
        ({"conversations": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "q"}]}, "must go from"),
        ({"conversations": "text"}, "a conversation must be a list of objects"),
        ({"conversations": []}, "every question must have an answer"),
        (llava("<image><image>", "a"), "2 marks <image>, but 1 pictures"),
    ],
)
def test_what_makes_no_sense_is_said(record: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        turns(record, 1)
