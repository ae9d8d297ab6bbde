"""One request's life: route, send, retry or answer, relay, finish. The same for every codec and both ends.

The client side is a `Client` (a downstream connection), the backend side an upstream connection; the exchange stands
between them, owns the choice of leaf and endpoint, and counts. Nothing of a response may have gone to the client when a
request is sent anew.
"""

import random
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

from milliroute.proxy.attempts import Attempts
from milliroute.proxy.context import Client, Context
from milliroute.proxy.dialer import Carrier
from milliroute.proxy.errors import (
    ConnectFailed,
    DeadlinePassed,
    NoBackend,
    NoRoute,
    ProxyError,
    UpstreamFailed,
    UpstreamTimeout,
)
from milliroute.proxy.message import IDEMPOTENT_METHODS, RequestHead, ResponseHead
from milliroute.proxy.metrics import GRPC_FAILURES
from milliroute.proxy.policy import Policy
from milliroute.proxy.pools import pool_of
from milliroute.proxy.table import AuthorityTable, Endpoint, Leaf, Split

if TYPE_CHECKING:
    from milliroute.proxy.codec.hpack_static import Field

# Linkerd's retry body limit: a request kept for a second try is at most this long.
MAX_REPLAY_BYTES = 64 * 1024
# A request that backends refused unprocessed so often is given up; Envoy's default is 1.
MAX_UNPROCESSED_TRIES = 3
# Before the only endpoint is tried again: linkerd2-proxy's backoff.
BACKOFF_S = (0.025, 0.25)
# nginx's number for a client that closed before it was answered; only in metrics.
CLIENT_GONE_STATUS = 499


