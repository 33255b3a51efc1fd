"""What a record of a question set says: words in one of several layouts -> questions and their answers.

    {"question": q, "answer": a}                                     one question; of "answers": [...] the commonest
    {"caption": c}                                                   an empty question; a list makes one for each
    {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}, ...]}       LLaVA
    {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}, ...]}   the same
    {"texts": [{"user": q, "assistant": a}, ...]}                                              the same

Every answer of a conversation is a question of its own, which begins with what was said before, line by line. Pictures
stand before the words whatever the place of their marks, `<image>`: a mark at the beginning or end goes, one in the
middle of a sentence becomes "picture 1".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MARK = re.compile(r"<image(?:-?\d*)>")
CONVERSATIONS = ("conversations", "messages", "texts")
COLUMNS = ("question", "answer", "answers", "caption", *CONVERSATIONS)
ASKING, ANSWERING, SETTING = ("human", "user"), ("gpt", "assistant"), ("system",)

Turn = tuple[str, str]  # question, answer


@dataclass(frozen=True)
class Losses:
    """Why records were left out, as it is found out."""

    reasons: list[str] = field(default_factory=list)

    @property
    def first(self) -> str:
        return self.reasons[0] if self.reasons else "it is empty"


def turns(record: Mapping[str, Any], pictures: int) -> list[Turn]:
    """The questions about so many pictures that a record holds; ValueError that says what is wrong with it."""
    given = {name: record[name] for name in COLUMNS if record.get(name) is not None}
    conversation = next((given[name] for name in CONVERSATIONS if name in given), None)
    if conversation is not None:
        found = _in_context(_exchanges(conversation))
    elif "question" in given:
        found = [(_text(given["question"], "question"), _answer(given))]
    elif "caption" in given:
        captions = given["caption"] if isinstance(given["caption"], list) else [given["caption"]]
        found = [("", _text(caption, "caption")) for caption in captions]
    else:
        raise ValueError(f"it must have one of {', '.join(COLUMNS)}, but has {sorted(map(str, record))[:12]}")
    marks = max((len(MARK.findall(question)) for question, _ in found), default=0)
    if marks > pictures:
        raise ValueError(f"it has {marks} marks <image>, but {pictures} pictures")
    cleaned = [(_without_marks(question), answer.strip()) for question, answer in found]
    if not cleaned or not all(answer for _, answer in cleaned):
        raise ValueError("every question must have an answer, but one has none")
    return cleaned


def _answer(given: Mapping[str, Any]) -> str:
    """The only one, or of several people's the commonest, of these the first."""
    if "answer" in given:
        return _text(given["answer"], "answer")
    answers = given.get("answers")
    if not isinstance(answers, list) or not answers:
        raise ValueError("a question must have an answer, or a list of answers")
    texts = [_text(one.get("answer") if isinstance(one, dict) else one, "answers") for one in answers]
    return Counter(texts).most_common(1)[0][0]


def _exchanges(conversation: Any) -> list[Turn]:
    """What was asked and answered, in order."""
    if not isinstance(conversation, list) or not all(isinstance(part, dict) for part in conversation):
        raise ValueError("a conversation must be a list of objects")
    if conversation and all("user" in part and "assistant" in part for part in conversation):
        return [(_text(part["user"], "user"), _text(part["assistant"], "assistant")) for part in conversation]
    said = [(part.get("from") or part.get("role"), _said(part)) for part in conversation]
    said = [(who, text) for who, text in said if who not in SETTING]
    asked, answered = said[0::2], said[1::2]
    if len(asked) != len(answered) or any(
        x not in ASKING or y not in ANSWERING for (x, _), (y, _) in zip(asked, answered)
    ):
        raise ValueError(
            f"a conversation must go from {' or '.join(ASKING)} to {' or '.join(ANSWERING)} and back, "
            f"but goes {[str(who)[:20] for who, _ in said][:6]}"
        )
    return [(question, answer) for (_, question), (_, answer) in zip(asked, answered)]


def _said(part: Mapping[str, Any]) -> str:
    """A text, or texts and pictures in a list."""
    found = part["value"] if part.get("value") is not None else part.get("content")
    if isinstance(found, list) and all(isinstance(piece, dict) for piece in found):
        return "\n".join(
            "<image>" if piece.get("type") == "image" else _text(piece.get("text"), "text") for piece in found
        )
    return _text(found, "a turn")


def _in_context(exchanges: list[Turn]) -> list[Turn]:
    """Each question after all that was said before."""
    found, before = [], ""
    for question, answer in exchanges:
        found.append((f"{before}{question}", answer))
        before += f"{question.strip()}\n{answer.strip()}\n"
    return found


def _without_marks(question: str) -> str:
    numbers = iter(range(1, len(question) + 1))
    lines = []
    for line in question.splitlines():
        text = line.strip()
        while (match := MARK.match(text)) or (match := re.search(f"{MARK.pattern}$", text)):
            next(numbers)
            text = f"{text[: match.start()]}{text[match.end() :]}".strip()
        text = MARK.sub(lambda _: f"picture {next(numbers)}", text)
        if text:
            lines.append(text)
    return "\n".join(lines)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, but is {str(value)[:60]!r}")
    return value
