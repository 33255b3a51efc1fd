"""Chunks as few tokens: cosine transform, rounding, merging what stands together often ("FAST", Pertsch et al. 2025).

    chunk [H, A] --DCT over time--> coefficients --scale, round; low frequencies first, no zeros at the end--> integers
    integers --byte pair encoding, with integers for bytes--> tokens                       and all of it back

A smooth chunk has few coefficients that are not 0 and so few tokens; what stands last are its finest motions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from tokenizers import Tokenizer, models, trainers
from torch import Tensor, nn

from volition.contract import ActionSpace
from volition.heads.base import assemble
from volition.heads.tokens import Range

Piece = tuple[int, ...]  # integers that stand one after the other: a single one, or what was merged


class FASTTokens(nn.Module):
    """Tokens 0..size-1 are pieces: first every integer from -limit to limit, then the merges in their order.

    A continuous value comes back within sqrt(H) / (4 * scale) of its range, a binary one exactly.

    merges: two pieces each, as "0,0 3": the first, a space, the second. Rules of an earlier line come first.
    """

    cosines: Float[Tensor, "H H"]
    pieces: Int[Tensor, "V longest"]
    lengths: Int[Tensor, "V"]

    def __init__(self, space: ActionSpace, horizon: int, *, scale: float, merges: Sequence[str] = ()):
        super().__init__()
        if not scale > math.sqrt(horizon) / 2:
            raise ValueError(
                f"scale={scale} must be above sqrt(horizon) / 2 = {math.sqrt(horizon) / 2:.2f}: below it, rounding "
                "may turn a binary dimension around"
            )
        self.space, self.horizon, self.scale = space, horizon, scale
        self.limit = math.ceil(scale * math.sqrt(horizon))  # no coefficient of values in -1..1 is larger
        pieces: list[Piece] = [(i,) for i in range(-self.limit, self.limit + 1)]
        pairs = _append(pieces, merges)
        vocabulary = {_word(piece): i for i, piece in enumerate(pieces)}
        self.size = len(pieces)
        self.merger = Tokenizer(models.BPE(vocabulary, pairs))
        longest = max(map(len, pieces))
        self.range = Range(space)
        self.register_buffer("cosines", cosines(horizon), persistent=False)
        # The mark, `size`, is a piece without integers.
        padded = [[*piece, *[0] * (longest - len(piece))] for piece in [*pieces, ()]]
        self.register_buffer("pieces", torch.tensor(padded), persistent=False)
        self.register_buffer("lengths", torch.tensor([*map(len, pieces), 0]), persistent=False)

    @property
    def num_integers(self) -> int:
        """In a chunk."""
        return self.horizon * self.space.dim

    def encode(self, actions: Float[Tensor, "n H A"]) -> list[list[int]]:
        """Tokens of every chunk, without the mark; what lies outside the range counts as its end."""
        return [self.merger.encode(_word(integers)).ids for integers in self.integers(actions)]

    def decode(self, tokens: Int[Tensor, "n M"]) -> tuple[Float[Tensor, "n H A"], Bool[Tensor, "n"]]:
        """Chunks, and which of them were illegal: longer than a chunk, or without a mark at the end.

        Any tokens mean something: pieces count up to the mark, or up to the first that a chunk has no room for; what
        then is missing are zeros. So an illegal chunk keeps its slow motions.
        """
        marks = (tokens == self.size).cumsum(1) > 0
        lengths = self.lengths[tokens].masked_fill(marks, 0)
        ends = lengths.cumsum(1)
        fits = ends <= self.num_integers
        inside = torch.arange(self.pieces.shape[1], device=tokens.device)
        filled = (inside < lengths[..., None]) & fits[..., None]
        # Everything else is written to one place past the end, which is thrown away.
        places = torch.where(filled, (ends - lengths)[..., None] + inside, self.num_integers)
        integers = torch.zeros(len(tokens), self.num_integers + 1, dtype=torch.long, device=tokens.device)
        integers.scatter_(1, places.flatten(1), self.pieces[tokens].flatten(1))
        return self._actions(integers[:, :-1]), ~(fits.all(1) & marks.any(1))

    def integers(self, actions: Float[Tensor, "n H A"]) -> list[Piece]:
        """Rounded coefficients of every chunk, frequency by frequency, without the zeros at the end."""
        rounded = (self.cosines @ self.range.encode(actions) * self.scale).round().long().flatten(1)
        ends = (rounded != 0) * torch.arange(1, self.num_integers + 1, device=actions.device)
        return [tuple(row[:end]) for row, end in zip(rounded.tolist(), ends.amax(1).tolist())]

    def _actions(self, integers: Int[Tensor, "n integers"]) -> Float[Tensor, "n H A"]:
        coefficients = integers.unflatten(1, (self.horizon, self.space.dim)) / self.scale
        unit = (self.cosines.T @ coefficients).clamp(-1, 1)
        values = self.range.decode(unit)
        return assemble(values[..., list(self.space.continuous)], unit[..., list(self.space.binary)], self.space)


def fit_merges(actions: Float[Tensor, "n H A"], space: ActionSpace, *, scale: float, size: int) -> tuple[str, ...]:
    """The merges that make these chunks short, for a vocabulary of at most `size` pieces and the mark."""
    tokens = FASTTokens(space, actions.shape[1], scale=scale)
    if size <= tokens.size:
        raise ValueError(f"size={size} must leave room for merges beside the {tokens.size} tokens for single integers")
    alphabet = [_word((i,)) for i in range(-tokens.limit, tokens.limit + 1)]
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, min_frequency=2, show_progress=False, special_tokens=[]
    )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.train_from_iterator(map(_word, tokens.integers(actions)), trainer)
    pairs = json.loads(tokenizer.to_str())["model"]["merges"]
    return tuple(" ".join(",".join(map(str, _integers(word))) for word in pair) for pair in pairs)


def cosines(count: int) -> Float[Tensor, "H H"]:
    """The orthonormal cosine transform (DCT-II): row k is frequency k; its inverse is its transpose."""
    time = torch.arange(count, dtype=torch.float64)
    rows = torch.cos(math.pi / count * (time + 0.5) * time[:, None]) * math.sqrt(2 / count)
    rows[0] /= math.sqrt(2)
    return rows.float()


def _append(pieces: list[Piece], merges: Sequence[str]) -> list[tuple[str, str]]:
    """Put what every merge makes at the end of `pieces`; returns the merges as words."""
    known, pairs = set(pieces), []
    for merge in merges:
        left, right = (tuple(int(i) for i in side.split(",")) for side in merge.split(" "))
        if left not in known or right not in known:
            raise ValueError(
                f"a merge must join two pieces that are there, and {merge!r} does not: merges belong to the scale and "
                "horizon that they were made with, so make them anew"
            )
        if left + right not in known:  # two merges may make the same piece
            known.add(left + right)
            pieces.append(left + right)
        pairs.append((_word(left), _word(right)))
    return pairs


CHARACTER = 0x7000  # of integer 0: to the library integers are characters, with thousands of plain ones on either side


def _word(piece: Piece) -> str:
    return "".join(chr(CHARACTER + i) for i in piece)


def _integers(word: str) -> Piece:
    return tuple(ord(character) - CHARACTER for character in word)
