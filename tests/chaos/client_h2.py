"""A strict HTTP/2 client by the h2 library: any number of requests at once on one connection."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from hyperframe.frame import GoAwayFrame

from tests.chaos.client_h1 import AUTHORITY
from tests.chaos.exchange import Answer, Broken
from tests.e2e.h2_peer import HEADER_BYTES


@dataclass(slots=True)
class _Stream:
    done: "asyncio.Future[Answer]"
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class H2Client:
    """`connect` opens a connection where there is none that takes requests; all who call it share it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._lock = asyncio.Lock()
        self._link: _Link | None = None

    async def connect(self) -> None:
        async with self._lock:
            if self._link is None or self._link.is_over:
                _, self._link = await asyncio.get_running_loop().create_connection(_Link, "127.0.0.1", self._port)

    async def ask(self, method: str, path: str, body: bytes) -> Answer:
        assert self._link is not None
        return await self._link.ask(method, path, body)

    def close(self) -> None:
        if self._link is not None and not self._link.streams:
            self._link.close()


class _Link(asyncio.Protocol):
    """is_over: takes no more requests; those under way may still be answered."""

    def __init__(self) -> None:
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.streams: dict[int, _Stream] = {}
        self.is_over = False
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._h2.initiate_connection()
        self._flush()

    async def ask(self, method: str, path: str, body: bytes) -> Answer:
        stream_id = self._h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", AUTHORITY)]
        self._h2.send_headers(stream_id, pseudo, end_stream=not body)
        if body:
            self._h2.send_data(stream_id, body, end_stream=True)
        stream = self.streams[stream_id] = _Stream(asyncio.get_running_loop().create_future())
        self._flush()
        try:
            return await stream.done
        finally:
            if self.streams.pop(stream_id, None) and not self._transport.is_closing():
                with suppress(ProtocolError):  # it has ended
                    self._h2.reset_stream(stream_id)
                self._flush()

    def close(self) -> None:
        self.is_over = True
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(self._without_goaways(data))
        except ProtocolError as exc:
            self._break_all(f"h2: {exc.__class__.__name__}")
            self._transport.abort()
            return
        for event in events:
            self._take(event)
        self._flush()

    def _take(self, event: Event) -> None:
        match event:
            case DataReceived(stream_id=int(stream_id), data=bytes(data), flow_controlled_length=int(size)):
                if size:
                    self._h2.acknowledge_received_data(size, stream_id)
                if stream := self.streams.get(stream_id):
                    stream.body += data
            case ResponseReceived(stream_id=int(stream_id), headers=headers):
                if stream := self.streams.get(stream_id):
                    stream.fields = {str(name): str(value) for name, value in headers or ()}
            case StreamEnded(stream_id=int(stream_id)):
                if stream := self.streams.pop(stream_id, None):
                    fields = stream.fields
                    answer = Answer(int(fields[":status"]), stream.body, fields.get("l5d-proxy-error", ""))
                    stream.done.set_result(answer)
            case StreamReset(stream_id=int(stream_id), error_code=code):
                self._break(stream_id, f"h2: stream reset, code {int(code or 0)}")

    def _without_goaways(self, data: bytes) -> bytes:
        """Whole frames only; the library would take a GOAWAY for the end of all streams."""
        self._held += data
        kept = []
        while len(self._held) >= HEADER_BYTES:
            size = HEADER_BYTES + int.from_bytes(self._held[:3], "big")
            if len(self._held) < size:
                break
            frame, self._held = self._held[:size], self._held[size:]
            if frame[3] == GoAwayFrame.type:
                self._go_away(int.from_bytes(frame[9:13], "big"), int.from_bytes(frame[13:17], "big"))
            else:
                kept.append(frame)
        return b"".join(kept)

    def _go_away(self, last_id: int, code: int) -> None:
        self.is_over = True
        for stream_id in [n for n in self.streams if n > last_id]:
            self._break(stream_id, f"h2: above GOAWAY, code {code}")

    def _break(self, stream_id: int, text: str) -> None:
        stream = self.streams.pop(stream_id, None)
        if stream is not None and not stream.done.done():
            stream.done.set_exception(Broken(text, is_begun=bool(stream.fields)))

    def _break_all(self, text: str) -> None:
        self.is_over = True
        for stream_id in list(self.streams):
            self._break(stream_id, text)

    def connection_lost(self, exc: Exception | None) -> None:
        self._break_all("h2: connection " + ("reset" if exc else "closed"))

    def _flush(self) -> None:
        self._transport.write(self._h2.data_to_send())
