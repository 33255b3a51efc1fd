"""Servers on this machine, started by a test: a web server of a folder that can misbehave, and S3's reading half."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class Faults:
    """What a server does wrong; changed while it runs."""

    def __init__(self) -> None:
        self.requests: list[str] = []  # "GET /d/meta/info.json"
        self.torn: set[str] = set()  # names of files of which half comes, the connection ends
        self.short: set[str] = set()  # names of files whose length is announced one byte too long, then all is well
        self.status: dict[str, int] = {}  # name -> answer with this status
        self.silent: set[str] = set()  # names of files for which nothing comes
        self.once = False  # each of these happens a single time
        self.stopped = threading.Event()

    def take(self, kind: set[str] | dict[str, int], name: str) -> Any:
        if name not in kind:
            return None
        found = kind[name] if isinstance(kind, dict) else True
        if self.once:
            kind.pop(name) if isinstance(kind, dict) else kind.remove(name)
        return found


class _Web(SimpleHTTPRequestHandler):
    """Python's own web server of a folder, with an index page for folders."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(super().do_GET)

    def do_HEAD(self) -> None:
        self._answer(super().do_HEAD)

    def _answer(self, usual: Any) -> None:
        faults, name = self.server.faults, unquote(self.path).rpartition("/")[2]
        faults.requests.append(f"{self.command} {self.path}")
        if faults.stopped.is_set():  # a connection that was open before
            self.close_connection = True
            return
        if status := faults.take(faults.status, name):
            self.send_error(status)
        elif self.command == "GET" and faults.take(faults.silent, name):
            faults.stopped.wait(20)
            self.close_connection = True
        elif self.command == "GET" and faults.take(faults.torn, name):
            content = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif self.command == "GET" and faults.take(faults.short, name):
            content = Path(self.translate_path(self.path)).read_bytes()[:-1]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        else:
            usual()

    def log_message(self, *args: Any) -> None:
        pass


class _S3(BaseHTTPRequestHandler):
    """HEAD and GET of objects, and ListObjectsV2: the folder is `bucket`; signatures are not looked at."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._object()

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        self._list(query) if "list-type" in query else self._object()

    def _object(self) -> None:
        self.server.faults.requests.append(f"{self.command} {self.path}")
        key = unquote(urlsplit(self.path).path).removeprefix("/bucket").lstrip("/")
        path = self.server.folder / key
        if not key or not path.is_file():
            self._send(404, b"<Error><Code>NoSuchKey</Code></Error>", {})
            return
        self._send(200, path.read_bytes(), _facts(path))

    def _list(self, query: dict[str, list[str]]) -> None:
        self.server.faults.requests.append(f"LIST {self.path}")
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        keys, folders = [], set()
        for path in sorted(path for path in self.server.folder.rglob("*") if path.is_file()):
            key = path.relative_to(self.server.folder).as_posix()
            if key.startswith(prefix):
                rest = key[len(prefix) :]
                if delimiter and delimiter in rest:
                    folders.add(prefix + rest.split(delimiter)[0] + delimiter)
                else:
                    keys.append((key, path))
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{path.stat().st_size}</Size>"
            f"<ETag>{_facts(path)['ETag']}</ETag><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key, path in keys
        )
        common = "".join(f"<CommonPrefixes><Prefix>{escape(x)}</Prefix></CommonPrefixes>" for x in sorted(folders))
        count = len(keys) + len(folders)
        body = (
            "<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>"
            f"<KeyCount>{count}</KeyCount>{contents}{common}</ListBucketResult>"
        )
        self._send(200, body.encode(), {"Content-Type": "application/xml"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


def _facts(path: Path) -> dict[str, str]:
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return {"ETag": f'"{digest}"', "Last-Modified": formatdate(path.stat().st_mtime, usegmt=True)}


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path, kind: type[BaseHTTPRequestHandler]) -> None:
        self.folder, self.faults = folder, Faults()
        super().__init__(("127.0.0.1", 0), kind)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.RequestHandlerClass is _Web:
            _Web(request, client_address, self, directory=str(self.folder))
        else:
            super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""

    def brought(self) -> list[str]:
        """Names of files whose content was asked for."""
        asked = [unquote(line.split()[1]) for line in self.faults.requests if line.startswith("GET")]
        return [Path(path).name for path in asked if (self.folder / path.lstrip("/")).is_file()]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(folder: Path, kind: type[BaseHTTPRequestHandler]) -> Iterator[Server]:
    with Server(folder, kind) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.faults.stopped.set()
            server.shutdown()
            thread.join()


def web(folder: Path) -> Any:
    return serving(folder, _Web)


def s3(folder: Path) -> Any:
    return serving(folder, _S3)
