"""e_abt: the reference's transform of Open-X windows into token rows, and its batches of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerFast

from tests.golden_check.fixture import Fixture
from tests.golden_check.maths_calvin import scaling
from tests.golden_check.maths_words import tiny_tokenizer
from volition.action_tokens import ActionTokenizer
from volition.compat.labelled import Labelled, stacked
from volition.compat.oxe import OxeText, prepared, repeat_first_valid
from volition.compat.pictures import CLIP_MEAN, CLIP_STD, preprocess
from volition.compat.windows import chunks

CLOSED_FORM = 1e-6
FROM_MEANS = 2e-4  # where a picture is known by its mean over all channels only
DEFAULT_TASK = "push the red block"


@dataclass(frozen=True, kw_only=True)
class Made:
    """One item, as the transform leaves it."""

    text: Labelled
    actions: np.ndarray
    valid: np.ndarray
    chunk: int
    coming: np.ndarray | None  # bool[W, n], which future pictures are real

    def outputs(self) -> dict[str, np.ndarray]:
        return {
            "input_ids": self.text.ids,
            "labels": self.text.labels,
            "attention_mask": self.text.mask,
            "action_tensors": self.actions,
            "action_mask": self.valid,
            "action_chunk": chunks(self.actions, self.chunk),
            "action_chunk_mask": chunks(self.valid, self.chunk),
        }


def abt(fixture: Fixture) -> None:
    document = fixture.json(fixture.name)
    cases = sorted({key.rsplit("/", 1)[0] for key in fixture.keys("")})
    tokenizer = tiny_tokenizer(fixture)
    made: dict[str, list[Made]] = {}
    for case in cases:
        layout, _, variant = case.partition("_")
        if variant.startswith("inf"):
            inference(fixture, case, words(tokenizer, document, chunk=1, discrete=not case.endswith("cont")))
        elif not case.endswith("/collated"):
            settings = document["cases"].get(case, {"kwargs": {}})
            item = train(fixture, case, layout, settings, document, tokenizer)
            made.setdefault(case.split("/")[0], []).append(item)
    for case in cases:
        if case.endswith("/collated"):
            collated(fixture, case, made[case.split("/")[0]], tokenizer.pad_token_id)


def words(
    tokenizer: PreTrainedTokenizerFast,
    document: dict,
    *,
    chunk: int,
    discrete: bool,
    stop: bool = True,
    ends: bool = True,
) -> OxeText:
    """`ends`: whether the tokenizer names an end token; one that does not has one special token less."""
    tokens = ActionTokenizer.at_end_of(
        tokenizer.vocab_size,
        len(tokenizer.special_tokens_map) - (not ends),
        bins=document["n_bin"],
        low=float(document["min_action"]),
        high=float(document["max_action"]),
    )
    return OxeText(
        words=lambda text: tokenizer(text)["input_ids"],
        tokens=tokens if discrete else None,
        chunk=chunk,
        eos="</s>" if ends else None,
        end=tokenizer.eos_token_id if ends else None,
        learn_end=stop,
    )


def inference(fixture: Fixture, case: str, text: OxeText) -> None:
    past = fixture.input(f"{case}/action")
    if case.startswith("segment"):
        row = text.segment(DEFAULT_TASK, past, None, None)
    else:
        row = stacked([text.question_only(DEFAULT_TASK)], 0)
    for key, values in (("ids", row.ids), ("labels", row.labels), ("mask", row.mask)):
        fixture.compare(f"{case}/{key}", values)


def train(
    fixture: Fixture, case: str, layout: str, settings: dict, document: dict, tokenizer: PreTrainedTokenizerFast
) -> Made:
    given, valid = fixture.input(f"{case}/action"), fixture.input(f"{case}/episode_mask")
    on, task = settings["kwargs"].get, settings.get("task", DEFAULT_TASK)
    chunk = settings.get("n", 3)
    window = len(given) - chunk
    text = words(
        tokenizer,
        document,
        chunk=chunk,
        discrete=on("discrete", True),
        stop=on("stop", True),
        ends=not case.endswith("noeos"),
    )
    actions = prepared(given, scaling(settings["kwargs"]))
    if layout == "interleave":
        row = text.interleave(task, actions, valid[:-1])
    else:
        past = actions[: window - 1][valid[: window - 1]] if on("ah", True) else actions[:0]
        row = text.segment(task, past, actions[window - 1 :], valid[window - 1 : -1])
    coming = chunks(valid, chunk)[1:] if layout == "interleave" and on("ih", True) else None
    item = Made(text=row, actions=actions, valid=valid[:-1], chunk=chunk, coming=coming)
    for key, values in item.outputs().items():
        if fixture.has(f"{case}/out_{key}"):
            fixture.compare(f"{case}/out_{key}", values, atol=CLOSED_FORM if values.dtype.kind == "f" else 0)
    if case in document["cases"]:
        spoken = np.maximum(row.ids if row.ids.ndim == 1 else row.ids[0], 0)  # -100 was written as the first token
        said = tokenizer.decode(spoken)
        fixture.compare_value(fixture.name, ("cases", case, "text"), said)
        pictures(fixture, case, item, window=window, layout=layout, history=on("ih", True), valid=valid)
    return item


def pictures(
    fixture: Fixture, case: str, item: Made, *, window: int, layout: str, history: bool, valid: np.ndarray
) -> None:
    tolerance = CLOSED_FORM
    if fixture.has(f"{case}/images"):
        images = fixture.input(f"{case}/images")
        fixture.compare(f"{case}/images_mean", images.mean((1, 2, 3)), atol=CLOSED_FORM)
        seen = np.array([preprocess(image, images.shape[1]).mean(dtype=np.float64) for image in images])
    else:
        means, tolerance = fixture.input(f"{case}/images_mean")[:, None] / 255, FROM_MEANS
        seen = ((means - np.array(CLIP_MEAN)) / np.array(CLIP_STD)).mean(-1)
    if layout == "interleave" and history:
        seen = repeat_first_valid(seen, valid)
    if item.coming is not None:
        fixture.compare(f"{case}/out_image_chunk_mask", item.coming)
        fixture.compare(f"{case}/out_image_chunk_mean", chunks(seen, item.chunk)[1:], atol=tolerance)
    shown = seen if layout == "segment" else seen[:window]
    fixture.compare(f"{case}/out_image_mean_per_frame", shown if history else seen[window - 1 : window], atol=tolerance)


def collated(fixture: Fixture, case: str, items: list[Made], pad: int) -> None:
    text = stacked([item.text for item in items], pad)
    parts = [item.outputs() for item in items]
    found = {key: np.stack([part[key] for part in parts]) for key in ("action_tensors", "action_mask")}
    result = {
        "text": text.ids,
        "text_mask": text.mask,
        "instr_and_action_ids": text.ids,
        "instr_and_action_labels": text.labels,
        "instr_and_action_mask": text.mask,
        "action": found["action_tensors"],
        "action_mask": found["action_mask"],
        "action_chunck": np.stack([part["action_chunk"] for part in parts]),
        "chunck_mask": np.stack([part["action_chunk_mask"] for part in parts]),
    }
    if items[0].coming is not None:
        result["fwd_mask"] = np.stack([item.coming for item in items if item.coming is not None])
    for key, values in result.items():
        fixture.compare(f"{case}/{key}", values, atol=CLOSED_FORM if values.dtype.kind == "f" else 0)


CHECKS: list[tuple[re.Pattern[str], Callable[[Fixture], None]]] = [(re.compile(r"e_abt.*"), abt)]
