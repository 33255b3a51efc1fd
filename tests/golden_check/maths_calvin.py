"""e_calvin_*: a small CALVIN folder, the frames that the reference reads of it, and its batches."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.golden_check.fixture import Fixture
from tests.golden_check.maths_words import tiny_tokenizer
from volition.action_tokens import ActionTokenizer
from volition.compat import calvin
from volition.compat.actions import ActionScaling
from volition.compat.pictures import preprocess
from volition.compat.text import TEXT_STYLES, prompt, question

IMAGE_SIZE = 28
CLOSED_FORM, TCP = 1e-6, 2e-4


def raw(fixture: Fixture) -> None:
    """Inputs of the other two."""
    for key in fixture.keys(""):
        fixture.note(key)


def index(fixture: Fixture) -> None:
    document = fixture.json(fixture.name)
    for name in document["tables"]:
        window, ahead, skip = map(int, re.fullmatch(r"w(\d+)_n(\d+)_skip(\d+)", name).groups())  # type: ignore[union-attr]
        items = list(calvin.items(document["episodes"], window, skip=skip))
        read = [item.frames(window + ahead) for item in items]
        found = {
            "length": len(items),
            "episode_lookup": [item.start for item in items],
            "lang_lookup": [item.annotation for item in items],
            "right_pad_lookup": [item.padding(window + ahead) for item in items],
            "files": [frames.tolist() for frames, _ in read],
            "action_mask": [valid.astype(int).tolist() for _, valid in read],
        }
        for key, value in found.items():
            fixture.compare_value(fixture.name, ("tables", name, key), value)


def scaling(settings: dict[str, Any]) -> ActionScaling:
    """From the keys of the reference's datasets, with its defaults."""
    on = settings.get
    return ActionScaling(
        normal=(float(on("norm_min", -1)), float(on("norm_max", 1))) if on("norm_action") else None,
        regular=(float(on("x_mean", 0)), float(on("x_std", 1))) if on("regular_action") else None,
        mu=float(on("mu_val", 255)) if on("use_mu_law") else None,
    )


class Read:
    """The items of one case, read from the folder."""

    def __init__(self, fixture: Fixture, settings: dict[str, Any]) -> None:
        suffix = fixture.name.removeprefix("e_calvin_batches")
        stored = fixture.sibling(f"e_calvin_raw{suffix}")
        document = fixture.json(f"e_calvin_index{suffix}")
        self.settings = settings["kwargs"]
        self.window, self.ahead = self.settings["window_size"], self.settings["fwd_pred_next_n"]
        table = list(calvin.items(document["episodes"], self.window))
        items = [table[index] for index in settings["idxs"]]
        read = [item.frames(self.window + self.ahead) for item in items]
        self.frames, self.valid = np.stack([frames for frames, _ in read]), np.stack([valid for _, valid in read])
        self.instructions = [document["text"][item.annotation] for item in items]
        self.actions, self.states = (stored.input(key)[self.frames] for key in ("rel_actions", "robot_obs"))
        self.cameras = {"rgb": stored.input("rgb_static"), "hand_rgb": stored.input("rgb_gripper")}
        self.scaling = scaling(self.settings)


def batches(fixture: Fixture) -> None:
    for case, settings in fixture.json(fixture.name).items():
        read = Read(fixture, settings)
        fixture.compare_value(fixture.name, (case, "raw_text"), read.instructions)
        pictures(fixture, case, read)
        on = read.settings.get
        tcp = bool(on("tcp_rel"))
        made = calvin.targets(read.actions, read.states, read.valid, read.ahead, scaling=read.scaling, tcp=tcp)
        fixture.compare(f"{case}/action", made.actions, atol=TCP if tcp else CLOSED_FORM)
        fixture.compare(f"{case}/action_chunck", made.chunks, atol=TCP if tcp else CLOSED_FORM)
        fixture.compare(f"{case}/chunck_mask", made.mask)
        style, tokenizer = TEXT_STYLES["kosmos"], tiny_tokenizer(fixture)
        rows = tokenizer(style.texts(read.instructions, bos="<s>", eos="</s>"), **style.options())
        fixture.compare(f"{case}/text", rows["input_ids"].numpy())
        fixture.compare(f"{case}/text_mask", rows["attention_mask"].numpy())
        if on("discrete_action"):
            discrete(fixture, case, read)


def pictures(fixture: Fixture, case: str, read: Read) -> None:
    window, ahead = read.window, read.ahead
    for camera, frames in read.cameras.items():
        pixels = np.stack([preprocess(frame, IMAGE_SIZE) for frame in frames])
        means = pixels.mean((1, 2, 3), dtype=np.float64)[read.frames]
        shape = (len(read.frames), window, *pixels.shape[1:])
        fixture.compare(f"{case}/{camera}_mean_per_frame", means[:, :window], atol=CLOSED_FORM)
        fixture.compare(f"{case}/{camera}_first", pixels[read.frames[0, 0]], atol=CLOSED_FORM)
        fixture.compare(f"{case}/{camera}_shape", np.array(shape))
        coming = np.stack([calvin.chunks(row[1:], ahead) for row in means])
        fixture.compare(f"{case}/fwd_{camera}_chunck_mean_per_frame", coming, atol=CLOSED_FORM)
        fixture.compare(f"{case}/fwd_{camera}_chunck_shape", np.array([*shape[:2], ahead, *shape[2:]]))
    mask = np.stack([calvin.chunks(row[1:], ahead) for row in read.valid.astype(int)])
    fixture.compare(f"{case}/fwd_mask", mask)


def discrete(fixture: Fixture, case: str, read: Read) -> None:
    tokenizer, on = tiny_tokenizer(fixture), read.settings.get
    tokens = ActionTokenizer.at_end_of(
        tokenizer.vocab_size,
        len(tokenizer.special_tokens_map),
        bins=on("n_bin", 256),
        low=float(on("min_action", -1)),
        high=float(on("max_action", 1)),
    )
    asked = [question(text, read.ahead + 1) for text in read.instructions]  # one step too many
    prompts = [tokenizer(prompt("", words, bos="<s>", eos="</s>"))["input_ids"] for words in asked]
    scaled = np.stack([read.scaling.apply(row) for row in read.actions])
    rows = calvin.discrete_rows(
        prompts,
        scaled,
        read.valid,
        read.ahead,
        tokens,
        end=tokenizer.eos_token_id,
        learn_end=on("predict_stop_token", True),
    )
    for key, values in (("ids", rows.ids), ("labels", rows.labels), ("mask", rows.mask)):
        fixture.compare(f"{case}/instr_and_action_{key}", values)


CHECKS: list[tuple[re.Pattern[str], Callable[[Fixture], None]]] = [
    (re.compile(r"e_calvin_raw.*"), raw),
    (re.compile(r"e_calvin_index.*"), index),
    (re.compile(r"e_calvin_batches.*"), batches),
]
