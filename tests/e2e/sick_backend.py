"""`python -m tests.e2e.sick_backend NAME ...`: HTTP/1.1 servers, one port each, as well as they are told to be.

GET /be/well, /be/half (every second answer is a 503) or /be/sick (every one is), asked of its own port, says how.
"""

import asyncio
import sys
from functools import partial
from typing import cast

import uvloop


class Health:
    def __init__(self, name: str) -> None:
        self.name = name
        self._state = "well"
        self._asked = 0

    def answer(self, path: str) -> tuple[int, str]:
        if path.startswith("/be/"):
            self._state = path.removeprefix("/be/")
            return 200, self._state
        self._asked += 1
        is_good = self._state == "well" or (self._state == "half" and self._asked % 2)
        return (200, self.name) if is_good else (503, "sick")


class Backend(asyncio.Protocol):
    _transport: asyncio.Transport

    def __init__(self, health: Health) -> None:
        self._health = health
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        *heads, self._held = (self._held + data).split(b"\r\n\r\n")
        for head in heads:
            status, body = self._health.answer(head.split(b" ")[1].decode())
            answer = f"HTTP/1.1 {status} Said\r\ncontent-length: {len(body)}\r\n\r\n{body}"
            self._transport.write(answer.encode())


async def serve(names: list[str]) -> None:
    loop = asyncio.get_running_loop()
    for name in names:
        server = await loop.create_server(partial(Backend, Health(name)), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        print(f"milliroute: listening {name} 127.0.0.1:{port}", file=sys.stderr, flush=True)
    parent_is_gone = asyncio.Event()
    loop.add_reader(sys.stdin, parent_is_gone.set)
    await parent_is_gone.wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1:]))
