"""How memory and time of the packed cache grow with its frames.

    OMP_NUM_THREADS=1 python benchmarks/cache_memory.py [--frames 10000 100000 1000000] [--windows 2000]

Packs of synthetic episodes (100 frames, one camera of 16 x 16 pixels, so that a million frames fit anywhere) are built,
and opened each in a process of its own, which reads random windows of 8 steps with 10 actions. `private` is memory that
nothing but the process holds (RssAnon): mapped files are the system's, which takes them back at will. `building` is
what the building process holds more at its end than at its start, `opening` the time until the first window can be
read. Sides alternate; times are of the processor (CPU).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from volition.data.codecs import PackConfig
from volition.data.packed_write import packed
from volition.data.windows import Windows

LENGTH, SIDE = 100, 16
CONFIG = PackConfig(encoding="zstd")


@dataclass(frozen=True, kw_only=True)
class Made:
    """An episode of noise that drifts; implements `records.Episode`."""

    number: int
    task: str = "drift"
    instructions: tuple[str, ...] = ("drift",)

    def __len__(self) -> int:
        return LENGTH

    def images(self, steps: np.ndarray) -> dict[str, np.ndarray]:
        base = np.random.default_rng(self.number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        return {"camera": np.stack([np.roll(base, int(step), 1) for step in steps])}

    def states(self, steps: np.ndarray) -> np.ndarray:
        return np.full((len(steps), 7), self.number, np.float32)

    def actions(self, steps: np.ndarray) -> np.ndarray:
        return np.full((len(steps), 7), self.number, np.float32)


def private_megabytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def build(root: Path, frames: int) -> dict[str, float]:
    before, begun = private_megabytes(), time.process_time()
    packed(episodes_of(frames), root, CONFIG)
    return {"building_MB": private_megabytes() - before, "building_s": time.process_time() - begun}


def read(root: Path, frames: int, count: int) -> dict[str, float]:
    episodes = episodes_of(frames)
    before, begun = private_megabytes(), time.process_time()
    windows = Windows(packed(episodes, root, CONFIG), num_obs_steps=8, action_horizon=10)
    opened = time.process_time() - begun
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(windows), count).tolist()
    for number in chosen:  # touches, and checks, every shard
        windows.sample(number)
    settled, begun = private_megabytes(), time.process_time()
    for number in rng.integers(0, len(windows), count).tolist():
        windows.sample(number)
    each = (time.process_time() - begun) / count
    return {
        "opening_s": opened,
        "private_MB": settled - before,
        "more_after_again_as_many_windows_MB": private_megabytes() - settled,
        "microseconds_a_window": 1e6 * each,
    }


def episodes_of(frames: int) -> Sequence[Made]:
    return [Made(number=number) for number in range(frames // LENGTH)]


def in_a_process(what: str, root: Path, frames: int, windows: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--do", what, "--root", str(root), "--frames", str(frames)]
    said = subprocess.run([*command, "--windows", str(windows)], check=True, capture_output=True, text=True).stdout
    return dict(json.loads(said.splitlines()[-1]))


def rows(sizes: Sequence[int], windows: int, rounds: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        found: dict[int, list[dict[str, float]]] = {}
        for frames in sizes:
            root = Path(folder) / str(frames)
            root.mkdir()
            yield f"{frames:>9,} frames  " + line(in_a_process("build", root, frames, windows))
            on_disk = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
            yield f"{frames:>9,} frames  on disk {on_disk / 1e6:.0f} MB"
        for _ in range(rounds):
            for frames in sizes:
                found.setdefault(frames, []).append(in_a_process("read", Path(folder) / str(frames), frames, windows))
        for frames, runs in found.items():
            median = {name: float(np.median([run[name] for run in runs])) for name in runs[0]}
            yield f"{frames:>9,} frames  " + line(median)


def line(found: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3g}" for name, value in found.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--windows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--do", choices=["build", "read"])
    parser.add_argument("--root", type=Path)
    arguments = parser.parse_args()
    if arguments.do == "build":
        sys.stdout.write(json.dumps(build(arguments.root, arguments.frames[0])))
    elif arguments.do == "read":
        sys.stdout.write(json.dumps(read(arguments.root, arguments.frames[0], arguments.windows)))
    else:
        for row in rows(arguments.frames, arguments.windows, arguments.rounds):
            sys.stdout.write(f"{row}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
