"""Trying again: what failed before anything of a response went to the client goes elsewhere, where that is safe.

Three kinds, from always to seldom: nothing was sent, or the backend says that it processed nothing (any method); no
answer came that can be read (idempotent methods: once more there where an idle connection had ended, then elsewhere);
and what the route's policy names, paid for by its budget.
The rule not to break: a try is over, its stream reset or its connection closed, before the next one begins. A response
that is thrown away counts for its leaf as the response it was, so that retries hide no leaf's failures.
"""

import random
from time import monotonic

from milliroute.proxy.errors import ConnectFailed, ConnectTimeout, ProxyError, Source, UpstreamTimeout
from milliroute.proxy.exchange.sending import Sending
from milliroute.proxy.message import IDEMPOTENT_METHODS
from milliroute.proxy.resilience.attempts import Attempts
from milliroute.proxy.resilience.deadlines import TICK_S
from milliroute.proxy.resilience.policy import Policy
from milliroute.proxy.upstream.pools import pool_of

# A request that backends refused unprocessed so often is given up; Envoy's default is 1.
MAX_UNPROCESSED_TRIES = 3
# An idempotent request that gets no answer, or none that can be read, goes to so many others: one that kills its
# backends must not reach all of them (nginx knows no such limit). All but the first are paid for by the budget.
MAX_MOVES = 3
# Before an endpoint that failed a request gets it again: linkerd2-proxy's backoff.
BACKOFF_S = (0.025, 0.25)
# Our own: the backend can't do what was asked for, and is none the worse for it.
NOT_IMPLEMENTED = 501


