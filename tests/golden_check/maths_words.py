"""e_text and e_preprocess: the texts that are tokenised and the pictures that are seen."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from transformers import PreTrainedTokenizerFast

from tests.golden_check.fixture import Fixture
from volition.compat.pictures import preprocess
from volition.compat.text import DEFAULT_STYLE, TEXT_STYLES, prompt, question

CLOSED_FORM = 1e-6


def tiny_tokenizer(fixture: Fixture) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(fixture.folder / "tiny_tokenizer")


def texts(fixture: Fixture) -> None:
    document, name = fixture.json(fixture.name), fixture.name
    sentences = document["sentences"]
    for model in document["text_functions"]:
        style = TEXT_STYLES.get(model, DEFAULT_STYLE)
        found = {
            "text": style.texts([sentences[0], sentences[2]], bos="<s>", eos="</s>"),
            "kwargs": style.options(),
            "padding_side": "right" if style.pad_right else None,
        }
        fixture.compare_value(name, ("text_functions", model), found)
    for case in document["prompts"]:
        model, *ends = case.split("|")
        given = {key: None if word == "None" else word for key, word in (end.split("=") for end in ends)}
        asked = question("push the red block", 1)
        fixture.compare_value(name, ("prompts", case, "prompt"), prompt(model, asked, **given))
    kosmos = TEXT_STYLES["kosmos"]
    rows = tiny_tokenizer(fixture)(kosmos.texts(sentences, bos="<s>", eos="</s>"), **kosmos.options())
    fixture.compare_value(name, ("kosmos_tiny_ids",), rows["input_ids"].tolist())
    fixture.compare_value(name, ("kosmos_tiny_mask",), rows["attention_mask"].tolist())


def pictures(fixture: Fixture) -> None:
    for group in sorted({key.split("/")[0] for key in fixture.keys("")}):
        size = 224 if group == "to224" else 28
        found = preprocess(fixture.input(f"{group}/uint8"), size)[None]
        if fixture.has(f"{group}/out"):
            fixture.compare(f"{group}/out", found, atol=CLOSED_FORM)
            continue
        fixture.compare(f"{group}/shape", np.array(found.shape))
        fixture.compare(f"{group}/out_corner", found[0, :, :16, :16], atol=CLOSED_FORM)
        fixture.compare(f"{group}/out_mean", found[0].mean((1, 2), dtype=np.float64), atol=CLOSED_FORM)
        fixture.compare(f"{group}/out_std", found.std((2, 3), ddof=1, dtype=np.float64), atol=CLOSED_FORM)


CHECKS: list[tuple[re.Pattern[str], Callable[[Fixture], None]]] = [
    (re.compile(r"e_text.*"), texts),
    (re.compile(r"e_preprocess.*"), pictures),
]
