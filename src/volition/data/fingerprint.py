"""A key for the content of a dataset folder, cheap enough to take at every start.

Small files count with their content, large ones with size, first and last block. Of files of single frames, of which
CALVIN has millions, all count with their size and some two thousand, evenly chosen, with their content too. Remote ones
count with what their server tells states of a file apart by. Hidden folders do not count. With a dataset of one file
counts what is named after it.
"""

from __future__ import annotations

import glob
import hashlib
from pathlib import Path

from volition.data.remote import RemotePath

BLOCK = 1 << 16
FRAMES, SAMPLED = (".npz", ".pkl"), 2000


def fingerprint(root: Path) -> str:
    """Hexadecimal, 32 characters; the same for a copy of the folder elsewhere on this machine."""
    if not root.exists():
        raise FileNotFoundError(f"{root} must be a dataset folder, but there is none")
    digest = hashlib.sha256()
    top = root if root.is_dir() else root.parent
    paths = root.rglob("*") if root.is_dir() else [root, *top.glob(f"{glob.escape(root.name)}.*")]
    named = sorted((path, path.relative_to(top)) for path in paths if path.is_file())
    files = [(path, name) for path, name in named if not any(part.startswith(".") for part in name.parts)]
    frames = [path for path, _ in files if path.suffix in FRAMES]
    sampled = set(frames[:: 1 + len(frames) // SAMPLED])
    for path, name in files:
        if isinstance(path, RemotePath):
            digest.update(f"{name.as_posix()}\0{state_of(path)}\0".encode())
            continue
        size = path.stat().st_size
        digest.update(f"{name.as_posix()}\0{size}\0".encode())
        if path.suffix not in FRAMES or path in sampled:
            with path.open("rb") as file:
                digest.update(file.read(BLOCK))
                file.seek(max(size - BLOCK, 0))
                digest.update(file.read(BLOCK))
    return digest.hexdigest()[:32]


def state_of(path: Path) -> str:
    """Another text when the file has been changed, without reading it: as its folder or its server tells."""
    if isinstance(path, RemotePath):
        return path.version
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns}"
