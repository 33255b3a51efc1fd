"""Where what is made of a dataset lies: in its own folder, or, if that is not to be written to, in the user's cache."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

PRIVATE = Path(".volition")  # in a dataset's folder; what others ignore


def cache_home() -> Path:
    """Where files lie that can be made again: volition/ in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "volition"


def is_read_only(path: Path) -> bool:
    """By its mode too: the administrator may write everywhere, and still should not write into such a folder."""
    folder = path if path.is_dir() else path.parent
    return folder.is_dir() and (not folder.stat().st_mode & 0o222 or not os.access(folder, os.W_OK))


def kept_folder(root: Path, what: str) -> Path:
    """Where `what` is kept about the dataset in the folder `root`."""
    if not is_read_only(root):
        return root / PRIVATE / what
    return cache_home() / what / hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:24]
