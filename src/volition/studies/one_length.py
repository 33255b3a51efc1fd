"""Batches whose rows all have one length: what goes from stage to stage of a pipeline has one shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from volition.policy import Collator
from volition.records import Episode, Sample
from volition.types import Batch, Target


@dataclass(frozen=True)
class OneLength:
    """A collator that pads to the longest instruction of these episodes; rows of `steps` looks each."""

    collator: Collator

    @classmethod
    def of(cls, collator: Collator, episodes: Iterable[Sequence[Episode]], steps: int) -> OneLength:
        wordings = {words for some in episodes for episode in some for words in episode.instructions}
        return cls(collator.padded_for(sorted(wordings), steps))

    def __call__(self, samples: Sequence[Sample]) -> tuple[Batch, Target]:
        """ValueError where a transform has made an instruction longer than all of them."""
        batch, target = self.collator(samples)
        if (length := batch.inputs["input_ids"].shape[1]) > self.collator.length:
            raise ValueError(
                f"with loop.distributed.pipeline rows have one length, {self.collator.length} tokens by the dataset's "
                f"instructions, and a transform has made one of {length}: take strategy='shard'"
            )
        return batch, target
