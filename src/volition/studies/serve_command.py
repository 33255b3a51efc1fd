"""`volition serve CHECKPOINT`: its flags. Apart from `serving.py`, which carries it out, so that help is quick."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from volition.serving.config import ServeConfig


@dataclass(frozen=True, kw_only=True)
class ServeCommand:
    checkpoint: tyro.conf.Positional[Path]
    """A step folder, a run (its last checkpoint), or an exported policy."""
    serve: Annotated[ServeConfig, tyro.conf.arg(name="")] = field(default_factory=ServeConfig)
    device: str = "cpu"
    """Where the policy runs: cpu, cuda, cuda:1."""
    compile: bool = False
    """Kernels made for the layers of a checkpoint's VLM while it warms up (torch.compile; needs a C++ compiler)."""
    capture: bool = False
    """CUDA graphs of a checkpoint's passes, one for each number of rows and length of prompts (needs --device cuda)."""
    threads: int = 0
    """Threads of the policy on a CPU; 0: what torch takes by itself."""
    allow: tuple[str, ...] = ()
    """Packages of yours that the checkpoint's config may name; `native_code` for exported policies that run some."""
    replay: Path | None = None
    """Serve nothing: ask recorded requests of this folder again and compare the answers; status 1 where they differ."""
    tolerance: float = 1e-5
    """For --replay: how far an action may be off."""
    json: Path | None = None
    """Write the addresses, or what --replay found, to this file."""


def parse(verb: Callable[[list[str]], None], arguments: Sequence[str]) -> ServeCommand:
    return tyro.cli(ServeCommand, args=arguments, prog="volition serve", description=inspect.getdoc(verb) or "")
