"""The load generator over HTTP/2: connections with a fixed number of streams under way, every answer checked.

What is checked: `:status` 200, the backend's name, the length of the body, `grpc-status` 0 for gRPC, and that the peer
keeps to the windows it is given. What can be computed before the clock is read, is.
"""

import asyncio
import os
import time
from dataclasses import dataclass

from benchmarks.h2_end import H2End
from benchmarks.hpack_items import Item, ItemReader, text
from benchmarks.hpack_plan import Compression
from benchmarks.scenario_h2 import H2Scenario, Values, fields, grain, unique_maker
from benchmarks.session import Session
from milliroute.proxy.codec import h2_frames as h2

# A peer sends its SETTINGS at once or is not one.
_SETTINGS_TIMEOUT_S = 5.0
_WANTED = (b":status", b"x-backend", b"grpc-status")


class H2Session(Session):
    """HTTP/2: each connection `streams` requests at a time."""

    def __init__(self, scenario: H2Scenario) -> None:
        super().__init__()
        self.scenario = scenario
        self.fields = fields(scenario.exchange)
        self.grain = grain(scenario.exchange, scenario.exchange.upload_bytes)
        self.compression = Compression()
        self._make = unique_maker(scenario.exchange, int.from_bytes(os.urandom(16)))
        self._made: dict[int, Values] = {}
        # What a block's wanted items say: there are few different ones.
        self._meanings: dict[tuple[Item, ...], dict[bytes, str]] = {}

    async def open(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self.scenario.connections):
            _, connection = await loop.create_connection(lambda: _Connection(self), host, port)
            async with asyncio.timeout(_SETTINGS_TIMEOUT_S):
                await connection.is_ready.wait()

    def prepare(self, requests: int) -> None:
        self._made = {number: self._make(number) for number in range(self.sent + 1, self.sent + requests + 1)}

    def values(self, number: int) -> Values:
        """What is new in request `number`."""
        return self._made.pop(number, None) or self._make(number)

    def meaning(self, items: tuple[Item, ...]) -> dict[bytes, str]:
        """The wanted fields of a block, decoded."""
        found = self._meanings.get(items)
        if found is None:
            found = self._meanings[items] = {name: text(coded).decode() for name, coded in items}
        return found


@dataclass(slots=True)
class _Stream:
    sent_s: float
    received: int = 0
    backend: str = ""
    grpc_status: str = ""


class _Connection(H2End):
    preface = h2.PREFACE

    def __init__(self, session: H2Session) -> None:
        super().__init__()
        self.is_ready = asyncio.Event()
        self._session = session
        self._exchange = session.scenario.exchange
        self._table = session.compression.start
        self._reader = ItemReader(_WANTED)
        self._streams: dict[int, _Stream] = {}
        self._next_id = 1

    def on_settings(self) -> None:
        if not self.is_ready.is_set():
            self.is_ready.set()
            self._session.joined(self)

    def send_next(self) -> None:
        self._fill()
        self.flush()

    def _fill(self) -> None:
        """Open streams up to the scenario's number; they leave with the next flush."""
        session, now_s = self._session, time.perf_counter()
        while len(self._streams) < session.scenario.streams and (number := session.take_number()):
            stream_id, self._next_id = self._next_id, self._next_id + 2
            self._streams[stream_id] = _Stream(now_s)
            block, self._table = session.compression.step(self._table, session.fields)
            has_body = self._exchange.upload_bytes > 0
            self.send_block(stream_id, block % session.values(number), not has_body)
            if has_body:
                self.send_body(stream_id, session.grain, self._exchange.upload_bytes, False)

    def flush(self) -> None:
        # What was read may have ended streams: their successors go out in the same write.
        if len(self._streams) < self._session.scenario.streams:
            self._fill()
        super().flush()

    def on_block(self, stream_id: int, block: bytes, is_end: bool) -> None:
        said = self._session.meaning(self._reader.read(block))
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        status = said.get(b":status", "")
        if status and status != "200":
            self._fail(stream_id, f"wanted status 200, got {status}")
            return
        stream.backend = said.get(b"x-backend", stream.backend)
        stream.grpc_status = said.get(b"grpc-status", stream.grpc_status)
        if is_end:
            self._end(stream_id, stream)

    def on_body(self, stream_id: int, size: int, is_end: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.received += size
            if is_end:
                self._end(stream_id, stream)

    def on_reset(self, stream_id: int, code: int) -> None:
        if stream_id in self._streams:
            self._fail(stream_id, f"RST_STREAM with code {code}")

    def on_broken(self, reason: str) -> None:
        for stream_id in tuple(self._streams):
            self._fail(stream_id, reason)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_ready.set()
        self.on_broken(f"connection lost before the answer ended: {exc or 'closed'}")
        self._session.left(self)

    def close(self) -> None:
        self.transport.abort()

    def _end(self, stream_id: int, stream: _Stream) -> None:
        exchange = self._exchange
        if stream.received != exchange.answer_bytes:
            self._fail(stream_id, f"wanted a body of {exchange.answer_bytes} bytes, got {stream.received}")
        elif exchange.is_grpc and stream.grpc_status != "0":
            self._fail(stream_id, f"wanted grpc-status 0, got {stream.grpc_status or 'none'}")
        elif not stream.backend:
            self._fail(stream_id, "an answer of no backend")
        else:
            del self._streams[stream_id]
            self.forget(stream_id)
            self._session.answered(stream.backend, time.perf_counter() - stream.sent_s)

    def _fail(self, stream_id: int, reason: str) -> None:
        del self._streams[stream_id]
        self.forget(stream_id)
        self._session.failed(reason)
