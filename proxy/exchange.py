"""One request's life: route, send, retry or answer, relay, finish. The same for every codec and both ends.

The client side is a `Client` (a downstream connection), the backend side an upstream connection; the exchange stands
between them, owns the choice of leaf and endpoint, and counts. Nothing of a response may have gone to the client when a
request is sent anew.
"""

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

from milliroute.proxy.context import Client, Context
from milliroute.proxy.dialer import Carrier
from milliroute.proxy.errors import ConnectFailed, DeadlinePassed, NoBackend, NoRoute, ProxyError, UpstreamTimeout
from milliroute.proxy.message import IDEMPOTENT_METHODS, RequestHead, ResponseHead
from milliroute.proxy.pools import pool_of
from milliroute.proxy.table import AuthorityTable, Endpoint, Leaf, Split

if TYPE_CHECKING:
    from milliroute.proxy.codec.hpack_static import Field

# Linkerd's retry body limit: a request kept for a second try is at most this long.
MAX_REPLAY_BYTES = 64 * 1024
# A request that backends refused unprocessed so often is given up: Envoy's default is 1 and a budget, ours comes later.
MAX_UNPROCESSED_TRIES = 3
# nginx's number for a client that closed before it was answered; only in metrics.
CLIENT_GONE_STATUS = 499


