"""Episodes that are learned from, and those that are held out to see how well that goes."""

from __future__ import annotations

from collections.abc import Sequence

from volition.records import Episode


def split_episodes(episodes: Sequence[Episode], held_out: float) -> tuple[Sequence[Episode], Sequence[Episode]]:
    """Whole episodes, of every task the same share, spread over the order of recording; the same in every run."""
    if not held_out:
        return episodes, []
    kept, out = split_numbers(episodes, held_out)
    return [episodes[number] for number in kept], [episodes[number] for number in out]


def split_numbers(episodes: Sequence[Episode], held_out: float) -> tuple[Sequence[int], Sequence[int]]:
    """The places of those episodes."""
    if not held_out:
        return range(len(episodes)), []
    seen: dict[str, int] = {}
    kept: list[int] = []
    out: list[int] = []
    for place, episode in enumerate(episodes):
        number = seen[episode.task] = seen.get(episode.task, 0) + 1
        # Each time that the share of all so far reaches another whole episode.
        (out if int(number * held_out + 1e-9) > int((number - 1) * held_out + 1e-9) else kept).append(place)
    if not out or not kept:
        raise ValueError(
            f"data.held_out={held_out} of {len(episodes)} episodes of {len(seen)} tasks leaves {len(kept)} to learn "
            f"from and {len(out)} held out: each needs at least one; record more, or take another share"
        )
    return kept, out
