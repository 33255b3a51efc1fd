"""LeRobot's own loader as a judge of our files, and ours of its files: each side in an interpreter of its own.

    python benchmarks/lerobot_oracle.py write-ours DIR           with Volition: two datasets, exact pictures and video
    LEROBOT/bin/python benchmarks/lerobot_oracle.py lerobot DIR  with LeRobot: reads and compares them, writes two more
    python benchmarks/lerobot_oracle.py read-theirs DIR          with Volition: reads those and compares

docs/lerobot.md says how to make LEROBOT. What each dataset must hold lies beside it as an .npz. Numbers and exact
pictures must be equal; a picture of a video must be nearer than 30 dB to what was recorded, and the decoders of both
sides within three levels of each other in the mean.
"""

from __future__ import annotations

import argparse
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

LENGTHS = (7, 12, 4)
FPS, SIZE, STATE, ACTION = 10, (64, 96), 5, 3
CAMERAS = ("front", "wrist")
SENTENCES = ("open the drawer", "put the cup away", "open the drawer")
KINDS = ("png", "video")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def episodes(seed: int) -> Iterator[dict[str, np.ndarray]]:
    """Smooth pictures that move, as a video keeps well; numbers at random."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    for length in LENGTHS:
        found = {
            "states": rng.normal(size=(length, STATE)).astype(np.float32),
            "actions": rng.uniform(-1, 1, (length, ACTION)).astype(np.float32),
        }
        for camera in CAMERAS:
            phase = rng.uniform(0, 6, 3)[:, None, None] + np.arange(length)[:, None, None, None] / 8
            waves = np.sin(rows / 17 + phase) + np.cos(columns / 23 - phase)
            found[camera] = np.moveaxis(60 * waves + 128, 1, -1).astype(np.uint8)
        yield found


def keep(path: Path, made: Sequence[dict[str, np.ndarray]]) -> None:
    np.savez(path, **{f"{i}/{name}": x for i, episode in enumerate(made) for name, x in episode.items()})


def kept(path: Path) -> list[dict[str, np.ndarray]]:
    with np.load(path, allow_pickle=False) as file:
        return [{name: file[f"{i}/{name}"] for name in ("states", "actions", *CAMERAS)} for i in range(len(LENGTHS))]


def decibels(shown: np.ndarray, original: np.ndarray) -> float:
    error = np.mean(np.square(shown.astype(np.float64) - original))
    return float(10 * np.log10(255**2 / error)) if error else np.inf


def compare(name: str, found: Sequence[dict[str, np.ndarray]], path: Path, kind: str) -> None:
    """SystemExit where they differ."""
    worst = np.inf
    for number, (got, wanted) in enumerate(zip(found, kept(path), strict=True)):
        for key, values in wanted.items():
            same = np.array_equal(got[key], values)
            worst = min(worst, decibels(got[key], values)) if key in CAMERAS else worst
            if not same and (kind == "png" or key not in CAMERAS):
                raise SystemExit(f"{name}: {key} of episode {number} differ")
    if worst < 30:
        raise SystemExit(f"{name}: pictures are {worst:.1f} dB from what was recorded")
    pictures = "equal" if worst == np.inf else f"{worst:.1f} dB at worst"
    say(f"{name}: {len(found)} episodes, {sum(LENGTHS)} frames, numbers equal, pictures {pictures}")


def write_ours(folder: Path) -> None:
    from volition.contract import ActionSpace, Camera, Dimension, RobotSpec
    from volition.data.lerobot_stage import EpisodeData, LeRobotConfig
    from volition.data.lerobot_write import LeRobotWriter

    spec = RobotSpec(
        action_space=ActionSpace(dimensions=tuple(Dimension(name=f"a{i}", unit="rad") for i in range(ACTION))),
        cameras=tuple(Camera(name=camera, height=SIZE[0], width=SIZE[1]) for camera in CAMERAS),
        state=tuple(f"s{i}" for i in range(STATE)),
        control_hz=float(FPS),
    )
    made = list(episodes(0))
    for kind in KINDS:
        with LeRobotWriter.create(folder / f"ours-{kind}", spec, LeRobotConfig(images=kind)) as writer:
            for number, episode in enumerate(made):
                images = {camera: episode[camera] for camera in CAMERAS}
                writer.add(
                    EpisodeData(
                        task="toy", instructions=(SENTENCES[number],), images=images,
                        states=episode["states"], actions=episode["actions"],
                    )
                )  # fmt: skip
                if number == 0:
                    writer.seal()  # so that there is more than one file of everything
        keep(folder / f"ours-{kind}.npz", made)
    say(f"wrote {folder}/ours-png and ours-video; go on with LeRobot's interpreter")


def lerobot(folder: Path) -> None:
    sys.modules["torchvision._meta_registrations"] = types.ModuleType("stub")  # it asks for operators built for CUDA
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    for kind in KINDS:
        name = f"ours-{kind}"
        dataset = LeRobotDataset(f"local/{name}", root=folder / name, video_backend="torchcodec")
        if [dataset.meta.total_episodes, dataset.fps] != [len(LENGTHS), FPS]:
            raise SystemExit(f"{name}: {dataset.meta.total_episodes} episodes at {dataset.fps} Hz")
        found, at = [], 0
        for number, length in enumerate(LENGTHS):
            rows = [dataset[i] for i in range(at, at + length)]
            at += length
            if {row["task"] for row in rows} != {SENTENCES[number]} or {int(r["episode_index"]) for r in rows} != {
                number
            }:
                raise SystemExit(f"{name}: episode {number} has other words or another number")
            if not np.allclose([float(row["timestamp"]) for row in rows], np.arange(length) / FPS):
                raise SystemExit(f"{name}: episode {number} has other times")
            found.append(_theirs(rows))
        if len(dataset) != at:
            raise SystemExit(f"{name}: {len(dataset)} frames")
        compare(f"LeRobot reads {name}", found, folder / f"{name}.npz", kind)
        _window(LeRobotDataset, folder / name, found)
    for kind in KINDS:
        _write_theirs(LeRobotDataset, folder, kind)


def _theirs(rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Rows of LeRobot's loader, whose pictures are float [3, height, width] of 0..1."""
    pictures = {
        camera: np.stack(
            [(row[f"observation.images.{camera}"] * 255).round().byte().permute(1, 2, 0).numpy() for row in rows]
        )
        for camera in CAMERAS
    }
    numbers = {
        key: np.stack([row[name].numpy() for row in rows])
        for key, name in (("states", "observation.state"), ("actions", "action"))
    }
    return numbers | pictures


