"""CALVIN as the reference reads and batches it: what a policy that it trained was shown.

Of an annotated segment (first, end) it never uses frame `end`, though CALVIN's segments include it: frames past the end
repeat it and are masked, and it is masked itself. A sample is a window and the steps that are predicted from its last
frame; there are none with a short history. Our own reader is `data.calvin`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from volition.action_tokens import ActionTokenizer
from volition.compat.actions import ActionScaling, gripper_to_label, world_to_tcp
from volition.compat.labelled import Labelled, answered, stacked
from volition.compat.windows import chunks

PAD = 0  # of discrete rows, whatever the tokenizer's is


@dataclass(frozen=True, kw_only=True)
class Item:
    """A sample: `start` is its first frame, `end` the segment's last one."""

    annotation: int
    start: int
    end: int

    def frames(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Frame numbers int64[count] and whether each is a real step."""
        wanted = self.start + np.arange(count)
        return np.minimum(wanted, self.end), wanted < self.end

    def padding(self, count: int) -> int:
        """Minus the number of masked frames."""
        return min(0, self.end - self.start - count)


def items(segments: Sequence[Sequence[int]], window: int, *, skip: int = 1) -> Iterator[Item]:
    """Of the (first, end) of every annotation, in their order."""
    for annotation, (first, end) in enumerate(segments):
        for start in range(first, end + 1 - window, skip):
            yield Item(annotation=annotation, start=start, end=end)


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What a batch of windows is trained towards."""

    actions: np.ndarray  # float32[B, W + n - 1, 7], gripper 0 or 1
    chunks: np.ndarray  # float32[B, W, n, 7]: entry (t, k) is the action at frame t + k
    mask: np.ndarray  # int64[B, W, n]


def targets(
    actions: np.ndarray, states: np.ndarray, valid: np.ndarray, chunk: int, *, scaling: ActionScaling, tcp: bool
) -> Targets:
    """Scaled actions [B, W + n, 7], robot states [B, W + n, 15] and bool[B, W + n]; the last step is not used.

    The frame is changed after scaling, so that scaled rotations are taken for radians / 0.01.
    """
    steps = np.stack([scaling.apply(row) for row in actions])[:, :-1].astype(np.float32)
    if tcp:
        steps = world_to_tcp(steps, states[:, :-1].astype(np.float32))
    steps[..., -1] = gripper_to_label(steps[..., -1])
    return Targets(
        actions=steps,
        chunks=np.stack([chunks(row, chunk) for row in steps]),
        mask=np.stack([chunks(row, chunk) for row in valid[:, :-1].astype(np.int64)]),
    )


def discrete_rows(
    prompts: Sequence[Sequence[int]],
    actions: np.ndarray,
    valid: np.ndarray,
    chunk: int,
    tokens: ActionTokenizer,
    *,
    end: int | None,
    learn_end: bool,
) -> Labelled:
    """Scaled actions [B, W + n, 7] with the gripper -1 or 1 as the answers to tokenised prompts: [B, W, L]."""
    window = actions.shape[1] - chunk
    rows = [
        answered(
            prompt,
            tokens.encode(sample[t : t + chunk]).ravel(),
            np.repeat(real[t : t + chunk], sample.shape[-1]),
            end=end,
            learn_end=learn_end,
            visible=True,
        )
        for prompt, sample, real in zip(prompts, actions, valid)
        for t in range(window)
    ]
    flat = stacked(rows, PAD)
    shape = (len(actions), window, -1)
    return Labelled(ids=flat.ids.reshape(shape), labels=flat.labels.reshape(shape), mask=flat.mask.reshape(shape))
