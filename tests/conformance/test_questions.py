"""What every form of a question set must do: whoever opens one sees the same questions and pictures."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.data.questions import MAKERS, PICTURES, QUESTIONS
from tests.data.servers import web
from tests.fuzz_formats import files_of, fuzz_questions, read_questions, replace
from volition.auxiliary import CoTrainingConfig
from volition.data.remote import located
from volition.data.vision_language import QuestionSet, load_questions
from volition.records import VisionLanguageSample


@pytest.fixture(params=MAKERS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return MAKERS[request.param](tmp_path / "made")


def assert_whole(found: QuestionSet) -> None:
    assert found.num_images.tolist() == [len(pictures) for pictures, _, _ in QUESTIONS]
    for i, (pictures, question, answer) in enumerate(QUESTIONS):
        sample = found[i]
        assert isinstance(sample, VisionLanguageSample)
        assert (sample.question, sample.answer) == (question, answer)
        for shown, number in zip(sample.images, pictures, strict=True):
            assert shown.dtype == np.uint8
            assert np.array_equal(shown, PICTURES[number])


def test_questions_and_pictures_come_back(made: Path) -> None:
    found = load_questions(made)
    assert_whole(found)
    assert_whole(pickle.loads(pickle.dumps(found)))
    assert_whole(CoTrainingConfig(path=str(made)).samples())  # type: ignore[arg-type]


def test_they_are_read_from_a_server(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    with web(tmp_path / "made") as server:
        path = located(f"{server.url}/{made.relative_to(tmp_path / 'made').as_posix()}".rstrip("/."))
        assert_whole(load_questions(path))


@pytest.mark.parametrize("damage", ["cut", "emptied", "noise"])
@pytest.mark.parametrize("name", MAKERS)
def test_damage_is_an_error_or_a_loss_that_is_told(
    name: str, damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = MAKERS[name](tmp_path / "made")
    for path in files_of(tmp_path / "made"):
        content = path.read_bytes()
        spoiled = {"cut": content[: len(content) // 2], "emptied": b"", "noise": np.random.default_rng(0).bytes(999)}
        replace(path, spoiled[damage])
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            end, questions = read_questions(root)
        wanted = [(question, answer) for _, question, answer in QUESTIONS]
        assert all((x.question, x.answer) in wanted for x in questions)
        assert all(any(np.array_equal(shown, x) for x in PICTURES) for one in questions for shown in one.images)
        if path.suffix == ".png":  # whoever takes the question is told; `read_questions` looks at what
            assert end == "loss"
        else:
            assert end == "error" or len(questions) == len(QUESTIONS) or path.name in caplog.text
        replace(path, content)
    assert read_questions(root)[0] == "fine"


@pytest.mark.parametrize("name", MAKERS)
def test_mutated_files_crash_no_reader(name: str) -> None:
    assert fuzz_questions(name, 30).total() == 30


def test_hostile_names_of_pictures_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = MAKERS["jsonl"](tmp_path / "made")
    (tmp_path / "secret.png").write_bytes((tmp_path / "made/pictures/0.png").read_bytes())
    names = ["../secret.png", str(tmp_path / "secret.png"), "a\0b", "x" * 5000]
    lines = [json.dumps({"image": name, "question": "q", "answer": "a"}) for name in names]
    root.write_text(root.read_text() + "\n".join(lines))
    assert len(load_questions(root)) == len(QUESTIONS)
    assert caplog.text.count("pictures must lie in") == 3
    assert "4 records are left out, 4 questions are there" in caplog.text
