"""A worker in the test's own loop, fed through a pipe as its agent would, and raw clients of it.

Every scenario runs on uvloop under `on_loop`, which fails the test for any exception the loop had to report. A Proxy
checks at its end that no endpoint has a request pending and that requests and responses counted are as many.
"""

import asyncio
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ParamSpec

import uvloop

from milliroute.proxy import ipc
from milliroute.proxy.agent.ledger import LeafTotals, Ledger
from milliroute.proxy.config import (
    Codec,
    Forwarding,
    HostPort,
    Limits,
    Listener,
    ProxyConfig,
    Side,
    Sidecar,
    Timeouts,
    TlsFiles,
)
from milliroute.proxy.downstream.h1 import Downstream
from milliroute.proxy.routing.leaf import Endpoint
from milliroute.proxy.state import AuthorityState
from milliroute.proxy.upstream.h1 import H1Pool
from milliroute.proxy.worker import Worker
from tests.proxy.backends import Origin, read_body, reset
from tests.proxy.tables import KEY, leaves

P = ParamSpec("P")

# No test waits longer than this for anything.
LIMIT_S = 60.0
SWEEP_S = 0.01
BOTH_CODECS: list[Codec] = ["fast", "reference"]


def on_loop(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """An async test as one that pytest can call."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        reports: list[str] = []

        async def watched() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(repr(context)))
            async with asyncio.timeout(LIMIT_S):
                await test(*args, **kwargs)

        uvloop.run(watched())
        assert reports == []

    return run


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop turn until it holds; LIMIT_S ends what never does."""
    # A condition of any object, not an event that somebody sets.
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


@dataclass(slots=True)
class Reply:
    status: int
    fields: dict[str, str]
    body: bytes
    interims: list[int] = field(default_factory=list)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def get(self, path: str = "/", *fields: str, host: str = "reviews") -> Reply:
        await self.send(get(path, *fields, host=host))
        return await self.reply()

    async def reply(self, method: str = "GET") -> Reply:
        """The next final response; a body without framing ends with the connection."""
        interims = []
        while True:
            status, fields = await self._head()
            if status >= 200 or status == 101:
                break
            interims.append(status)
        if method == "HEAD" or status in (101, 204, 304):
            body = b""
        elif "content-length" in fields or "transfer-encoding" in fields:
            body = await read_body(self.reader, fields.get("content-length", "0"), fields.get("transfer-encoding", ""))
        else:
            body = await self.reader.read()
        return Reply(status, fields, body, interims)

    async def rest(self) -> bytes:
        """What comes until the proxy closes; raises ConnectionResetError for a reset."""
        return await self.reader.read()

    def half_close(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        reset(self.writer)

    def close(self) -> None:
        self.writer.close()

    async def _head(self) -> tuple[int, dict[str, str]]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head[:-4].split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return int(status_line.split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}


def get(path: str = "/", *fields: str, host: str = "reviews", method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"host: {host}", *fields, "", ""]).encode()


def post(body: bytes, *fields: str, path: str = "/") -> bytes:
    return get(path, *fields, f"content-length: {len(body)}", method="POST") + body


class Proxy:
    """A worker and its agent's end of the pipe. What the worker said is in said, its counters in ledger."""

    def __init__(self, config: ProxyConfig, listen: socket.socket, pipe: socket.socket, nofile: int) -> None:
        self.port: int = listen.getsockname()[1]
        self.worker = Worker(asyncio.get_running_loop(), config, [listen], sweep_s=SWEEP_S, nofile=lambda: nofile)
        self.said: list[ipc.Up] = []
        self.ledger = Ledger()
        self.pipe = pipe
        self._frames = ipc.FrameBuffer()
        self._clients: list[Client] = []
        self._version = 0

    async def tell(self, message: ipc.Down) -> None:
        await asyncio.get_running_loop().sock_sendall(self.pipe, ipc.encode(message))

    async def update(self, state: AuthorityState | None, authority: str = "reviews", key: str = KEY) -> ipc.Applied:
        """The state is in force when this returns, or was refused."""
        self._version += 1
        version = self._version
        await self.tell(ipc.Alias(authority, key))
        await self.tell(ipc.Update(key, "e", version, state))
        await until(lambda: any(isinstance(m, ipc.Applied) and m.version == version for m in self.said))
        return next(m for m in self.said if isinstance(m, ipc.Applied) and m.version == version)

    async def client(self, tls: ssl.SSLContext | None = None) -> Client:
        name = "reviews" if tls else None
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, ssl=tls, server_hostname=name))
        self._clients.append(client)
        return client

    async def listen_to_worker(self) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(self.pipe, 65536):
            for frame in self._frames.feed(data):
                message = ipc.decode_up(frame)
                self.said.append(message)
                if isinstance(message, ipc.Stats):
                    self.ledger.add(0, message)

    def totals(self, leaf: str) -> LeafTotals:
        """As far as reported: complete after `counted` or at the end."""
        found = [totals for key, totals in self.ledger.leaves.items() if key.leaf == leaf]
        return found[0] if found else LeafTotals()

    async def counted(self) -> None:
        """Makes the worker report now: no Stats is behind an Applied."""
        await self.update(None, "nobody", "nobody.default")

    def endpoints(self) -> list[Endpoint]:
        tables = [table for table in self.worker._router._by_key.values() if table is not None]
        return [endpoint for table in tables for endpoint in table.endpoints()]

    def pools(self) -> list[H1Pool]:
        return [pool for pool in self.worker._context.dialer.pools if isinstance(pool, H1Pool)]

    def pooled(self) -> int:
        return sum(len(pool.idle) for pool in self.pools())

    def downstreams(self) -> list[Downstream]:
        return [one for one in self.worker._connections if isinstance(one, Downstream)]

    async def close_clients(self) -> None:
        for client in self._clients:
            client.close()
        await until(lambda: not self.worker._connections)

    def reset_clients(self) -> None:
        for client in self._clients:
            if not client.writer.is_closing():
                client.reset()

    def check_balanced(self) -> None:
        """No request is pending any more, and each was answered or given up, once."""
        assert [endpoint.load.pending for endpoint in self.endpoints() if endpoint.load.pending] == []
        for key, totals in self.ledger.leaves.items():
            assert totals.requests == sum(totals.responses.values()), key


