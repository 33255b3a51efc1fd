"""What a server is asked to do: address, access, limits, batching, safety. `volition serve --help` says it in flags."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from volition.serving.access import is_loopback, require_certificate
from volition.serving.sessions import SessionLimits


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    host: str = "127.0.0.1"
    """Who can reach it; by default this machine only."""
    port: int = 8000
    """Of the websocket and HTTP protocols; 0: any free one."""
    zmq_port: int | None = None
    """Of the ZeroMQ protocol; none by default, 0: any free one."""
    tokens: Path | None = None
    """A file with a line NAME TOKEN [admin] for each client; without one, only this machine may be served."""
    tls_certificate: Path | None = None
    """PEM file; together with --tls-key the server speaks https and wss only."""
    tls_key: Path | None = None
    max_batch: int = 16
    """Requests that one call of the policy answers at most."""
    fixed_batch: bool = False
    """Every call has max_batch rows: slower, and answers are equal to the bit whoever else is served."""
    max_message_bytes: int = 16 << 20
    request_seconds: float = 10.0
    """A request that is not answered by then is refused, and the session's memory takes no step."""
    drain_seconds: float = 20.0
    """How long requests that are under way are waited for when the server is stopped; then they are given up."""
    sessions: SessionLimits = field(default_factory=SessionLimits)
    safety: Path | None = None
    """A JSON file with the robot's limits and its hold action (docs/safety.md); actions pass through it."""
    clock_jump_seconds: float = 5.0
    """For robots that send their time: how far it may depart from ours between two requests."""
    record: Path | None = None
    """A folder for every request and what became of it; --replay compares the answers."""

    def __post_init__(self) -> None:
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("TLS needs both --tls-certificate and --tls-key")
        if self.tls_certificate is not None and self.tls_key is not None:
            require_certificate(self.tls_certificate, self.tls_key)
        if not is_loopback(self.host) and self.tokens is None:
            raise ValueError(
                f"--host {self.host} can be reached from other machines, so clients need tokens: --tokens FILE "
                "(docs/serving.md), or serve this machine only"
            )
        for name in ("max_batch", "max_message_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("request_seconds", "drain_seconds", "clock_jump_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
