"""Reading RLDS as Open X-Embodiment publishes it: TFRecord files of tensorflow_datasets, one record an episode.

    load_rlds(root) -> episodes; every record is checked and its numbers are kept, pictures are decoded when asked for

A record that is damaged costs its episode: the others are read, and a warning counts what was lost. The first opening
reads everything, the next ones an index (`rlds_index.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from volition.contract import ActionSpace, Camera, Dimension, RobotSpec
from volition.data.episodes import Episodes
from volition.data.pictures import decode_image
from volition.data.places import kept_folder
from volition.data.rlds_index import Checked, Contents, Found, remembered
from volition.data.rlds_layout import STEPS, Layout, Shard, read_layout, read_shards
from volition.data.spec import UNKNOWN
from volition.data.tfrecord import DamagedRecordError, Feature, parse_example, read_record, scan_records

logger = logging.getLogger(__name__)

UNKNOWN_HZ = 1.0  # RLDS does not say a rate


@dataclass(frozen=True, kw_only=True)
class RldsEpisode:
    """Implements `records.Episode`: one record of a shard."""

    path: Path
    found: Found
    checked: Checked

    @property
    def task(self) -> str:
        return self.instructions[0]

    @property
    def instructions(self) -> tuple[str, ...]:
        """("",) where the dataset has no words."""
        return self.found.instructions

    def __len__(self) -> int:
        return len(self.found.actions)

    def images(self, steps: np.ndarray) -> dict[str, np.ndarray]:
        self.checked.require(self.path, self.found)
        with self.path.open("rb") as file:
            found = {}
            for camera, spans in self.found.pictures.items():
                shown = []
                for step in np.asarray(steps).tolist():
                    first, end = (int(x) for x in spans[step])
                    file.seek(first)
                    source = f"{self.path}, episode {self.found.number}, step {step}, {camera}"
                    shown.append(decode_image(file.read(end - first), source))
                if len({x.shape for x in shown}) > 1:
                    raise ValueError(
                        f"{self.path}, episode {self.found.number}: pictures of {camera} must be of one size"
                    )
                found[camera] = np.stack(shown)
        return found

    def states(self, steps: np.ndarray) -> np.ndarray:
        return self.found.states[steps]

    def actions(self, steps: np.ndarray) -> np.ndarray:
        return self.found.actions[steps]


def load_rlds(root: Path) -> Episodes[RldsEpisode]:
    """All episodes of one split that can be read; ValueError when none can."""
    layout, shards, folder = read_layout(root), read_shards(root), kept_folder(root, "rlds")
    episodes: list[RldsEpisode] = []
    lost: list[str] = []
    total, checked = 0, Checked()
    for shard in shards:
        contents = _read_shard(shard, layout, folder, checked)
        episodes += [RldsEpisode(path=shard.path, found=found, checked=checked) for found in contents.episodes]
        lost += contents.problems
        missing = max(0, shard.episodes - len(contents.episodes))
        total += missing
        if missing:
            said = "; ".join(contents.problems)
            logger.warning("%s: %d of %d episodes are lost (%s)", shard.path, missing, shard.episodes, said)
    if not episodes:
        raise ValueError(f"{root} must hold an episode that can be read, but: {'; '.join(lost[:3])}; download it again")
    return Episodes(episodes, left_out=total, reasons=lost)


def load_spec(root: Path) -> RobotSpec:
    """As `rlds_known` says; for other datasets names from the features, ranges from the numbers, units unknown."""
    layout, episodes = read_layout(root), load_rlds(root)
    known = layout.known
    dimensions = known.dimensions if known else _dimensions(layout, episodes)
    if known is None:
        logger.warning("%s does not say its rate: %g Hz is assumed", root, UNKNOWN_HZ)
    sizes = {name: x.shape[1:3] for name, x in episodes[0].images(np.array([0])).items()}
    return RobotSpec(
        action_space=ActionSpace(
            dimensions=dimensions,
            frame=known.frame if known else UNKNOWN,
            rotation=known.rotation if known else UNKNOWN,
            relative=known.relative if known else False,
        ),
        cameras=tuple(Camera(name=name, height=size[0], width=size[1]) for name, size in sizes.items()),
        state=known.state_names if known else tuple(_names(layout.state, "observation")),
        control_hz=known.control_hz if known else UNKNOWN_HZ,
    )


def _dimensions(layout: Layout, episodes: Sequence[RldsEpisode]) -> tuple[Dimension, ...]:
    actions = np.concatenate([episode.found.actions for episode in episodes])
    return tuple(
        Dimension(name=name, unit=UNKNOWN, low=float(low), high=max(float(high), float(low) + 1e-6))
        for name, low, high in zip(
            _names(layout.action, "action"), actions.min(axis=0), actions.max(axis=0), strict=True
        )
    )


def _read_shard(shard: Shard, layout: Layout, folder: Path, checked: Checked) -> Contents:
    if not shard.path.is_file():
        return Contents(episodes=(), problems=(f"{shard.path} is missing",))
    contents, known = remembered(folder, shard.path, repr(layout), lambda: _scan(shard, layout))
    if not known:
        for found in contents.episodes:
            checked.add(shard.path, found.record)
    return contents


def _scan(shard: Shard, layout: Layout) -> Contents:
    """The episodes of a file and what is wrong with the others."""
    scan = scan_records(shard.path)
    problems = [f"{shard.path}: {scan.problem}"] if scan.problem else []
    if not scan.problem and len(scan.spans) != shard.episodes:
        problems.append(f"{shard.path} holds {len(scan.spans)} records, dataset_info.json counts {shard.episodes}")
    found = []
    for number, span in enumerate(scan.spans):
        try:
            found.append(_episode(number, span, read_record(shard.path, span), layout))
        except DamagedRecordError as error:
            problems.append(f"{shard.path}, episode {number}: {error}")
    return Contents(episodes=tuple(found), problems=tuple(problems))


def _episode(number: int, span: np.ndarray, data: bytes, layout: Layout) -> Found:
    features = parse_example(data)
    skip = layout.known.skip_first if layout.known else 0
    actions = _vectors(features, layout.action)
    states = _vectors(features, layout.state) if layout.state else np.zeros((len(actions), 0), np.float32)
    pictures = {_short(n): _listed(features, n, "bytes") + int(span[0]) for n in layout.cameras}
    lengths = {"action": len(actions), "state": len(states), **{n: len(x) for n, x in pictures.items()}}
    if len(set(lengths.values())) > 1 or len(actions) <= skip:
        raise DamagedRecordError(f"every feature must have as many steps, above {skip}, but there are {lengths}")
    return Found(
        number=number,
        record=(int(span[0]), int(span[1])),
        instructions=_sentences(features, layout.words, data),
        states=states[skip:],
        actions=actions[skip:],
        pictures={name: spans[skip:] for name, spans in pictures.items()},
    )


def _sentences(features: dict[str, Feature], name: str, data: bytes) -> tuple[str, ...]:
    """Each sentence once, in order; ("",) without any: every episode has at least one instruction."""
    if not name:
        return ("",)
    try:
        said = [data[first:end].decode() for first, end in _listed(features, name, "bytes").tolist()]
    except UnicodeDecodeError as error:
        raise DamagedRecordError(f"{name} must be text, but {error}") from error
    return tuple(dict.fromkeys(sentence for sentence in said if sentence)) or ("",)


def _vectors(features: dict[str, Feature], widths: dict[str, int]) -> np.ndarray:
    """float32[n, D] of several features side by side."""
    parts = []
    for name, width in widths.items():
        values = _listed(features, name, "float")
        if len(values) % width:
            raise DamagedRecordError(f"{name} must hold {width} numbers a step, but holds {len(values)} in all")
        parts.append(values.reshape(-1, width))
    if len({len(part) for part in parts}) > 1:
        raise DamagedRecordError(f"{list(widths)} must have as many steps, but have {[len(part) for part in parts]}")
    whole = np.concatenate(parts, axis=1)
    if not np.isfinite(whole).all():
        raise DamagedRecordError(f"{list(widths)} must be finite numbers, but step {_first_bad(whole)} is not")
    return whole


def _first_bad(rows: np.ndarray) -> int:
    return int(np.argmin(np.isfinite(rows).all(axis=1)))


def _listed(features: dict[str, Feature], name: str, kind: str) -> np.ndarray:
    found = features.get(STEPS + name)
    if found is None or found.kind != kind:
        raise DamagedRecordError(f"{STEPS}{name} must be a list of {kind}, but is {found.kind if found else 'missing'}")
    return found.values


def _names(widths: dict[str, int], top: str) -> list[str]:
    """'state_0', or 'gripper' for a single number."""
    names = []
    for name, width in widths.items():
        short = _short(name) if "/" in name else top
        names += [short] if width == 1 else [f"{short}_{i}" for i in range(width)]
    return names


def _short(name: str) -> str:
    """'observation/image_0' -> 'image_0'; what is nested deeper keeps its folders apart by '.'"""
    return name.split("/", 1)[1].replace("/", ".") if "/" in name else name
