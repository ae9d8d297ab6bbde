"""Backends that do what a script says: one coroutine per connection, on a free port of 127.0.0.1.

A script gets a Visit (one connection of the proxy's) and reads requests and writes bytes as it likes; when it returns,
the connection is closed. What an Origin was asked is in `asked`.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    target: str
    head: bytes
    body: bytes

    def field(self, name: str) -> str:
        for line in self.head.decode().split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name:
                return value.strip()
        return ""


class Visit:
    """One connection, as a script sees it. number: 0 for an origin's first."""

    def __init__(self, origin: "Origin", number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.number = number
        self.reader = reader
        self.writer = writer
        self._origin = origin

    async def head(self) -> bytes:
        """Only the head of a request; b"" when the proxy hung up instead."""
        try:
            return await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return b""

    async def request(self) -> Asked | None:
        """A whole request; None when the proxy hung up instead."""
        head = await self.head()
        if not head:
            return None
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        asked = Asked(method, target, head, b"")
        body = await read_body(self.reader, asked.field("content-length"), asked.field("transfer-encoding"))
        asked = Asked(method, target, head, body)
        self._origin.asked.append(asked)
        return asked

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"", *fields: str, status: str = "200 OK") -> None:
        await self.send(response(body, *fields, status=status))

    def reset(self) -> None:
        reset(self.writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """RST in the place of FIN."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


Script = Callable[[Visit], Awaitable[None]]


def response(body: bytes = b"", *fields: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *fields, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


async def read_body(reader: asyncio.StreamReader, length: str, coding: str) -> bytes:
    """A chunked body is returned as it came, with its sizes and trailers."""
    if coding != "chunked":
        return await reader.readexactly(int(length or "0"))
    parts = []
    while True:
        line = await reader.readuntil(b"\r\n")
        parts.append(line)
        size = int(line, 16)
        if size == 0:
            while parts[-1] != b"\r\n":
                parts.append(await reader.readuntil(b"\r\n"))
            return b"".join(parts)
        parts.append(await reader.readexactly(size + 2))


def named(name: str) -> Script:
    """Answers every request with its name."""

    async def script(visit: Visit) -> None:
        while await visit.request():
            await visit.answer(name.encode())

    return script


class Origin:
    """async with Origin(script): listens while inside."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.visits: list[Visit] = []
        self.port = 0
        self._script = script
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Origin":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = Visit(self, len(self.visits), reader, writer)
        self.visits.append(visit)
        task = asyncio.get_running_loop().create_task(self._play(visit))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self, visit: Visit) -> None:
        try:
            await self._script(visit)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the proxy hung up in the middle: some scripts are there for it
        finally:
            visit.writer.close()


def closed_port() -> int:
    """A port that refuses connections."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
