"""Open-X episodes as the reference puts them into words, in one of two layouts.

    interleave   every frame of the window asks for its own chunk; history is what stands before it in the sequence
    segment      one question for the last frame; the actions before it are told in the prompt

Of its ways these are defects, repeated here because policies were trained so: in `interleave` nothing may look at an
action token, and of a chunk with invalid steps it is always the last ones that are not learned; in `segment` a closed
gripper (0) becomes the middle of the range; without action tokens, the history stands there as ids of -100.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from volition.action_tokens import ActionTokenizer
from volition.compat.actions import ActionScaling
from volition.compat.labelled import IGNORED, Labelled, answered, stacked
from volition.compat.text import prompt, question
from volition.compat.windows import chunks

Words = Callable[[str], list[int]]  # a text -> its ids, with the tokenizer's own special tokens


@dataclass(frozen=True, kw_only=True)
class OxeText:
    """`bos` and `eos` are texts, `end` the id of `eos`; None where the tokenizer has none."""

    words: Words
    tokens: ActionTokenizer | None  # None: a continuous policy
    chunk: int
    bos: str | None = "<s>"
    eos: str | None = "</s>"
    end: int | None = 2
    learn_end: bool = True
    model: str = ""

    def ask(self, task: str) -> list[int]:
        ids = self.words(prompt(self.model, question(task, self.chunk), bos=self.bos, eos=self.eos))
        return ids if self.end is None or ids[-1] == self.end else [*ids, self.end]

    def interleave(self, task: str, actions: np.ndarray, valid: np.ndarray) -> Labelled:
        """[W + n - 1, 7] with the gripper 0 or 1 -> rows [W, L]; one row [L] for a continuous policy."""
        asked = self.ask(task)
        if self.tokens is None:
            return _all_of(asked)
        ends = np.array([self.tokens.low, self.tokens.high])
        signed = actions.copy()
        signed[..., -1] = ends[(actions[..., -1] == 1).astype(int)]
        rows = []
        for steps, real in zip(chunks(signed, self.chunk), chunks(valid, self.chunk)):
            learned = np.arange(self.chunk) < real.sum()
            rows.append(self._row(asked, steps, learned, learn_end=bool(real.all()), visible=False))
        return stacked(rows, 0)

    def question_only(self, task: str) -> Labelled:
        """What `interleave` asks at inference."""
        return answered(
            self.ask(task), np.zeros(0, np.int64), np.zeros(0, bool), end=self.end, learn_end=True, visible=True
        )

    def segment(self, task: str, past: np.ndarray, coming: np.ndarray | None, valid: np.ndarray | None) -> Labelled:
        """The valid actions so far [k, 7] and the coming ones [n, 7] with their validity -> one row [L].

        At inference `coming` is None and the end token is left away.
        """
        asked = self._told(task, past) if len(past) else self.ask(task)
        if coming is None:
            asked = asked[:-1]
        if self.tokens is None:
            return _all_of(asked)
        if coming is None or valid is None:
            return Labelled(ids=np.array(asked), labels=np.full(len(asked), IGNORED), mask=np.ones(len(asked), bool))
        return self._row(asked, coming, valid, learn_end=bool(valid.all()), visible=True)

    def _told(self, task: str, past: np.ndarray) -> list[int]:
        """The history between its announcement, end token included, and the question without its beginning."""
        count = len(past)
        steps = "is 1 step action" if count == 1 else f"are {count} step actions"
        told = self.words(f"Input: Here {steps} that the robot has taken: ")
        ids = [IGNORED] * count if self.tokens is None else self.tokens.encode(past).ravel().tolist()
        return [*told, *ids, *self.words(f"{question(task, self.chunk)}\nOutput:")[1:]]

    def _row(
        self, asked: list[int], steps: np.ndarray, learned: np.ndarray, *, learn_end: bool, visible: bool
    ) -> Labelled:
        assert self.tokens is not None
        return answered(
            asked,
            self.tokens.encode(steps).ravel(),
            np.repeat(learned, steps.shape[-1]),
            end=self.end,
            learn_end=self.learn_end and learn_end,
            visible=visible,
        )


def _all_of(ids: list[int]) -> Labelled:
    """A text that is its own label."""
    return Labelled(ids=np.array(ids), labels=np.array(ids), mask=np.ones(len(ids), bool))


def prepared(actions: np.ndarray, scaling: ActionScaling) -> np.ndarray:
    """Actions [W + n, 7] of a window: the last dropped, scaled, anything but an open gripper (exactly 1) closed (0)."""
    scaled = scaling.apply(actions[:-1]).copy()
    scaled[..., -1] = np.where(scaled[..., -1] == 1, 1, 0)
    return scaled


def repeat_first_valid(frames: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Frames before the episode began are shown as its first one."""
    return frames[np.maximum(np.arange(len(frames)), int(np.argmax(valid)))]
