"""Which of a leaf's endpoints: of two random ones the cheaper (power of two choices), by peak-EWMA.

An endpoint's cost is its round-trip estimate times the requests it would then have pending. The estimate jumps to a
higher sample at once and decays to a lower one over DECAY_S, as in linkerd2-proxy (linkerd/pool/p2c, tower's
peak_ewma) and Finagle before it. Pure: the exchange calls `begin` when it takes an endpoint, `observe` at the
response's first data (never for a failure: a quick refusal would look like a quick answer) and `end` when it is done.
"""

import random
from collections.abc import Collection, Sequence
from math import exp
from typing import Generic, Protocol, TypeVar

# Seconds. linkerd2-proxy's defaults for outbound balancers: what an endpoint never heard from is taken to need, and the
# time over which a past peak loses all but 1/e of its weight.
DEFAULT_RTT_S = 0.03
DECAY_S = 10.0


class EndpointLoad:
    """What one endpoint costs now. `now` is when it became known, by the clock of every later `now`.

    As an estimate is not renewed it decays towards 0, so that an endpoint which was slow once is tried again.
    """

    __slots__ = ("pending", "rtt_s", "stamp_s")

    def __init__(self, now: float) -> None:
        self.rtt_s = DEFAULT_RTT_S
        self.stamp_s = now
        self.pending = 0

    def begin(self) -> None:
        self.pending += 1

    def end(self) -> None:
        self.pending -= 1

    def observe(self, rtt_s: float, now: float) -> None:
        """Take in the time from a request's last byte out to its response's first byte in."""
        if rtt_s >= self.rtt_s:
            self.rtt_s = rtt_s
        else:
            passed_s = now - self.stamp_s
            kept = exp(passed_s / -DECAY_S) if passed_s > 0.0 else 1.0
            self.rtt_s = self.rtt_s * kept + rtt_s * (1.0 - kept)
        self.stamp_s = now

    def cost(self, now: float) -> float:
        """Seconds; for people and tests. The balancer compares without it: see `is_cheaper`."""
        return self.rtt_s * exp(min(0.0, self.stamp_s - now) / DECAY_S) * (self.pending + 1)


def is_cheaper(one: EndpointLoad, other: EndpointLoad) -> bool:
    """Whether `one` costs less than `other`, at any moment.

    All estimates decay at one rate, so the moment cancels out, and only the difference between their stamps counts:
    one exponential, and that only where the older estimate is also the higher one.
    """
    cost = one.rtt_s * (one.pending + 1)
    other_cost = other.rtt_s * (other.pending + 1)
    lead_s = one.stamp_s - other.stamp_s
    if cost < other_cost:
        return lead_s <= 0.0 or cost < other_cost * exp(-lead_s / DECAY_S)
    return lead_s < 0.0 and cost * exp(lead_s / DECAY_S) < other_cost


class Loaded(Protocol):
    """Anything that can be balanced over."""

    @property
    def load(self) -> EndpointLoad: ...


T = TypeVar("T", bound=Loaded)


class Balancer(Generic[T]):
    """Picks among `endpoints`, at least one of them; raises ValueError for none."""

    __slots__ = ("_endpoints", "_only", "_others", "_pairs", "_random")

    def __init__(self, endpoints: Sequence[T], rng: random.Random) -> None:
        if not endpoints:
            raise ValueError("no endpoints: want at least one")
        self._endpoints = tuple(endpoints)
        self._only = self._endpoints[0] if len(self._endpoints) == 1 else None
        self._others = len(self._endpoints) - 1
        self._pairs = len(self._endpoints) * self._others
        self._random = rng.random

    def pick(self, now: float = 0.0) -> T:
        """The endpoint for the next request. `now` may be left out: the choice does not depend on it (`is_cheaper`)."""
        if self._only is not None:
            return self._only
        # One random number makes both draws: randrange costs ten times as much.
        first, second = divmod(int(self._random() * self._pairs), self._others)
        one = self._endpoints[first]
        other = self._endpoints[second + (second >= first)]
        return other if is_cheaper(other.load, one.load) else one

    def pick_other(self, now: float, tried: Collection[T]) -> T | None:
        """An endpoint for a retry, not among the `tried` ones; None when all were."""
        untried = [endpoint for endpoint in self._endpoints if endpoint not in tried]
        if not untried:
            return None
        if len(untried) == 1:
            return untried[0]
        first, second = divmod(int(self._random() * len(untried) * (len(untried) - 1)), len(untried) - 1)
        one, other = untried[first], untried[second + (second >= first)]
        return other if is_cheaper(other.load, one.load) else one
