"""What the actions and observations of a LeRobot dataset mean: as its meta/volition.json says, or as inferred."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from volition.contract import ActionSpace, Camera, Dimension, RobotSpec
from volition.data import lerobot_layout as layout
from volition.data.files import read_json, understood
from volition.data.spec import UNKNOWN, spec_from_json


def load_spec(root: Path) -> RobotSpec:
    """As recorded by this package; for datasets of others, from their metadata, with units "unknown"."""
    path = root / layout.OURS
    return spec_from_json(read_json(path).get("spec"), str(path)) if path.is_file() else _foreign_spec(root)


def _foreign_spec(path: Path) -> RobotSpec:
    """With the ranges of the statistics of all frames."""
    info, statistics = read_json(path / layout.INFO), read_json(path / layout.STATS)
    with understood(path / layout.STATS, "hold min and max of the feature 'action'"):
        lows, highs = statistics[layout.ACTION]["min"], statistics[layout.ACTION]["max"]
    return spec_of_others(path, info, lows, highs)


def spec_of_others(path: Path, info: dict[str, Any], lows: Sequence[float], highs: Sequence[float]) -> RobotSpec:
    """Names and sizes from info.json; its units, frame and rotation are unknown."""
    with understood(path / layout.INFO, "say fps and features with names and shapes, and fit the statistics"):
        features: dict[str, Any] = info["features"]
        dimensions = tuple(
            Dimension(name=name, unit=UNKNOWN, low=float(low), high=max(float(high), float(low) + 1e-6))
            for name, low, high in zip(_names(features[layout.ACTION]), lows, highs, strict=True)
        )
        cameras = tuple(_camera(name, f) for name, f in features.items() if f["dtype"] in ("image", "video"))
        return RobotSpec(
            action_space=ActionSpace(dimensions=dimensions, frame=UNKNOWN, rotation=UNKNOWN, relative=False),
            cameras=cameras,
            state=tuple(_names(features[layout.STATE])) if layout.STATE in features else (),
            control_hz=float(info["fps"]),
        )


def _names(feature: dict[str, Any]) -> list[str]:
    """One name a dimension. The format allows a list, a list in a dictionary, or none."""
    names = feature.get("names")
    if isinstance(names, dict):
        names = next(iter(names.values()), None)
    size = int(feature["shape"][0])
    return (
        [str(name) for name in names]
        if isinstance(names, list) and len(names) == size
        else [str(i) for i in range(size)]
    )


def _camera(key: str, feature: dict[str, Any]) -> Camera:
    first, second, third = feature["shape"]
    height, width = (second, third) if first == 3 and third != 3 else (first, second)
    return Camera(name=key.removeprefix(layout.IMAGES), height=int(height), width=int(width))
