"""What a process learns from the server of a dataset, and how its files come here: see `remote.py`.

What a server has said about a file, a process does not ask again.
"""

from __future__ import annotations

import base64
import errno
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from volition.data.places import cache_home
from volition.data.remote_cache import RemoteCache, TornError, Wanted

# Variables of the environment: the folder of local copies, how large it may become, how long a server may be silent.
CACHE, GIGABYTES, SECONDS = "VOLITION_REMOTE_CACHE", "VOLITION_REMOTE_CACHE_GB", "VOLITION_REMOTE_TIMEOUT"
DEFAULTS = {GIGABYTES: 20.0, SECONDS: 30.0}
ATTEMPTS, PAUSE = 3, 0.5  # to get an answer; seconds before the second, twice as long before the third
AT_ONCE = 16  # questions to a server
FULL = (errno.ENOSPC, errno.EDQUOT)
WEB = ("http", "https")
# What filesystems call the state of a file.
VERSIONS = ("ETag", "etag", "VersionId", "sha256", "blob_id", "Last-Modified", "LastModified", "mtime", "created")


class RemoteError(Exception):
    """A server does not answer, or not as it should: the message names the URL and what to do."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What is known of a file or folder."""

    is_folder: bool
    wanted: Wanted | None = None  # not of folders, nor of a file of which a listing gave no more than the name


