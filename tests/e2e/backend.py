"""`python -m tests.e2e.backend NAME ...`: plain HTTP/1.1 servers, one port each, whose every answer is their name.

They answer after a request's head and body, with keep-alive. It says `milliroute: listening NAME HOST:PORT` for each.
"""

import asyncio
import sys
from functools import partial
from typing import cast

import uvloop


class Backend(asyncio.Protocol):
    _transport: asyncio.Transport

    def __init__(self, name: str) -> None:
        body = name.encode()
        self._answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nx-leaf: %s\r\n\r\n%s" % (len(body), body, body)
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            head = self._held[:end].lower()
            _, _, rest = head.partition(b"\r\ncontent-length:")
            length = int(rest.split(b"\r\n")[0]) if rest else 0
            if len(self._held) < end + 4 + length:
                return
            self._held = self._held[end + 4 + length :]
            self._transport.write(self._answer)


async def serve(names: list[str], kind: type[Backend] = Backend) -> None:
    loop = asyncio.get_running_loop()
    for name in names:
        server = await loop.create_server(partial(kind, name), "127.0.0.1", 0, backlog=1024)
        port = server.sockets[0].getsockname()[1]
        print(f"milliroute: listening {name} 127.0.0.1:{port}", file=sys.stderr, flush=True)
    parent_is_gone = asyncio.Event()
    loop.add_reader(sys.stdin, parent_is_gone.set)
    await parent_is_gone.wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1:]))
