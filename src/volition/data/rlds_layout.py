"""What an RLDS folder says about itself: features.json (names, shapes, kinds) and dataset_info.json (splits, shards).

read_layout(root) -> Layout: which features are cameras, state, action and words, by `rlds_known` or by their kind
read_shards(root) -> the files of one split and how many episodes each must hold
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volition.data.files import read_json, understood
from volition.data.rlds_known import KNOWN, Known

logger = logging.getLogger(__name__)

FEATURES, INFO = Path("features.json"), Path("dataset_info.json")
STEPS = "steps/"


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One feature of a step."""

    kind: str  # "image", "text" or "tensor"
    shape: tuple[int | None, ...]
    dtype: str

    @property
    def width(self) -> int:
        """How many numbers of a vector there are; 0 where it is no vector of real numbers of known size."""
        real = self.kind == "tensor" and self.dtype in ("float32", "float64") and len(self.shape) <= 1
        return math.prod(size or 0 for size in self.shape) if real else 0


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which features of a step are what; all below `steps/`."""

    cameras: dict[str, tuple[int | None, ...]]  # name of the feature -> height, width
    state: dict[str, int]  # name -> how many numbers
    action: dict[str, int]
    words: str  # "" where there are none
    known: Known | None


@dataclass(frozen=True, kw_only=True)
class Shard:
    path: Path
    episodes: int  # that dataset_info.json counts


def holds(root: Path) -> bool:
    return (root / FEATURES).is_file() and (root / INFO).is_file()


def read_layout(root: Path) -> Layout:
    path, info = root / FEATURES, read_json(root / INFO)
    with understood(path, "describe the features of an RLDS dataset as tensorflow_datasets 4.5 and later write them"):
        every = _leaves(read_json(path))
    leaves = {name.removeprefix(STEPS): leaf for name, leaf in every.items() if name.startswith(STEPS)}
    with understood(root / INFO, "name the dataset"):
        known = next((one for one in KNOWN if one.name == info["name"]), None)
    action = {n: leaf.width for n, leaf in sorted(leaves.items()) if n.split("/")[0] == "action" and leaf.width}
    seen = {n: leaf for n, leaf in sorted(leaves.items()) if n.startswith("observation/")}
    state = {n: leaf.width for n, leaf in seen.items() if leaf.width and "embedding" not in n}
    if known is not None:
        missing = [name for name in (*known.action, *known.state) if not leaves.get(name, _NOTHING).width]
        if missing:
            raise ValueError(f"{path} must have the vectors {missing} of {known.name}, but has {sorted(leaves)}")
        action, state = ({n: leaves[n].width for n in names} for names in (known.action, known.state))
    if not action:
        raise ValueError(f"{path} must have a vector of real numbers in steps/action, but has {sorted(leaves)}")
    words = sorted(n for n, leaf in leaves.items() if leaf.kind == "text" and "instruction" in n)
    return Layout(
        cameras={n: leaf.shape[:2] for n, leaf in seen.items() if leaf.kind == "image" and leaf.shape[2:] == (3,)},
        state=state,
        action=action,
        words=words[0] if words else "",
        known=known,
    )


_NOTHING = Leaf(kind="text", shape=(), dtype="string")


def read_shards(root: Path) -> list[Shard]:
    """Those of "train"; where the folder has no file of it, those of the first split of which it has any."""
    path = root / INFO
    with understood(path, "list the splits of the dataset, their shardLengths and how their files are called"):
        info = read_json(path)
        splits = {str(split["name"]): _shards(root, info, split) for split in info["splits"]}
    there = [name for name, shards in splits.items() if any(shard.path.is_file() for shard in shards)]
    if not there:
        wanted = [shard.path.name for shards in splits.values() for shard in shards]
        raise FileNotFoundError(f"{root} must hold the files that {INFO} counts, {wanted[:4]}, but has none of them")
    chosen = "train" if "train" in there else there[0]
    if len(there) > 1:
        logger.info("%s: the split %r is read; for another, put its files into a folder of their own", root, chosen)
    return splits[chosen]


def _shards(root: Path, info: dict[str, Any], split: dict[str, Any]) -> list[Shard]:
    lengths = [int(length) for length in split["shardLengths"]]
    kind = str(info.get("fileFormat", "tfrecord"))
    if kind != "tfrecord":
        raise ValueError(f"only TFRecord files are read, not {kind!r}")
    template = str(split.get("filepathTemplate") or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}")
    found = []
    for number, length in enumerate(lengths):
        place = f"{number:05d}-of-{len(lengths):05d}"
        name = template.replace("{SHARD_X_OF_Y}", place).replace("{FILEFORMAT}", kind)
        name = name.replace("{SPLIT}", str(split["name"])).replace("{DATASET}", str(info["name"]))
        if Path(name).name != name or length < 0:
            raise ValueError(f"no shard can be called {name!r} and hold {length} episodes")
        found.append(Shard(path=root / name, episodes=length))
    return found


def _leaves(tree: dict[str, Any], name: str = "") -> dict[str, Leaf]:
    """'steps/observation/image' -> what it is. Kinds of features that are not read are left out."""
    if "featuresDict" in tree:
        inside = tree["featuresDict"]["features"]
        parts = [_leaves(child, f"{name}/{key}" if name else key) for key, child in inside.items()]
        return {key: leaf for part in parts for key, leaf in part.items()}
    if "sequence" in tree and name + "/" == STEPS:
        return _leaves(tree["sequence"]["feature"], name)
    if "image" in tree:
        return {name: Leaf(kind="image", shape=_shape(tree["image"]), dtype=str(tree["image"].get("dtype", "uint8")))}
    if "text" in tree or tree.get("tensor", {}).get("dtype") == "string":
        return {name: Leaf(kind="text", shape=(), dtype="string")}
    if "tensor" in tree and tree["tensor"].get("encoding", "none") in ("none", "ENCODING_UNSPECIFIED"):
        return {name: Leaf(kind="tensor", shape=_shape(tree["tensor"]), dtype=str(tree["tensor"]["dtype"]))}
    if not name:
        raise KeyError("featuresDict")
    return {}


def _shape(tree: dict[str, Any]) -> tuple[int | None, ...]:
    sizes = [int(size) for size in tree["shape"].get("dimensions", ())]
    return tuple(size if size > 0 else None for size in sizes)
