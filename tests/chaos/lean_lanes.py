"""`python -m tests.chaos.lean_lanes PORT FILE LANES RATE`: RATE plain GETs a second, on kept HTTP/1.1 connections.

They cost their client a quarter of what they cost the proxy, and so bring it to a wanted load where the strict clients
would need the whole machine. They go on until standard input closes. FILE gets a Summary. An answer is right when its
status is 200 and it ends as the endpoint's answer to this path does (tests/chaos/backend.py).
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from time import time_ns
from typing import cast

import msgspec
import uvloop

from tests.chaos.records import Record

PATH = "/get/lean"
_REQUEST = f"GET {PATH} HTTP/1.1\r\nhost: reviews\r\nuser-agent: lean\r\n\r\n".encode()
_END = f" {PATH}".encode()
# Then it is failed for want of an answer, and its lane is at its end.
PATIENCE_S = 15.0


class Summary(msgspec.Struct):
    """right: how many answers; wrong: the requests without a right one."""

    right: int = 0
    wrong: list[Record] = []


class Lane(asyncio.Protocol):
    """One request at a time; the next one a period after this one was due, or at once where that is over."""

    def __init__(self, period_s: float, summary: Summary, done: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._period_s = period_s
        self._summary = summary
        self._done = done
        self._held = b""
        self._sent_ns = 0  # 0: nothing is under way
        self._due_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._is_ending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._held += data
        if b"\r\n\r\n" not in self._held or not self._held.endswith(_END):
            return
        held, self._held = self._held, b""
        if held.startswith(b"HTTP/1.1 200 "):
            self._summary.right += 1
        else:
            self._fail(int(held[9:12]), "a wrong answer")
        self._sent_ns = 0
        self._due_s += self._period_s
        if self._is_ending:
            self._transport.close()
        else:
            self._timer = self._loop.call_later(max(0.0, self._due_s - self._loop.time()), self._send)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._sent_ns or not self._is_ending:
            self._fail(0, f"closed behind {self._held[:60]!r}")
        self._done()

    def end(self) -> None:
        self._is_ending = True
        if self._timer is not None:
            self._timer.cancel()  # closing takes a turn of the loop, in which it would send
        if not self._sent_ns:
            self._transport.close()

    def check(self) -> None:
        if self._sent_ns and time_ns() - self._sent_ns > PATIENCE_S * 1e9:
            self._transport.abort()

    def _send(self) -> None:
        # What a stall has delayed is not made up for all at once.
        self._due_s = max(self._due_s, self._loop.time() - self._period_s)
        self._sent_ns = time_ns()
        self._transport.write(_REQUEST)

    def _fail(self, status: int, error: str) -> None:
        record = Record("h1-lean", "GET", PATH, self._sent_ns, time_ns(), status, "", error, bool(self._held))
        self._summary.wrong.append(record)


async def _open(lane: Lane, port: int) -> None:
    await asyncio.get_running_loop().create_connection(lambda: lane, "127.0.0.1", port)


async def _main(port: int, count: int, rate: float) -> Summary:
    loop, summary, left = asyncio.get_running_loop(), Summary(), asyncio.Semaphore(0)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    lanes = [Lane(count / rate, summary, left.release) for _ in range(count)]
    for lane in lanes:
        await _open(lane, port)
    print("milliroute: listening load 127.0.0.1:0", file=sys.stderr, flush=True)
    await ended.wait()
    loop.remove_reader(sys.stdin)
    for lane in lanes:
        lane.end()
        loop.call_later(PATIENCE_S, lane.check)
    for _ in lanes:
        await left.acquire()
    return summary


if __name__ == "__main__":
    found = uvloop.run(_main(int(sys.argv[1]), int(sys.argv[3]), float(sys.argv[4])))
    Path(sys.argv[2]).write_bytes(msgspec.msgpack.encode(found))
