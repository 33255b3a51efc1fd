"""Batches by their number, and the next one read while a step is being computed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

from volition.types import Batch, Target


@runtime_checkable
class Batches(Protocol):
    """Part `part` of `parts` of the batch of step 1, 2, ...: a pure function, so resuming needs no state."""

    def __call__(self, step: int, part: int = 0, parts: int = 1) -> tuple[Batch, Target]: ...


def read_ahead(
    batches: Batches, first: int, last: int, mine: range, all_parts: int
) -> Iterator[tuple[int, list[tuple[Batch, Target]], float]]:
    """(step, the parts `mine` of `all_parts`, seconds waited for them); a thread reads the next ones meanwhile."""

    def read(step: int) -> list[tuple[Batch, Target]]:
        return [batches(step, part, all_parts) for part in mine]

    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(read, first) if first <= last else None
        for step in range(first, last + 1):
            assert coming is not None
            asked = time.perf_counter()
            ready = coming.result()
            waited = time.perf_counter() - asked
            coming = reader.submit(read, step + 1) if step < last else None
            yield step, ready, waited
