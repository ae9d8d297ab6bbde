"""The request's half of an exchange: route, pick, connect, send. The response's half and trying again stand above it.

In: what the client side says, a `Client`. Out: bytes on an upstream connection of the endpoint that was picked. Nothing
of a response may have gone to the client when a request is sent anew.
"""

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from milliroute.proxy.errors import (
    FaultInjected,
    NoRoute,
    Overloaded,
    ProxyError,
    RateLimited,
    Redirected,
    RoutingError,
)
from milliroute.proxy.exchange.context import Client, Context
from milliroute.proxy.message import RequestHead, ResponseHead
from milliroute.proxy.resilience.attempts import Attempts
from milliroute.proxy.resilience.faults import Fault
from milliroute.proxy.routing.leaf import Endpoint, Leaf
from milliroute.proxy.routing.split import Split
from milliroute.proxy.routing.table import AuthorityTable
from milliroute.proxy.upstream.dialer import Carrier, Receiver
from milliroute.proxy.upstream.pools import pool_of

if TYPE_CHECKING:
    from milliroute.proxy.codec.hpack_static import Field

# Linkerd's retry body limit: a request kept for a second try is at most this long.
MAX_REPLAY_BYTES = 64 * 1024


class Timed(Receiver, Protocol):
    """What stands above: the upstream's receiver, and what happens when time is over."""

    __slots__ = ()

    def expire(self) -> None: ...

    def pause_backend(self) -> None: ...

    def resume_backend(self) -> None: ...


