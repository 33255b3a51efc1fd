"""`volition plan`: what a recipe needs of a device, and the cheapest settings with which it fits.

    recipe --variants: all weights, recomputation, LoRA, QLoRA--> Footprint of each --largest part that fits--> Plan

Every variant is tried with one and two windows on this machine (on the recipe's data, or on noise in its shapes), and
memory grows with the windows in a straight line. Times are of this machine; of another only with what it reaches. Where
it is this machine that is planned for, the setting that is taken is timed with parts as large as they will be.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from volition.config import Experiment
from volition.contract import RobotSpec
from volition.records import Episode
from volition.studies.audit import data_of
from volition.studies.footprint import Footprint, measure, step_seconds
from volition.training.distributed import DistributedConfig
from volition.training.meter import process_bytes
from volition.training.recompute import RecomputeConfig

MARGIN = 0.92  # of a device's memory that a plan uses: allocators leave gaps
CUDA_BYTES = 600e6  # what a GPU's driver and libraries take before the first tensor
FOUR_BITS = 0.5 + 4 / 64  # bytes of a number in NF4, with the scale of every 64

Say = Callable[[str, float, str], None]


# glibc keeps the memory of tensors of up to 32 MB that are gone, in pieces that the next ones do not fit. With this
# variable it returns every piece of a megabyte or more, and the next one costs page faults (docs/results.md).
M_MMAP_THRESHOLD, RETURNED_FROM = -3, 1 << 20
RETURNING = f"MALLOC_MMAP_THRESHOLD_={RETURNED_FROM} " if platform.libc_ver()[0] == "glibc" else ""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Fields of a recipe that trade memory for time or for weights that learn."""

    name: str
    lora: bool = False
    quantize: bool = False
    recompute: RecomputeConfig = field(default_factory=RecomputeConfig)

    def apply(self, experiment: Experiment) -> Experiment:
        """As it is tried: not in four bits, which is reckoned afterwards."""
        train = experiment.train
        parts = (train.lora.parts or ("backbone",)) if self.lora else ()
        lora = replace(train.lora, parts=parts, quantize=False)
        train = replace(train, lora=lora, embeddings=train.embeddings and not self.lora)
        alone = replace(experiment.loop, recompute=self.recompute, accumulate=1, distributed=DistributedConfig())
        return replace(experiment, train=train, loop=alone)

    def flags(self, experiment: Experiment, accumulate: int) -> tuple[str, ...]:
        """What a recipe has to be told to become these settings, with its batch in so many parts."""
        before, after = experiment, self.apply(experiment)
        found = []
        if after.train.lora.parts != before.train.lora.parts:
            found += ["--train.lora.parts", *after.train.lora.parts]
        if after.train.embeddings != before.train.embeddings:
            found += ["--train.no-embeddings"]
        if self.quantize != before.train.lora.quantize:
            found += ["--train.lora.quantize" if self.quantize else "--train.lora.no-quantize"]
        for tower in ("vision", "language"):
            if (what := getattr(self.recompute, tower)) != getattr(before.loop.recompute, tower):
                found += [f"--loop.recompute.{tower}", what]
        if accumulate != before.loop.accumulate:
            found += ["--loop.accumulate", str(accumulate)]
        return tuple(found)


