"""Makes the health checks of a worker's endpoints: an HTTP request, a gRPC call (grpc.health.v1) or a TCP connection.

Driven by the worker's sweep; a check goes over the endpoint's own pool, so by the protocol and the TLS that requests go
by, and counts nowhere. Loaded only when a table asks for checks. The rule not to break: each check ends once.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import TYPE_CHECKING

from milliroute.proxy.errors import ConnectFailed, ProxyError
from milliroute.proxy.exchange.context import Context
from milliroute.proxy.message import RequestHead, ResponseHead
from milliroute.proxy.routing.leaf import Backend, Endpoint
from milliroute.proxy.state import HealthState
from milliroute.proxy.upstream.dialer import Carrier, Receiver
from milliroute.proxy.upstream.pools import pool_of

if TYPE_CHECKING:
    from milliroute.proxy.codec.hpack_static import Field

log = logging.getLogger(__name__)

# A HealthCheckResponse with status SERVING, in its gRPC frame: field 1, varint 1.
SERVING = b"\0\0\0\0\2\x08\1"
# Of an answer nobody reads to its end; a status page is shorter.
MAX_BODY_BYTES = 64 * 1024
_H2 = ("kubernetes.io/h2c", "grpc")


class Checker:
    __slots__ = ("_context", "_running")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._running: set[Check] = set()

    def sweep(self, backends: Iterable[Backend], now: float) -> None:
        """Begins what is due."""
        for backend in backends:
            for endpoint in backend.endpoints:
                health = endpoint.health
                if health is not None and health.begin(now):
                    check = Check(self, self._context, endpoint, health.state)
                    self._running.add(check)
                    check.start(backend.state.app_protocol in _H2)

    def done(self, check: "Check", endpoint: Endpoint, reason: str) -> None:
        """reason: what was wrong, "" for nothing."""
        self._running.discard(check)
        health = endpoint.health
        if health is None:
            return
        if health.done(not reason, monotonic()):
            log.warning("%s is %s", endpoint, f"unhealthy: {reason}" if reason else "healthy again")
        # With each check and not only with a change: the last one of a split stays in until there is another.
        endpoint.backend.set_sick(endpoint, health.is_sick)


class Check(Receiver):
    """One check of one endpoint. Implements dialer.Receiver."""

    __slots__ = ("_body", "_carrier", "_checker", "_context", "_endpoint", "_is_over", "_is_timed", "_state")

    def __init__(self, checker: Checker, context: Context, endpoint: Endpoint, state: HealthState) -> None:
        self._checker = checker
        self._context = context
        self._endpoint = endpoint
        self._state = state
        self._carrier: Carrier | None = None
        self._body = b""
        self._is_over = False
        self._is_timed = False

    def start(self, is_h2: bool) -> None:
        self._is_timed = True
        self._context.set_deadline(self, monotonic() + self._state.timeout_ms / 1000)
        if self._state.kind == "tcp":
            self._context.dialer.spawn(self._connect())
            return
        pool = pool_of(self._context.dialer, self._endpoint, is_h2 or self._state.kind == "grpc")
        carrier = pool.take()
        if carrier is not None:
            self.connected(carrier)
        else:
            pool.connect(self)

    def expire(self) -> None:
        self._is_timed = False
        self._end(f"no answer within {self._state.timeout_ms} ms")

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._state.timeout_ms / 1000):
                _, writer = await asyncio.open_connection(self._endpoint.host, self._endpoint.port)
        except (OSError, ValueError, OverflowError) as exc:
            self._end(f"{exc.__class__.__name__}: {exc}")
        else:
            writer.close()
            self._end("")

    def _end(self, reason: str) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._is_timed:
            self._context.drop_deadline(self)
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            carrier.abort()
        self._checker.done(self, self._endpoint, reason)

    # dialer.Receiver

    def connected(self, connection: Carrier) -> None:
        if self._is_over:
            connection.return_unused()
            return
        self._carrier = connection
        head, body = _request(self._state, self._endpoint)
        connection.send(self, head, body, True)

    def connect_failed(self, error: ConnectFailed) -> None:
        self._end(error.text)

    def response(self, head: ResponseHead, body: bytes, is_end: bool) -> None:
        if self._state.kind == "http":
            if is_end:
                self._carrier = None
            self._end("" if 200 <= head.status < 400 else f"status {head.status}")
            return
        status = head.value_of(b"grpc-status")
        if head.status != 200 or status not in (b"", b"0"):
            self._end(f"status {head.status}, grpc-status {status.decode('latin-1')}")
        elif is_end:
            self._carrier = None
            self._end("an answer without a message")
        elif body:
            self.response_body(body, False)

    def response_body(self, data: bytes, is_end: bool) -> None:
        self._body += data
        if is_end:
            self._carrier = None
        if is_end or len(self._body) > MAX_BODY_BYTES:
            self._end("an answer without a status")

    def response_trailers(self, fields: "Sequence[Field]") -> None:
        self._carrier = None
        status = next((field.value for field in fields if field.name == b"grpc-status"), b"")
        is_serving = status == b"0" and self._body == SERVING
        self._end("" if is_serving else f"not serving, grpc-status {status.decode('latin-1')}")

    def interim(self, head: ResponseHead) -> None:
        """Not an answer."""

    def upgraded(self, head: ResponseHead) -> None:
        self._end(f"status {head.status}")

    def failed(self, error: ProxyError, *, is_untouched: bool, is_unprocessed: bool = False) -> None:
        carrier, self._carrier = self._carrier, None
        if is_untouched and carrier is not None and carrier.is_reused and not self._is_over:
            # The idle connection had ended: that says nothing of the endpoint.
            pool_of(self._context.dialer, self._endpoint, carrier.is_h2).connect(self)
        else:
            self._end(error.text)

    def pause_request(self) -> None:
        """It is whole and small."""

    def resume_request(self) -> None:
        """The same."""


def _request(state: HealthState, endpoint: Endpoint) -> tuple[RequestHead, bytes]:
    host = f"{endpoint}".encode()
    if state.kind == "http":
        target = state.target.encode()
        wire = b"GET " + target + b" HTTP/1.1\r\nhost: " + host + b"\r\nuser-agent: milliroute-health\r\n\r\n"
        return RequestHead(b"GET", target, host, wire), b""
    service = state.target.encode()
    message = b"\n" + bytes([len(service)]) + service if service else b""
    body = b"\0" + len(message).to_bytes(4, "big") + message
    target = b"/grpc.health.v1.Health/Check"
    fields = b"content-type: application/grpc\r\nte: trailers\r\nuser-agent: milliroute-health\r\n"
    length = b"content-length: %d\r\n\r\n" % len(body)
    wire = b"POST " + target + b" HTTP/1.1\r\nhost: " + host + b"\r\n" + fields + length
    return RequestHead(b"POST", target, host, wire, len(body)), body
