"""Tensors in files of their pieces: every rank writes what it has, and any number of ranks reads it again.

NAME.safetensors                one process wrote everything
NAME-1-of-4.safetensors ...     each of four ranks its own; where a piece belongs stands in the file's header
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

HEADER = "pieces"  # name -> [shape of the whole, offset of the piece]
Place = tuple[list[int], list[int]]


def file_name(stem: str, rank: int, world: int) -> str:
    return f"{stem}.safetensors" if world == 1 else f"{stem}-{rank + 1}-of-{world}.safetensors"


def own_pieces(
    tensors: Mapping[str, Tensor], writes: Callable[[str], bool]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Copies in the memory of the CPU of what this rank is to write, and the header that goes with them.

    `writes`: whether it is this rank that writes a tensor that it has as a whole.
    """
    pieces, places = {}, {}
    for name, value in tensors.items():
        if not isinstance(value, DTensor):
            if writes(name):
                pieces[name] = value.detach().to("cpu", copy=True).contiguous()
            continue
        shape, offset = _place(value)
        local = value.to_local().detach()
        if local.numel() and _is_owner(value):
            pieces[name] = local.to("cpu", copy=True).contiguous()
            places[name] = (list(value.shape), list(offset))
            assert tuple(shape) == tuple(local.shape)
    return pieces, {HEADER: json.dumps(places)} if places else {}


class Stored:
    """Tensors of all files of a stem, by name; a context."""

    def __init__(self, folder: Path, stem: str):
        self._folder, self._stem = folder, stem
        self._files = ExitStack()
        self._where: dict[str, list[tuple[Any, list[int]]]] = {}
        self._shapes: dict[str, list[int]] = {}

    def __enter__(self) -> Stored:
        paths = sorted([*self._folder.glob(f"{self._stem}.safetensors"), *self._folder.glob(f"{self._stem}-*-of-*")])
        for path in paths:
            try:
                file = self._files.enter_context(safe_open(path, framework="pt"))
            except SafetensorError as error:
                raise ValueError(f"{path} must be a whole safetensors file: {error}") from error
            places: dict[str, Place] = json.loads((file.metadata() or {}).get(HEADER, "{}"))
            for name in file.keys():  # noqa: SIM118  a file, not a dictionary
                own = list(file.get_slice(name).get_shape())
                shape, offset = places.get(name, (own, [0] * len(own)))
                self._shapes[name] = shape
                self._where.setdefault(name, []).append((file, offset))
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._shapes[name])

    def read(self, name: str) -> Tensor:
        """The whole tensor, on the CPU."""
        pieces = [(file.get_tensor(name), offset) for file, offset in self._where[name]]
        if len(pieces) == 1 and pieces[0][0].shape == self.shape(name):
            return pieces[0][0]
        whole = torch.empty(self.shape(name), dtype=pieces[0][0].dtype)
        for piece, offset in pieces:
            whole[_region(piece.shape, offset)] = piece
        return whole


@torch.no_grad()
def fill(target: Tensor, whole: Tensor) -> None:
    """Copy a whole tensor, or of it what this rank has."""
    if isinstance(target, DTensor):
        shape, offset = _place(target)
        target.to_local().copy_(whole[_region(shape, offset)])
    else:
        target.copy_(whole)


def _region(shape: Any, offset: Any) -> tuple[slice, ...]:
    return tuple(slice(start, start + size) for start, size in zip(offset, shape))


def _place(value: DTensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return compute_local_shape_and_global_offset(value.shape, value.device_mesh, value.placements)


def _is_owner(value: DTensor) -> bool:
    """The first of the ranks that have this very piece."""
    here = value.device_mesh.get_coordinate()
    assert here is not None
    return all(at == 0 for at, placement in zip(here, value.placements) if placement.is_replicate())
