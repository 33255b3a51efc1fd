"""A RobotSpec as JSON and back: a dataset carries what its actions and observations mean.

RobotSpec --spec_to_json--> dict in meta/volition.json --spec_from_json--> RobotSpec
"""

from __future__ import annotations

import dataclasses
from typing import Any

from volition.contract import ActionSpace, Camera, Dimension, RobotSpec

UNKNOWN = "unknown"  # the unit of an action, its frame or its rotation, where a dataset does not say


def spec_to_json(spec: RobotSpec) -> dict[str, Any]:
    return dataclasses.asdict(spec)


def spec_from_json(tree: Any, source: str) -> RobotSpec:
    """The spec in `tree`, or a ValueError that names `source` (a file) and what is wrong with it."""
    try:
        space = dict(tree["action_space"])
        space["dimensions"] = tuple(Dimension(**dimension) for dimension in space["dimensions"])
        return RobotSpec(
            action_space=ActionSpace(**space),
            cameras=tuple(Camera(**camera) for camera in tree["cameras"]),
            state=tuple(tree["state"]),
            control_hz=float(tree["control_hz"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{source} must hold a robot spec (action_space, cameras, state, control_hz), but reading it failed with "
            f"{type(error).__name__}: {error}; restore the file, or record the dataset again"
        ) from error
