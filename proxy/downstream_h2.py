"""HTTP/2 client connections: each stream is one exchange, routed and split on its own.

A stream's client side is an H2Client; it has the face of an HTTP/1 connection, so the exchange is the same. What a
client does not read waits in its own stream's queue, and the backend of that stream is paused.
"""

import asyncio
from collections.abc import Sequence

from milliroute.proxy.codec import h2_events as events
from milliroute.proxy.codec.h2_frames import CANCEL, INTERNAL_ERROR, NO_ERROR
from milliroute.proxy.codec.hpack_static import Field
from milliroute.proxy.context import ClientConnection, Context
from milliroute.proxy.errors import ProxyError, RequestRefused
from milliroute.proxy.exchange import Exchange
from milliroute.proxy.h2_link import H2Link
from milliroute.proxy.message import ResponseHead
from milliroute.proxy.message_h2 import H2RequestHead, response_to_h2
from milliroute.proxy.replies import error_fields

# Response bytes that wait for a client's window before its backend is paused.
HIGH_WATER_BYTES = 64 * 1024


class H2Client:
    """Implements exchange.Client for one stream."""

    __slots__ = (
        "_connection",
        "_full_s",
        "_held_flow",
        "_is_full",
        "_is_paused",
        "_stream_id",
        "exchange",
        "is_request_done",
    )

    def __init__(self, connection: "H2Downstream", stream_id: int, is_request_done: bool) -> None:
        self._connection = connection
        self._stream_id = stream_id
        self._held_flow = 0
        self._is_full = False
        self._full_s = 0.0
        self._is_paused = False
        self.is_request_done = is_request_done
        self.exchange: Exchange | None = None

    @property
    def client_ip(self) -> str:
        return self._connection.client_ip

    def send_response(self, head: ResponseHead, body: bytes, is_end: bool) -> None:
        connection = self._connection
        connection.h2.send_response(self._stream_id, response_to_h2(head), is_end and not body)
        if body:
            self._data(body, is_end)
        connection.mark()
        if is_end:
            self._end()

    def send_body(self, data: bytes, is_end: bool) -> None:
        if data or is_end:
            self._data(data, is_end)
            self._connection.mark()
        if is_end:
            self._end()

    def send_trailers(self, fields: Sequence[Field]) -> None:
        self._connection.h2.send_trailers(self._stream_id, fields)
        self._connection.mark()
        self._end()

    def send_interim(self, head: ResponseHead) -> None:
        self._connection.h2.send_response(self._stream_id, response_to_h2(head), False)
        self._connection.mark()

    def send_upgraded(self, head: ResponseHead) -> None:
        raise AssertionError("no request over HTTP/2 asks for an upgrade")

    def send_error(self, error: ProxyError) -> None:
        head = self.exchange.head if self.exchange is not None else None
        self._connection.h2.send_response(self._stream_id, error_fields(error, head), True)
        self._connection.mark()
        self._end()

    def abort(self) -> None:
        self._connection.reset(self._stream_id, INTERNAL_ERROR)

    def pause_request(self) -> None:
        self._is_paused = True

    def resume_request(self) -> None:
        self._is_paused = False
        held, self._held_flow = self._held_flow, 0
        if held:
            self._connection.h2.consumed(self._stream_id, held)
            self._connection.mark()

    def took(self, flow_bytes: int) -> None:
        if self._is_paused:
            self._held_flow += flow_bytes
        else:
            self._connection.h2.consumed(self._stream_id, flow_bytes)

    def opened(self) -> None:
        if self._is_full and self.exchange is not None:
            self._is_full = False
            self.exchange.resume_response()

    def _data(self, data: bytes, is_end: bool) -> None:
        h2 = self._connection.h2
        h2.send_data(self._stream_id, data, is_end)
        if not is_end and not self._is_full and h2.queued(self._stream_id) > HIGH_WATER_BYTES:
            self._is_full = True
            self._full_s = self._connection.now
            if self.exchange is not None:
                self.exchange.pause_response()

    def is_stuck(self, before_s: float) -> bool:
        """The client has not opened its window since then (CVE-2019-9517, CVE-2019-9511)."""
        return self._is_full and self._full_s < before_s

    def _end(self) -> None:
        """RFC 9113 section 8.1: after a whole response the rest of a request may be refused without an error."""
        self._connection.forget(self._stream_id)
        if not self.is_request_done:
            self._connection.h2.reset(self._stream_id, NO_ERROR)


