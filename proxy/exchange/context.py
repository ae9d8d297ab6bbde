"""What all exchanges of a worker share, and the faces of a client's connection towards them and the worker.

Requests for an authority nothing is known of yet are parked here until the agent has answered.
"""

import asyncio
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from milliroute.proxy.config import Limits
from milliroute.proxy.errors import NoBackend, NoRoute, ProxyError
from milliroute.proxy.message import ResponseHead
from milliroute.proxy.metrics import ErrorCounts, TcpSeries
from milliroute.proxy.resilience.deadlines import NEAR_S, TICK_S, Deadlines, Timed
from milliroute.proxy.resilience.ejection import Ejections
from milliroute.proxy.routing.router import Router
from milliroute.proxy.upstream.dialer import Dialer

if TYPE_CHECKING:
    from milliroute.proxy.codec.hpack_static import Field
    from milliroute.proxy.heads.forwarding import Forwarder

# Names that wait for the control service at one time. Clients make names up at will, and each is a question to it.
MAX_PARKED_NAMES = 1024


class Client(Protocol):
    """The downstream side of an exchange."""

    @property
    def client_ip(self) -> str: ...

    @property
    def identities(self) -> tuple[str, ...]:
        """The names in its certificate, once that is verified."""

    def send_response(self, head: ResponseHead, body: bytes, is_end: bool) -> None: ...

    def send_body(self, data: bytes, is_end: bool) -> None: ...

    def send_trailers(self, fields: "Sequence[Field]") -> None:
        """The end of a response that has them."""

    def send_interim(self, head: ResponseHead) -> None: ...

    def send_upgraded(self, head: ResponseHead) -> None: ...

    def send_error(self, error: ProxyError) -> None:
        """Answers in the place of the backend; ends the exchange."""

    def abort(self) -> None:
        """The response broke in the middle: the client must not take it for whole."""

    def break_off(self, error: ProxyError) -> None:
        """The same by our own decision, and said so where the protocol can: a gRPC response ends with its status."""

    def pause_request(self) -> None: ...

    def resume_request(self) -> None: ...


class ClientConnection(Protocol):
    """What a worker asks of any client's connection."""

    @property
    def client_ip(self) -> str: ...

    def queued_bytes(self) -> int:
        """What it holds for the client to take, or for a backend."""

    def check_time(self, now: float) -> None: ...

    def look_ahead(self, now: float) -> None:
        """At the limits of time of its requests; check_time does the same, and more."""

    def drain(self, now: float) -> None: ...

    def yield_place(self, now: float) -> None:
        """Others wait for a descriptor: where no request is under way, it ends soon."""

    def abort(self) -> None: ...


class Override(Protocol):
    """The module `ingress`, where a field of a request may name its authority; b"" where it does not."""

    def of_head(self, head: bytes) -> bytes: ...

    def of_fields(self, fields: "Iterable[Field]") -> bytes: ...


class Parked(Protocol):
    """A request that waits for the table of its authority."""

    started_s: float

    def refuse(self, error: ProxyError) -> None: ...

    def resume_routing(self) -> None: ...


class Context:
    """What all exchanges of a worker share."""

    __slots__ = (
        "_deadlines",
        "_is_ticking",
        "ask",
        "detect_s",
        "dialer",
        "drop_deadline",
        "ejections",
        "errors",
        "forwarder",
        "in_flight",
        "is_draining",
        "is_sidecar",
        "limits",
        "loop",
        "max_in_flight",
        "near_s",
        "now",
        "override",
        "parked",
        "router",
        "tcp",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        router: Router,
        dialer: Dialer,
        ask: Callable[[bytes], None],
        limits: Limits = Limits(),  # noqa: B008  # a frozen value
        forwarder: "Forwarder | None" = None,
    ) -> None:
        self.loop = loop
        self.limits = limits
        self.forwarder = forwarder  # None: what is said of clients passes as it came
        self.in_flight = 0  # exchanges that have begun and are not over
        self.max_in_flight = limits.requests or sys.maxsize
        self.router = router
        self.dialer = dialer
        self.ask = ask  # the agent, for the state of an authority that a client named
        self.tcp = TcpSeries("src")
        self.errors = ErrorCounts()
        self.is_draining = False
        # Of sidecars. How long a new connection is waited for to speak; 0: until it is idle. What may say another apex.
        self.is_sidecar = False
        self.detect_s = 0.0
        self.override: Override | None = None
        self.now = monotonic()  # coarse: set by the sweep, good enough for idle times
        self.parked: dict[bytes, dict[Parked, None]] = {}  # by authority, in order of arrival
        self._deadlines: Deadlines[Timed] = Deadlines()
        self.drop_deadline: Callable[[Timed], None] = self._deadlines.discard
        self.near_s = NEAR_S  # limits of time that end so soon are watched
        self.ejections = Ejections()
        self._is_ticking = False

    def set_pace(self, *, is_slow: bool) -> None:
        """Of the rounds; while they are slow every limit of time is watched."""
        self.near_s = math.inf if is_slow else NEAR_S

    def set_deadline(self, timed: Timed, at_s: float) -> None:
        """One for each; whoever has set it drops it by drop_deadline, once. at_s: by the monotonic clock."""
        if not self._is_ticking:
            self._is_ticking = True
            self.loop.call_later(TICK_S, self._tick)
        self._deadlines.add(at_s, timed)

    def _tick(self) -> None:
        """Only while there are deadlines: an idle worker sleeps."""
        self._is_ticking = bool(self._deadlines)
        if self._is_ticking:
            self.loop.call_later(TICK_S, self._tick)
            for timed in self._deadlines.due(monotonic()):
                try:
                    timed.expire()
                except Exception as exc:  # of one request; the others, which are out of the wheel, have their turn
                    self.loop.call_exception_handler({"message": "a deadline failed", "exception": exc})

    def park(self, exchange: "Parked", authority: bytes) -> None:
        """Until the agent has answered, or the sweep finds that it took too long."""
        waiting = self.parked.get(authority)
        if waiting is None:
            if not authority:
                exchange.refuse(NoRoute("the request names no authority"))
                return
            if len(self.parked) >= MAX_PARKED_NAMES:
                exchange.refuse(NoBackend("too many names wait for the control service"))
                return
            waiting = self.parked[authority] = {}
            self.ask(authority)
        waiting[exchange] = None

    def leave(self, exchange: "Parked", authority: bytes) -> None:
        """It ended before it was routed."""
        waiting = self.parked.get(authority)
        if waiting is not None:
            waiting.pop(exchange, None)
            if not waiting:
                del self.parked[authority]

    def unpark(self, authority: bytes) -> None:
        for exchange in self.parked.pop(authority, ()):
            try:
                exchange.resume_routing()
            except Exception as exc:  # of one request; nobody else would find the others any more
                self.loop.call_exception_handler({"message": "a waiting request failed", "exception": exc})

    def sweep_parked(self) -> None:
        limit = self.now - self.dialer.timeouts.discovery_s
        late = [exchange for waiting in self.parked.values() for exchange in waiting if exchange.started_s < limit]
        for exchange in late:
            exchange.refuse(NoBackend("no table for this name yet: the control service has not answered"))
