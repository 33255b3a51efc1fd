"""One golden fixture: what was stored, what the check has read of it, and how computed values compare.

A fixture is every file of a folder that shares one stem (`b_action_tokenizer.npz` and `.json` are one). A check gets
its inputs from `input` and hands every other stored array to `compare`; an array that was both, or neither, makes the
fixture fail. What was compared is kept, so that `changed_outputs` can put a wrong value in the place of each stored one
and see the same comparison fail. Documents hold settings and results side by side: `leaks` runs the check again with
other results in them, which must not change what it computes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

Keys = Sequence[str | int]  # the way to a value in a document
Seen = Callable[[np.ndarray], np.ndarray]


class GoldenMismatch(AssertionError):  # noqa: N818 - it says what is wrong, not that something is
    """A computed value is not the stored one, or a stored one was not used as it must be."""


@functools.cache
def stored_arrays(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".safetensors":
        return load_file(path)
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


@functools.cache
def stored_document(path: Path) -> dict:
    return json.loads(path.read_text())


@dataclass(frozen=True, kw_only=True)
class Output:
    """One comparison: what is stored, what was computed, and how far they may be apart."""

    stored: object
    computed: object
    atol: float
    rtol: float
    seen: Seen | None = None
    place: tuple[str, Keys] | None = None  # in which document, and where in it

    def error(self, stored: object) -> float:
        return difference(stored, computed=self.computed, atol=self.atol, rtol=self.rtol, seen=self.seen)

    def differs(self, stored: object) -> bool:
        try:
            self.error(stored)
        except GoldenMismatch:
            return True
        return False


class Fixture:
    """See the module. `name` is the stem, `folder` where it lies."""

    def __init__(self, folder: Path, name: str, *, documents: dict[str, dict] | None = None) -> None:
        """With `documents`, those stand for the folder's, and no comparison raises."""
        self.name = name
        self.folder = folder
        self._documents = documents
        self.max_error = 0.0
        files = [folder / f"{name}{suffix}" for suffix in (".npz", ".safetensors")]
        self._arrays = {key: array for file in files if file.is_file() for key, array in stored_arrays(file).items()}
        self._inputs: set[str] = set()
        self._outputs: dict[str, Output] = {}

    def has(self, key: str) -> bool:
        return key in self._arrays

    def keys(self, prefix: str = "") -> list[str]:
        """The names of the stored arrays that begin with `prefix`."""
        return [key for key in self._arrays if key.startswith(prefix)]

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of a stored array; knowing it counts as neither input nor output."""
        return self._arrays[key].shape

    def input(self, key: str) -> np.ndarray:
        """A copy of a stored input."""
        if key not in self._arrays:
            raise GoldenMismatch(f"{key} is missing")
        self._inputs.add(key)
        return self._arrays[key].copy()

    def note(self, key: str) -> None:
        """Mark an array that only describes the fixture."""
        self.input(key)

    def json(self, name: str) -> dict:
        """The document `name`.json of the folder, for settings; results in it go through `compare_value`."""
        path = self.folder / f"{name}.json"
        if self._documents and name in self._documents:
            return self._documents[name]
        if not path.is_file():
            raise GoldenMismatch(f"{path.name} is missing")
        return stored_document(path)

    def sibling(self, name: str) -> Fixture:
        """Another fixture of the folder, for the inputs that it holds."""
        return Fixture(self.folder, name)

    def compare(
        self, key: str, computed: object, *, atol: float = 0.0, rtol: float = 0.0, seen: Seen | None = None
    ) -> None:
        """Element by element: |computed - stored| <= atol + rtol |stored|, NaN and infinities in the same places.

        `seen` maps both sides first, where the stored form is not unique (Euler angles at gimbal lock -> matrices).
        """
        if key not in self._arrays:
            raise GoldenMismatch(f"{key} is missing")
        self._record(key, Output(stored=self._arrays[key], computed=computed, atol=atol, rtol=rtol, seen=seen))

    def compare_value(
        self, document: str, path: Keys, computed: object, *, atol: float = 0.0, rtol: float = 0.0
    ) -> None:
        """The same for a value of a document: a number, a text, a truth value, None, or lists and dicts of them."""
        key = f"{document}.json:{'/'.join(map(str, path))}"
        try:
            value = functools.reduce(lambda tree, part: tree[part], path, self.json(document))
        except (KeyError, IndexError, TypeError):
            raise GoldenMismatch(f"{key} is missing") from None
        output = Output(stored=value, computed=computed, atol=atol, rtol=rtol, place=(document, path))
        self._record(key, output)

    def _record(self, key: str, output: Output) -> None:
        if key in self._outputs:
            raise GoldenMismatch(f"{key} is compared twice")
        self._outputs[key] = output
        try:
            self.max_error = max(self.max_error, output.error(output.stored))
        except GoldenMismatch as mismatch:
            if self._documents is None:
                raise GoldenMismatch(f"{key}: {mismatch}") from None

    @property
    def arrays(self) -> int:
        """How many stored arrays there are, and values of documents that were compared."""
        return len(self._arrays.keys() | self._outputs.keys())

    def finish(self) -> None:
        """Raise if an array was used in two ways or not at all."""
        both = sorted(self._inputs & self._outputs.keys())
        if both:
            raise GoldenMismatch(f"input and output at once: {', '.join(both)}")
        unread = [key for key in self._arrays if key not in self._inputs and key not in self._outputs]
        if unread:
            raise GoldenMismatch(f"{len(unread)} of {len(self._arrays)} arrays not read: {', '.join(unread[:8])}")

    def changed_outputs(self) -> dict[str, bool]:
        """Output -> whether the comparison fails when the stored value is another one."""
        return {key: output.differs(changed(output.stored)) for key, output in self._outputs.items()}

    def leaks(self, check: Callable[[Fixture], None]) -> list[str]:
        """Outputs that come out otherwise when the results in the documents are other ones."""
        places = [(output, *output.place) for output in self._outputs.values() if output.place]
        documents = {name: deepcopy(self.json(name)) for name in {document for _, document, _ in places}}
        for output, document, (*way, last) in places:
            tree: Any = functools.reduce(lambda branch, part: branch[part], way, documents[document])
            tree[last] = changed(output.stored)
        if not documents:
            return []
        blind = Fixture(self.folder, self.name, documents=documents)
        with contextlib.suppress(GoldenMismatch):  # a check that also compares on its own refuses them
            check(blind)
        return [key for key, output in blind._outputs.items() if output.differs(self._outputs[key].computed)]


def difference(stored: object, *, computed: object, atol: float, rtol: float, seen: Seen | None) -> float:
    """The largest absolute error; GoldenMismatch where the two differ by more than is allowed."""
    if isinstance(stored, dict):
        if not isinstance(computed, dict) or computed.keys() != stored.keys():
            raise GoldenMismatch(f"must have the keys {sorted(stored)}, has {computed!r:.200}")
        pairs = [(stored[key], computed[key]) for key in stored]
    elif isinstance(stored, list) and not all(isinstance(item, int | float) for item in stored):
        if not isinstance(computed, Sequence | np.ndarray) or len(computed) != len(stored):
            raise GoldenMismatch(f"must be {len(stored)} items, is {computed!r:.200}")
        pairs = list(zip(stored, computed, strict=True))
    elif isinstance(stored, str | None):
        if stored != computed:
            raise GoldenMismatch(f"must be {stored!r}, is {computed!r}")
        return 0.0
    else:
        return array_difference(np.asarray(stored), np.asarray(computed), atol, rtol, seen)
    return max((difference(a, computed=b, atol=atol, rtol=rtol, seen=seen) for a, b in pairs), default=0.0)


def array_difference(stored: np.ndarray, computed: np.ndarray, atol: float, rtol: float, seen: Seen | None) -> float:
    if computed.shape != stored.shape:
        raise GoldenMismatch(f"must have the shape {stored.shape}, has {computed.shape}")
    if stored.dtype.kind not in "fiub":
        if not np.array_equal(stored, computed):
            raise GoldenMismatch(f"must be {stored!r:.200}, is {computed!r:.200}")
        return 0.0
    if seen is not None:
        stored, computed = seen(stored), seen(computed)
    wanted, found = stored.astype(np.float64), computed.astype(np.float64)
    odd = ~np.isfinite(wanted) | ~np.isfinite(found)
    if not np.array_equal(wanted[odd], found[odd], equal_nan=True):
        raise GoldenMismatch("NaN or infinities in other places")
    error = np.abs(np.subtract(found, wanted, where=~odd, out=np.zeros_like(wanted)))
    excess = error - (atol + rtol * np.where(odd, 0.0, np.abs(wanted)))
    if (excess > 0).any():
        place = np.unravel_index(int(np.argmax(excess)), error.shape)
        where = tuple(int(index) for index in place)
        raise GoldenMismatch(
            f"at {where} must be {wanted[place]:.9g}, is {found[place]:.9g} (error {error[place]:.3g})"
        )
    return float(error.max(initial=0.0))


def changed(stored: object) -> object:
    """Another value of the same shape: one element in the middle changed by far more than any tolerance."""
    if isinstance(stored, str):
        return stored + "?"
    if stored is None:
        return "?"
    if isinstance(stored, dict):
        key = next(iter(stored), None)
        return {"?": "?"} if key is None else {**stored, key: changed(stored[key])}
    if isinstance(stored, list):
        middle = len(stored) // 2
        return [*stored[:middle], changed(stored[middle]), *stored[middle + 1 :]] if stored else ["?"]
    if isinstance(stored, bool):
        return not stored
    if isinstance(stored, int | float):
        return changed_number(stored)
    array = np.array(stored)
    if not array.size:
        return np.zeros((1, *array.shape), array.dtype)
    value = array.flat[array.size // 2]
    array.flat[array.size // 2] = not value if array.dtype.kind == "b" else changed_number(value.item())
    return array


def changed_number(value: float) -> float:
    if isinstance(value, int):
        return value + 1
    return -1.5 * value - math.copysign(0.5, value) if math.isfinite(value) else 0.0