class Server:
    """What a process has learnt from the server of a dataset."""

    def __init__(self, scheme: str, cache: RemoteCache, seconds: float) -> None:
        """`seconds`: how long the server may be silent."""
        self._scheme, self._cache, self._seconds = scheme, cache, seconds
        self._facts: dict[str, Fact | None] = {}
        self._listed: dict[str, set[str]] = {}  # folder -> names
        self._filesystem()  # a scheme that cannot be read is told at once

    @classmethod
    def of(cls, scheme: str) -> Server:
        """With the cache and the patience that the environment asks for."""
        folder = Path(os.environ.get(CACHE) or cache_home() / "remote")
        return cls(scheme, RemoteCache(folder, round(_number(GIGABYTES) * 1e9)), _number(SECONDS))

    def fact(self, url: str) -> Fact | None:
        """None where there is nothing."""
        if url not in self._facts:
            folder, _, name = url.rpartition("/")
            known = folder in self._listed and name not in self._listed[folder]
            self._facts[url] = None if known else self._asked(url)
        return self._facts[url]

    def wanted(self, url: str) -> Wanted:
        """FileNotFoundError where there is no such file."""
        fact = self.fact(url)
        if fact is not None and not fact.is_folder and fact.wanted is None:
            fact = self._facts[url] = self._asked(url)
        if fact is None or fact.wanted is None:
            raise missing(url)
        return fact.wanted

    def names(self, url: str) -> set[str]:
        """Of files and folders within a folder."""
        if url not in self._listed:
            self._listed[url] = {
                self._learnt(url, row) for row in self._ask(url, lambda files, place: files.ls(place, detail=True))
            }
            self._listed[url].discard("")
        return self._listed[url]

    def below(self, url: str) -> set[str]:
        """Of all files below a folder, from there; and everything about them."""
        rows = self._ask(url, lambda files, place: files.find(place, detail=True)).values()
        found = {self._learnt(url, row) for row in rows} - {""}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.wanted, [f"{url}/{name}" for name in found]))
        return found

    def local(self, url: str) -> Path:
        """A whole copy of the file on this disk."""
        wanted, said = self.wanted(url), ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE * 2 ** (attempt - 1))
            try:
                return self._cache.file(wanted, lambda path: self._bring(url, path))
            except (_OutageError, TornError) as error:
                said = str(error)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                raise RemoteError(
                    f"{url} cannot be kept in {self._cache.folder}: {error.strerror}; make room, set {GIGABYTES} "
                    f"lower than {self._cache.limit / 1e9:g}, or {CACHE} to a folder on another disk"
                ) from error
            except ValueError as error:
                raise RemoteError(f"{error} with {GIGABYTES}") from error
        raise RemoteError(
            f"{url} cannot be read, {ATTEMPTS} times: {said}; check the server and the connection and run the same "
            "command again: what has come is kept"
        )

    def _bring(self, url: str, path: Path) -> None:
        try:
            self._filesystem().get_file(self._request(url), str(path))
        except FileNotFoundError as error:
            raise missing(url) from error
        except Exception as error:  # every filesystem has errors of its own
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            raise _OutageError(repr(error)) from error

    def _asked(self, url: str) -> Fact | None:
        try:
            row = self._ask(url, lambda files, place: files.info(place))
        except FileNotFoundError:
            return None
        # The web sends those who ask for a folder to the same address with a slash; its top has no path at all.
        is_folder = str(row.get("url", "")).endswith("/") or (self._scheme in WEB and url.count("/") == 2)
        if is_folder or row["type"] == "directory":
            return Fact(is_folder=True)
        if row.get("size") is None:
            raise RemoteError(f"{url}: the server must say how long a file is (Content-Length), but does not")
        return Fact(is_folder=False, wanted=_wanted(url, row))

    def _ask(self, url: str, question: Callable[[Any, str], Any]) -> Any:
        """FileNotFoundError where there is nothing."""
        said = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE * 2 ** (attempt - 1))
            try:
                return question(self._filesystem(), self._request(url))
            except FileNotFoundError as error:
                if not self._is_outage(error):
                    raise missing(url) from error
                said = repr(error.__cause__)
            except Exception as error:  # every filesystem has errors of its own
                said = repr(error)
        raise RemoteError(
            f"{url}: the server does not answer as it should, {ATTEMPTS} times: {said}; check the address, the "
            "connection, and whether it wants credentials (docs/data.md, Remote storage)"
        )

    def _is_outage(self, error: FileNotFoundError) -> bool:
        """fsspec says of a web server that fails that it has no such file; the cause tells."""
        cause = error.__cause__
        return self._scheme in WEB and cause is not None and getattr(cause, "status", None) not in (404, 410)

    def _learnt(self, folder: str, row: dict[str, Any]) -> str:
        """Keep what a row of a listing says; the name from the folder on, "" for what does not lie in it."""
        name = str(row["name"]).rstrip("/")
        top = self._request(folder) if self._scheme in WEB else _without_scheme(folder)
        if self._scheme not in WEB:
            name = _without_scheme(name)
        if not name.startswith(f"{top}/") or "?" in name:  # the web also lists ways to sort a folder
            return ""
        name = name[len(top) + 1 :]
        name = unquote(name) if self._scheme in WEB else name
        url, is_folder = f"{folder}/{name}", row["type"] == "directory"
        if url not in self._facts:
            known = not is_folder and row.get("size") is not None
            self._facts[url] = Fact(is_folder=is_folder, wanted=_wanted(url, row) if known else None)
        return name

    def _request(self, url: str) -> str:
        if self._scheme not in WEB:
            return url
        scheme, rest = url.split("://", 1)
        return f"{scheme}://{quote(rest, safe='/:@[]!$&()*+,;=~')}"

    def _filesystem(self) -> Any:
        """Asked for anew each time: fsspec keeps them, and knows when a process has been forked."""
        try:
            import fsspec
        except ImportError as error:
            raise ValueError("reading from URLs needs fsspec: pip install 'volition[remote]'") from error
        try:
            options = _OPTIONS[self._scheme](self._seconds) if self._scheme in _OPTIONS else {}
            return fsspec.filesystem(self._scheme, **options)
        except ImportError as error:
            raise ValueError(f"reading {self._scheme}:// needs another package: {error}; pip install it") from error
        except ValueError as error:
            known = ", ".join(sorted(fsspec.available_protocols()))
            raise ValueError(f"{self._scheme}:// must be a filesystem of fsspec: {error}; there are {known}") from error


class _OutageError(Exception):
    """While a file was brought."""


def _web(seconds: float) -> dict[str, Any]:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)
    return {"client_kwargs": {"timeout": timeout}}


def _s3(seconds: float) -> dict[str, Any]:
    return {"config_kwargs": {"connect_timeout": seconds, "read_timeout": seconds}}


# How long a filesystem waits for its server; others wait as long as they do.
_OPTIONS: dict[str, Callable[[float], dict[str, Any]]] = {"http": _web, "https": _web, "s3": _s3, "s3a": _s3}


def _wanted(url: str, row: dict[str, Any]) -> Wanted:
    md5 = base64.b64decode(str(row.get("Content-MD5", ""))).hex()
    version = next((str(row[name]) for name in VERSIONS if row.get(name)), "")
    return Wanted(url=url, size=int(row["size"]), version=version, md5=md5)


def _number(name: str) -> float:
    text = os.environ.get(name, str(DEFAULTS[name]))
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ValueError(f"the environment variable {name} must be a number above 0, got {text!r}")
    return value


def missing(url: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"{url} must exist, but the server has no such file; is the address right, the dataset whole?"
    )


def _without_scheme(url: str) -> str:
    return url.split("://", 1)[-1].strip("/")