def _window(kind: Any, root: Path, found: Sequence[dict[str, np.ndarray]]) -> None:
    """Chunks through LeRobot's own windowing: actions of three steps, and the picture of the step before."""
    steps = {"action": [0.0, 0.1, 0.2], "observation.images.front": [-0.1, 0.0]}
    row = kind(f"local/{root.name}", root=root, delta_timestamps=steps, video_backend="torchcodec")[LENGTHS[0] + 3]
    if not np.array_equal(row["action"].numpy(), found[1]["actions"][3:6]):
        raise SystemExit(f"{root.name}: a chunk of actions differs")
    shown = (row["observation.images.front"] * 255).round().byte().permute(0, 2, 3, 1).numpy()
    if not np.array_equal(shown, found[1]["front"][2:4]):
        raise SystemExit(f"{root.name}: a window of pictures differs")


def _write_theirs(kind_of: Any, folder: Path, kind: str) -> None:
    video = kind == "video"
    picture = {"dtype": "video" if video else "image", "shape": (*SIZE, 3), "names": ["height", "width", "channels"]}
    features = {
        "observation.state": {"dtype": "float32", "shape": (STATE,), "names": [f"s{i}" for i in range(STATE)]},
        "action": {"dtype": "float32", "shape": (ACTION,), "names": [f"a{i}" for i in range(ACTION)]},
        **{f"observation.images.{camera}": picture for camera in CAMERAS},
    }
    name, made = f"theirs-{kind}", list(episodes(1))
    dataset = kind_of.create(f"local/{name}", FPS, features, root=folder / name, use_videos=video)
    for number, episode in enumerate(made):
        for t in range(LENGTHS[number]):
            dataset.add_frame(
                {
                    "observation.state": episode["states"][t],
                    "action": episode["actions"][t],
                    **{f"observation.images.{camera}": episode[camera][t] for camera in CAMERAS},
                    "task": SENTENCES[number],
                }
            )
        dataset.save_episode()
    dataset.finalize()
    keep(folder / f"{name}.npz", made)
    again = kind_of(f"local/{name}", root=folder / name, video_backend="torchcodec")
    keep(folder / f"{name}-seen.npz", [_theirs([again[i] for i in range(end - n, end)]) for n, end in _ends()])
    say(f"wrote {folder / name}")


def _ends() -> list[tuple[int, int]]:
    return list(zip(LENGTHS, np.cumsum(LENGTHS).tolist()))


def read_theirs(folder: Path) -> None:
    from volition.data.open import detect, load_episodes, load_spec

    for kind in KINDS:
        root = folder / f"theirs-{kind}"
        read, spec = load_episodes(root), load_spec(root)
        if [episode.instructions for episode in read] != [(sentence,) for sentence in SENTENCES]:
            raise SystemExit(f"{root}: other sentences")
        if (detect(root).name, spec.control_hz, set(spec.image_sizes)) != ("lerobot", FPS, set(CAMERAS)):
            raise SystemExit(f"{root}: {spec}")
        found = []
        for episode in read:
            steps = np.arange(len(episode))
            numbers = {"states": episode.states(steps), "actions": episode.actions(steps)}
            found.append(numbers | episode.images(steps))
        compare(f"Volition reads theirs-{kind}", found, folder / f"theirs-{kind}.npz", kind)
        seen = kept(folder / f"theirs-{kind}-seen.npz")
        apart = [np.abs(x[c].astype(int) - y[c]).mean() for x, y in zip(found, seen) for c in CAMERAS]
        if max(apart) > 3:
            raise SystemExit(f"{root}: the two decoders are {max(apart):.1f} levels apart in the mean")
        say(f"   pictures against what LeRobot's own loader shows: {max(apart):.2f} levels apart in the mean at worst")


COMMANDS = {"write-ours": write_ours, "lerobot": lerobot, "read-theirs": read_theirs}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=list(COMMANDS))
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    COMMANDS[asked.command](asked.folder)