class Exchange:
    """Implements upstream.Receiver. endpoint, leaf and split are set once the request is routed."""

    __slots__ = (
        "_authority",
        "_charged_s",
        "_client",
        "_context",
        "_deadline_slot",
        "_endpoint",
        "_grpc_ms",
        "_http_status",
        "_is_counted",
        "_is_h2",
        "_is_over",
        "_is_request_done",
        "_leaf",
        "_may_resend",
        "_outgoing",
        "_read_s",
        "_split",
        "_trailers",
        "_tried_endpoints",
        "_tried_leaves",
        "_tries",
        "_upstream",
        "_waits_since_s",
        "has_begun_response",
        "head",
        "started_s",
    )
    _endpoint: Endpoint
    _split: Split
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
        self._tries = 0  # of sending it, beyond the first
        self._may_resend = False  # all of the request that has come is at hand in _outgoing
        self._trailers: Sequence[Field] | None = None  # at the end of the request, while it may have to be sent again
        self._deadline_slot = 0
        self._tried_endpoints: list[Endpoint] | None = None
        self._tried_leaves: list[Leaf] | None = None
        self.has_begun_response = False
        # Of the time since _charged_s the leaf is guilty; since _waits_since_s the backend has all it needs to answer.
        self.started_s = self._charged_s = self._waits_since_s = monotonic()
        self._read_s = context.now  # coarse: when the last of the response came, or of a request that goes on

    # What the client side calls

    def begin(self, body: bytes, is_done: bool) -> None:
        """body: what of it came together with the head; is_done: nothing more will come."""
        self._outgoing = body
        self._is_request_done = is_done
        if self.head.is_h2 and self.head.method == b"POST":
            self._deadline_slot = self._context.set_deadline(self, self.head.timeout_s())
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

    def request_eof(self) -> None:
        """The client's side of an upgraded connection has ended."""
        if self._upstream is not None:
            self._upstream.write_eof()

    def abandon(self) -> None:
        """The client is gone."""
        if self._is_over:
            return
        if self._is_counted and self._leaf is not None and not self.has_begun_response:
            elapsed_ms = (monotonic() - self.started_s) * 1000
            self._leaf.series.record_error(CLIENT_GONE_STATUS, "client gone", elapsed_ms)
        elif self.has_begun_response and self._is_h2:
            self._count_grpc("1")  # CANCELLED
        upstream = self._upstream
        self._finish()
        if upstream is not None:
            upstream.abort()

    def pause_response(self) -> None:
        if self._upstream is not None:
            self._upstream.pause()

    def resume_response(self) -> None:
        if self._upstream is not None:
            self._read_s = self._context.now
            self._upstream.resume()

    def check_time(self, now: float) -> None:
        """From the sweep, while nothing is due from the client: a backend silent for the response timeout failed."""
        timeouts, upstream = self._context.dialer.timeouts, self._upstream
        if upstream is None or upstream.is_paused:
            return
        if self.has_begun_response:
            if timeouts.stream_idle_s and now - self._read_s > timeouts.stream_idle_s:
                upstream.abort()
                self.failed(UpstreamTimeout("the response stood still"), is_untouched=False)
            return
        limit_s, waited_s = timeouts.response_s, now - self._waits_since_s
        if limit_s and waited_s > limit_s:
            self._endpoint.load.observe(waited_s, now)
            self.refuse(UpstreamTimeout(f"no response from {self._endpoint} within {limit_s:g} s"))

    def expire(self) -> None:
        """Its deadline has passed."""
        self._deadline_slot = 0
        if self._is_over:
            return
        error = DeadlinePassed("the deadline of the request has passed")
        upstream = self._upstream
        if not self.has_begun_response:
            if upstream is not None:
                now = monotonic()
                self._endpoint.load.observe(now - self._waits_since_s, now)
            self.refuse(error)
            return
        self._context.errors.add(error.label)
        if self._is_h2:
            self._count_grpc(str(error.grpc_status))
        self._finish()
        if upstream is not None:
            upstream.abort()
        self._client.break_off(error)

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
        try:
            split = self._split = found.only or found.split_for(self.head)
            leaf = router.leaf_of(split, self.head, self._client)
        except (NoRoute, NoBackend) as exc:
            self.refuse(exc)
            return
        self._leaf = leaf
        balancer = leaf.balancer
        assert balancer is not None
        self._dispatch(balancer.pick(now), now)

    def _dispatch(self, endpoint: Endpoint, now: float) -> None:
        self._endpoint = endpoint
        endpoint.load.begin()
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

    # upstream.Receiver

    def connected(self, connection: Carrier) -> None:
        if self._is_over:
            connection.return_unused()
            return
        self._send(connection, monotonic())

    def connect_failed(self, error: ConnectFailed) -> None:
        """Nothing was sent, so any method may go elsewhere: the leaf's next endpoint, then another leaf."""
        if self._is_over:
            return
        endpoint, leaf = self._endpoint, self._leaf
        assert leaf is not None
        now = monotonic()
        endpoint.load.end()
        endpoint.load.observe(self._context.dialer.timeouts.connect_s, now)
        if self._tried_endpoints is None or self._tried_leaves is None:
            self._tried_endpoints, self._tried_leaves = [], []
        self._tried_endpoints.append(endpoint)
        next_endpoint = leaf.balancer.pick_other(now, self._tried_endpoints) if leaf.balancer else None
        if next_endpoint is None:
            self._tried_leaves.append(leaf)
            other = self._split.other(self._tried_leaves)
            if other is None or other.balancer is None:
                endpoint.load.begin()
                self.refuse(error)
                return
            if self._is_counted:  # its idle connection was stale, and a fresh one can't be had
                self._is_counted = False
                leaf.series.record_error(error.status, error.label, (now - self._charged_s) * 1000)
            leaf = self._leaf = other
            next_endpoint = other.balancer.pick(now)
        leaf.series.retries += 1
        self._charged_s = now
        self._dispatch(next_endpoint, now)

    def response(self, head: ResponseHead, body: bytes, is_end: bool) -> None:
        now = monotonic()
        leaf = self._leaf
        assert leaf is not None
        self.has_begun_response = True
        self._may_resend, self._outgoing = False, b""
        self._endpoint.load.observe(now - self._waits_since_s, now)
        elapsed_ms = (now - self._charged_s) * 1000
        self._grpc_ms = -1.0
        # gRPC is POST, always.
        if not head.is_h2 or self.head.method != b"POST" or not self._counts_as_grpc(head, is_end, elapsed_ms):
            leaf.series.record(head.status, elapsed_ms)
        self._read_s = now
        if is_end:
            self._finish()
        self._client.send_response(head, body, is_end)

    def response_body(self, data: bytes, is_end: bool) -> None:
        self._read_s = self._context.now
        if is_end:
            if self._is_h2:
                self._count_grpc("")
            self._finish()
        self._client.send_body(data, is_end)

    def response_trailers(self, fields: "Sequence[Field]") -> None:
        if self._is_h2 and self._grpc_ms >= 0:
            self._count_grpc(next((f.value.decode("latin-1") for f in fields if f.name == b"grpc-status"), ""))
        self._finish()
        self._client.send_trailers(fields)

    def _counts_as_grpc(self, head: ResponseHead, is_end: bool, elapsed_ms: float) -> bool:
        """A gRPC response is counted when its status is known: in the head of one without a body, else at its end."""
        if not head.value_of(b"content-type").startswith(b"application/grpc"):
            return False
        self._grpc_ms = elapsed_ms
        self._http_status = head.status
        if is_end:
            self._count_grpc(head.value_of(b"grpc-status").decode("latin-1"))
        return True

    def _count_grpc(self, grpc_status: str) -> None:
        if self._grpc_ms >= 0 and self._leaf is not None:
            self._leaf.series.record_grpc(self._http_status, grpc_status, self._grpc_ms)
            self._grpc_ms = -1.0

    def interim(self, head: ResponseHead) -> None:
        self._client.send_interim(head)

    def upgraded(self, head: ResponseHead) -> None:
        self.has_begun_response = True
        self._may_resend, self._outgoing = False, b""
        self._is_request_done = False  # from here on the client's bytes are its part of a tunnel
        self._grpc_ms = -1.0
        if self._leaf is not None:
            self._leaf.series.record(head.status, (monotonic() - self._charged_s) * 1000)
        self._client.send_upgraded(head)

    def failed(self, error: ProxyError, *, is_untouched: bool, is_unprocessed: bool = False) -> None:
        upstream, self._upstream = self._upstream, None
        if self.has_begun_response:
            if self._is_h2:
                self._count_grpc("14")
            self._context.errors.add(error.label)
            self._finish()
            self._client.abort()
            return
        if is_unprocessed:
            is_replayable = self._may_resend and self._tries < MAX_UNPROCESSED_TRIES  # RFC 9113 section 8.7: any method
        else:
            is_replayable = is_untouched and upstream is not None and upstream.is_reused and self._may_replay()
        if is_replayable:
            self._send_again(is_unprocessed)
        else:
            self.refuse(error)

    def _send_again(self, is_unprocessed: bool) -> None:
        """On a fresh connection: what the backend closed was idle, or it said that it goes away. Of one that refuses
        work, another endpoint is asked first."""
        leaf, now = self._leaf, monotonic()
        assert leaf is not None
        self._tries += 1
        leaf.series.retries += 1
        if is_unprocessed and leaf.balancer is not None:
            other = leaf.balancer.pick_other(now, [self._endpoint])
            if other is not None:
                self._endpoint.load.end()
                self._dispatch(other, now)
                return
        if not self._is_request_done:
            self._client.pause_request()
        pool_of(self._context.dialer, self._endpoint, self._is_h2).connect(self)

    def pause_request(self) -> None:
        if not self._is_request_done:
            self._waits_since_s = monotonic()  # for the backend to read on
            self._client.pause_request()

    def resume_request(self) -> None:
        if not self._is_request_done:
            self._client.resume_request()

    def _may_replay(self) -> bool:
        return self._may_resend and not self._tries and self.head.method in IDEMPOTENT_METHODS

    def _finish(self) -> None:
        """What carried it is in its pool or another's from here on, and each would keep the other alive."""
        self._is_over = True
        self._upstream = None
        if self._deadline_slot:
            self._context.drop_deadline(self._deadline_slot, self)
        if self._leaf is not None:
            self._endpoint.load.end()
        else:
            self._context.leave(self, self._authority)
