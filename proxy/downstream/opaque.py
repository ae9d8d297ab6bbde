"""TCP pass-through: a client's connection that is not HTTP, tied to one connection of a picked leaf's endpoint.

In come the transport and the first bytes that `h1` has taken for opaque. The split is asked once per
connection, by the selector that requests ask too; an endpoint that cannot be connected to is replaced by another one,
then by another leaf's, because nothing was sent. The rule not to break: a reset of one connection resets the other, and
an end in order is passed on in order, so that nobody takes a torso for whole. Memory: the first bytes, then one write
buffer each way.
"""

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from milliroute.proxy.downstream.detection import FirstLine, is_declared_http
from milliroute.proxy.errors import (
    ConnectFailed,
    ConnectTimeout,
    NoBackend,
    NoRoute,
    ProxyError,
    RequestRefused,
    Source,
)
from milliroute.proxy.exchange.context import ClientConnection, Context
from milliroute.proxy.heads.replies import error_reply
from milliroute.proxy.message import RequestHead
from milliroute.proxy.routing.leaf import Endpoint, Leaf
from milliroute.proxy.routing.split import Split
from milliroute.proxy.routing.table import AuthorityTable
from milliroute.proxy.transport.splice import End

if TYPE_CHECKING:
    from milliroute.proxy.guard.access import Access

# What a sticky split or a ramp is asked with: no field and no path, so only the client's address can be a key.
_NO_HEAD = RequestHead(b"", b"", b"", b"")


