"""Names that people write: an import path becomes the object, a mistyped name the nearest that there is."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from typing import Any


def locate(path: str) -> Any:
    """'package.module:Name' -> the object."""
    module, _, name = path.partition(":")
    if not name:
        raise ValueError(f"expected 'package.module:function', got {path!r}")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"{path!r} must name a module that can be imported from here: {error}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            public = sorted(n for n in dir(found) if n[0] != "_")
            raise ValueError(f"{module} has no {part!r}{suggest(part, public)}")
        found = getattr(found, part)
    return found


def suggest(name: str, known: Iterable[str]) -> str:
    """'; did you mean X?' or the names that there are: the end of an error message."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(map(repr, known))}"