@asynccontextmanager
async def serving(
    codec: Codec = "fast",
    state: AuthorityState | None = None,
    *,
    apex: str = "reviews",
    timeouts: Timeouts | None = None,
    grace_s: float = 5.0,
    tls: TlsFiles | None = None,
    upstream_tls: TlsFiles | None = None,
    limits: Limits | None = None,
    forwarding: Forwarding | None = None,
    nofile: int = 0,
    takes_faults: bool = False,
    sidecar: Sidecar | None = None,
    side: Side = "",
) -> AsyncIterator[Proxy]:
    """A proxy that routes "reviews" by this state; apex "": by what each request names."""
    listen = socket.create_server(("127.0.0.1", 0))
    listen.setblocking(False)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    listener = Listener(HostPort("127.0.0.1", 0), apex, side)
    config = ProxyConfig(
        "p",
        "",
        (listener,),
        None,
        codec=codec,
        timeouts=timeouts or Timeouts(),
        grace_s=grace_s,
        tls=tls,
        upstream_tls=upstream_tls,
        limits=limits or Limits(),
        forwarding=forwarding or Forwarding(),
        takes_faults=takes_faults,
        sidecar=sidecar,
    )
    proxy = Proxy(config, listen, ours, nofile)
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: proxy.worker, sock=theirs)
    listening = loop.create_task(proxy.listen_to_worker())
    try:
        await proxy.worker.listen()
        if state is not None:
            await proxy.update(state)
        yield proxy
        await proxy.close_clients()
        endpoints = proxy.endpoints()
        proxy.worker.drain(0.0)
        await listening
        assert [endpoint for endpoint in endpoints if endpoint.load.pending] == []
        proxy.check_balanced()
    finally:
        listening.cancel()
        ours.close()
        proxy.reset_clients()


def to(*origins: Origin) -> AuthorityState:
    """All requests to one leaf, "v1", with these endpoints."""
    return leaves({"v1": [origin.port for origin in origins]}, 1)
