"""One process, all protocols: the loop that runs them, signals, and a server in a thread for programs.

Server.serve: websocket + HTTP on one port, ZeroMQ on another    SIGTERM, Ctrl-C: drain and stop    SIGHUP: reload
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import uvicorn
import uvloop

from volition.serving.access import Tokens, read_tokens
from volition.serving.config import ServeConfig
from volition.serving.http import Http
from volition.serving.recording import Recorder
from volition.serving.served import Load, Served
from volition.serving.service import Service
from volition.serving.silence import ImpatientHttp
from volition_client.errors import ServerError
from volition_client.safety import load_limits

logger = logging.getLogger(__name__)
T = TypeVar("T")
EXPIRY_SECONDS = 5.0  # between two looks for sessions that are not used any more


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where a server can be reached."""

    url: str  # of a browser
    websocket: str
    zmq: str | None


class _Uvicorn(uvicorn.Server):
    """Leaves signals to us: requests that are under way are answered before connections are closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    def __init__(self, served: Served, config: ServeConfig, load: Load | None = None):
        """ValueError for files of tokens or limits that do not fit. `load` reads the policy anew."""
        self._config = config
        self._tokens: Tokens = read_tokens(config.tokens)
        limits = None if config.safety is None else load_limits(config.safety)
        recorder = None if config.record is None else Recorder(config.record)
        self.service = Service(served, config, limits=limits, load=load, recorder=recorder)
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def serve(self, ready: Callable[[Addresses], None]) -> None:
        """Until `stop` is called or a signal comes; `ready` hears where the server can be reached."""
        config, service = self._config, self.service
        async with contextlib.AsyncExitStack() as ended:  # the last first, however far it came
            ended.push_async_callback(service.close)
            listener = ended.enter_context(_listen(config.host, config.port))
            web = _Uvicorn(self._uvicorn_config())
            if (zmq := self._zmq()) is not None:
                ended.push_async_callback(zmq.close)
            service.policy.start()
            self._listen_to_signals()
            running = asyncio.create_task(web.serve(sockets=[listener]))
            side = [asyncio.create_task(self._expire()), *([asyncio.create_task(zmq.run())] if zmq else [])]
            ended.push_async_callback(_end, web, running, side)
            while not web.started:
                if running.done():
                    running.result()  # what kept it from starting
                    raise RuntimeError("the web server ended before it had started")
                await asyncio.sleep(0.005)
            ready(self._addresses(listener.getsockname()[1], zmq.port if zmq else None))
            await asyncio.wait(
                {running, asyncio.create_task(self._stopping.wait())}, return_when=asyncio.FIRST_COMPLETED
            )
            await service.drain()
        running.result()  # what ended it, where nobody had asked it to end
        logger.warning("stopped serving at %s:%d", config.host, config.port)

    def stop(self) -> None:
        """From the loop's own thread."""
        self._stopping.set()

    def _uvicorn_config(self) -> uvicorn.Config:
        config = self._config
        return uvicorn.Config(
            Http(self.service, self._tokens).app(),
            host=config.host,
            port=config.port,
            ssl_certfile=None if config.tls_certificate is None else str(config.tls_certificate),
            ssl_keyfile=None if config.tls_key is None else str(config.tls_key),
            http=ImpatientHttp,
            ws="websockets-sansio",
            ws_max_size=config.max_message_bytes,
            ws_per_message_deflate=False,  # pictures do not get smaller, only later
            limit_concurrency=4 * config.sessions.sessions,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
        )

    def _zmq(self) -> Any:
        if self._config.zmq_port is None:
            return None
        if self._config.tls_certificate is not None:
            raise ValueError("the ZeroMQ protocol has no TLS: leave out --zmq-port, or tunnel it")
        try:
            from volition.serving.zeromq import ZmqProtocol
        except ModuleNotFoundError as error:
            raise ValueError("--zmq-port needs the extra zmq: pip install 'volition[zmq]'") from error
        return ZmqProtocol(self.service, self._tokens, self._config.host, self._config.zmq_port)

    def _addresses(self, port: int, zmq_port: int | None) -> Addresses:
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        secure = "s" if self._config.tls_certificate else ""
        return Addresses(
            url=f"http{secure}://{host}:{port}",
            websocket=f"ws{secure}://{host}:{port}",
            zmq=None if zmq_port is None else f"tcp://{host}:{zmq_port}",
        )

    def _listen_to_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _reload(self) -> None:
        async def run() -> None:
            with contextlib.suppress(ServerError):  # it is logged, and what is served stays
                await self.service.reload()

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRY_SECONDS)
            self.service.sessions.expire()


async def _end(web: _Uvicorn, running: asyncio.Task[None], side: Sequence[asyncio.Task[None]]) -> None:
    web.should_exit = True
    await asyncio.gather(running, return_exceptions=True)
    for task in side:
        task.cancel()
    await asyncio.gather(*side, return_exceptions=True)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512
        )
    except OSError as error:
        raise ValueError(f"nobody can be served at {host}:{port} ({error}): name another --port or --host") from error


@dataclass(frozen=True)
class Running:
    """A server in a thread of its own."""

    addresses: Addresses
    server: Server
    loop: asyncio.AbstractEventLoop

    def run(self, what: Callable[[], Awaitable[T]]) -> T:
        """In the server's loop, as a signal or a route would."""

        async def call() -> T:
            return await what()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(60)


def run(main: Coroutine[Any, Any, None]) -> None:
    """`asyncio.run` in uvloop's loop: a request of two pictures took 0.99 ms in it and 1.07 in asyncio's own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


@contextlib.contextmanager
def background(served: Served, config: ServeConfig, load: Load | None = None) -> Iterator[Running]:
    """Serve while the `with` lasts: for tests, benchmarks and notebooks."""
    started, found, failure = threading.Event(), list[Running](), list[BaseException]()

    async def main() -> None:
        server = Server(served, config, load)

        def ready(addresses: Addresses) -> None:
            found.append(Running(addresses, server, asyncio.get_running_loop()))
            started.set()

        await server.serve(ready)

    def live() -> None:
        try:
            run(main())
        except BaseException as error:  # to be raised where the server was asked for
            failure.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=live, name="volition-server")
    thread.start()
    started.wait()
    if not found:
        thread.join()
        raise failure[0]
    try:
        yield found[0]
    finally:
        with contextlib.suppress(RuntimeError):  # the loop is closed: it has stopped by itself
            found[0].loop.call_soon_threadsafe(found[0].server.stop)
        thread.join()
    if failure:
        raise failure[0]
