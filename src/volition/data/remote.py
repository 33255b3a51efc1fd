"""Datasets on other machines, for readers that know paths only.

    located("s3://bucket/d") -> RemotePath           a pathlib.Path whose questions the server answers
    path.open(), os.fspath(path) -> a local copy     brought at that moment, and no other file with it

Any filesystem of fsspec will do. A file that is not there is a FileNotFoundError, as anywhere. A server that fails is a
RemoteError, which no reader takes for damage to an episode: else an outage would quietly make a dataset smaller.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PosixPath
from typing import IO, Any
from urllib.parse import unquote

from volition.data.remote_server import WEB, Server, missing

_URL = re.compile(r"([a-z][a-z0-9+.-]+):/{1,3}([^/].*)")


def located(place: str | Path) -> Path:
    """The path of a dataset that a user names: a path of this machine, or a URL such as https://, s3://, hf://."""
    found = _URL.fullmatch(str(place).rstrip("/"))
    if isinstance(place, RemotePath) or found is None:
        return Path(place)
    scheme, rest = found.groups()
    if scheme == "file":
        return Path(f"/{rest}")
    if scheme in WEB:
        if "?" in rest or "#" in rest:
            raise ValueError(f"{place} must be the URL of a folder or file without ? and #")
        rest = unquote(rest)
    path = RemotePath(f"{scheme}://{rest}")
    path.server = Server.of(scheme)
    return path


class RemotePath(PosixPath):
    """Its text is the URL. Paths that are made of it share what it knows of the server."""

    server: Server

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __fspath__(self) -> str:
        return str(self.server.local(str(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        return located, (str(self),)

    def __truediv__(self, other: str | os.PathLike[str]) -> RemotePath:
        return self._at(f"{self}/{other}" if str(other) not in ("", ".") else str(self))

    def joinpath(self, *others: str | os.PathLike[str]) -> RemotePath:
        path = self
        for other in others:
            path = path / other
        return path

    @property
    def parent(self) -> RemotePath:
        return self._at(str(super().parent))

    def with_name(self, name: str) -> RemotePath:
        return self._at(str(super().with_name(name)))

    def with_suffix(self, suffix: str) -> RemotePath:
        return self._at(str(super().with_suffix(suffix)))

    def resolve(self, strict: bool = False) -> RemotePath:
        return self

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        return self.server.fact(str(self)) is not None

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        fact = self.server.fact(str(self))
        return fact is not None and not fact.is_folder

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        fact = self.server.fact(str(self))
        return fact is not None and fact.is_folder

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Kind and size; nobody may write."""
        fact = self.server.fact(str(self))
        if fact is None:
            raise missing(str(self))
        if fact.is_folder:
            return os.stat_result((stat.S_IFDIR | 0o555, *[0] * 9))
        size = self.server.wanted(str(self)).size
        return os.stat_result((stat.S_IFREG | 0o444, 0, 0, 1, 0, 0, size, 0, 0, 0))

    @property
    def version(self) -> str:
        """Of a file: another text when its content is another, as far as the server tells."""
        wanted = self.server.wanted(str(self))
        return f"{wanted.size} {wanted.version}"

    def open(  # type: ignore[override]
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        if set(mode) - set("rbt"):
            raise ValueError(f"{self} can only be read; write to a folder of this machine")
        return open(os.fspath(self), mode, buffering, encoding, errors, newline)

    def iterdir(self) -> Iterator[RemotePath]:  # type: ignore[override]
        for name in sorted(self.server.names(str(self))):
            yield self / name

    def glob(self, pattern: str) -> Iterator[RemotePath]:  # type: ignore[override]
        """Patterns of names between slashes, without **."""
        first, _, rest = pattern.partition("/")
        found = self.iterdir() if self.is_dir() else iter(())
        for path in found:
            if fnmatch.fnmatchcase(path.name, first):
                yield from path.glob(rest) if rest else iter((path,))

    def rglob(self, pattern: str) -> Iterator[RemotePath]:  # type: ignore[override]
        """Files below, never folders."""
        for name in sorted(self.server.below(str(self))) if self.is_dir() else ():
            if fnmatch.fnmatchcase(name.rpartition("/")[2], pattern):
                yield self / name

    def _at(self, url: str) -> RemotePath:
        path = RemotePath(url)
        path.server = self.server
        return path
