"""`python -m tests.e2e.slow_peers PORT COUNT`: so many slow clients of three kinds, until its standard input closes.

A third sends a head byte by byte, a third a body, a third asks for much and takes it byte by byte. Who is cut off comes
back at once. On standard error: `milliroute: listening slow ...` when all are connected, and at the end how many
connections there were and how many of them were cut off, by kind.
"""

import asyncio
import contextlib
import socket
import sys
from collections import Counter

import uvloop

from tests.e2e.big_backend import use_all_descriptors

KINDS = ("head", "body", "reader")
# Often enough that a limit on standing still alone would never end them.
GAP_S = 0.5
_OPENINGS = {
    "head": b"GET /slow HTTP/1.1\r\nhost: reviews\r\nx: ",
    "body": b"POST /slow HTTP/1.1\r\nhost: reviews\r\ncontent-length: 1000000\r\n\r\n",
    "reader": b"GET /big HTTP/1.1\r\nhost: big\r\n\r\n",
}


class SlowPeers:
    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._count = count
        self._connected = 0
        self.all_connected = asyncio.Event()
        self.opened: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()

    async def keep(self, number: int) -> None:
        """One of them, again and again."""
        kind, is_first = KINDS[number % len(KINDS)], True
        while True:
            with contextlib.suppress(OSError):
                await self._be(kind, is_first)
            self.cut[kind] += 1
            is_first = False
            await asyncio.sleep(GAP_S)

    async def _be(self, kind: str, is_first: bool) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            if kind == "reader":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await loop.sock_connect(sock, ("127.0.0.1", self._port))
            await loop.sock_sendall(sock, _OPENINGS[kind])
            self.opened[kind] += 1
            self._connected += is_first
            if self._connected == self._count:
                self.all_connected.set()
            while True:
                await asyncio.sleep(GAP_S)
                if kind == "reader":
                    # What came before a reset is still there to read after it, so that alone would show nothing.
                    if not await loop.sock_recv(sock, 1) or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                        return
                else:
                    sock.send(b"x")
                    if _has_ended(sock):
                        return


def _has_ended(sock: socket.socket) -> bool:
    try:
        return not sock.recv(4096)
    except BlockingIOError:
        return False


async def _main(port: int, count: int) -> None:
    peers, ended = SlowPeers(port, count), asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    tasks = [asyncio.ensure_future(peers.keep(number)) for number in range(count)]
    await peers.all_connected.wait()
    print("milliroute: listening slow 127.0.0.1:0", file=sys.stderr, flush=True)
    await ended.wait()
    for task in tasks:
        task.cancel()
    counts = " ".join(f"{kind} {peers.opened[kind]} {peers.cut[kind]}" for kind in KINDS)
    print(f"slow {counts}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    use_all_descriptors()
    uvloop.run(_main(int(sys.argv[1]), int(sys.argv[2])))
