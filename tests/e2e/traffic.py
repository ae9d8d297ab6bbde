"""`python -m tests.e2e.traffic PORT CONNECTIONS FILE`: keep-alive load at full speed until its standard input closes.

Each request of each connection follows the answer before it. FILE gets one record per request: when it was sent, when
its answer had come (Unix nanoseconds), the status (0: the connection broke) and the answer's body. A connection that
the server closes after `connection: close` is opened anew, and no failure; any other end is.
"""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time_ns
from typing import cast

import msgspec
import uvloop


@dataclass(frozen=True, slots=True)
class Record:
    sent_ns: int
    done_ns: int
    status: int
    body: str


class _Connection(asyncio.Protocol):
    _transport: asyncio.Transport

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._sent_ns = 0
        self._held = b""
        self._says_close = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        self._sent_ns = time_ns()
        self._transport.write(self._load.next_request())

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, found, body = self._held.partition(b"\r\n\r\n")
        if not found:
            return
        low = head.lower()
        length = int(low.partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) < length:
            return
        self._load.record(self._sent_ns, int(head[9:12]), body.decode())
        self._held, self._sent_ns = b"", 0
        self._says_close = b"\r\nconnection: close" in low
        if self._says_close or self._load.is_ending:
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sent_ns:
            self._load.record(self._sent_ns, 0, "connection lost")
        self._load.closed()


class _Load:
    def __init__(self, port: int, connections: int) -> None:
        self._port = port
        self._wanted = connections
        self._open = 0
        self._number = 0
        self.records: list[tuple[int, int, int, str]] = []
        self.is_ending = False
        self._all_closed = asyncio.Event()

    def next_request(self) -> bytes:
        self._number += 1
        return b"GET /load/%d HTTP/1.1\r\nhost: reviews\r\nuser-agent: traffic\r\naccept: */*\r\n\r\n" % self._number

    def record(self, sent_ns: int, status: int, body: str) -> None:
        self.records.append((sent_ns, time_ns(), status, body))

    def closed(self) -> None:
        self._open -= 1
        if self.is_ending and not self._open:
            self._all_closed.set()

    async def run(self, until: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while not until.is_set():
            while self._open < self._wanted:
                try:
                    await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
                except OSError:
                    break  # nobody listens (any more): what is refused was never accepted
                self._open += 1
            await asyncio.sleep(0.02)
        self.is_ending = True
        if not self._open:
            return
        await self._all_closed.wait()


async def _main(port: int, connections: int) -> bytes:
    load, ended = _Load(port, connections), asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    print("milliroute: listening load 127.0.0.1:0", file=sys.stderr, flush=True)
    await load.run(ended)
    return msgspec.msgpack.encode(load.records)


def read(path: Path) -> Sequence[Record]:
    rows = msgspec.msgpack.decode(path.read_bytes(), type=list[tuple[int, int, int, str]])
    return [Record(*row) for row in rows]


if __name__ == "__main__":
    Path(sys.argv[3]).write_bytes(uvloop.run(_main(int(sys.argv[1]), int(sys.argv[2]))))
