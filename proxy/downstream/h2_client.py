"""One stream of an HTTP/2 client's connection, with the face that an exchange knows (context.Client).

The rule not to break: a stream leaves its connection only when the client has taken all of the response, or is given
up; else what waits for its window would be lost.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from milliroute.proxy.codec.h2_codec import Connection
from milliroute.proxy.codec.h2_frames import INTERNAL_ERROR, NO_ERROR
from milliroute.proxy.codec.hpack_static import Field
from milliroute.proxy.config import Limits
from milliroute.proxy.errors import ClientTimeout, ProxyError
from milliroute.proxy.exchange.exchange import Exchange
from milliroute.proxy.guard.overload import earned_until, slow_body_text
from milliroute.proxy.heads.message_h2 import response_to_h2
from milliroute.proxy.heads.replies import error_fields
from milliroute.proxy.message import ResponseHead

# Response bytes that wait for a client's window before its backend is paused.
HIGH_WATER_BYTES = 64 * 1024


class Streams(Protocol):
    """The connection, as far as a stream needs it."""

    h2: Connection
    is_dirty: bool

    @property
    def client_ip(self) -> str: ...
    @property
    def identities(self) -> tuple[str, ...]: ...
    @property
    def now(self) -> float: ...
    @property
    def limits(self) -> Limits: ...
    def mark(self) -> None: ...
    def forget(self, stream_id: int) -> None: ...
    def reset(self, stream_id: int, code: int) -> None: ...


class H2Client(msgspec.Struct, eq=False):
    """Implements context.Client. A struct because one is made for each request: 0.2 us against 0.5 us of a slots class.

    _body_s: until when it has sent enough of its request's body. While the client is waited for, _full_s: since when it
    has taken nothing, and _waiting_bytes: what waits for it since then. _pending: what it sends into a tunnel that is
    not there yet.
    """

    _connection: Streams
    _stream_id: int
    _is_request_done: bool
    _body_s: float
    exchange: Exchange | None = None
    _held_flow: int = 0
    _is_answered: bool = False
    _is_full: bool = False
    _full_s: float = 0.0
    _waiting_bytes: int = 0
    _is_paused: bool = False
    _is_tunnel: bool = False
    _pending: bytes = b""

    @property
    def client_ip(self) -> str:
        return self._connection.client_ip

    @property
    def identities(self) -> tuple[str, ...]:
        return self._connection.identities

    # context.Client

    def send_response(self, head: ResponseHead, body: bytes, is_end: bool) -> None:
        connection = self._connection
        connection.h2.send_response(self._stream_id, response_to_h2(head), is_end, body)
        if not connection.is_dirty:
            connection.mark()
        if is_end:
            self._end()
        elif body:
            self._pause_if_full()

    def send_body(self, data: bytes, is_end: bool) -> None:
        if data or is_end:
            connection = self._connection
            connection.h2.send_data(self._stream_id, data, is_end)
            if not connection.is_dirty:
                connection.mark()
        if is_end:
            self._end()
        else:
            self._pause_if_full()

    def send_trailers(self, fields: Sequence[Field]) -> None:
        connection = self._connection
        connection.h2.send_trailers(self._stream_id, fields)
        if not connection.is_dirty:
            connection.mark()
        self._end()

    def send_interim(self, head: ResponseHead) -> None:
        self._await_body()  # perhaps it has waited for this
        self._connection.h2.send_response(self._stream_id, response_to_h2(head), False)
        self._connection.mark()

    def send_upgraded(self, head: ResponseHead) -> None:
        """The answer to an extended CONNECT: from here on DATA is passed both ways as it comes."""
        # Here, because a worker that never sees a tunnel need not carry it.
        from milliroute.proxy.heads import websocket

        self._is_tunnel = True
        self._connection.h2.send_response(self._stream_id, websocket.connected_fields(head), False)
        self._connection.mark()
        self.resume_request()
        exchange = self.exchange
        if exchange is not None and self._pending:
            pending, self._pending = self._pending, b""
            exchange.request_body(pending, False)
        if exchange is not None and self._is_request_done:
            exchange.request_eof()

    def send_error(self, error: ProxyError) -> None:
        head = self.exchange.head if self.exchange is not None else None
        self._connection.h2.send_response(self._stream_id, error_fields(error, head), True)
        self._connection.mark()
        self._end()

    def abort(self) -> None:
        self._connection.reset(self._stream_id, INTERNAL_ERROR)

    def break_off(self, error: ProxyError) -> None:
        # Here, because only such an end needs it.
        from milliroute.proxy.heads import rpc

        exchange = self.exchange
        if exchange is not None and rpc.is_grpc(exchange.head.fields()):
            self.send_trailers(rpc.status_trailers(error.grpc_status, error.text))
        else:
            self.abort()

    def pause_request(self) -> None:
        self._is_paused = True

    def resume_request(self) -> None:
        self._is_paused = False
        self._await_body()
        held, self._held_flow = self._held_flow, 0
        if held:
            self._connection.h2.consumed(self._stream_id, held)
            self._connection.mark()

    # From the connection

    def data(self, body: bytes, flow_bytes: int, is_end: bool) -> None:
        exchange = self.exchange
        self._is_request_done = is_end
        if not is_end:
            connection = self._connection
            self._body_s = earned_until(self._body_s, connection.now, len(body), connection.limits.min_rate_bytes_s)
        if exchange is None:
            self._connection.h2.consumed(self._stream_id, flow_bytes)
        elif exchange.head.upgrade:
            self._tunnel_data(exchange, body, flow_bytes, is_end)
        else:
            exchange.request_body(body, is_end)
            self._took(flow_bytes)

    def trailers(self, fields: Sequence[Field]) -> None:
        self._is_request_done = True
        if self.exchange is not None and not self.exchange.head.upgrade:
            self.exchange.request_trailers(fields)

    def abandon(self) -> None:
        """Nobody takes the response any more."""
        exchange, self.exchange = self.exchange, None  # and neither keeps the other alive
        if exchange is not None:
            exchange.abandon()

    def opened(self) -> None:
        """The client has taken most of what waited, or all."""
        if self._is_answered:
            if not self._connection.h2.queued(self._stream_id):
                self._leave()
        elif self._is_full and self.exchange is not None:
            self._is_full = False
            self.exchange.resume_response()

    def is_stuck(self, now: float, idle_s: float) -> bool:
        """The client has taken nothing for so long, or too little, of what waits for it (CVE-2019-9517, -9511). idle_s:
        for calls and tunnels, which may be read as slowly as the client works."""
        if not (self._is_full or self._is_answered):
            return False
        limits = self._connection.limits
        rate, limit_s = limits.min_rate_bytes_s, limits.stall_s
        if self._is_tunnel or self._is_call():
            rate, limit_s = 0, idle_s + limits.initial_debt_s
        queued = self._connection.h2.queued(self._stream_id)
        taken = self._waiting_bytes - queued
        if taken > 0:
            self._full_s = earned_until(self._full_s, now, taken, rate)
        self._waiting_bytes = queued
        return now - self._full_s > limit_s

    def check_time(self, now: float) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        exchange.look_ahead(now)
        if self._is_tunnel:
            return
        is_begun = exchange.has_begun_response or exchange.head.upgrade != b""
        if self._is_request_done or self._is_paused or is_begun:
            exchange.check_time(now)
        elif now - self._body_s > self._connection.limits.stall_s and not self._is_call():
            exchange.refuse(ClientTimeout(slow_body_text(self._connection.limits)))

    def _await_body(self) -> None:
        connection = self._connection
        self._body_s = connection.now - connection.limits.initial_debt_s

    def _await_reading(self) -> None:
        """From here on the client owes it to take what waits, as in HTTP/1.1."""
        connection = self._connection
        self._full_s = connection.now - connection.limits.initial_debt_s

    def _is_call(self) -> bool:
        """A gRPC call's messages come when they come, and before the last its backend owes no answer."""
        # Here, because only a request whose body is under way is asked.
        from milliroute.proxy.heads import rpc

        return self.exchange is not None and rpc.is_grpc(self.exchange.head.fields())

    def _tunnel_data(self, exchange: Exchange, body: bytes, flow_bytes: int, is_end: bool) -> None:
        if not self._is_tunnel:
            self._held_flow += flow_bytes  # and so bounded by the stream's window
            self._pending += body
            return
        exchange.request_body(body, False)
        self._took(flow_bytes)
        if is_end:
            exchange.request_eof()

    def _took(self, flow_bytes: int) -> None:
        """Once it is passed on: what the backend is behind with is not given back, however much came at once."""
        if self._is_paused:
            self._held_flow += flow_bytes
        else:
            self._connection.h2.consumed(self._stream_id, flow_bytes)

    def _pause_if_full(self) -> None:
        if not self._is_full and self._connection.h2.queued(self._stream_id) > HIGH_WATER_BYTES:
            self._is_full = True
            self._await_reading()
            if self.exchange is not None:
                self.exchange.pause_response()

    def _end(self) -> None:
        """The exchange is over; what the client has not taken yet is still under way to it."""
        self.exchange = None
        if self._connection.h2.queued(self._stream_id):
            self._is_answered = True
            self._await_reading()
        else:
            self._leave()

    def _leave(self) -> None:
        """RFC 9113 section 8.1: after a whole response the rest of a request may be refused without an error."""
        self._connection.forget(self._stream_id)
        if not self._is_request_done:
            self._connection.h2.reset(self._stream_id, NO_ERROR)
            self._connection.mark()
