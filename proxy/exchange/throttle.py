"""A client's side that takes the body of a response slowly: the fault "bandwidth", for one request.

It stands between an exchange and its real client. Bytes wait here and go on in small pieces, driven by the deadlines of
the context; above HIGH_WATER_BYTES the backend is not read. The rule not to break: the client takes the exchange to be
under way until the last piece has gone, so whoever gives the exchange up stops this too.
"""

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from milliroute.proxy.errors import ProxyError
from milliroute.proxy.exchange.context import Client, Context
from milliroute.proxy.message import ResponseHead

if TYPE_CHECKING:
    from milliroute.proxy.codec.hpack_static import Field

# Between two pieces: slow enough not to cost much, fast enough to look like a slow line.
STEP_S = 0.05
HIGH_WATER_BYTES = 64 * 1024


class Slowed(Protocol):
    """The exchange."""

    @property
    def is_request_under_way(self) -> bool: ...

    def pause_backend(self) -> None: ...

    def resume_backend(self) -> None: ...


class Throttle(Client):
    """Implements context.Client."""

    __slots__ = (
        "_bytes_per_s",
        "_client",
        "_context",
        "_exchange",
        "_is_done",
        "_is_full",
        "_is_over",
        "_is_timed",
        "_last_s",
        "_trailers",
        "_waiting",
    )

    def __init__(self, client: Client, exchange: Slowed, context: Context, bytes_per_s: int) -> None:
        self._client = client
        self._exchange = exchange
        self._context = context
        self._bytes_per_s = bytes_per_s
        self._waiting = bytearray()
        self._trailers: Sequence[Field] | None = None
        self._is_done = False  # nothing more comes from the exchange
        self._is_over = False
        self._is_full = False  # the client reads even more slowly
        self._is_timed = False
        self._last_s = 0.0  # up to when what was due has gone

    # From the exchange, for the client

    @property
    def client_ip(self) -> str:
        return self._client.client_ip

    @property
    def identities(self) -> tuple[str, ...]:
        return self._client.identities

    def send_response(self, head: ResponseHead, body: bytes, is_end: bool) -> None:
        self._client.send_response(head, b"", is_end and not body)
        if body:
            self.send_body(body, is_end)

    def send_body(self, data: bytes, is_end: bool) -> None:
        self._waiting += data
        if is_end:
            self._come_to_end()
        elif len(self._waiting) > HIGH_WATER_BYTES:
            self._exchange.pause_backend()
        self._schedule()

    def send_trailers(self, fields: "Sequence[Field]") -> None:
        self._trailers = fields
        self._come_to_end()
        self._schedule()

    def send_interim(self, head: ResponseHead) -> None:
        self._client.send_interim(head)

    def send_upgraded(self, head: ResponseHead) -> None:
        self._client.send_upgraded(head)

    def send_error(self, error: ProxyError) -> None:
        self.stop()
        self._client.send_error(error)

    def abort(self) -> None:
        self.stop()
        self._client.abort()

    def break_off(self, error: ProxyError) -> None:
        self.stop()
        self._client.break_off(error)

    def pause_request(self) -> None:
        self._client.pause_request()

    def resume_request(self) -> None:
        self._client.resume_request()

    # From the client, through the exchange

    def hold_up(self) -> None:
        """The client does not take even this."""
        self._is_full = True
        self._unschedule()

    def go_on(self) -> None:
        self._is_full = False
        if not self._is_done and len(self._waiting) <= HIGH_WATER_BYTES:
            self._exchange.resume_backend()
        self._schedule()

    def stop(self) -> None:
        self._is_over = True
        self._waiting.clear()
        self._unschedule()

    # Pieces

    def _come_to_end(self) -> None:
        self._is_done = True
        if self._exchange.is_request_under_way:
            self._client.pause_request()  # nobody is there any more to take it

    def _schedule(self) -> None:
        if not (self._is_timed or self._is_over or self._is_full) and (self._waiting or self._is_done):
            self._last_s = monotonic()
            self._wait()

    def _wait(self) -> None:
        self._is_timed = True
        self._context.set_deadline(self, monotonic() + STEP_S)

    def _unschedule(self) -> None:
        if self._is_timed:
            self._context.drop_deadline(self)
            self._is_timed = False

    def expire(self) -> None:
        """What has become due."""
        count = min(int((monotonic() - self._last_s) * self._bytes_per_s), len(self._waiting))
        self._last_s += count / self._bytes_per_s
        piece = bytes(self._waiting[:count])
        del self._waiting[:count]
        self._is_timed = False
        if self._is_done and not self._waiting:
            self._end(piece)
            return
        # Before the piece: sending it may hold this up.
        if self._waiting:
            self._wait()
        if piece:
            self._client.send_body(piece, False)
        if not (self._is_over or self._is_done or self._is_full) and len(self._waiting) <= HIGH_WATER_BYTES:
            self._exchange.resume_backend()

    def _end(self, piece: bytes) -> None:
        self._is_over = True
        if self._trailers is None:
            self._client.send_body(piece, True)
            return
        if piece:
            self._client.send_body(piece, False)
        self._client.send_trailers(self._trailers)
