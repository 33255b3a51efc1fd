"""Pictures to tensors: batches through `normalise` against a model's own image processor, called for every picture.

    OMP_NUM_THREADS=1 python benchmarks/image_speed.py [--rounds 20]

A window of 8 steps and two cameras is 16 pictures. Both sides resize with the same filter and take out the same mean
and deviation; how far their results are apart is said in levels of a pixel (1/255), and must be at most `--levels`.
Rounds alternate between the two sides and the processor called once on the list of all 16. Times are of the processor
(CPU), one thread, so that other programs on the machine do not count.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import CLIPImageProcessorPil, SiglipImageProcessorPil

from volition.backbones.images import Pictures, normalise

logger = logging.getLogger(__name__)
PICTURES = 16
Pixels = Callable[[], torch.Tensor]


def square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


# Model family -> side of its pictures and its image processor.
FAMILIES: dict[str, tuple[int, Any]] = {
    "PaliGemma (SigLIP 224)": (224, SiglipImageProcessorPil(size=square(224), resample=3)),
    "SmolVLM (SigLIP 384)": (384, SiglipImageProcessorPil(size=square(384), resample=3)),
    "Kosmos-2 (CLIP 224)": (224, CLIPImageProcessorPil(size={"shortest_edge": 224}, crop_size=square(224))),
    "LLaVA (CLIP 336)": (336, CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size=square(336))),
}


def photos(side: int) -> np.ndarray:
    """uint8[16, side, side, 3]: smooth, with edges and some noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:side, 0:side] / side
    waves = np.stack([np.sin(9 * x + 4 * y), np.cos(11 * y) * x, np.sign(np.sin(20 * x * y))], axis=-1) * 80 + 128
    return (waves + rng.normal(0, 8, (PICTURES, side, side, 3))).clip(0, 255).astype(np.uint8)


def stacked(processed: Any) -> torch.Tensor:
    return torch.as_tensor(np.asarray(processed["pixel_values"])).reshape(-1, *processed["pixel_values"].shape[-3:])


def sides(processor: Any, side: int, images: np.ndarray) -> dict[str, Pixels]:
    pictures, listed = Pictures.of(processor.to_dict(), (side, side)), list(images)
    return {
        "ours": lambda: normalise(torch.from_numpy(images), pictures),
        "theirs, one by one": lambda: torch.cat([stacked(processor(x, return_tensors="pt")) for x in listed]),
        "theirs, as a list": lambda: stacked(processor(listed, return_tensors="pt")),
    }


def measure(family: str, source: int, rounds: int) -> float:
    """Says times and ratios; returns how many levels the results are apart."""
    side, processor = FAMILIES[family]
    made = sides(processor, side, photos(source))
    results = {name: make() for name, make in made.items()}  # also warms up
    smallest = min(Pictures.of(processor.to_dict(), (side, side)).std)
    apart = float((results["ours"] - results["theirs, one by one"]).abs().max()) * 255 * smallest
    times: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(rounds):
        for name, make in made.items():
            started = time.process_time()
            make()
            times[name].append(time.process_time() - started)
    middle = {name: 1e3 * statistics.median(found) for name, found in times.items()}
    logger.info(
        "%-24s %3d -> %3d   ours %6.1f ms   one by one %6.1f ms (%4.1fx)   as a list %6.1f ms (%4.1fx)   %.2f levels",
        family, source, side, middle["ours"],
        middle["theirs, one by one"], middle["theirs, one by one"] / middle["ours"],
        middle["theirs, as a list"], middle["theirs, as a list"] / middle["ours"], apart,
    )  # fmt: skip
    return apart


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--levels", type=float, default=2.01)
    options = parser.parse_args()
    torch.set_num_threads(1)
    apart = [measure(family, source, options.rounds) for family in FAMILIES for source in (200, 480)]
    if max(apart) > options.levels:
        raise SystemExit(f"results must be at most {options.levels} levels apart, are {max(apart):.2f}")


if __name__ == "__main__":
    main()
