import json

import numpy as np
import pytest
from PIL import Image

from volition.auxiliary import CoTrainingConfig
from volition.data.vision_language import load_questions

PICTURES = [np.random.default_rng(seed).integers(0, 256, (6, 5 + seed, 3), np.uint8) for seed in range(3)]


def test_questions_come_from_a_file(tmp_path) -> None:
    for i, picture in enumerate(PICTURES):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    Image.fromarray(PICTURES[0]).convert("L").save(tmp_path / "grey.png")
    lines = [
        {"image": "0.png", "question": "where is the cup", "answer": "on the table"},
        {"image": ["1.png", "2.png"], "question": "", "answer": "a cup from two sides"},
        {"image": "grey.png", "question": "which colour", "answer": "none"},
    ]
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    one, two, grey = found = load_questions(file)
    assert [(x.question, x.answer) for x in found] == [(line["question"], line["answer"]) for line in lines]
    for image, picture in zip((*one.images, *two.images), PICTURES):
        assert np.array_equal(image, picture)
    assert grey.images[0].shape == (6, 5, 3)
    assert CoTrainingConfig(path=str(file)).samples() == found


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "{",
            r"questions\.jsonl must hold a question about a picture, but holds none: .*questions\.jsonl:1: Expecting",
        ),
        ("[]", "1: it must be an object with image, question and answer"),
        ('{"image": [], "question": "what", "answer": "that"}', "1: image must name a picture, or several"),
        ('{"image": "0.png", "question": "what", "answer": "that"}', r"names pictures that are not in .*\['0.png'\]"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str, tmp_path) -> None:
    (tmp_path / "questions.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        load_questions(tmp_path / "questions.jsonl")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ValueError, match=r"'nowhere.jsonl' must be a .jsonl, .json or .parquet file"):
        CoTrainingConfig(path="nowhere.jsonl").samples()
