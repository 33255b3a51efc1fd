"""A small dataset of every format that is read, for the suites that run over all of them.

MAKERS[name](root) writes one under `root`, two episodes or more, and returns the folder to open.
"""

from collections.abc import Callable
from pathlib import Path

from tests.data.formats import calvin, lerobot

MAKERS: dict[str, Callable[[Path], Path]] = {
    "lerobot": lerobot.make,
    "calvin": calvin.make,
}
