"""Who may ask: tokens, and what a browser may not do.

A token file has a line for each client: a name, the token and, for who may reload the policy, the word admin.

    arm-1   9f0c1c...       # python -c "import secrets; print(secrets.token_urlsafe(32))"
    me      1b7ae2...  admin
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from volition.serving.refusals import quoted
from volition_client.errors import ServerError

SHORTEST_TOKEN = 16  # characters


@dataclass(frozen=True)
class Client:
    """Whose token a request came with; without tokens everybody is the same, and may everything."""

    name: str = ""
    admin: bool = True


class Tokens:
    """Keeps hashes only, and compares all of them in the same time."""

    def __init__(self, clients: dict[bytes, Client]):
        self._clients = clients

    def __bool__(self) -> bool:
        return bool(self._clients)

    def client(self, authorization: str) -> Client:
        """`authorization`: "Bearer TOKEN", as openpi's clients say it "Api-Key TOKEN", or the token itself.

        ServerError of type unauthorized where it is none of ours.
        """
        if not self._clients:
            return Client()
        scheme, _, rest = authorization.strip().partition(" ")
        given = _digest(rest.strip() if scheme.lower() in ("bearer", "api-key") and rest else authorization.strip())
        found = [client for digest, client in self._clients.items() if hmac.compare_digest(digest, given)]
        if not found:
            raise ServerError("unauthorized", "this server wants a token: Authorization: Bearer TOKEN")
        return found[0]


def read_tokens(path: Path | None) -> Tokens:
    """ValueError for a file that does not say what it should; no file: no tokens are asked for."""
    if path is None:
        return Tokens({})
    clients: dict[bytes, Client] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) not in (2, 3) or words[2:] not in ([], ["admin"]):
            raise ValueError(f"{path}:{number} must be NAME TOKEN or NAME TOKEN admin")
        if len(words[1]) < SHORTEST_TOKEN:
            raise ValueError(f"{path}:{number}: a token must have at least {SHORTEST_TOKEN} characters")
        if words[0] in {client.name for client in clients.values()} or _digest(words[1]) in clients:
            raise ValueError(f"{path}:{number}: names and tokens must differ from line to line")
        clients[_digest(words[1])] = Client(words[0], admin=len(words) == 3)
    if not clients:
        raise ValueError(f"{path} must have a line for at least one client: NAME TOKEN")
    return Tokens(clients)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_same_origin(origin: str, host: str) -> None:
    """ServerError where a page of somebody else's asks through the user's browser.

    Robots send no Origin; a browser always does, and our own page's is the address that it asks.
    """
    if origin and _split(origin).netloc.lower() != host.lower():
        raise ServerError("forbidden", f"pages of {quoted(origin)} may not use this server")


def require_known_host(host: str, *, only_loopback: bool) -> None:
    """ServerError where a foreign name was made to point at this machine (DNS rebinding)."""
    name = _split(f"//{host}").hostname or ""
    if only_loopback and not is_loopback(name):
        raise ServerError("forbidden", f"this server answers for localhost only, not for {quoted(host)}")


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:  # half of an IPv6 address: nobody's
        return urlsplit("")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def require_certificate(certificate: Path, key: Path) -> None:
    """ValueError where they cannot be used: before a policy is loaded or anybody is told an address."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"{certificate} and {key} must be a PEM certificate and its key, but {error}") from error
