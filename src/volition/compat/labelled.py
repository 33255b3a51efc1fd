"""Token rows of the reference's discrete policies: a prompt, then the actions as its answer, then the end token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from volition.compat.windows import pad_right

IGNORED = -100  # a label that no loss counts


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """One row, or several of the same length: [..., L]."""

    ids: np.ndarray  # int64
    labels: np.ndarray  # int64, IGNORED where nothing is to be learned
    mask: np.ndarray  # bool, whether other tokens may look at it


def answered(
    prompt: Sequence[int], answer: np.ndarray, learned: np.ndarray, *, end: int | None, learn_end: bool, visible: bool
) -> Labelled:
    """The answer [m] goes before the prompt's last token, which is `end`; after everything where there is no `end`.

    `learned` bool[m]: which of its tokens are labels. `visible`: whether its tokens may be looked at.
    """
    before = prompt if end is None else prompt[:-1]
    after = [] if end is None else [end]
    return Labelled(
        ids=np.concatenate([before, answer, after]).astype(np.int64),
        labels=np.concatenate(
            [
                [IGNORED] * len(before),
                np.where(learned, answer, IGNORED),
                after if learn_end else [IGNORED] * len(after),
            ]
        ).astype(np.int64),
        mask=np.concatenate([[True] * len(before), np.full(len(answer), visible), [True] * len(after)]).astype(bool),
    )


def stacked(rows: Sequence[Labelled], pad: int) -> Labelled:
    """Rows of any lengths, padded on the right, with a new first axis."""
    return Labelled(
        ids=pad_right([row.ids for row in rows], pad),
        labels=pad_right([row.labels for row in rows], IGNORED),
        mask=pad_right([row.mask for row in rows], 0),
    )
