"""What a stranger sent may be long, and be sent often: how it is quoted in errors and logs, and how long these are."""

from __future__ import annotations

from typing import Any

import numpy as np

from volition_client.errors import ServerError

QUOTED = 40  # characters of a value
LONGEST = 600  # characters of an error
NAMED = 3  # names in a list of what is too much


class RefusedError(ServerError):
    """Was logged and counted."""

    def __init__(self, error: ServerError):
        super().__init__(error.type, cut(error.message, LONGEST))


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def quoted(given: Any) -> str:
    """A value in an error: its beginning, or its type where it has parts."""
    if isinstance(given, (str, bytes)):
        return repr(given[:QUOTED]) + ("..." if len(given) > QUOTED else "")
    if given is None or isinstance(given, (bool, int, float, np.generic)):
        return cut(str(given), QUOTED)
    return type(given).__name__


def listed(names: list[str]) -> str:
    """A few of them."""
    more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
    return ", ".join([*map(quoted, names[:NAMED]), *more])