class Tunnel:
    """Implements context.ClientConnection and Parked, splice.Owner; in `connections` until both its ends are gone."""

    __slots__ = (
        "_access",
        "_apex",
        "_connections",
        "_context",
        "_down",
        "_endpoint",
        "_held",
        "_is_declared",
        "_is_over",
        "_is_probe",
        "_leaf",
        "_live",
        "_split",
        "_tried_endpoints",
        "_tried_leaves",
        "_up",
        "deadline_s",
        "started_s",
    )
    _leaf: Leaf
    _split: Split

    def __init__(self, context: Context, apex: bytes, connections: "set[ClientConnection]") -> None:
        self._context = context
        self._access: Access | None = None  # by which it was let in
        self._apex = apex
        self._connections = connections
        self._down = End(self, context.tcp)
        self._up: End | None = None
        self._endpoint: Endpoint | None = None  # set once it is routed
        self._held = b""
        self._is_declared = False
        self._is_over = False
        self._is_probe = False  # of an endpoint that is out for its failures
        self._live = 1
        self._tried_endpoints: list[Endpoint] = []
        self._tried_leaves: list[Leaf] = []
        self.started_s = monotonic()
        self.deadline_s = 0.0  # for what is still to be written, once both directions have ended

    def begin(self, transport: asyncio.Transport, data: bytes, *, is_declared: bool = False) -> None:
        """data: what the client has sent so far. is_declared: that it is no HTTP was not guessed from that."""
        self._take(transport)
        self._is_declared = is_declared
        if data:
            self._held = data
            self._down.pause()
            if not is_declared:
                watched = self._down.watched = FirstLine()
                if watched.feed(data):
                    self.refuse(RequestRefused("malformed method"))
                    return
        try:
            found = self._context.router.find(self._apex)
        except NoRoute as exc:
            self.refuse(exc)
            return
        if found is None:
            self._context.park(self, self._apex)
        else:
            self._route(found)

    def _take(self, transport: asyncio.Transport) -> None:
        self._connections.add(self)
        self._down.adopt(transport)
        transport.set_protocol(self._down)

    # context.Parked

    def refuse(self, error: ProxyError) -> None:
        """Nothing was sent to a backend. A peer that does not speak HTTP can only be told by a reset."""
        if self._is_over:
            return
        self._context.errors.add(error.label)
        self._finish()
        if isinstance(error, RequestRefused):
            self._down.write(error_reply(error, None, closes=True))
            self._close_down()
        else:
            self._down.reset()

    def resume_routing(self) -> None:
        if self._is_over:
            return
        try:
            found = self._context.router.find(self._apex)
        except NoRoute as exc:
            self.refuse(exc)
            return
        if found is None:
            self.refuse(NoRoute("no such service"))
        else:
            self._route(found)

    # context.ClientConnection

    @property
    def client_ip(self) -> str:
        return self._down.client_ip

    def queued_bytes(self) -> int:
        return len(self._held) + self._down.queued_bytes() + (self._up.queued_bytes() if self._up is not None else 0)

    def check_time(self, now: float) -> None:
        if (self.deadline_s and now >= self.deadline_s) or self._is_denied():
            self.abort()

    def look_ahead(self, now: float) -> None:
        """Without requests there is nothing."""

    def _is_denied(self) -> bool:
        """By a policy that is newer than the connection to the backend."""
        if self._up is None or self._is_over:
            return False
        try:
            found = self._context.router.find(self._apex)
        except NoRoute:
            return False
        access = found.access if found is not None else None
        if access is self._access:
            return False
        self._access = access
        return access is not None and access.judge(self._down, None) is not None

    def drain(self, now: float) -> None:
        """It goes on until it ends by itself, or the grace does."""

    yield_place = drain

    def abort(self) -> None:
        self._finish()
        self._down.reset()
        if self._up is not None:
            self._up.reset()

    # Routing

    def _route(self, found: AuthorityTable) -> None:
        if not self._is_declared and is_declared_http(backend.state.app_protocol for backend in found.backends):
            self.refuse(RequestRefused("not an HTTP request, and the service speaks HTTP"))
            return
        access = self._access = found.access
        if access is not None and (denied := access.judge(self._down, None)) is not None:
            self.refuse(denied)
            return
        try:
            split = self._split = _split_without_match(found)
            leaf = self._context.router.leaf_of(split, _NO_HEAD, self._down)
        except (NoRoute, NoBackend) as exc:
            self.refuse(exc)
            return
        assert leaf.balancer is not None
        self._dispatch(leaf, leaf.balancer.pick())

    def _dispatch(self, leaf: Leaf, endpoint: Endpoint) -> None:
        self._leaf, self._endpoint = leaf, endpoint
        endpoint.load.begin()
        if endpoint.accrual is not None and endpoint.accrual.is_out:
            self._is_probe = self._context.ejections.probe(endpoint, monotonic())
        self._context.dialer.spawn(self._connect(endpoint))

    async def _connect(self, endpoint: Endpoint) -> None:
        dialer = self._context.dialer
        error: ConnectFailed
        try:
            async with asyncio.timeout(dialer.timeouts.connect_s):
                await self._dial(endpoint)
        except TimeoutError:
            error = ConnectTimeout(f"connect to {endpoint} timed out")
        except ConnectFailed as exc:
            error = exc
        except (OSError, ValueError, OverflowError) as exc:  # see upstream.h1.H1Pool
            reason = getattr(exc, "strerror", None) or exc.__class__.__name__
            error = ConnectFailed(f"connect to {endpoint} failed: {reason}")
        else:
            return
        # Over, when the client has left. Connected, when the time was over in the very turn in which that happened.
        if not self._is_over and self._up is None:
            self._connect_failed(endpoint, error)

    async def _dial(self, endpoint: Endpoint) -> None:
        dialer = self._context.dialer
        while not self._is_over:
            try:
                await dialer.loop.create_connection(lambda: End(self, dialer.tcp), endpoint.host, endpoint.port)
            except OSError as exc:
                await dialer.await_descriptor(exc, endpoint.address)
            else:
                return

    def _connect_failed(self, endpoint: Endpoint, error: ConnectFailed) -> None:
        """As for a request: the leaf's next endpoint, then another leaf."""
        leaf, now = self._leaf, monotonic()
        if error.source is not Source.PROXY:
            endpoint.load.observe(self._context.dialer.timeouts.connect_s, now)
            self._is_probe = False
            self._context.ejections.failed(endpoint, now)
        elif self._is_probe:
            self._is_probe = False
            self._context.ejections.probe_lost(endpoint)
        self._tried_endpoints.append(endpoint)
        following = leaf.balancer.pick_other(now, self._tried_endpoints) if leaf.balancer else None
        if following is None:
            self._tried_leaves.append(leaf)
            other = self._split.other(self._tried_leaves)
            if other is None or other.balancer is None:
                self.refuse(error)
                return
            leaf, following = other, other.balancer.pick(now)
        endpoint.load.end()
        leaf.series.retries += 1
        self._dispatch(leaf, following)

    # What the ends tell

    def hold(self, data: bytes) -> None:
        """From the client while there is no backend; one read at most, then it is paused."""
        self._held += data

    def unmask(self) -> None:
        """It was a request after all, with a method that no text holds; its line has not gone on as a whole."""
        self._context.errors.add(RequestRefused.label)
        self.abort()

    def connected(self, up: End) -> None:
        self._live += 1
        if self._is_over:
            up.reset()
            return
        down = self._down
        self._up = up
        # All that can be known of it: what passes through has no end that would be good or bad.
        if self._endpoint is not None:
            self._leaf.series.tunnels += 1
            if self._endpoint.accrual is not None:
                self._is_probe = False
                self._context.ejections.succeeded(self._endpoint, monotonic())
        up.other, down.other = down, up
        held, self._held = self._held, b""
        if held:
            up.write(held)
        if down.has_ended:
            up.write_eof()
        if not up.is_full:
            down.resume()

    def close(self) -> None:
        """Both directions have ended; what was written has the idle time to go out."""
        self._close_down()
        if self._up is not None:
            self._up.close()

    def lost(self, end: End, exc: Exception | None) -> None:
        self._live -= 1
        if not self._live:
            self._connections.discard(self)
        if self._is_over:
            return
        self._finish()
        other = end.other
        if other is None:
            return
        is_orderly = exc is None and (end.has_ended or other.has_ended)
        if is_orderly or (end.has_ended and other.has_ended):
            self.close()
        else:
            other.reset()

    def _close_down(self) -> None:
        self.deadline_s = self._context.now + self._context.dialer.timeouts.idle_s
        self._down.close()

    def _finish(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._held = b""
        if self._endpoint is not None:
            if self._up is not None:
                self._leaf.series.tunnels -= 1
            if self._is_probe:
                self._context.ejections.probe_lost(self._endpoint)
            self._endpoint.load.end()
        else:
            self._context.leave(self, self._apex)


def _split_without_match(found: AuthorityTable) -> Split:
    """The route that asks nothing of a request: there is no path or header here that a match could take. Rules of the
    Gateway API (those with a name) are about requests, even where they take all."""
    for route, state in zip(found.routes, found.state.routes, strict=True):
        if not state.matches and not state.name and route.answer is None:
            return route.split
    raise NoRoute("every route of this authority asks for an HTTP request")
