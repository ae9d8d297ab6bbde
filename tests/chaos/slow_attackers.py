"""`python -m tests.chaos.slow_attackers PORT KIND COUNT`: so many slow connections at once.

KIND: head (a byte of a head now and then), body (a byte of a body), read (a byte of a large answer). One that is cut
off comes back a second later. When standard input closes it says `opened N open N cut N answered STATUS=N ...`: those
cut off by the first line that came, if any.
"""

import asyncio
import socket
import sys
from collections import Counter
from contextlib import suppress

PERIOD_S = 2.0
# New connections a second, so that opening them is no flood of its own.
RATE = 200
RECEIVE_BUFFER = 4096

OPENINGS = {
    "head": b"GET / HTTP/1.1\r\nhost: reviews\r\nx-slow: ",
    "body": b"POST /post/slow HTTP/1.1\r\nhost: reviews\r\ncontent-length: 100000\r\n\r\n",
    "read": b"GET /big HTTP/1.1\r\nhost: big\r\n\r\n",
}


class Attack:
    def __init__(self, port: int, kind: str) -> None:
        self._port = port
        self._kind = kind
        self.ended = asyncio.Event()
        self.opened = self.cut = self.open_now = 0
        self.answers: Counter[str] = Counter()

    async def keep_one(self, delay_s: float) -> None:
        await self._pause(delay_s)
        while not self.ended.is_set():
            with suppress(OSError):
                await self._one()
            await self._pause(PERIOD_S / 2)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.ended.wait()

    async def _one(self) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            await loop.sock_connect(sock, ("127.0.0.1", self._port))
            self.opened += 1
            self.open_now += 1
            try:
                await self._drag(loop, sock)
            finally:
                self.open_now -= 1

    async def _drag(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        """Returns when it was cut off, or all has ended."""
        said = b""
        try:
            await loop.sock_sendall(sock, OPENINGS[self._kind])
            while not self.ended.is_set():
                await self._pause(PERIOD_S)
                if self._kind == "read":
                    data = await loop.sock_recv(sock, 1)
                    # What came before a reset can be read after it, byte by byte, so that reading alone shows nothing.
                    if not data or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                        break
                    continue
                with suppress(BlockingIOError):
                    data = sock.recv(4096)
                    said = said or data[9:12]
                    if not data:
                        break
                await loop.sock_sendall(sock, b"x")
        except OSError:
            pass
        if not self.ended.is_set():
            self.cut += 1
            self.answers[said.decode("latin-1") or "none"] += 1


async def main(port: int, kind: str, count: int) -> None:
    attack = Attack(port, kind)
    asyncio.get_running_loop().add_reader(sys.stdin, attack.ended.set)
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(attack.keep_one(number / RATE))
        await asyncio.sleep(count / RATE)
        print("milliroute: listening attack 127.0.0.1:0", file=sys.stderr, flush=True)
        await attack.ended.wait()
        open_now = attack.open_now
    answers = " ".join(f"{status}={number}" for status, number in sorted(attack.answers.items()))
    print(f"opened {attack.opened} open {open_now} cut {attack.cut} answered {answers}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
