"""`python -m tests.e2e.h2_restarting NAME ...`: unary gRPC backends by the h2 library that restart in turn, for ever.

Every 0.2 s, and not before some calls were answered, the next of them stops to listen, sends GOAWAY with a last id in
the middle of what is in flight on each connection, answers what is at or below it, closes, and listens again. What is
above it was never looked at. At the end of its standard input it says `restarts N refused N twice N`: streams left to
the client, and messages answered twice.
"""

import asyncio
import sys
from collections import Counter
from functools import partial
from typing import cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from hyperframe.frame import GoAwayFrame

PERIOD_S = 0.2
# Twice the calls that are under way at once: on a slow machine one of them could meet both servers down, one after the
# other, and nobody could save it.
CALLS_BETWEEN = 200
# How long an answer takes, so that there is something in flight to refuse; and a server that is down.
WORK_S = 0.01
DOWN_S = 0.05


class Leaf:
    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.connections: set[Connection] = set()
        self.answered: Counter[bytes] = Counter()
        self.answers = 0
        self.refused = 0
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        make = partial(Connection, self)
        self._server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def restart(self) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self.connections):
            connection.go_away()
        for connection in list(self.connections):
            await connection.is_closed.wait()
        await asyncio.sleep(DOWN_S)
        await self.listen()


class Connection(asyncio.Protocol):
    """waiting: the messages of streams that are to be answered, as far as they have come."""

    def __init__(self, leaf: Leaf) -> None:
        self._leaf = leaf
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._waiting: dict[int, bytes] = {}
        self._last_id: int | None = None
        self._is_over = False
        self.is_closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._leaf.connections.add(self)
        self._h2.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leaf.connections.discard(self)
        self.is_closed.set()

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            match event:
                case RequestReceived(stream_id=int(stream_id)):
                    if self._last_id is not None and stream_id > self._last_id:
                        self._leaf.refused += 1
                    else:
                        self._waiting[stream_id] = b""
                case DataReceived(stream_id=int(stream_id), data=bytes(piece), flow_controlled_length=int(size)):
                    self._h2.acknowledge_received_data(size, stream_id)
                    if stream_id in self._waiting:
                        self._waiting[stream_id] += piece
                case StreamEnded(stream_id=int(stream_id)):
                    asyncio.get_running_loop().call_later(WORK_S, self._answer, stream_id)
                case StreamReset(stream_id=int(stream_id)):
                    self._waiting.pop(stream_id, None)
        self._flush()

    def go_away(self) -> None:
        ids = sorted(self._waiting)
        self._last_id = last_id = ids[len(ids) // 2] if ids else self._h2.highest_inbound_stream_id
        for stream_id in ids[len(ids) // 2 + 1 :]:
            self._leaf.refused += 1
            del self._waiting[stream_id]
        # Not by the library, which would take it for the end of all streams.
        self._transport.write(GoAwayFrame(0, last_stream_id=last_id).serialize())
        self._close_if_done()

    def _answer(self, stream_id: int) -> None:
        message = self._waiting.pop(stream_id, None)
        if message is None:
            return
        self._leaf.answered[message] += 1
        self._leaf.answers += 1
        self._h2.send_headers(stream_id, [(":status", "200"), ("content-type", "application/grpc")])
        self._h2.send_data(stream_id, message)
        self._h2.send_headers(stream_id, [("grpc-status", "0"), ("leaf", self._leaf.name)], end_stream=True)
        self._flush()
        self._close_if_done()

    def _close_if_done(self) -> None:
        """Its own side only: a socket closed with something unread in it resets what was answered last."""
        if self._last_id is not None and not self._waiting and not self._is_over:
            self._is_over = True
            self._transport.write_eof()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if not self._is_over:
            self._transport.write(data)


async def main(names: list[str]) -> None:
    leaves, restarts = [Leaf(name) for name in names], 0
    for leaf in leaves:
        await leaf.listen()
        print(f"milliroute: listening {leaf.name} 127.0.0.1:{leaf.port}", file=sys.stderr, flush=True)
    parent_is_gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, parent_is_gone.set)
    while not parent_is_gone.is_set():
        before = sum(leaf.answers for leaf in leaves)
        await asyncio.sleep(PERIOD_S)
        # The end may come from two sides, so no event that one of them sets.
        while sum(leaf.answers for leaf in leaves) < before + CALLS_BETWEEN and not parent_is_gone.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await leaves[restarts % len(leaves)].restart()
        restarts += 1
    twice = sum(count > 1 for count in sum((leaf.answered for leaf in leaves), Counter()).values())
    refused = sum(leaf.refused for leaf in leaves)
    print(f"restarts {restarts} refused {refused} twice {twice}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
