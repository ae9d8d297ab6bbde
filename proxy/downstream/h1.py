"""Client connections: HTTP/1.1 requests in, one exchange at a time, responses out in order.

Pipelined requests wait in `_pending` until the one before is answered. A connection is closed after a response exactly
when both sides can know it (`connection: close` is in its head) or when the request's end was never reached.
"""

import asyncio
import socket
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from milliroute.proxy.codec.h1 import H1Codec
from milliroute.proxy.codec.h1_body import Body, CloseBody, encode_chunk, encode_last_chunk
from milliroute.proxy.codec.h1_scan import without
from milliroute.proxy.downstream.detection import (
    is_declared_http,
    is_declared_opaque,
    is_h2_preface,
    is_opaque,
    may_be_opaque,
)
from milliroute.proxy.errors import ClientTimeout, LoopDetected, NoRoute, ProtocolError, ProxyError, RequestRefused
from milliroute.proxy.exchange.context import ClientConnection, Context
from milliroute.proxy.exchange.exchange import Exchange
from milliroute.proxy.guard.overload import earned_until, slow_body_text
from milliroute.proxy.heads.replies import error_reply
from milliroute.proxy.message import CHUNKED, UNTIL_CLOSE, RequestHead, ResponseHead, with_close
from milliroute.proxy.transport.kernel import untaken_bytes

if TYPE_CHECKING:
    from milliroute.proxy.codec.hpack_static import Field
    from milliroute.proxy.heads.forwarding import Forwarder
    from milliroute.proxy.heads.forwarding_h1 import Introduction

# What a client may have pipelined ahead of the answer before its connection is no longer read.
MAX_PENDING_BYTES = 64 * 1024
# After the last answer the rest of what a client is sending is read and thrown away for this long: closing at once
# would reset the connection and take the answer with it (RFC 9112 section 9.6).
LINGER_S = 2.0
# A keep-alive connection that is idle when draining begins may have a request under way: it gets this long to arrive.
DRAIN_IDLE_S = 1.0
# A handshake record, of any version (RFC 8446 section 5.1).
_TLS = b"\x16\x03"
# struct linger: on, 0 s. Without it uvloop's abort ends a connection by a FIN, which to a client is a clean end.
_LINGER_RESETS = struct.pack("ii", 1, 0)


