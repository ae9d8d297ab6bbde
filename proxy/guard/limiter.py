"""How many requests may pass: one rate limit of an authority at work, for all clients together and for each. Pure.

In: who asks, and the time. Out: None, or the RateLimited to answer with. Each worker has buckets of its own, with an
even share of the limit, so that the proxy as a whole lets no more pass (but one at once in each worker, where the burst
is smaller than their number); a worker that gets fewer requests than others leaves some of its share unused.

The rule not to break: what a request takes it takes at once of all buckets or of none, so that a client above its own
limit uses up nobody else's.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from milliroute.proxy.errors import RateLimited
from milliroute.proxy.guard.overload import TokenBucket
from milliroute.proxy.ipc import LimitDelta
from milliroute.proxy.state import RateLimitState, RateState

# Clients whose buckets are kept, some 300 bytes each; of more, those who asked longest ago begin anew.
MAX_CLIENTS = 10_000


class Asker(Protocol):
    @property
    def client_ip(self) -> str: ...

    @property
    def identities(self) -> tuple[str, ...]:
        """The names in the client's certificate, once it is verified."""


_Judge = Callable[[Asker, float], RateLimited | None]


class Limiter:
    """Lives as long as the tables say the same limit."""

    __slots__ = ("_authority", "_clients", "_denied", "_overrides", "_workers", "is_for_all", "state", "total")

    def __init__(self, authority: str, state: RateLimitState, workers: int, now: float) -> None:
        """workers: among how many the limit is shared evenly."""
        self.state = state
        self._authority = authority
        self._workers = workers
        self.total = _bucket(state.total, workers, now) if state.total is not None else None
        self._clients: dict[str, TokenBucket] = {}
        self._overrides = {
            name: bucket
            for names, rate in state.overrides
            for bucket in [_bucket(rate, workers, now)]
            for name in names
        }
        self.is_for_all = state.client is None and not state.overrides
        self._denied: dict[str, int] = {}

    def judge(self, asker: Asker, now: float) -> RateLimited | None:
        """None: let through, and counted. now: by the monotonic clock."""
        own, scope = self._own(asker, now)
        wait_s = own.wait_s(now) if own is not None else 0.0
        if wait_s:
            return self._deny(scope, "over the rate limit of this client", wait_s)
        if self.total is not None and (wait_s := self.total.take(now)):
            return self.deny_total(wait_s)
        if own is not None:
            own.spend()
        return None

    def deny_total(self, wait_s: float) -> RateLimited:
        return self._deny("total", "over the rate limit", wait_s)

    def take(self) -> list[LimitDelta]:
        """Refused since the last call."""
        denied, self._denied = self._denied, {}
        return [LimitDelta(self._authority, self.state.name, scope, count) for scope, count in denied.items()]

    def _own(self, asker: Asker, now: float) -> tuple[TokenBucket | None, str]:
        if self._overrides:
            for name in asker.identities:
                if (found := self._overrides.get(name)) is not None:
                    return found, "override"
        return (self._client(asker, self.state.client, now), "client") if self.state.client is not None else (None, "")

    def _client(self, asker: Asker, rate: RateState, now: float) -> TokenBucket:
        names = asker.identities
        key = names[0] if names else _of_address(asker.client_ip)
        clients = self._clients
        bucket = clients.pop(key, None)
        if bucket is None:
            bucket = _bucket(rate, self._workers, now)
            if len(clients) >= MAX_CLIENTS:
                del clients[next(iter(clients))]
        clients[key] = bucket  # at the end: the first has asked longest ago
        return bucket

    def _deny(self, scope: str, text: str, wait_s: float) -> RateLimited:
        self._denied[scope] = self._denied.get(scope, 0) + 1
        return RateLimited(text, wait_s=wait_s)


class RouteLimits:
    """Of one route; a request must be within all. total: where nothing limits but one bucket for all clients, which is
    then asked in judge's place: from it comes how long to wait, for `refuse`."""

    __slots__ = ("judge", "limiters", "total")

    def __init__(self, limiters: Iterable[Limiter]) -> None:
        self.limiters = tuple(limiters)
        only = self.limiters[0] if len(self.limiters) == 1 else None
        # No method of its own: it would refer back to itself, and a replaced table would be left to the collector.
        self.judge: _Judge = only.judge if only is not None else partial(_judge, self.limiters)
        self.total = only.total if only is not None and only.is_for_all else None

    def refuse(self, wait_s: float) -> RateLimited:
        return self.limiters[0].deny_total(wait_s)


def _judge(limiters: tuple[Limiter, ...], asker: Asker, now: float) -> RateLimited | None:
    """As of the first that the request is above."""
    for limiter in limiters:
        if (denied := limiter.judge(asker, now)) is not None:
            return denied
    return None


def _bucket(rate: RateState, workers: int, now: float) -> TokenBucket:
    return TokenBucket(rate.requests * 1000 / rate.period_ms / workers, rate.burst / workers, now)


def _of_address(address: str) -> str:
    """Of an IPv6 client its /64: whoever has one has all of it."""
    if ":" not in address:
        return address
    # Here, because most clients come by IPv4.
    import ipaddress

    try:
        found = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    return str(found.ipv4_mapped or int(found) >> 64)