LAYERS = RecomputeConfig(vision="layers", language="layers")
# The first that fits is taken: all weights before some, and no work done twice before some.
MENU = (
    Settings(name="all weights"),
    Settings(name="all weights, vision tower recomputed", recompute=RecomputeConfig(vision="layers")),
    Settings(name="all weights, all layers recomputed", recompute=LAYERS),
    Settings(name="LoRA", lora=True),
    Settings(name="LoRA, all layers recomputed", lora=True, recompute=LAYERS),
    Settings(name="QLoRA, all layers recomputed", lora=True, quantize=True, recompute=LAYERS),
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One of the menu, with the largest parts of the batch that fit; `part` 0: it does not."""

    settings: Settings
    footprint: Footprint
    part: int  # windows that go through the model at once
    accumulate: int
    peak_bytes: float  # predicted, with what the device needs besides
    seconds: float  # of a step of the whole batch, on this machine
    timed: bool = False  # with a part as large as it will be; else reckoned from one and two windows
    flags: tuple[str, ...]  # what the recipe has to be told

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.settings.name,
            "fits": self.part > 0,
            "flags": list(self.flags),
            "part": self.part,
            "accumulate": self.accumulate,
            "peak_bytes": self.peak_bytes,
            "step_seconds": self.seconds,
            "timed": self.timed,
            **asdict(self.footprint),
        }


def plan(
    experiment: Experiment, budget: float, *, on_gpu: bool = True, say: Say = lambda phase, share, text: None
) -> tuple[list[Plan], str]:
    """For every setting of the menu that the model allows, in its order; and on what it was tried."""
    experiment, episodes, robot, source = data_of(experiment)
    base = CUDA_BYTES if on_gpu else float(process_bytes())
    found = []
    for number, (settings, footprint) in enumerate(_footprints(experiment, episodes, robot, say)):
        say("plan", number / len(MENU), settings.name)
        found.append(fit(settings, footprint, experiment, budget=budget, base=base))
    if not on_gpu and (best := chosen(found)) is not None:
        say("plan", 1.0, f"{best.settings.name}, timed")
        found[found.index(best)] = _timed(best, experiment, episodes, robot)
    say("plan", 1.0, "done")
    return found, source


def _timed(best: Plan, experiment: Experiment, episodes: Sequence[Episode], robot: RobotSpec) -> Plan:
    """As the command that is printed will run: memory that is free goes back, and comes again page by page."""
    with returning_memory():
        seconds = step_seconds(best.settings.apply(experiment), episodes, robot, best.part)
    longer = seconds / best.footprint.seconds_of(best.part)
    return replace(best, seconds=longer * best.footprint.seconds_of(best.part, best.accumulate), timed=True)


@contextmanager
def returning_memory() -> Iterator[None]:
    """What `RETURNING` in front of a command does, in this process; nothing where the C library is not glibc."""
    if not RETURNING:
        yield
        return
    change = ctypes.CDLL(None).mallopt
    change(M_MMAP_THRESHOLD, RETURNED_FROM)
    try:
        yield
    finally:
        change(M_MMAP_THRESHOLD, 32 << 20)  # the most that glibc comes to by itself


def fit(settings: Settings, footprint: Footprint, experiment: Experiment, *, budget: float, base: float) -> Plan:
    """The batch in as few equal parts as go into `budget` bytes, `base` of which are taken already."""
    batch_size = experiment.loop.batch_size

    def in_parts(parts: int) -> Plan:
        part = batch_size // parts
        return Plan(
            settings=settings,
            footprint=footprint,
            part=part,
            accumulate=parts,
            peak_bytes=base + footprint.bytes_of(part),
            seconds=footprint.seconds_of(part, parts),
            flags=settings.flags(experiment, parts),
        )

    tried = (in_parts(parts) for parts in range(1, batch_size + 1) if batch_size % parts == 0)
    fitting = next((plan for plan in tried if plan.peak_bytes <= MARGIN * budget), None)
    return fitting or replace(in_parts(batch_size), part=0)


def chosen(plans: Sequence[Plan]) -> Plan | None:
    """The first that fits."""
    return next((plan for plan in plans if plan.part), None)


def _footprints(
    experiment: Experiment, episodes: Sequence[Episode], robot: RobotSpec, say: Say
) -> Iterator[tuple[Settings, Footprint]]:
    for settings in MENU:
        try:
            footprint = measure(settings.apply(experiment), episodes, robot)
        except ValueError as error:
            # A model without layers to recompute, or without a part that LoRA is for, has fewer choices.
            if settings == MENU[0]:
                raise
            say("plan", 0.0, f"{settings.name}: {error}")
            continue
        yield settings, in_four_bits(footprint, experiment) if settings.quantize else footprint


def in_four_bits(footprint: Footprint, experiment: Experiment) -> Footprint:
    """As LoRA's, with the frozen weights (but for embeddings, a few of them) in four bits each, as QLoRA keeps them."""
    frozen = footprint.weight_bytes - 4 * footprint.trained
    return replace(footprint, weight_bytes=int(footprint.weight_bytes - frozen * (1 - FOUR_BITS / 4)))


def parse_bytes(text: str) -> float:
    """'24GB' -> 24e9; GiB, MB and MiB too."""
    units = {"gib": 2.0**30, "mib": 2.0**20, "gb": 1e9, "mb": 1e6, "g": 1e9, "m": 1e6}
    for unit, size in units.items():
        number = text.strip().lower().removesuffix(unit).strip()
        if number != text.strip().lower() and number.replace(".", "", 1).isdigit():
            return float(number) * size
    raise ValueError(f"memory must be a number with its unit, such as 24GB or 16GiB, got {text!r}")