class Downstream(asyncio.Protocol):
    """Implements context.Client. Attributes by lifetime: the connection's first, then the request's."""

    __slots__ = (
        "_alters_heads",
        "_apex",
        "_awaits_continue",
        "_body",
        "_codec",
        "_connections",
        "_context",
        "_dialled",
        "_encodes",
        "_exchange",
        "_forwarder",
        "_introduction",
        "_is_first",
        "_is_half_closed",
        "_is_lingering",
        "_is_paused",
        "_is_serving",
        "_is_tls",
        "_is_tunnel",
        "_is_write_paused",
        "_limits",
        "_must_close",
        "_parse",
        "_pending",
        "_taken_s",
        "_tcp",
        "_transport",
        "_unread_bytes",
        "client_ip",
        "deadline_s",
    )
    _transport: asyncio.Transport

    def __init__(self, context: Context, apex: bytes, connections: "set[ClientConnection]") -> None:
        """apex: b"" to route by the authority of each request."""
        self._context = context
        self._codec: H1Codec = context.dialer.codec
        self._limits = context.limits
        self._tcp = context.tcp
        self._apex = self._dialled = apex  # a request may have another apex, in ingress mode
        self._connections = connections
        self.client_ip = "unknown"
        forwarder = self._forwarder = context.forwarder
        self._parse = self._codec.request if forwarder is None else self._codec.request_telling
        self._introduction: Introduction | None = None  # of its client to backends
        self._alters_heads = context.override is not None  # or TLS has to be noted in them
        self._encodes = False  # the response comes over HTTP/2 and goes on in chunks
        self._is_first = True
        self._is_half_closed = False
        self._is_lingering = False
        self._is_paused = False
        self._is_write_paused = False
        self._is_serving = False
        self._is_tls = False
        self._is_tunnel = False
        self._pending = b""
        self._exchange: Exchange | None = None
        self._body: Body | None = None  # of the request, while its end has not come
        self._awaits_continue = False  # the client sends no body before the backend has said something
        self._must_close = False
        # While what is written waits for the client to read: how much, and until when it has paid for its time.
        self._unread_bytes = 0
        self._taken_s = 0.0
        self.deadline_s = 0.0

    @property
    def identities(self) -> tuple[str, ...]:
        found: tuple[str, ...] | None = self._transport.get_extra_info("identities")
        return found or ()

    def expect_http1(self) -> None:
        """The client has said so by ALPN: anything else is refused."""
        self._is_first = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio.Transport by behaviour only.
        self._transport = cast("asyncio.Transport", transport)
        if peer := transport.get_extra_info("peername"):
            self.client_ip = str(peer[0])
        self._is_tls = transport.get_extra_info("ssl_object") is not None
        self._alters_heads = self._alters_heads or self._is_tls
        self._connections.add(self)
        self._tcp.opened += 1
        self._tcp.open_now += 1
        context = self._context
        self.deadline_s = context.now + (DRAIN_IDLE_S if context.is_draining else context.dialer.timeouts.idle_s)
        if self._apex and is_declared_opaque(self._app_protocols()):
            self._become_opaque(b"")  # the server may speak first

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._tcp.open_now -= 1
        self._tcp.closed += 1
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            exchange.abandon()

    def data_received(self, data: bytes) -> None:
        self._tcp.read_bytes += len(data)
        if self._body is not None:
            self._read_body(data)
        elif self._is_lingering:
            return
        elif self._exchange is not None or self._is_write_paused:
            self._pending += data
            if len(self._pending) > MAX_PENDING_BYTES:
                self._pause()
        elif self._pending:
            self._pending += data
            # A head drip-fed byte by byte is looked at once a line, not once a byte.
            if may_be_opaque(data) or len(self._pending) > MAX_PENDING_BYTES // 2:
                self._serve(self._pending)
        else:
            self._serve(data)

    def eof_received(self) -> bool:
        exchange = self._exchange
        if self._is_tunnel and exchange is not None:
            exchange.request_eof()
            return not self._is_tls
        waits_for_client = exchange is None and not (self._pending and self._is_write_paused)
        if waits_for_client or self._body is not None or self._is_tls:
            return False  # no request, or one that will never be whole; and TLS knows no half of a connection
        self._is_half_closed = True
        return True

    def pause_writing(self) -> None:
        self._is_write_paused = True
        self._unread_bytes = -1
        self._taken_s = self._context.now - self._limits.initial_debt_s
        if self._exchange is not None:
            self._exchange.pause_response()

    def resume_writing(self) -> None:
        self._is_write_paused = False
        if self._exchange is not None:
            self._exchange.resume_response()
        elif self._pending:
            self._serve(self._pending)
        elif not self._is_lingering:
            self.deadline_s = self._context.now + self._context.dialer.timeouts.idle_s  # to read the rest

    # Requests

    def _serve(self, data: bytes) -> None:
        """Begins the request at the start of data, and the pipelined ones behind it as far as they end at once."""
        self._is_serving = True
        while data and self._exchange is None and not self._is_write_paused:
            try:
                parsed = self._parse(data)
            except RequestRefused as exc:
                if not (self._is_first and self._is_other_protocol(data)):
                    self._refuse(exc)
                break
            if parsed is None:
                if not self._pending:
                    self.deadline_s = self._context.now + self._context.dialer.timeouts.header_s
                break
            self._is_first = False
            head, end = parsed
            if self._alters_heads and not self._alter(head, data, end):
                break
            if self._forwarder is not None:
                introduction = self._introduction or self._introduce(self._forwarder)
                try:
                    introduction.rewrite(head)
                except LoopDetected as exc:
                    self._refuse(exc)
                    break
            exchange = self._exchange = Exchange(self._context, self, head, self._apex)
            self._must_close = head.wants_close
            data = data[end:]
            if head.length == 0:
                self._pending = data
                exchange.begin(b"", True)
            elif not self._begin_body(exchange, head.length, data):
                break
            data = self._pending
        else:
            self._is_serving = False
            return
        self._pending = data if self._exchange is None and not self._is_lingering else b""
        self._is_serving = False
        if self._is_half_closed and self._exchange is None:
            self._transport.close()  # the rest of this head will never come

    def _alter(self, head: RequestHead, data: bytes, end: int) -> bool:
        """By TLS, or for another apex; False where the request goes nowhere. data: as it came, up to end."""
        if self._is_tls:
            head.is_https = True
        override = self._context.override
        if override is not None:
            try:
                self._apex = override.of_head(data[:end]) or self._dialled
            except RequestRefused as exc:
                self._refuse(exc)
                return False
        return True

    def _introduce(self, forwarder: "Forwarder") -> "Introduction":
        # Here, because a worker that says nothing of clients need not carry it.
        from milliroute.proxy.heads.forwarding_h1 import Introduction

        made = self._introduction = Introduction(forwarder, self.client_ip, is_https=self._is_tls)
        return made

    def _is_other_protocol(self, data: bytes) -> bool:
        """data: the first bytes, no HTTP/1; False where they are to be refused, else they go to whom they are for."""
        is_other = is_h2_preface(data)
        if is_other:
            self._become_h2(data)
        elif is_other is False and self._apex:
            is_other = is_opaque(data)
            if is_other:
                return self._become_opaque(data)
        if is_other is None and not self._pending:
            self.deadline_s = self._context.now + self._context.dialer.timeouts.header_s
        return is_other is not False

    def _become_opaque(self, data: bytes) -> bool:
        """data: all that came; False, and nothing done, where HTTP was agreed on or the apex is known to speak it."""
        tls = self._transport.get_extra_info("ssl_object")
        # An app that speaks TLS by itself, to a Service known for https: between the two of them.
        is_apps_tls = self._context.is_sidecar and data.startswith(_TLS)
        if is_declared_http(self._app_protocols()) and not is_apps_tls:
            return False
        if tls is not None and tls.selected_alpn_protocol():
            return False
        # Here, because a worker whose clients speak HTTP need not carry it.
        from milliroute.proxy.downstream.opaque import Tunnel

        self._connections.discard(self)
        tunnel = Tunnel(self._context, self._apex, self._connections)
        tunnel.begin(self._transport, data, is_declared=is_apps_tls)
        return True

    def _app_protocols(self) -> list[str]:
        """Of every backend of the apex; none while it is not known."""
        try:
            found = self._context.router.find(self._apex)
        except NoRoute:
            return []
        return [backend.state.app_protocol for backend in found.backends] if found else []

    def _become_h2(self, data: bytes) -> None:
        """Prior knowledge (RFC 9113 section 3.3); data: all that came, the preface first."""
        # Here, because a worker that never sees HTTP/2 need not carry it: 1 MiB (measured).
        from milliroute.proxy.downstream.h2 import H2Downstream

        self._connections.discard(self)
        self._tcp.read_bytes -= len(data)
        successor = H2Downstream(self._context, self._apex, self._connections)
        successor.adopt(self._transport)
        successor.data_received(data)

    def _begin_body(self, exchange: Exchange, length: int, data: bytes) -> bool:
        body = self._codec.body(length)
        try:
            out, rest = body.feed(data)
        except ProtocolError as exc:
            self._exchange = None
            self._refuse(RequestRefused(exc.text))
            return False
        if not body.is_done:
            self._body = body
            self._awaits_continue = exchange.head.expects_continue and not out
            self._await_body()
        self._pending = rest
        exchange.begin(out, body.is_done)
        return True

    def _read_body(self, data: bytes) -> None:
        body, exchange = self._body, self._exchange
        if body is None or exchange is None:
            return
        self._awaits_continue = False
        self._earn(len(data))
        try:
            out, rest = body.feed(data)
        except ProtocolError as exc:
            if exchange.has_begun_response:
                self.abort()
            else:
                exchange.refuse(RequestRefused(exc.text))
            return
        if body.is_done:
            self._body = None
            self._pending = rest
        exchange.request_body(out, body.is_done)

    def _await_body(self) -> None:
        """From here on it is the client's turn: it may be slow for rate_grace_s, and stand still for stall_s."""
        limits = self._limits
        self.deadline_s = self._context.now + limits.stall_s - limits.initial_debt_s

    def _earn(self, got_bytes: int) -> None:
        limits = self._limits
        stall_s = limits.stall_s
        since_s = earned_until(self.deadline_s - stall_s, self._context.now, got_bytes, limits.min_rate_bytes_s)
        self.deadline_s = since_s + stall_s

    def _reads_too_slowly(self, now: float) -> bool:
        """Asked while what was written waits for the client."""
        limits, unread = self._limits, untaken_bytes(self._transport)
        taken = self._unread_bytes - unread
        self._unread_bytes = unread
        if taken > 0:
            self._taken_s = earned_until(self._taken_s, now, taken, limits.min_rate_bytes_s)
        return now - self._taken_s > limits.stall_s

    def queued_bytes(self) -> int:
        return len(self._pending) + self._transport.get_write_buffer_size()

    def check_time(self, now: float) -> None:
        """From the sweep, some times a second."""
        self.look_ahead(now)
        exchange = self._exchange
        if self._is_write_paused and not self._is_tunnel and self._reads_too_slowly(now):
            self._context.errors.add(ClientTimeout.label)
            self.abort()
        elif exchange is None:
            if now >= self.deadline_s and not self._is_write_paused:
                self._give_up(now)
            elif self._is_fresh_and_silent() and (
                is_declared_opaque(self._app_protocols()) or self._is_silent_too_long(now)
            ):
                self._become_opaque(b"")  # it was not known when the connection was made, or the server speaks first
        elif self._body is None or self._is_paused or self._awaits_continue:
            exchange.check_time(now)  # nothing is asked of the client but to read
        elif now >= self.deadline_s and not self._is_tunnel:
            if exchange.has_begun_response:
                self.abort()
            else:
                exchange.refuse(ClientTimeout(slow_body_text(self._limits)))

    def look_ahead(self, now: float) -> None:
        if self._exchange is not None:
            self._exchange.look_ahead(now)

    def _is_fresh_and_silent(self) -> bool:
        is_fresh = self._is_first and self._apex != b"" and not (self._pending or self._is_lingering)
        return is_fresh and not self._transport.is_closing()

    def _is_silent_too_long(self, now: float) -> bool:
        """In a sidecar, whose clients do not know that somebody waits for them to speak first."""
        context = self._context
        since_s = self.deadline_s - context.dialer.timeouts.idle_s
        return context.detect_s > 0 and not context.is_draining and now >= since_s + context.detect_s

    def _give_up(self, now: float) -> None:
        """The deadline has passed and there is no exchange."""
        idle_s = self._context.dialer.timeouts.idle_s
        if self._is_lingering and self._transport.get_write_buffer_size() and now < self.deadline_s + idle_s:
            return  # the answer itself is still under way
        if self._is_lingering or self._is_write_paused or self._transport.is_closing():
            self._transport.abort()
        elif self._pending:
            self._refuse(ClientTimeout("request head not complete in time"))
        else:
            self._close()

    def drain(self, now: float) -> None:
        if self._exchange is None and not self._pending:
            self.deadline_s = min(self.deadline_s, now + DRAIN_IDLE_S)

    yield_place = drain

    # context.Client

    def send_response(self, head: ResponseHead, body: bytes, is_end: bool) -> None:
        wire = head.wire
        exchange = self._exchange
        is_http10 = exchange is not None and exchange.head.is_http10
        if head.is_h2:
            wire = head.h1_wire()
            self._encodes = head.length == CHUNKED and not is_http10
        if is_http10:
            wire = without(wire, frozenset((b"transfer-encoding",)), b"")
        if (
            self._must_close
            or head.length == UNTIL_CLOSE
            or self._context.is_draining
            or self._body is not None
            or (self._is_half_closed and not self._pending)
        ):
            self._must_close = True
            wire = with_close(wire)
        if self._encodes:
            body = encode_chunk(body, is_end)
        if not (is_end or self._is_tls):
            # The next piece of a response is read when the kernel has all of those before, and that holds enough by
            # itself (agent/listening.py). By uvloop's default, 64 KiB, a slow reader has a piece more.
            self._transport.set_write_buffer_limits(0)
        self._write(wire + body if body else wire)
        if is_end:
            self._end()

    def send_trailers(self, fields: "Sequence[Field]") -> None:
        if self._encodes:
            self._write(encode_last_chunk(fields))
        self._end()

    def send_body(self, data: bytes, is_end: bool) -> None:
        if self._encodes:
            data = encode_chunk(data, is_end)
        if data:
            self._write(data)
        if is_end:
            self._must_close = self._must_close or self._is_tunnel
            self._end()

    def send_interim(self, head: ResponseHead) -> None:
        if self._exchange is not None and not self._exchange.head.is_http10:
            self._awaits_continue = False
            self._await_body()
            self._write(head.h1_wire())

    def send_upgraded(self, head: ResponseHead) -> None:
        """From here on bytes pass both ways as they come."""
        self._is_tunnel = True
        self._body = CloseBody()
        self._write(head.wire)
        self._resume()
        exchange = self._exchange
        if self._pending and exchange is not None:
            pending, self._pending = self._pending, b""
            exchange.request_body(pending, False)
        if self._is_half_closed and exchange is not None:
            exchange.request_eof()

    def send_error(self, error: ProxyError) -> None:
        exchange = self._exchange
        closes = self._must_close or self._context.is_draining or self._body is not None
        closes = closes or (self._is_half_closed and not self._pending)
        self._must_close = closes or isinstance(error, (RequestRefused, ClientTimeout))
        self._write(error_reply(error, exchange.head if exchange else None, closes=self._must_close))
        self._end()

    def abort(self) -> None:
        """A reset and not a clean close: a client whose response ends with the connection must see that it broke."""
        exchange, self._exchange = self._exchange, None
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESETS)
        self._transport.abort()
        if exchange is not None:
            exchange.abandon()

    def break_off(self, error: ProxyError) -> None:
        self.abort()

    def pause_request(self) -> None:
        self._pause()

    def resume_request(self) -> None:
        self._resume()
        self._await_body()  # while it was paused it could not send

    # The end of an exchange

    def _refuse(self, error: ProxyError) -> None:
        """Nothing more is read from this connection: what follows a malformed message cannot be trusted."""
        self._context.errors.add(error.label)
        self._must_close = True
        self._write(error_reply(error, None, closes=True))
        self._exchange = None
        self._linger()

    def _end(self) -> None:
        self._encodes = False
        self._exchange = None
        if self._must_close or (self._is_half_closed and not self._pending):
            self._close()
            return
        timeouts = self._context.dialer.timeouts
        self.deadline_s = self._context.now + (timeouts.header_s if self._pending else timeouts.idle_s)
        # Else it would be read again after each of a thousand pipelined requests, and what waits would only grow.
        if self._is_paused and len(self._pending) <= MAX_PENDING_BYTES:
            self._resume()
        if self._pending and not self._is_serving and not self._is_write_paused:
            self._serve(self._pending)

    def _close(self) -> None:
        if (self._body is not None or self._pending) and not (self._is_tunnel or self._is_half_closed):
            self._linger()
        else:
            self._pending = b""
            self.deadline_s = self._context.now + self._context.dialer.timeouts.idle_s  # for the client to read it all
            self._transport.close()

    def _linger(self) -> None:
        self._pending, self._body = b"", None
        self._is_lingering = True
        self.deadline_s = self._context.now + LINGER_S
        self._resume()
        if not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()

    def _write(self, data: bytes) -> None:
        self._tcp.write_bytes += len(data)
        self._transport.write(data)

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()
