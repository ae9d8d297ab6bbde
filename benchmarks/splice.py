"""The floor for any asyncio proxy: `python -m benchmarks.splice HOST:PORT HOST:PORT`; copies bytes, reads nothing.

Each client connection is tied to one backend, nine of ten to the first. Not a proxy one could use: it cannot split
requests, count them or refuse them. What a real one costs above this is what HTTP costs.
"""

import asyncio
import sys
from typing import cast

import uvloop

from benchmarks.backend import announce_port, until_stdin_ends


class Half(asyncio.Protocol):
    """One of the two connections of a splice; writes what it gets to the other one."""

    __slots__ = ("_early", "_other", "transport")

    def __init__(self) -> None:
        self._early: list[bytes] = []
        self._other: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not instances of asyncio's.
        self.transport = cast("asyncio.Transport", transport)

    def join(self, other: asyncio.Transport) -> None:
        """Name the other connection; what came before it was there is sent now."""
        self._other = other
        other.writelines(self._early)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early.append(data)
        else:
            self._other.write(data)

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._other is not None:
            self._other.close()


async def _splice(loop: asyncio.AbstractEventLoop, client: Half, address: str) -> None:
    host, _, port = address.rpartition(":")
    _, server = await loop.create_connection(Half, host, int(port))
    server.join(client.transport)
    client.join(server.transport)


async def _main(stable: str, canary: str) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    count = 0

    def accept() -> Half:
        nonlocal count
        count += 1
        client = Half()
        task = loop.create_task(_splice(loop, client, stable if count % 10 else canary))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return client

    server = await loop.create_server(accept, "127.0.0.1", 0)
    async with server:
        announce_port(server.sockets[0].getsockname()[1])
        await (await until_stdin_ends()).wait()


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1], sys.argv[2]))