class Retrying(Sending):
    __slots__ = ()

    # From the rim

    def _expire_try(self, now: float) -> None:
        """One try has taken too long; or the pause before the next one is over."""
        if self.has_begun_response:
            return
        policy = self._split.policy
        if self._upstream is None:
            self._end_pause(now)
            return
        if policy is None:
            return
        left_s = policy.try_s - (now - self._waits_since_s) if self._is_request_done else policy.try_s
        if left_s > TICK_S:  # the client has kept the backend waiting
            self._limit_try(left_s)
        else:
            self._late(now, policy.try_s)

    def connect_failed(self, error: ConnectFailed) -> None:
        """Nothing was sent, so any method may go elsewhere: the leaf's next endpoint, then another leaf."""
        if self._is_over:
            return
        now, policy = monotonic(), self._split.policy
        if error.source is not Source.PROXY:
            self._endpoint.load.observe(self._context.dialer.timeouts.connect_s, now)
            self._judge(False, now)
        if self._go_elsewhere(error, now):
            return
        if policy is not None and self._may_wait(policy, error, now):
            self._count().tries += 1
            self._pause()
        else:
            self.refuse(error)

    # For the half above

    def _late(self, now: float, limit_s: float) -> None:
        """The endpoint has not begun to answer in time."""
        self._endpoint.load.observe(now - self._waits_since_s, now)
        self._judge(False, now)
        error = UpstreamTimeout(f"no response from {self._endpoint} within {limit_s:g} s")
        policy = self._split.policy
        method = self.head.method
        if policy is not None and self._is_paid(policy.retries_timeout(method, self._tries()), 504, b"4", now):
            self._retry_after(error, now)
        else:
            self.refuse(error)

    def _broken(self, error: ProxyError, *, is_untouched: bool, is_unprocessed: bool) -> None:
        """Its connection or stream, before anything of the response went on."""
        upstream, self._upstream = self._upstream, None
        self._try_ends_s = 0.0
        if is_unprocessed:
            # RFC 9113 section 8.7: any method.
            is_sent_again = self._may_resend and self._count().unprocessed < MAX_UNPROCESSED_TRIES
        else:
            is_idle_end = is_untouched and upstream is not None and upstream.is_reused
            is_sent_again = is_idle_end and self._is_replayable() and not self._count().is_replayed
        if is_sent_again:
            self._send_again(is_unprocessed)
            return
        if error.status == NOT_IMPLEMENTED:
            self.refuse(error)
            return
        now, policy = monotonic(), self._split.policy
        self._judge(False, now)
        # One that only ever hangs up has nothing pending and would look like the cheapest.
        self._endpoint.load.observe(self._context.dialer.timeouts.connect_s, now)
        if self._is_replayable() and self._may_move(now):
            # Idempotent, and nothing of an answer has gone on: safe elsewhere (RFC 9110 section 9.2.2).
            self._count().moves += 1
            if self._go_elsewhere(error, now):
                return
        method = self.head.method
        if policy is not None and self._is_paid(policy.retries_failure(method, self._tries()), 502, b"14", now):
            self._retry_after(error, now)
        else:
            self.refuse(error)

    def _is_paid(self, is_allowed: bool, status: int, grpc_status: bytes, now: float) -> bool:
        """Whether there is a retry after this status: is_allowed says the policy. Takes it out of the budget, so to be
        asked last. What the policy names and is not tried again is counted, by why."""
        if is_allowed and self._may_resend and self._split.budget.spend(now):
            return True
        policy, leaf = self._split.policy, self._leaf
        if policy is None or leaf is None:
            return False
        if is_allowed:
            leaf.series.skip("no_budget" if self._may_resend else "body")
        elif why := policy.why_not(status, grpc_status, self.head.method, self._tries()):
            leaf.series.skip(why)
        return False

    def _may_wait(self, policy: Policy, error: ConnectFailed, now: float) -> bool:
        """For one more try, because nobody could be connected to: nothing was sent, so any method may."""
        if not policy.retries_connect(isinstance(error, ConnectTimeout), self._tries()):
            return False
        if not (self._may_resend or not self._is_counted):
            return False
        is_paid = self._split.budget.spend(now)
        if not is_paid and self._leaf is not None:
            self._leaf.series.skip("no_budget")
        return is_paid

    def _retry(self, now: float) -> None:
        """What came of this try is counted already, and thrown away."""
        upstream, self._upstream = self._upstream, None
        self._try_ends_s = 0.0
        self._is_counted = False
        self._charged_s = now
        self._count().tries += 1
        if upstream is not None:
            upstream.abort()
        if not self._go_elsewhere(None, now):
            self._pause()

    def _tries(self) -> int:
        return 0 if self._attempts is None else self._attempts.tries

    # The ways on

    def _retry_after(self, error: ProxyError, now: float) -> None:
        self._charge(error, now)
        self._retry(now)

    def _charge(self, error: ProxyError, now: float) -> None:
        """The leaf, with what another has to make good."""
        if self._is_counted and self._leaf is not None:
            self._is_counted = False
            self._leaf.series.record_error(error.status, error.label, (now - self._charged_s) * 1000)

    def _go_elsewhere(self, error: ProxyError | None, now: float) -> bool:
        """error: what the leaf is charged with if another has to take over. False where nobody is left."""
        leaf = self._leaf
        assert leaf is not None
        target = self._count().elsewhere(self._split, leaf, self._endpoint, now)
        if target is None:
            return False
        next_leaf, next_endpoint = target
        if next_leaf is not leaf and error is not None:
            self._charge(error, now)
        self._charged_s = now
        self._move(next_leaf, next_endpoint, now)
        self._dispatch_again(now)
        return True

    def _dispatch_again(self, now: float) -> None:
        if self._leaf is not None:
            self._leaf.series.retries += 1
        if self._ends_s:
            self.head.limit_timeout(self._ends_s - now)
        self._dispatch(self._endpoint, now)

    def _pause(self) -> None:
        """Nobody else is there, so after a while the same again; a pause, because it may be overloaded."""
        if not self._is_request_done:
            self._client.pause_request()
        self._limit_try(random.uniform(*BACKOFF_S))

    def _end_pause(self, now: float) -> None:
        leaf = self._leaf
        assert leaf is not None
        next_leaf, next_endpoint = self._count().again(self._split, leaf, self._endpoint, now)
        if next_endpoint is not self._endpoint:
            self._move(next_leaf, next_endpoint, now)
        self._charged_s = now
        self._dispatch_again(now)

    def _send_again(self, is_unprocessed: bool) -> None:
        """On a fresh connection: what the backend closed was idle, or it said that it goes away. Of one that refuses
        work, another endpoint is asked first."""
        leaf, attempts, now = self._leaf, self._count(), monotonic()
        assert leaf is not None
        if is_unprocessed:
            attempts.unprocessed += 1
            other = leaf.balancer.pick_other(now, [self._endpoint]) if leaf.balancer is not None else None
            if other is not None:
                self._move(leaf, other, now)
                self._dispatch_again(now)
                return
        else:
            attempts.is_replayed = True
        leaf.series.retries += 1
        if not self._is_request_done:
            self._client.pause_request()
        pool_of(self._context.dialer, self._endpoint, self._is_h2).connect(self)

    def _is_replayable(self) -> bool:
        return self._may_resend and self.head.method in IDEMPOTENT_METHODS

    def _may_move(self, now: float) -> bool:
        moves = self._count().moves
        return not moves or (moves < MAX_MOVES and self._split.budget.spend(now))

    def _count(self) -> Attempts:
        attempts = self._attempts = self._attempts or Attempts()
        return attempts
