"""`python -m tests.chaos.clients PORT FILE SEED [PAUSE_MS]`: paced load of strict clients.

It runs until its standard input closes. Lanes, each with one request at a time: H1_LANES on kept HTTP/1.1 connections,
FRESH_LANES with a connection for each request, H2_LANES as streams of one HTTP/2 connection. Every POST_EVERY-th
request is a POST, the others are GETs; no lane ever repeats one. FILE gets a Record for each. What is refused before a
connection is there was never sent.
"""

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from time import time_ns

from tests.chaos import records
from tests.chaos.client_h1 import H1Client
from tests.chaos.client_h2 import H2Client
from tests.chaos.exchange import Answer, Broken
from tests.chaos.records import Record

H1_LANES = 6
FRESH_LANES = 2
H2_LANES = 6
POST_EVERY = 8
PAUSE_MS = 20.0
# A client that would wait longer would call it lost.
PATIENCE_S = 15.0
RECONNECT_S = 0.02
BODY = b"x" * 100

Ask = Callable[[str, str, bytes], Awaitable[Answer]]


class Load:
    def __init__(self, port: int, seed: int, pause_ms: float) -> None:
        self._port = port
        self._rng = random.Random(seed)
        self._pause_s = pause_ms / 1000
        self._number = 0
        self.ended = asyncio.Event()
        self.records: list[Record] = []

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin, self._end)
        h2 = H2Client(self._port)
        async with asyncio.TaskGroup() as group:
            for _ in range(H1_LANES):
                group.create_task(self._lane("h1", H1Client(self._port)))
            for _ in range(FRESH_LANES):
                group.create_task(self._lane("h1-fresh", H1Client(self._port, is_kept=False)))
            for _ in range(H2_LANES):
                group.create_task(self._lane("h2", h2))
        h2.close()

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(sys.stdin)
        self.ended.set()

    async def _lane(self, protocol: str, client: H1Client | H2Client) -> None:
        while not self.ended.is_set():
            try:
                await client.connect()
            except OSError:
                await asyncio.sleep(RECONNECT_S)
                continue
            await self._one(protocol, client.ask)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s * self._rng.uniform(0.5, 1.5)):
                    await self.ended.wait()
        client.close()

    async def _one(self, protocol: str, ask: Ask) -> None:
        self._number += 1
        method = "GET" if self._number % POST_EVERY else "POST"
        path, sent_ns, is_begun = f"/{method.lower()}/{self._number}", time_ns(), False
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await ask(method, path, BODY if method == "POST" else b"")
            status, body, error = answer.status, answer.body.decode("latin-1"), answer.error
        except Broken as exc:
            status, body, error, is_begun = 0, "", str(exc), exc.is_begun
        except TimeoutError:
            status, body, error = 0, "", f"no answer within {PATIENCE_S:g} s"
        self.records.append(Record(protocol, method, path, sent_ns, time_ns(), status, body, error, is_begun))


async def _main(port: int, seed: int, pause_ms: float) -> list[Record]:
    load = Load(port, seed, pause_ms)
    print("milliroute: listening load 127.0.0.1:0", file=sys.stderr, flush=True)
    await load.run()
    return load.records


if __name__ == "__main__":
    paused_ms = float(sys.argv[4]) if len(sys.argv) > 4 else PAUSE_MS
    records.write(Path(sys.argv[2]), asyncio.run(_main(int(sys.argv[1]), int(sys.argv[3]), paused_ms)))
