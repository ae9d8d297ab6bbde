"""`python -m tests.chaos.backend NAME PORT LEDGER`: an endpoint that misbehaves.

It speaks HTTP/1.1 or HTTP/2, by the first bytes. Every answer's body is `NAME PATH`, so that an answer to another
request is seen. `PUT /_/MODE` to itself sets what it does from then on (MODES). The path of each POST is appended to
the file LEDGER before it is answered: what stands there twice, in all ledgers together, was sent twice.
"""

import asyncio
import os
import sys
from functools import partial
from typing import cast

from tests.chaos import faulty_h1, faulty_h2
from tests.chaos.faulty import Endpoint, Wire

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Connection(asyncio.Protocol):
    """Waits for the first bytes and hands on to one of the two."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._held = b""
        self._speaker: faulty_h1.Speaker | faulty_h2.Speaker | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = Wire(cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        if self._speaker is None:
            self._held += data
            if len(self._held) < len(PREFACE) and PREFACE.startswith(self._held):
                return
            kind = faulty_h2.Speaker if self._held.startswith(PREFACE) else faulty_h1.Speaker
            self._speaker, data = kind(self._endpoint, self._wire), self._held
        self._speaker.take(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire.is_gone = True


async def main(name: str, port: int, ledger: str) -> None:
    fd = os.open(ledger, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    loop = asyncio.get_running_loop()
    endpoint = Endpoint(name, fd)
    server = await loop.create_server(partial(Connection, endpoint), "127.0.0.1", port, backlog=1024)
    bound = server.sockets[0].getsockname()[1]
    print(f"milliroute: listening {name} 127.0.0.1:{bound}", file=sys.stderr, flush=True)
    parent_is_gone = asyncio.Event()
    loop.add_reader(sys.stdin, parent_is_gone.set)
    await parent_is_gone.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