class H2Downstream(H2Link):
    """apex: b"" to route by the authority of each request."""

    __slots__ = ("_apex", "_client_ip", "_clients", "_connections", "_context", "_is_draining",
                 "deadline_s", "is_dirty")  # fmt: skip

    def __init__(self, context: Context, apex: bytes, connections: "set[ClientConnection]") -> None:
        dialer = context.dialer
        super().__init__(dialer.codec_name, "server", dialer.outbox, context.tcp)
        self._context = context
        self._apex = apex
        self._connections = connections
        self._client_ip = ""
        self._clients: dict[int, H2Client] = {}
        self._is_draining = False
        self.deadline_s = 0.0

    @property
    def client_ip(self) -> str:
        if not self._client_ip:
            peer = self._transport.get_extra_info("peername")
            self._client_ip = str(peer[0]) if peer else "unknown"
        return self._client_ip

    @property
    def now(self) -> float:
        return self._context.now

    def flush(self) -> None:
        super().flush()
        if not self._clients and (self.h2.is_closing or self._is_draining):
            self._transport.close()

    def forget(self, stream_id: int) -> None:
        self._clients.pop(stream_id, None)
        self.deadline_s = self._context.now + self._context.dialer.timeouts.idle_s

    def reset(self, stream_id: int, code: int) -> None:
        client = self._clients.get(stream_id)
        self.forget(stream_id)
        self.h2.reset(stream_id, code)
        self.mark()
        if client is not None and client.exchange is not None:
            client.exchange.abandon()

    # From the worker

    def check_time(self, now: float) -> None:
        idle_s = self._context.dialer.timeouts.idle_s
        for stream_id, client in list(self._clients.items()):
            if client.is_stuck(now - idle_s):
                self.reset(stream_id, CANCEL)
            elif client.exchange is not None:
                client.exchange.check_time(now)
        if not self._clients and now >= self.deadline_s:
            self.h2.goaway()
            self.h2.goaway()
            self.flush()
            self._transport.close()

    def drain(self, now: float) -> None:
        """The two steps of RFC 9113 section 6.8; the second follows by itself. Idle clients go with the first."""
        self.h2.goaway()
        self._is_draining = True
        self.mark()

    def abort(self) -> None:
        """At the end of grace: what still runs is reset."""
        for stream_id in list(self._clients):
            self.reset(stream_id, CANCEL)
        self.flush()
        self._transport.abort()

    # asyncio.Protocol

    def adopt(self, transport: asyncio.Transport) -> None:
        """The connection was made and counted before its protocol was known."""
        self._transport = transport
        self._connections.add(self)
        self.deadline_s = self._context.now + self._context.dialer.timeouts.idle_s
        transport.set_protocol(self)
        if self._context.is_draining:
            self.drain(self._context.now)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._tcp.open_now -= 1
        self._tcp.closed += 1
        clients, self._clients = self._clients, {}
        for client in clients.values():
            if client.exchange is not None:
                client.exchange.abandon()

    def tell(self, happened: Sequence[events.Event]) -> None:
        for event in happened:
            match event:
                case events.RequestReceived(stream_id, verdict, fields, is_end):
                    self._begin(stream_id, H2RequestHead(verdict, fields, is_end), is_end)
                case events.DataReceived(stream_id, body, flow_bytes, is_end):
                    client = self._clients.get(stream_id)
                    if client is None or client.exchange is None:
                        self.h2.consumed(stream_id, flow_bytes)
                        continue
                    client.is_request_done = is_end
                    client.took(flow_bytes)
                    client.exchange.request_body(body, is_end)
                case events.TrailersReceived(stream_id, fields, drop):
                    client = self._clients.get(stream_id)
                    if client is not None and client.exchange is not None:
                        client.is_request_done = True
                        client.exchange.request_trailers([f for f in fields if f.name not in drop])
                case events.WindowOpened(stream_id):
                    client = self._clients.get(stream_id)
                    if client is not None:
                        client.opened()
                case events.RequestRejected(stream_id, status, is_end):
                    self._reject(stream_id, status, is_end)
                case events.StreamReset(stream_id, _, _) | events.StreamRefusedByRule(stream_id, _, _):
                    client = self._clients.pop(stream_id, None)
                    if client is not None and client.exchange is not None:
                        client.exchange.abandon()
                case events.ConnectionFailed():
                    self._context.errors.add(RequestRefused.label)
                    self.flush()
                    self._transport.close()

    def _begin(self, stream_id: int, head: H2RequestHead, is_end: bool) -> None:
        client = self._clients[stream_id] = H2Client(self, stream_id, is_end)
        exchange = client.exchange = Exchange(self._context, client, head, self._apex)
        exchange.begin(b"", is_end)

    def _reject(self, stream_id: int, status: int, is_end: bool) -> None:
        self._context.errors.add(RequestRefused.label)
        error = RequestRefused("refused by the rules for HTTP/2 messages", status=status)
        self.h2.send_response(stream_id, error_fields(error, None), True)
        if not is_end:
            self.h2.reset(stream_id, NO_ERROR)
        self.mark()
