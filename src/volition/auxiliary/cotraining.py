"""Co-training: questions about pictures, or captions, answered in words beside the batches of robots.

    [pictures][question][LRN][answer]<eos>     cross-entropy of the answer's tokens and <eos>, of nothing else

The answer follows [LRN] as a head's own tokens do, so every family of models has its place for it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from volition.auxiliary.base import Auxiliary
from volition.backbones.adapter import Adapter
from volition.backbones.base import Backbone, Encoded
from volition.backbones.encoded import extended
from volition.data.remote import located
from volition.data.sampler import Sampler, Stratum
from volition.data.transforms import Transform
from volition.data.vision_language import QuestionSet, load_questions, num_images
from volition.records import Sample, VisionLanguageSample
from volition.types import Batch, Target

logger = logging.getLogger(__name__)

NOT_SAID = -1  # fills up the rows of answers that are shorter than the longest


@dataclass(frozen=True, kw_only=True)
class CoTrainingConfig:
    """Override `samples` in a class of yours to bring questions from elsewhere."""

    path: str = ""  # a .jsonl, .json or .parquet file or a folder of these last, also a URL: see `data.vision_language`
    pictures: str = ""  # the folder from which names of pictures count; that of the file by default
    weight: float = 0.05
    batch_size: int = 8  # questions in a step that has any
    every: int = 1  # steps from one that has questions to the next
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def samples(self) -> Sequence[VisionLanguageSample] | QuestionSet:
        return load_questions(located(self.path), located(self.pictures) if self.pictures else None)

    def build(
        self, backbone: Backbone, *, cameras: tuple[str, ...], transforms: Transform, training: bool
    ) -> CoTraining:
        made = CoTraining(self.weight, Questions(self, self.samples(), backbone.adapter) if training else None)
        made.every = self.every
        return made


class CoTraining(Auxiliary):
    """Has no weights of its own: it trains the backbone's."""

    name: ClassVar[str] = "caption"

    def loss(self, backbone: Backbone, encoded: Encoded, wanted: Answers, target: Target) -> Float[Tensor, ""]:
        logits = backbone.encode(wanted.batch).logits(wanted.positions)
        return F.cross_entropy(logits.flatten(0, 1), wanted.ids.flatten(), ignore_index=NOT_SAID)

    def count(self, wanted: Answers, target: Target) -> Tensor:
        return (wanted.ids != NOT_SAID).sum()


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Rows with questions and their answers, and which token is to be said where."""

    batch: Batch
    positions: Int[Tensor, "N P"]  # of the token before the one that is to be said
    ids: Int[Tensor, "N P"]  # to be said; NOT_SAID where the row has fewer

    def to(self, device: torch.device) -> Answers:
        return Answers(batch=self.batch.to(device), positions=self.positions.to(device), ids=self.ids.to(device))


class Questions:
    """Feed: a batch of questions at every `every`-th step, by (seed, step) alone.

    Questions are dealt out into batches, each with one number of pictures. Every batch comes once before any comes
    again; the last one of a deal is filled up with questions from the first.
    """

    def __init__(
        self, config: CoTrainingConfig, samples: Sequence[VisionLanguageSample] | QuestionSet, adapter: Adapter
    ):
        if not len(samples):
            raise ValueError("co-training needs at least one question, got none")
        self._config, self._samples, self._adapter = config, samples, adapter
        counts = num_images(samples)
        if not counts.all():
            raise ValueError("every question of co-training must be about a picture, but some have none")
        self._groups = [np.flatnonzero(counts == count) for count in np.unique(counts)]
        batches = [-(-len(group) // config.batch_size) for group in self._groups]
        strata = [
            Stratum(source=i, weight=float(count), firsts=np.zeros(1, np.int64), lengths=np.array([count]))
            for i, count in enumerate(batches)
        ]
        self._sampler = Sampler(strata, batch_size=1, seed=config.seed)
        self._batches = batches

    def __call__(self, samples: Sequence[Sample], step: int) -> Answers | None:
        if step % self._config.every:
            return None
        draw = self._sampler.draw(step // self._config.every)
        source, batch = int(draw.sources[0]), int(draw.indices[0])
        # Neighbours in a file are often alike, so a batch takes its questions from all over it.
        places = batch + self._batches[source] * np.arange(self._config.batch_size)
        group = self._groups[source]
        return collate_answers([self._readable(group, int(place)) for place in places % len(group)], self._adapter)

    def _readable(self, group: np.ndarray, place: int) -> VisionLanguageSample:
        """The question at a place of its group; where that is damaged the next one, aloud."""
        why = ""
        for further in range(len(group)):
            index = int(group[(place + further) % len(group)])
            try:
                return self._samples[index]
            except (ValueError, OSError) as error:
                why = str(error)
                logger.warning("question %d is left out, the next one takes its place: %s", index, why)
        raise ValueError(f"none of {len(group)} questions for co-training can be read; the last one: {why}")


def collate_answers(samples: Sequence[VisionLanguageSample], adapter: Adapter) -> Answers:
    """All samples must have the same number of pictures; of any size, they are resized to the model's."""
    counts = {len(sample.images) for sample in samples}
    if len(counts) != 1:
        raise ValueError(f"questions of one batch must have the same number of pictures, got {sorted(counts)}")
    count = counts.pop()
    batch = Batch(
        inputs=adapter.collate([sample.question for sample in samples], count),
        images={str(i): _resized([s.images[i] for s in samples], adapter.pictures.size)[:, None] for i in range(count)},
        state=torch.zeros(len(samples), 1, 0),
    )
    end = getattr(adapter.tokenizer, "eos_token_id", None)
    answers = [[*adapter.words(sample.answer), *([end] if end is not None else [])] for sample in samples]
    length = max(map(len, answers))
    ids = torch.tensor([[*answer, *[NOT_SAID] * (length - len(answer))] for answer in answers])
    # What stands after a row's answer is seen by no token that counts.
    inputs, places = extended(batch, ids.clamp(min=0))
    return Answers(batch=replace(batch, inputs=inputs), positions=places - 1, ids=ids)


def _resized(pictures: Sequence[np.ndarray], size: tuple[int, int]) -> UInt8[Tensor, "N h w 3"]:
    def resize(picture: np.ndarray) -> Tensor:
        pixels = torch.tensor(picture).permute(2, 0, 1)[None]
        return F.interpolate(pixels, size=size, mode="bilinear", antialias=True)

    return torch.cat([resize(picture) for picture in pictures]).permute(0, 2, 3, 1)
