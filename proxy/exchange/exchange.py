"""One request's life: route, send, retry or answer, relay, finish. The same for every codec and both ends.

The client side is a `Client` (a downstream connection), the backend side an upstream connection; the exchange stands
between them, owns the choice of leaf and endpoint, and counts. Here is the response's half; `sending` has the request's
and `retrying` what stands between.
"""

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

from milliroute.proxy.errors import DeadlinePassed, ProxyError, UpstreamTimeout
from milliroute.proxy.exchange.retrying import Retrying
from milliroute.proxy.exchange.throttle import Throttle
from milliroute.proxy.message import ResponseHead
from milliroute.proxy.metrics import GRPC_FAILURES
from milliroute.proxy.resilience.policy import Policy

if TYPE_CHECKING:
    from milliroute.proxy.codec.hpack_static import Field

# nginx's number for a client that closed before it was answered; only in metrics.
CLIENT_GONE_STATUS = 499


class Exchange(Retrying):
    """Implements dialer.Receiver."""

    __slots__ = ()

    # What the client side calls

    def abandon(self) -> None:
        """The client is gone."""
        if isinstance(self._client, Throttle):
            self._client.stop()  # it may outlive the exchange
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
        if isinstance(self._client, Throttle):
            self._client.hold_up()
        self.pause_backend()

    def resume_response(self) -> None:
        if isinstance(self._client, Throttle):
            self._client.go_on()
        else:
            self.resume_backend()

    def pause_backend(self) -> None:
        if self._upstream is not None:
            self._upstream.pause()

    def resume_backend(self) -> None:
        if self._upstream is not None:
            self._read_s = self._context.now
            self._upstream.resume()

    def check_time(self, now: float) -> None:
        """From the sweep, while nothing is due from the client: a backend silent for the response timeout failed."""
        timeouts, upstream = self._context.dialer.timeouts, self._upstream
        if self._held is not None and not self._is_over:
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
        """A limit of time may have passed."""
        self._alarm_s = 0.0
        if self._is_over:
            return
        now, try_ends_s = monotonic(), self._try_ends_s
        if 0.0 < self._ends_s <= now:
            self._expire_whole(now)
            return
        if self._ends_s:
            self._wake_by(self._ends_s)
        if 0.0 < try_ends_s <= now:
            self._try_ends_s = 0.0
            self._expire_try(now)
        elif try_ends_s:
            self._wake_by(try_ends_s)

    def _expire_whole(self, now: float) -> None:
        """Its deadline has passed."""
        error = self._expiry()
        upstream = self._upstream
        if not self.has_begun_response:
            if upstream is not None:
                self._endpoint.load.observe(now - self._waits_since_s, now)
                if not self._is_clients_limit:  # a client in a hurry is no reason to leave an endpoint out for all
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

    def _expiry(self) -> ProxyError:
        policy = None if self._is_clients_limit else self._split.policy
        if policy is None:
            return DeadlinePassed("the deadline of the request has passed")
        return UpstreamTimeout(f"no whole response within {policy.request_s:g} s")

    # dialer.Receiver

    def response(self, head: ResponseHead, body: bytes, is_end: bool) -> None:
        now = monotonic()
        self._endpoint.load.observe(now - self._waits_since_s, now)
        self._grpc_ms = -1.0
        # gRPC is POST, always.
        is_call = head.is_h2 and self.head.method == b"POST" and _is_grpc(head)
        accrual = self._endpoint.accrual
        if accrual is not None and not is_call and not (accrual.is_calm and head.status < 500):
            self._judge(head.status < 500, now)
        policy = self._split.policy
        if policy is not None:
            self._try_ends_s = 0.0
            # A call whose first message is here is not tried again, so it need not be kept back for its status.
            is_named = (is_end or not body) if is_call else head.status in policy.statuses
            if is_named and self._is_kept_back(policy, head, now, is_call=is_call, is_end=is_end):
                return
        self._begin_response(head, body, now, is_call=is_call, is_end=is_end)

    def response_body(self, data: bytes, is_end: bool) -> None:
        if self._held is not None:
            self._let_go(self._held)
        self._read_s = self._context.now
        if is_end:
            if self._is_h2:
                self._end_call("")
            self._finish()
        self._client.send_body(data, is_end)

    def response_trailers(self, fields: "Sequence[Field]") -> None:
        if self._is_h2 and (self._grpc_ms >= 0 or self._held is not None):
            status = next((field.value for field in fields if field.name == b"grpc-status"), b"").decode("latin-1")
            held = self._held
            if held is not None:
                self._upstream = None  # the stream has ended
                if self._is_call_tried_again(held, status, monotonic()):
                    return
                self._let_go(held)
            self._end_call(status)
        self._finish()
        self._client.send_trailers(fields)

    def interim(self, head: ResponseHead) -> None:
        self._client.send_interim(head)

    def upgraded(self, head: ResponseHead) -> None:
        self.has_begun_response = True
        self._may_resend, self._outgoing = False, b""
        self._is_request_done = False  # from here on the client's bytes are its part of a tunnel
        self._grpc_ms = -1.0
        now = monotonic()
        self._try_ends_s = 0.0
        if self._ends_s and not self._is_clients_limit:  # of requests, not of tunnels
            self._ends_s = 0.0
        if self._alarm_s and not self._ends_s:
            self._alarm_s = 0.0
            self._context.drop_deadline(self)
        self._judge(True, now)
        if self._leaf is not None:
            self._leaf.series.record(head.status, (now - self._charged_s) * 1000)
        self._client.send_upgraded(head)

    def failed(self, error: ProxyError, *, is_untouched: bool, is_unprocessed: bool = False) -> None:
        self._held = None
        if not self.has_begun_response:
            self._broken(error, is_untouched=is_untouched, is_unprocessed=is_unprocessed)
            return
        if self._is_h2:
            self._count_grpc("14")
        self._judge(False, monotonic())
        self._context.errors.add(error.label)
        self._finish()
        self._client.abort()

    # Responses

    def _begin_response(self, head: ResponseHead, body: bytes, now: float, *, is_call: bool, is_end: bool) -> None:
        self.has_begun_response = True
        self._may_resend, self._outgoing = False, b""
        self._read_s = now
        leaf = self._leaf
        assert leaf is not None
        if is_call:
            self._grpc_ms, self._http_status = (now - self._charged_s) * 1000, head.status
            if is_end:
                self._end_call(head.value_of(b"grpc-status").decode("latin-1"))
        else:
            leaf.series.record(head.status, (now - self._charged_s) * 1000)
        if is_end:
            self._finish()
        self._client.send_response(head, body, is_end)

    def _is_kept_back(self, policy: Policy, head: ResponseHead, now: float, *, is_call: bool, is_end: bool) -> bool:
        """Nothing of this response goes to the client: not at all or, of a call, not before its status is known. Asked
        of calls, and of responses whose status the policy names."""
        if is_end:
            self._upstream = None  # in its pool, or another's
        if not is_call:
            return self._is_tried_again(policy, head, now)
        if is_end:
            return self._is_call_tried_again(head, head.value_of(b"grpc-status").decode("latin-1"), now)
        # Whoever still sends may wait for the head before going on.
        if policy.retries_grpc and self._may_resend and self._is_request_done:
            self._held = head
        return self._held is not None

    def _is_tried_again(self, policy: Policy, head: ResponseHead, now: float) -> bool:
        leaf = self._leaf
        is_allowed = policy.retries_status(head.status, self.head.method, self._tries())
        # Who says when to come back does not want to be asked before.
        if leaf is None or (is_allowed and head.value_of(b"retry-after")):
            return False
        if not self._is_paid(is_allowed, head.status, b"", now):
            return False
        leaf.series.record(head.status, (now - self._charged_s) * 1000)
        self._retry(now)
        return True

    def _is_call_tried_again(self, head: ResponseHead, grpc_status: str, now: float) -> bool:
        policy, leaf = self._split.policy, self._leaf
        if policy is None or leaf is None:
            return False
        code = grpc_status.encode("latin-1")
        if not self._is_paid(policy.retries_call(code, self._tries()), 0, code, now):
            return False
        self._held = None
        leaf.series.record_grpc(head.status, grpc_status, (now - self._charged_s) * 1000)
        self._judge(_is_good(head.status, grpc_status), now)
        self._retry(now)
        return True

    def _let_go(self, head: ResponseHead) -> None:
        """To the client after all."""
        self._held = None
        self._begin_response(head, b"", monotonic(), is_call=True, is_end=False)

    def _end_call(self, grpc_status: str) -> None:
        """The backend has ended a response; of a gRPC one the status is known now."""
        if self._grpc_ms >= 0:
            self._count_grpc(grpc_status)
            if self._endpoint.accrual is not None:
                self._judge(_is_good(self._http_status, grpc_status), monotonic())

    def _count_grpc(self, grpc_status: str) -> None:
        """A gRPC response is counted when its status is known: in the head of one without a body, else at its end."""
        if self._grpc_ms >= 0 and self._leaf is not None:
            self._leaf.series.record_grpc(self._http_status, grpc_status, self._grpc_ms)
            self._grpc_ms = -1.0


def _is_grpc(head: ResponseHead) -> bool:
    return head.value_of(b"content-type").startswith(b"application/grpc")


def _is_good(status: int, grpc_status: str) -> bool:
    return status < 500 and grpc_status not in GRPC_FAILURES
