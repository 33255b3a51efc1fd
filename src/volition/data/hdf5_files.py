"""HDF5 files as a reader wants them: opened when needed, in every process; looked up by pattern or address.

    files = Hdf5Files();  group = files.open(path)["data/demo_0"]
    matching(group, "obs/*_rgb") -> datasets;  lookup(group, "@frames") -> a value, or None where there is none

Whatever the library says about a damaged file becomes a ValueError that names the file. Nothing outside the file is
read on its behalf: links into other files are refused.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

MAX_OPEN = 64  # files a process keeps open
MAX_NUMBERS = 1 << 28  # bytes of one dataset of numbers: more is no episode but a damaged header
MAX_TEXTS = 64
# What h5py raises for damaged files, depending on where the damage is found.
COMPLAINTS = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)


class Hdf5Files:
    """The open files of a dataset. Its episodes share one of these; a copy in another process opens its own."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, Any] = OrderedDict()
        self._process = os.getpid()

    def open(self, path: Path) -> Any:
        """An h5py.File for reading; ValueError when it cannot be opened."""
        if self._process != os.getpid():  # a fork: the parent's handles share its position in the files
            self._process, self._open = os.getpid(), OrderedDict()
        if path not in self._open:
            self._open[path] = _opened(path)
        self._open.move_to_end(path)
        while len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)[1].close()
        return self._open[path]

    def __reduce__(self) -> tuple[type[Hdf5Files], tuple[()]]:
        return Hdf5Files, ()


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Complaints of the library, and what does not make sense, as a ValueError that begins with `what`."""
    try:
        yield
    except COMPLAINTS as error:
        said = str(error) if isinstance(error, ValueError) else repr(error)
        raise ValueError(f"{what}: {said}; it is damaged or not of this layout, restore it from a copy") from error


def matching(group: Any, pattern: str) -> Iterator[Any]:
    """Datasets and groups below `group` whose path fits, in natural order: demo_2 before demo_10."""
    first, _, rest = pattern.lstrip("/").partition("/")
    names = [first] if first in group else fnmatch.filter(group, first)
    for name in sorted(names, key=natural):
        item = group[name]
        if item.file.filename != group.file.filename:
            raise ValueError(f"{name!r} is a link into {item.file.filename}; copy what it points to into the file")
        if not rest:
            yield item
        elif hasattr(item, "keys"):
            yield from matching(item, rest)


def lookup(group: Any, address: str) -> Any:
    """The value at an address, or None: a text, a number, an array, or what JSON has there."""
    place, _, attribute = address.partition("@")
    attribute, _, keys = attribute.partition(":")
    start = group.file if place.startswith("/") else group
    holder = next(matching(start, place), None) if place.strip("/") else start
    if holder is None or (attribute and attribute not in holder.attrs):
        return None
    if not attribute and holder.size > MAX_TEXTS:
        raise ValueError(f"{holder.name} must hold a value or a few, but holds {holder.size}")
    value = holder.attrs[attribute] if attribute else holder[()]
    if not keys:
        return value
    tree = json.loads(value)
    for key in keys.split("."):
        if key not in tree:
            return None
        tree = tree[key]
    return tree


def texts(value: Any) -> tuple[str, ...]:
    """The texts in a value, which is one or an array of them."""
    found = [item.decode() if isinstance(item, bytes) else item for item in np.ravel(np.asarray(value, object))]
    if not all(isinstance(item, str) for item in found):
        raise ValueError(f"it must hold text, but holds {value!r}")
    return tuple(text for item in found if (text := item.strip().strip('"')))


def rows(dataset: Any, steps: np.ndarray) -> np.ndarray:
    """What the dataset holds at `steps`, in any order and with repeats; neighbours are read together."""
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{dataset.name} keeps its values in another file; copy them into this one")
    if not len(steps):
        return np.asarray(dataset[:0])
    wanted, places = np.unique(steps, return_inverse=True)
    runs = np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1)
    found: np.ndarray = np.concatenate([dataset[int(run[0]) : int(run[-1]) + 1] for run in runs])[places]
    return found


def numbers(dataset: Any, steps: np.ndarray | None = None) -> np.ndarray:
    """float32[n, D] of a dataset [T] or [T, D], at `steps` or all; ValueError for what is not finite or no number."""
    if dataset.dtype.kind not in "fiu" or not 1 <= dataset.ndim <= 2 or dataset.nbytes > MAX_NUMBERS:
        raise ValueError(f"{dataset.name} must hold numbers [T, D], but holds {dataset.dtype}{list(dataset.shape)}")
    values = rows(dataset, np.arange(len(dataset)) if steps is None else steps)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        values = values.astype(np.float32)
    values = values[:, None] if values.ndim == 1 else values
    if not np.isfinite(values).all():
        step, dimension = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"{dataset.name} must be finite, but is {values[step, dimension]} in row {step}, dimension {dimension}"
        )
    return values


def library() -> Any:
    """h5py; ValueError where it is not installed."""
    try:
        import h5py
    except ImportError as error:
        raise ValueError("reading HDF5 files needs h5py: pip install 'volition[hdf5]'") from error
    return h5py


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path} must exist but is missing; is the dataset complete?")
    with reading(f"{path} must be an HDF5 file that can be read"):
        return library().File(path, "r", locking="best-effort")


def natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def listed(group: Any) -> str:
    names = sorted(group)
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
