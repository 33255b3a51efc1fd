"""What tests of the real CALVIN simulator need, and why they skip where it is absent."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from volition.envs.calvin.clones import CALVIN, CALVIN_ENV, CLONES

PACKAGES = ("pybullet", "hydra", "omegaconf", "scipy")
PROTOCOL = Path(__file__).parents[4] / "shared" / "data" / "calvin_protocol"


def require_clones() -> None:
    """Skip, saying why, unless both clones and the packages of `volition[calvin]` are here."""
    unset = [clone.variable for clone in CLONES if not os.environ.get(clone.variable)]
    if unset:
        pytest.skip(f"needs the user's clones of CALVIN: {' and '.join(unset)} not set")
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs the packages of volition[calvin]: {', '.join(missing)} not installed")


def env_clone() -> Path:
    require_clones()
    return CALVIN_ENV.find()


def language_clone() -> Path:
    require_clones()
    return CALVIN.find()


def protocol_file(name: str) -> Path:
    path = PROTOCOL / name
    if not path.is_file():
        pytest.skip(f"needs CALVIN's protocol beside the project: {path.name} is not there")
    return path
