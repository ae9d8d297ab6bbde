"""The server behind every proxy: `python -m benchmarks.backend NAME`; prints its port, serves until stdin ends.

One class of raw protocol on uvloop. The first path segment says which body to answer; every answer carries eight
realistic fields, one of them (etag) new each time, and `x-backend` with the NAME.
"""

import asyncio
import re
import sys
from collections.abc import Callable
from typing import cast

import uvloop

from benchmarks.scenario import BODY_BYTES

_LENGTH = re.compile(rb"(?i)\r\ncontent-length:[ \t]*(\d+)")
_HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"server: bench/1.0\r\n"
    b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    b"content-type: application/json; charset=utf-8\r\n"
    b"cache-control: no-cache, private\r\n"
    b"vary: accept-encoding, origin\r\n"
    b'etag: W/"%016x"\r\n'
)
_CHUNKS = 8
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def answers(name: str) -> dict[bytes, bytes]:
    """The whole answer for each first path segment, with one place (`%016x`) for a number."""
    head = _HEAD + b"x-backend: " + name.encode() + b"\r\n"
    made = {}
    for kind, size in BODY_BYTES.items():
        if kind == "chunked":
            chunk = b"%x\r\n%s\r\n" % (size // _CHUNKS, b"c" * (size // _CHUNKS))
            made[kind.encode()] = head + b"transfer-encoding: chunked\r\n\r\n" + chunk * _CHUNKS + b"0\r\n\r\n"
        else:
            made[kind.encode()] = head + b"content-length: %d\r\n\r\n" % size + b"b" * size
    return made


class BackendConnection(asyncio.Protocol):
    """Answers each request once it is there whole; pipelined ones in order."""

    __slots__ = ("_answers", "_count", "_pending", "_transport")

    def __init__(self, made: dict[bytes, bytes]) -> None:
        self._answers = made
        self._count = 0
        self._pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not instances of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._pending:
            data = self._pending + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            size = end + 4 + self._upload_bytes(data, end)
            if len(data) < size:
                break
            self._answer(data[:end])
            data = data[size:]
        self._pending = data

    def _upload_bytes(self, data: bytes, end: int) -> int:
        if data.startswith(b"GET "):
            return 0
        length = _LENGTH.search(data, 0, end)
        if length is None:
            self._transport.write(_BAD_REQUEST)
            self._transport.close()
            return 0
        return int(length[1])

    def _answer(self, head: bytes) -> None:
        self._count += 1
        answer = self._answers.get(head.split(b"/", 2)[1])
        self._transport.write(_NOT_FOUND if answer is None else answer % self._count)


async def serve(
    connection: Callable[[], asyncio.Protocol], announce: Callable[[int], None], stopped: asyncio.Event
) -> None:
    """Serve on a free port of 127.0.0.1, tell it to `announce`, and end when `stopped` is set."""
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    async with server:
        announce(server.sockets[0].getsockname()[1])
        await stopped.wait()


async def until_stdin_ends() -> asyncio.Event:
    """An event that is set when stdin ends: so does a child when its parent dies, however it dies."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stopped.set)
    return stopped


def announce_port(port: int) -> None:
    """Tell the parent process, by a line on stdout."""
    print(port, flush=True)


async def _main() -> None:
    made = answers(sys.argv[1])
    await serve(lambda: BackendConnection(made), announce_port, await until_stdin_ends())


if __name__ == "__main__":
    uvloop.run(_main())
