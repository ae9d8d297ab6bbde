"""HTTP/2 connections to backends: many requests on each, one pool per endpoint.

A stream has the face of an HTTP/1 connection (`send`, `write`, `pause`, `abort`), so the exchange need not know. What
one stream's client does not take stays in that stream's window; the others go on.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import cast

from milliroute.proxy.codec import h2_events as events
from milliroute.proxy.codec.h1_body import ChunkedBody
from milliroute.proxy.codec.h2_frames import CANCEL
from milliroute.proxy.codec.hpack_static import Field
from milliroute.proxy.dialer import Dialer, Receiver
from milliroute.proxy.errors import ConnectFailed, ConnectTimeout, UpstreamFailed
from milliroute.proxy.h2_link import H2Link
from milliroute.proxy.message import CHUNKED, RequestHead
from milliroute.proxy.message_h2 import H2ResponseHead, request_to_h2
from milliroute.proxy.table import Endpoint

# Request bytes that wait for the backend's window before the client is paused: nginx's and Envoy's order of size.
HIGH_WATER_BYTES = 64 * 1024


class H2Stream:
    """One request. is_reused: its connection has served others, so its end may cross a request."""

    __slots__ = ("_connection", "_decoder", "_held_flow", "_is_full", "_stream_id", "head", "is_paused", "is_reused",
                 "is_touched", "receiver")  # fmt: skip
    receiver: Receiver

    def __init__(self, connection: "H2Upstream", is_reused: bool) -> None:
        self._connection = connection
        self._decoder: ChunkedBody | None = None
        self._held_flow = 0
        self._is_full = False
        self._stream_id = 0
        self.is_paused = False
        self.is_reused = is_reused
        self.is_touched = False

    def send(self, receiver: Receiver, head: RequestHead, body: bytes, is_request_done: bool) -> None:
        connection = self._connection
        self.receiver, self.head = receiver, head
        if head.length == CHUNKED and not head.is_h2:
            self._decoder = ChunkedBody(decode=True)
        h2 = connection.h2
        self._stream_id = h2.open_stream()
        connection.streams[self._stream_id] = self
        is_alone = is_request_done and not body
        h2.send_request(self._stream_id, request_to_h2(head), is_alone)
        if not is_alone:
            self.write(body, is_request_done)
        connection.mark()

    def write(self, data: bytes, is_request_done: bool) -> None:
        if self._decoder is not None:
            data, _ = self._decoder.feed(data)
        connection = self._connection
        if data or is_request_done:
            connection.h2.send_data(self._stream_id, data, is_request_done)
            connection.mark()
        if not is_request_done and connection.h2.queued(self._stream_id) > HIGH_WATER_BYTES:
            self._is_full = True
            self.receiver.pause_request()

    def write_trailers(self, fields: Sequence[Field]) -> None:
        self._connection.h2.send_trailers(self._stream_id, fields)
        self._connection.mark()

    def return_unused(self) -> None:
        """Made for a client that has left: nothing was sent on it."""

    def write_eof(self) -> None:
        """Only tunnels end so, and there are none over HTTP/2 yet."""

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False
        held, self._held_flow = self._held_flow, 0
        if held:
            self._connection.h2.consumed(self._stream_id, held)
            self._connection.mark()

    def abort(self) -> None:
        """RFC 9113 section 8.1: the backend need not finish what nobody waits for."""
        if self._connection.streams.pop(self._stream_id, None) is not None:
            self._connection.h2.reset(self._stream_id, CANCEL)
            self._connection.mark()

    def close(self) -> None:
        self.abort()

    def took(self, flow_bytes: int) -> None:
        if self.is_paused:
            self._held_flow += flow_bytes
        else:
            self._connection.h2.consumed(self._stream_id, flow_bytes)

    def opened(self) -> None:
        if self._is_full:
            self._is_full = False
            self.receiver.resume_request()


class H2Pool:
    """The HTTP/2 connections of one endpoint; a new one is opened when all are full of streams."""

    __slots__ = ("_connections", "_dialer", "_is_connecting", "_waiting", "endpoint", "is_closed")

    def __init__(self, endpoint: Endpoint, dialer: Dialer) -> None:
        self.endpoint = endpoint
        self.is_closed = False
        self._dialer = dialer
        self._connections: list[H2Upstream] = []
        self._waiting: deque[Receiver] = deque()
        self._is_connecting = False

    def take(self) -> H2Stream | None:
        for connection in self._connections:
            if connection.h2.can_open():
                return connection.open()
        return None

    def discard(self, connection: "H2Upstream") -> None:
        if connection in self._connections:
            self._connections.remove(connection)

    def sweep(self) -> None:
        for connection in list(self._connections):
            connection.sweep()

    def close(self) -> None:
        self.is_closed = True
        self._dialer.pools.discard(self)
        for connection in list(self._connections):
            connection.retire()

    def connect(self, receiver: Receiver) -> None:
        """Whoever waits gets a stream of the connection under way, or of the next one when that is full."""
        self._waiting.append(receiver)
        if not self._is_connecting:
            self._is_connecting = True
            self._dialer.spawn(self._connect())

    async def _connect(self) -> None:
        endpoint, dialer = self.endpoint, self._dialer
        error: ConnectFailed | None = None
        try:
            async with asyncio.timeout(dialer.timeouts.connect_s):
                _, connection = await dialer.loop.create_connection(
                    lambda: H2Upstream(self, dialer), endpoint.host, endpoint.port
                )
        except TimeoutError:
            error = ConnectTimeout(f"connect to {endpoint} timed out")
        except (OSError, ValueError, OverflowError) as exc:
            reason = getattr(exc, "strerror", None) or exc.__class__.__name__
            error = ConnectFailed(f"connect to {endpoint} failed: {reason}")
        self._is_connecting = False
        waiting, self._waiting = self._waiting, deque()
        if error is not None:
            for receiver in waiting:
                receiver.connect_failed(error)
            return
        self._connections.append(connection)
        while waiting and connection.h2.can_open():
            waiting.popleft().connected(connection.open())
        for receiver in waiting:
            self.connect(receiver)


class H2Upstream(H2Link):
    """One connection; streams: those whose response has not ended."""

    __slots__ = ("_dialer", "_idle_sweeps", "_is_used", "_pool", "streams")

    def __init__(self, pool: H2Pool, dialer: Dialer) -> None:
        super().__init__(dialer.codec_name, "client", dialer.outbox, dialer.tcp)
        self._pool = pool
        self._dialer = dialer
        self._is_used = False
        self._idle_sweeps = 0
        self.streams: dict[int, H2Stream] = {}

    def open(self) -> H2Stream:
        stream = H2Stream(self, self._is_used)
        self._is_used = True
        return stream

    def sweep(self) -> None:
        """Closed after two sweeps in a row without a stream."""
        self._idle_sweeps = 0 if self.streams else self._idle_sweeps + 1
        if self._idle_sweeps > 1:
            self.retire()

    def retire(self) -> None:
        """No new streams; it closes when the last one ends."""
        self._pool.discard(self)
        if not self.streams:
            self.h2.goaway()
            self.flush()
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._tcp.opened += 1
        self._tcp.open_now += 1
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._tcp.open_now -= 1
        self._tcp.closed += 1
        self._fail_all("was reset" if exc is not None else "closed early")

    def tell(self, happened: Sequence[events.Event]) -> None:
        for event in happened:
            match event:
                case events.DataReceived(stream_id, body, flow_bytes, is_end):
                    stream = self.streams.get(stream_id)
                    if stream is not None:
                        stream.took(flow_bytes)
                        self._end_if(is_end, stream_id)
                        stream.receiver.response_body(body, is_end)
                    else:
                        self.h2.consumed(stream_id, flow_bytes)
                case events.ResponseReceived(stream_id, status, fields, is_end):
                    stream = self.streams.get(stream_id)
                    if stream is not None:
                        stream.is_touched = True
                        has_body = stream.head.method != b"HEAD" and status not in (204, 304)
                        self._end_if(is_end, stream_id)
                        stream.receiver.response(H2ResponseHead(status, fields, is_end, has_body), b"", is_end)
                case events.TrailersReceived(stream_id, fields, drop):
                    stream = self.streams.get(stream_id)
                    if stream is not None:
                        self._end_if(True, stream_id)
                        stream.receiver.response_trailers([f for f in fields if f.name not in drop])
                case events.InterimReceived(stream_id, status, fields):
                    stream = self.streams.get(stream_id)
                    if stream is not None:
                        stream.receiver.interim(H2ResponseHead(status, fields, True, False))
                case events.WindowOpened(stream_id):
                    stream = self.streams.get(stream_id)
                    if stream is not None:
                        stream.opened()
                case events.StreamReset(stream_id, code, is_refused):
                    self._fail(stream_id, f"stream was reset with code {code}", is_refused)
                case events.StreamRefusedByRule(stream_id, _, text):
                    self._fail(stream_id, text, False)
                case events.GoAwayReceived():
                    self._pool.discard(self)
                case events.ConnectionFailed(_, text):
                    self._pool.discard(self)
                    self.flush()
                    self._transport.close()
                    self._fail_all(text)

    def _end_if(self, is_end: bool, stream_id: int) -> None:
        if is_end:
            del self.streams[stream_id]
            if not self.streams and (self.h2.is_closing or self._pool.is_closed):
                self._dialer.loop.call_soon(self.retire)

    def _fail(self, stream_id: int, text: str, is_unprocessed: bool) -> None:
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            error = UpstreamFailed(f"{self._pool.endpoint}: {text}")
            stream.receiver.failed(error, is_untouched=not stream.is_touched, is_unprocessed=is_unprocessed)

    def _fail_all(self, text: str) -> None:
        self._pool.discard(self)
        for stream_id in list(self.streams):
            self._fail(stream_id, text, False)