class Exchange:
    """Implements upstream.Receiver. endpoint, leaf and split are set once the request is routed."""

    __slots__ = (
        "_attempts",
        "_authority",
        "_charged_s",
        "_client",
        "_context",
        "_deadline_slot",
        "_endpoint",
        "_ends_s",
        "_grpc_ms",
        "_held",
        "_http_status",
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
        "_try_slot",
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
        self._is_probe = False  # of an endpoint that is out for its failures
        self._attempts: Attempts | None = None  # None while nothing has gone wrong
        self._may_resend = False  # all of the request that has come is at hand in _outgoing
        self._trailers: Sequence[Field] | None = None  # at the end of the request, while it may have to be sent again
        self._held: ResponseHead | None = None  # of a gRPC response that may have to be tried again for its trailers
        self._ends_s = 0.0  # its deadline; 0 where there is none
        self._deadline_slot = self._try_slot = 0
        self.has_begun_response = False
        # Of the time since _charged_s the leaf is guilty; since _waits_since_s the backend has all it needs to answer.
        self.started_s = self._charged_s = self._waits_since_s = monotonic()
        self._read_s = context.now  # coarse: when the last of the response came, or of a request that goes on

    # What the client side calls

    def begin(self, body: bytes, is_done: bool) -> None:
        """body: what of it came together with the head; is_done: nothing more will come."""
        self._outgoing = body
        self._is_request_done = is_done
        if self.head.is_h2 and self.head.method == b"POST" and (timeout_s := self.head.timeout_s()) is not None:
            self._end_within(timeout_s)
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
        if self._held is not None:
            self._let_go(self._held)  # who waits for the head has waited long enough
        if upstream is None or upstream.is_paused:
            return
        if self.has_begun_response:
            policy = self._split.policy
            idle_s = (policy.idle_s if policy is not None else 0.0) or timeouts.stream_idle_s
            if idle_s and now - self._read_s > idle_s:
                upstream.abort()
                self.failed(UpstreamTimeout("the response stood still"), is_untouched=False)
            return
        limit_s, waited_s = timeouts.response_s, now - self._waits_since_s
        if limit_s and waited_s > limit_s:
            self._late(now, limit_s)

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
                self._judge(False, now)
            self.refuse(error)
            return
        self._context.errors.add(error.label)
        if self._is_h2:
            self._count_grpc(str(error.grpc_status))
        self._finish()
        if upstream is not None:
            upstream.abort()
        self._client.break_off(error)

    def expire_try(self) -> None:
        """One try has taken too long; or the pause before the next one is over."""
        self._try_slot = 0
        if self._is_over or self.has_begun_response:
            return
        now, policy = monotonic(), self._split.policy
        if self._upstream is None:
            self._dispatch(self._endpoint, now)
        elif policy is not None:
            self._late(now, policy.try_s)

    def _late(self, now: float, limit_s: float) -> None:
        """The endpoint has not begun to answer in time."""
        self._endpoint.load.observe(now - self._waits_since_s, now)
        self._judge(False, now)
        error = UpstreamTimeout(f"no response from {self._endpoint} within {limit_s:g} s")
        policy = self._split.policy
        if policy is None or not policy.retries_timeout(self.head.method, self._tries()) or not self._retry(error, now):
            self.refuse(error)

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
        endpoint = balancer.pick(now)
        policy = split.policy
        if policy is not None:
            split.budget.requests += 1
            if policy.request_s:
                self._end_within(policy.request_s)
        if endpoint.accrual is not None and endpoint.accrual.is_out:
            leaf, endpoint = self._probe(leaf, endpoint, now)
        endpoint.load.begin()
        self._leaf, self._endpoint = leaf, endpoint
        self._dispatch(endpoint, now)

    def _probe(self, leaf: Leaf, endpoint: Endpoint, now: float) -> tuple[Leaf, Endpoint]:
        """The penalty of this endpoint is over: one request at a time tries it, the others go elsewhere if they can."""
        accrual = endpoint.accrual
        if accrual is not None and accrual.may_probe(now):
            self._is_probe = True
            return leaf, endpoint
        return Attempts().elsewhere(self._split, leaf, endpoint, now) or (leaf, endpoint)

    def _end_within(self, timeout_s: float) -> None:
        """Of several deadlines the first holds."""
        ends_s = monotonic() + timeout_s
        if self._ends_s and self._ends_s <= ends_s:
            return
        context = self._context
        if self._deadline_slot:
            context.drop_deadline(self._deadline_slot, self.expire)
        self._ends_s = ends_s
        self._deadline_slot = context.set_deadline(self.expire, timeout_s)

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
        if policy is not None and policy.try_s and not self._try_slot:
            self._try_slot = self._context.set_deadline(self.expire_try, policy.try_s)
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
        endpoint, now = self._endpoint, monotonic()
        endpoint.load.observe(self._context.dialer.timeouts.connect_s, now)
        self._judge(False, now)
        if not self._go_elsewhere(now, error.status, error.label):
            self.refuse(error)

    def _go_elsewhere(self, now: float, status: int, label: str) -> bool:
        """status, label: what the leaf is charged with if another has to take over. False where nobody is left."""
        leaf, endpoint = self._leaf, self._endpoint
        assert leaf is not None
        attempts = self._attempts = self._attempts or Attempts()
        target = attempts.elsewhere(self._split, leaf, endpoint, now)
        if target is None:
            return False
        next_leaf, next_endpoint = target
        if next_leaf is not leaf and self._is_counted:
            self._is_counted = False
            leaf.series.record_error(status, label, (now - self._charged_s) * 1000)
        next_leaf.series.retries += 1
        self._charged_s = now
        endpoint.load.end()
        next_endpoint.load.begin()
        self._leaf, self._endpoint = next_leaf, next_endpoint
        self._dispatch(next_endpoint, now)
        return True

    def _retry(self, error: ProxyError, now: float) -> bool:
        """By the policy: what came of the try is thrown away. False where that can't be or may not be."""
        if not self._may_resend or not self._split.budget.spend(now):
            return False
        upstream, self._upstream = self._upstream, None
        if self._try_slot:
            self._drop_try()
        self._count_try()
        if upstream is not None:
            upstream.abort()
        if self._ends_s:
            self.head.limit_timeout(self._ends_s - now)
        if not self._go_elsewhere(now, error.status, error.label):
            # Nobody else is there, so after a while the same again; a pause, because it may be overloaded.
            if self._leaf is not None:
                self._leaf.series.retries += 1
            self._try_slot = self._context.set_deadline(self.expire_try, random.uniform(*BACKOFF_S))
        return True

    def response(self, head: ResponseHead, body: bytes, is_end: bool) -> None:
        now = monotonic()
        self._endpoint.load.observe(now - self._waits_since_s, now)
        self._grpc_ms = -1.0
        # gRPC is POST, always.
        is_call = head.is_h2 and self.head.method == b"POST" and _is_grpc(head)
        if self._endpoint.accrual is not None and not is_call:
            self._judge(head.status < 500, now)
        policy = self._split.policy
        if policy is not None:
            if self._try_slot:
                self._drop_try()
            if self._is_tried_again(policy, head, now, is_call=is_call, is_end=is_end):
                return
        self._begin_response(head, body, now, is_call=is_call, is_end=is_end)

    def _begin_response(self, head: ResponseHead, body: bytes, now: float, *, is_call: bool, is_end: bool) -> None:
        self.has_begun_response = True
        self._may_resend, self._outgoing = False, b""
        self._read_s = now
        leaf = self._leaf
        assert leaf is not None
        if is_call:
            self._grpc_ms, self._http_status = (now - self._charged_s) * 1000, head.status
            if is_end:
                self._count_grpc(head.value_of(b"grpc-status").decode("latin-1"))
        else:
            leaf.series.record(head.status, (now - self._charged_s) * 1000)
        if is_end:
            self._finish()
        self._client.send_response(head, body, is_end)

    def response_body(self, data: bytes, is_end: bool) -> None:
        if self._held is not None:
            self._let_go(self._held)
        self._read_s = self._context.now
        if is_end:
            if self._is_h2:
                self._count_grpc("")
            self._finish()
        self._client.send_body(data, is_end)

    def response_trailers(self, fields: "Sequence[Field]") -> None:
        if self._is_h2 and (self._grpc_ms >= 0 or self._held is not None):
            status = next((field.value for field in fields if field.name == b"grpc-status"), b"")
            if self._held is not None:
                held, self._held, self._upstream = self._held, None, None
                if self._is_call_tried_again(held, status):
                    return
                self._let_go(held)
            self._count_grpc(status.decode("latin-1"))
        self._finish()
        self._client.send_trailers(fields)

    # A response that is thrown away for another try

    def _is_tried_again(self, policy: Policy, head: ResponseHead, now: float, *, is_call: bool, is_end: bool) -> bool:
        """Nothing of this response goes to the client: not at all or, of a call, not before its status is known."""
        if is_end:
            self._upstream = None  # in its pool, or another's
        if not is_call:
            error = UpstreamFailed(f"{self._endpoint} answered {head.status}", status=head.status)
            return policy.retries_status(head.status, self.head.method, self._tries()) and self._retry(error, now)
        if is_end:
            return self._is_call_tried_again(head, head.value_of(b"grpc-status"))
        # Whoever still sends may wait for the head before going on.
        if policy.retries_grpc and self._may_resend and self._is_request_done:
            self._held = head
        return self._held is not None

    def _is_call_tried_again(self, head: ResponseHead, grpc_status: bytes) -> bool:
        policy, now = self._split.policy, monotonic()
        if policy is None or not policy.retries_call(grpc_status, self._tries()):
            return False
        self._judge(grpc_status.decode("latin-1") not in GRPC_FAILURES, now)
        return self._retry(UpstreamFailed(f"{self._endpoint} answered {head.status}", status=head.status), now)

    def _let_go(self, head: ResponseHead) -> None:
        """To the client after all."""
        self._held = None
        self._begin_response(head, b"", monotonic(), is_call=True, is_end=False)

    def _count_grpc(self, grpc_status: str) -> None:
        """A gRPC response is counted when its status is known: in the head of one without a body, else at its end."""
        if self._grpc_ms >= 0 and self._leaf is not None:
            self._leaf.series.record_grpc(self._http_status, grpc_status, self._grpc_ms)
            self._grpc_ms = -1.0
            if self._endpoint.accrual is not None:
                self._judge(grpc_status not in GRPC_FAILURES, monotonic())

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
        self._held = None
        if self._try_slot:
            self._drop_try()
        if is_unprocessed:
            # RFC 9113 section 8.7: any method.
            is_replayable = self._may_resend and self._tries() < MAX_UNPROCESSED_TRIES
        else:
            is_replayable = is_untouched and upstream is not None and upstream.is_reused and self._may_replay()
        if is_replayable:
            self._send_again(is_unprocessed)
            return
        now, policy = monotonic(), self._split.policy
        self._judge(False, now)
        if policy is None or not policy.retries_failure(self.head.method, self._tries()) or not self._retry(error, now):
            self.refuse(error)

    def _send_again(self, is_unprocessed: bool) -> None:
        """On a fresh connection: what the backend closed was idle, or it said that it goes away. Of one that refuses
        work, another endpoint is asked first."""
        leaf, now = self._leaf, monotonic()
        assert leaf is not None
        self._count_try()
        leaf.series.retries += 1
        if is_unprocessed and leaf.balancer is not None:
            other = leaf.balancer.pick_other(now, [self._endpoint])
            if other is not None:
                self._endpoint.load.end()
                other.load.begin()
                self._endpoint = other
                self._dispatch(other, now)
                return
        if not self._is_request_done:
            self._client.pause_request()
        pool_of(self._context.dialer, self._endpoint, self._is_h2).connect(self)

    def _tries(self) -> int:
        return 0 if self._attempts is None else self._attempts.count

    def _count_try(self) -> Attempts:
        attempts = self._attempts = self._attempts or Attempts()
        attempts.count += 1
        return attempts

    def _judge(self, is_good: bool, now: float) -> None:
        """For its failure accrual, where it has one."""
        self._is_probe = False
        if is_good:
            self._context.ejections.succeeded(self._endpoint, now)
        else:
            self._context.ejections.failed(self._endpoint, now)

    def _drop_try(self) -> None:
        self._context.drop_deadline(self._try_slot, self.expire_try)
        self._try_slot = 0

    def pause_request(self) -> None:
        if not self._is_request_done:
            self._waits_since_s = monotonic()  # for the backend to read on
            self._client.pause_request()

    def resume_request(self) -> None:
        if not self._is_request_done:
            self._client.resume_request()

    def _may_replay(self) -> bool:
        return self._may_resend and self._attempts is None and self.head.method in IDEMPOTENT_METHODS

    def _finish(self) -> None:
        """What carried it is in its pool or another's from here on, and each would keep the other alive."""
        self._is_over = True
        self._upstream = None
        if self._deadline_slot:
            self._context.drop_deadline(self._deadline_slot, self.expire)
        if self._try_slot:
            self._drop_try()
        if self._is_probe and self._endpoint.accrual is not None:
            self._endpoint.accrual.probe_lost()
        if self._leaf is not None:
            self._endpoint.load.end()
        else:
            self._context.leave(self, self._authority)


def _is_grpc(head: ResponseHead) -> bool:
    return head.value_of(b"content-type").startswith(b"application/grpc")
