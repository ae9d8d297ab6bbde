"""Failure accrual: when an endpoint has failed so often that requests go elsewhere, and when it is tried again. Pure.

One of these stands beside each endpoint of a Service that asks for it (balancer.linkerd.io/failure-accrual). Unlike
Linkerd's it works inside a split. The rule not to break: while an endpoint is out, at most one request at a time is
sent there, and only one for which `may_probe` has said yes.
"""

import math
import random

from milliroute.proxy.state import AccrualState


class Accrual:
    """The failures of one endpoint. is_out: it gets no requests but a probe, from back_s on (monotonic clock).
    is_calm: one more success would change nothing, so that nobody need tell of it."""

    __slots__ = (
        "_failures",
        "_good",
        "_is_probing",
        "_penalties",
        "_random",
        "_requests",
        "_stamp_s",
        "back_s",
        "is_calm",
        "is_out",
        "state",
    )

    def __init__(self, state: AccrualState, rng: random.Random) -> None:
        self.state = state
        self._random = rng.random
        self._failures = 0  # in a row
        self._penalties = 0
        self._is_probing = False
        # Of the last window_ms or so, each counting less as it grows old: requests, and those that were good.
        self._requests = 0.0
        self._good = 0.0
        self._stamp_s = 0.0
        self.is_out = False
        self.is_calm = not state.success_rate_percent
        self.back_s = 0.0

    def succeeded(self, now: float) -> bool:
        """Returns whether the endpoint is back by this; answers to requests from before it was out do not bring it."""
        self._failures = 0
        if self.state.success_rate_percent:
            self._count(1.0, now)
        if not self._is_probing:
            # Out, it is not calm: its probe has to be told of.
            self.is_calm = not (self.is_out or self.state.success_rate_percent)
            return False
        self.keep()
        return True

    def failed(self, now: float) -> bool:
        """Returns whether the endpoint is out by this, or its probe has failed."""
        self._failures += 1
        self.is_calm = False
        if self.state.success_rate_percent:
            self._count(0.0, now)
        if self.is_out and not self._is_probing:
            return False
        if not (self.is_out or self._has_failed_in_a_row() or self._has_failed_too_often()):
            return False
        self.is_out, self._is_probing = True, False
        self._penalise(now)
        return True

    def keep(self) -> None:
        """It is in, and starts anew."""
        self.is_out = self._is_probing = False
        self._failures = self._penalties = 0
        self.is_calm = not self.state.success_rate_percent
        self._requests = self._good = 0.0

    def may_probe(self, now: float) -> bool:
        """True once when the penalty is over; whoever asked sends the next request there."""
        if not self.is_out or self._is_probing or now < self.back_s:
            return False
        self._is_probing = True
        return True

    def probe_lost(self) -> None:
        """The probe ended without a result, by its client: another may be sent at once."""
        self._is_probing = False

    def _has_failed_in_a_row(self) -> bool:
        return 0 < self.state.max_failures <= self._failures

    def _has_failed_too_often(self) -> bool:
        state = self.state
        if not state.success_rate_percent or self._requests < state.min_requests - 0.5:
            return False
        return self._good * 100 < state.success_rate_percent * self._requests

    def _count(self, good: float, now: float) -> None:
        decay = math.exp(min(0.0, self._stamp_s - now) * 1000 / self.state.window_ms)
        self._requests = self._requests * decay + 1.0
        self._good = self._good * decay + good
        self._stamp_s = now

    def _penalise(self, now: float) -> None:
        state = self.state
        penalty_ms = min(state.max_penalty_ms, state.min_penalty_ms * 2 ** min(self._penalties, 20))
        self._penalties += 1
        self.back_s = now + penalty_ms * (1 + self._random() * state.jitter_percent / 100) / 1000