class Sending(Timed):
    """endpoint, leaf and split are set once the request is routed. All attributes of an exchange, of every half of it,
    are made here.
    """

    __slots__ = (
        "_alarm_s",
        "_attempts",
        "_authority",
        "_charged_s",
        "_client",
        "_context",
        "_endpoint",
        "_ends_s",
        "_grpc_ms",
        "_held",
        "_http_status",
        "_is_clients_limit",
        "_is_counted",
        "_is_h2",
        "_is_over",
        "_is_probe",
        "_is_request_done",
        "_leaf",
        "_may_resend",
        "_outgoing",
        "_read_s",
        "_split",
        "_trailers",
        "_try_ends_s",
        "_upstream",
        "_waits_since_s",
        "has_begun_response",
        "head",
        "started_s",
    )
    _endpoint: Endpoint
    _split: Split
    _is_clients_limit: bool  # set with a deadline: the client's own, or the route's
    # Set when it is routed; the last two only where the backend speaks HTTP/2: a gRPC response whose status is to come.
    _is_h2: bool
    _grpc_ms: float
    _http_status: int

    def __init__(self, context: Context, client: Client, head: RequestHead, apex: bytes) -> None:
        """apex: b"" to route by the authority that the request names."""
        self._context = context
        self._client = client
        self.head = head
        self._authority = apex or head.host
        self._leaf: Leaf | None = None
        self._upstream: Carrier | None = None
        self._outgoing = b""
        self._is_request_done = False
        self._is_over = False
        self._is_counted = False  # as a request to _leaf, which then owes a response or an error
        self._is_probe = False  # of an endpoint that is out for its failures
        self._attempts: Attempts | None = None  # None while nothing has gone wrong
        self._may_resend = False  # all of the request that has come is at hand in _outgoing
        self._trailers: Sequence[Field] | None = None  # at the end of the request, while it may have to be sent again
        self._held: ResponseHead | None = None  # of a gRPC response that may have to be tried again for its trailers
        # When all of it has to be over, when this try or this pause, and when to look at both again; 0: never. The look
        # comes no later than either, once they are near, and a limit that is lifted leaves it where it is: one deadline
        # serves both.
        self._ends_s = self._try_ends_s = self._alarm_s = 0.0
        self.has_begun_response = False
        # Of the time since _charged_s the leaf is guilty; since _waits_since_s the backend has all it needs to answer.
        self.started_s = self._charged_s = self._waits_since_s = monotonic()
        self._read_s = context.now  # coarse: when the last of the response came, or of a request that goes on

    @property
    def leaf(self) -> Leaf | None:
        return self._leaf

    # What the client side calls

    def begin(self, body: bytes, is_done: bool) -> None:
        """body: what of it came together with the head; is_done: nothing more will come."""
        self._outgoing = body
        self._is_request_done = is_done
        context = self._context
        context.in_flight += 1
        if context.in_flight > context.max_in_flight:
            self.refuse(Overloaded(f"over {context.max_in_flight} requests at once"))
            return
        if self.head.is_h2 and self.head.method == b"POST" and (timeout_s := self.head.timeout_s()) is not None:
            self._end_by(self.started_s + timeout_s, is_clients=True)
            if timeout_s <= context.near_s:
                self._wake_by(self._ends_s)
        try:
            found = self._context.router.find(self._authority)
        except NoRoute as exc:
            self.refuse(exc)
            return
        if found is not None:
            self._route(found, self.started_s)
            return
        if not is_done:
            self._client.pause_request()
        self._context.park(self, self._authority)

    def resume_routing(self) -> None:
        """The agent has answered for this authority."""
        if self._is_over:
            return
        try:
            found = self._context.router.find(self._authority)
        except NoRoute as exc:
            self.refuse(exc)
            return
        if found is None:
            self.refuse(NoRoute("no such service"))
            return
        self._route(found, monotonic())

    def request_body(self, data: bytes, is_done: bool) -> None:
        self._is_request_done = is_done
        self._read_s = self._context.now
        if is_done:
            self._waits_since_s = monotonic()
        if self._upstream is None:
            self._outgoing += data  # bounded: the client is paused while there is no connection
            return
        if self._may_resend:
            self._keep(data)
        self._upstream.write(data, is_done)

    def request_trailers(self, fields: "Sequence[Field]") -> None:
        """The end of a request over HTTP/2 that has them."""
        self._is_request_done = True
        self._waits_since_s = monotonic()
        self._trailers = fields
        if self._upstream is not None:
            self._upstream.write_trailers(fields)

    @property
    def is_request_under_way(self) -> bool:
        return not self._is_request_done

    def request_eof(self) -> None:
        """The client's side of an upgraded connection has ended."""
        if self._upstream is not None:
            self._upstream.write_eof()

    def refuse(self, error: ProxyError) -> None:
        """Answers in the backend's place and hangs up on it."""
        if self._is_over:
            return
        leaf = self._leaf
        self._context.errors.add(error.label)
        if leaf is not None:
            if not self._is_counted:
                leaf.series.requests += 1
            leaf.series.record_error(error.status, error.label, (monotonic() - self.started_s) * 1000)
        upstream = self._upstream
        self._finish()
        if upstream is not None:
            upstream.abort()
        self._client.send_error(error)

    # Routing

    def _route(self, found: AuthorityTable, now: float) -> None:
        router = self._context.router
        access = found.access
        if access is not None and (denied := access.judge(self._client, self.head)) is not None:
            self.refuse(denied)
            return
        try:
            split = found.only
            if split is not None:
                self._split = split
                limits = split.limits
                if limits is not None:
                    if limits.total is None:
                        over = limits.judge(self._client, now)
                    else:
                        over = limits.refuse(wait_s) if (wait_s := limits.total.take(now)) else None
                    if over is not None:
                        raise over
                leaf = router.leaf_of(split, self.head, self._client)
            else:
                leaf = self._leaf_of_route(found, now)
                split = self._split
        except Redirected as exc:
            self._finish()
            self._client.send_error(exc)
            return
        except (RoutingError, RateLimited) as exc:
            self.refuse(exc)
            return
        fault = split.faults.draw(self.head, leaf.name) if split.faults is not None else None
        if fault is not None and (fault.abort or fault.is_reset):
            self._fail_on_purpose(fault)
            return
        self._leaf = leaf
        balancer = leaf.balancer
        assert balancer is not None
        endpoint = self._endpoint = balancer.pick(now)
        endpoint.load.begin()
        policy = split.policy
        if policy is not None:
            split.budget.requests += 1
            if policy.request_s:
                self._end_by(now + policy.request_s, is_clients=False)
            if 0.0 < policy.first_s <= self._context.near_s:
                self._wake_by(now + policy.first_s)
        if endpoint.accrual is not None and endpoint.accrual.is_out:
            self._is_probe = self._context.ejections.probe(endpoint, now)
        if fault is not None and self._is_hindered(fault):
            return
        self._dispatch(endpoint, now)

    def _leaf_of_route(self, found: AuthorityTable, now: float) -> Leaf:
        """By the first route that takes the request; what it changes is changed. Raises its own answer as well."""
        route = found.route_for(self.head)
        split = self._split = route.split
        if split.limits is not None and (over := split.limits.judge(self._client, now)) is not None:
            raise over
        if route.answer is not None:
            raise route.answer(self.head)
        leaf = self._context.router.leaf_of(split, self.head, self._client)
        if route.filters is not None:
            # Here, because a worker whose tables change nothing need not carry it.
            from milliroute.proxy.exchange.filtered import dress

            self._client = dress(self, self._client, route.filters, leaf)
        return leaf

    def _is_hindered(self, fault: Fault) -> bool:
        """Whether it is sent later."""
        if fault.bytes_per_s:
            # Here, because few requests are slowed down.
            from milliroute.proxy.exchange.throttle import Throttle

            self._client = Throttle(self._client, self, self._context, fault.bytes_per_s)
        if not fault.delay_s:
            return False
        if not self._is_request_done:
            self._client.pause_request()
        self._limit_try(fault.delay_s)
        return True

    def _fail_on_purpose(self, fault: Fault) -> None:
        """At once, also where a delay was drawn besides; no leaf is charged with it."""
        if not fault.is_reset:
            self.refuse(FaultInjected(fault.text, status=fault.abort))
            return
        self._context.errors.add(FaultInjected.label)
        self._finish()
        self._client.abort()

    def _move(self, leaf: Leaf, endpoint: Endpoint, now: float) -> None:
        """From the endpoint it was meant for to this one."""
        ejections = self._context.ejections
        if self._is_probe:
            self._is_probe = False
            ejections.probe_lost(self._endpoint)
        self._endpoint.load.end()
        endpoint.load.begin()
        before = self._leaf
        if leaf.filters is not None or (before is not None and before.filters is not None):
            from milliroute.proxy.heads.rewriting import redressed

            self.head = redressed(self.head, leaf.filters)
        self._leaf, self._endpoint = leaf, endpoint
        if endpoint.accrual is not None and endpoint.accrual.is_out:
            self._is_probe = ejections.probe(endpoint, now)

    def look_ahead(self, now: float) -> None:
        """From the rounds, in any state of the request: what ends soon is watched from here on."""
        if self._is_over:
            return
        near_s = now + self._context.near_s
        for ends_s in (self._ends_s, self._try_ends_s):
            if 0.0 < ends_s <= near_s:
                self._wake_by(ends_s)

    def _end_by(self, at_s: float, *, is_clients: bool) -> None:
        """Of several deadlines the first holds. Whoever sets one that is near sees to it that a look comes in time."""
        if not 0.0 < self._ends_s <= at_s:
            self._ends_s, self._is_clients_limit = at_s, is_clients

    def _wake_by(self, at_s: float) -> None:
        if self._alarm_s:
            if self._alarm_s <= at_s:
                return
            self._context.drop_deadline(self)
        self._alarm_s = at_s
        self._context.set_deadline(self, at_s)

    def _dispatch(self, endpoint: Endpoint, now: float) -> None:
        leaf = self._leaf
        assert leaf is not None
        is_h2 = self.head.is_h2 if leaf.is_h2 is None else leaf.is_h2
        pool = pool_of(self._context.dialer, endpoint, is_h2)
        connection = pool.take()
        if connection is not None:
            self._send(connection, now)
            return
        if not self._is_request_done:
            self._client.pause_request()
        pool.connect(self)

    def _send(self, connection: Carrier, now: float) -> None:
        self._upstream = connection
        self._is_h2 = connection.is_h2  # not by the pool that was asked: ALPN may have chosen otherwise
        self._waits_since_s = now
        data, leaf, trailers = self._outgoing, self._leaf, self._trailers
        assert leaf is not None
        if not self._is_counted:
            self._is_counted = True
            leaf.series.requests += 1
        policy = self._split.policy
        if policy is not None and policy.try_s and not self._try_ends_s:
            self._try_ends_s = now + policy.try_s
            if policy.try_s <= self._context.near_s:
                self._wake_by(self._try_ends_s)
        self._may_resend = len(data) <= MAX_REPLAY_BYTES
        if not self._may_resend:
            self._outgoing = b""
        if not self._is_request_done:
            self._client.resume_request()  # now and not later: sending may have to pause it again
        connection.send(self, self.head, data, self._is_request_done and trailers is None)
        if trailers is not None:
            connection.write_trailers(trailers)

    def _keep(self, data: bytes) -> None:
        """For a second try, as long as it is not too much."""
        if len(self._outgoing) + len(data) > MAX_REPLAY_BYTES:
            self._may_resend, self._outgoing = False, b""
        else:
            self._outgoing += data

    # dialer.Receiver, as far as it is about the request

    def connected(self, connection: Carrier) -> None:
        if self._is_over:
            connection.return_unused()
            return
        self._send(connection, monotonic())

    def pause_request(self) -> None:
        if not self._is_request_done:
            self._waits_since_s = monotonic()  # for the backend to read on
            self._client.pause_request()

    def resume_request(self) -> None:
        if not self._is_request_done:
            self._client.resume_request()

    # The end

    def _judge(self, is_good: bool, now: float) -> None:
        """The endpoint, for its failure accrual, where it has one."""
        self._is_probe = False
        if is_good:
            self._context.ejections.succeeded(self._endpoint, now)
        else:
            self._context.ejections.failed(self._endpoint, now)

    def _limit_try(self, timeout_s: float) -> None:
        """Until it expires."""
        self._try_ends_s = monotonic() + timeout_s
        self._wake_by(self._try_ends_s)

    def _finish(self) -> None:
        """What carried it is in its pool or another's from here on, and each would keep the other alive."""
        self._is_over = True
        self._context.in_flight -= 1
        self._upstream = None
        if self._alarm_s:
            self._context.drop_deadline(self)
        if self._is_probe:
            self._context.ejections.probe_lost(self._endpoint)
        if self._leaf is not None:
            self._endpoint.load.end()
        else:
            self._context.leave(self, self._authority)
