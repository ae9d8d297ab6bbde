"""The proxy's counters: what all workers, living and dead, have counted since the start.

In: Stats deltas. Out: totals per leaf, per side and per error; per leaf also what happened since the weights of its
split took effect. Pure. The rule: no total ever goes back; a worker's death only zeroes its own open connections.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from milliroute.proxy.ipc import INBOUND, AccessDelta, LeafDelta, LeftOut, Stats, TcpDelta
from milliroute.proxy.metrics import LATENCY_BOUNDS_MS
from milliroute.proxy.state import AuthorityState

_BUCKETS = len(LATENCY_BOUNDS_MS) + 1
# Decisions of policies that are counted one by one; of a pod's own ports, which anybody may scan, the rest is one.
MAX_ACCESS_KEYS = 1024


class LeafKey(NamedTuple):
    authority: str
    split: str
    leaf: str
    namespace: str


class ResponseKey(NamedTuple):
    status: int
    grpc_status: str
    is_success: bool
    error: str


class AccessKey(NamedTuple):
    """verdict: allow, deny or audit; protocol: http or tcp."""

    authority: str
    kind: str
    guard: str
    authorization: str
    verdict: str
    protocol: str


class LimitKey(NamedTuple):
    """scope: total, client or override."""

    authority: str
    limit: str
    scope: str


@dataclass(slots=True)
class Latency:
    """buckets: not cumulative, one per bound of LATENCY_BOUNDS_MS and one for +Inf."""

    buckets: list[int] = field(default_factory=lambda: [0] * _BUCKETS)
    sum_ms: float = 0.0


@dataclass(slots=True)
class LeafTotals:
    requests: int = 0
    retries: int = 0
    skipped: dict[str, int] = field(default_factory=dict)  # retries that were not made, by why
    responses: dict[ResponseKey, int] = field(default_factory=dict)
    latencies: dict[int, Latency] = field(default_factory=dict)


@dataclass(slots=True)
class TcpTotals:
    """open_now: a level per worker, by worker id."""

    opened: int = 0
    closed: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    open_now: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeafCounts:
    """Sums over all statuses, whole or since a baseline."""

    requests: int = 0
    successes: int = 0
    failures: int = 0
    buckets: tuple[int, ...] = (0,) * _BUCKETS

    def minus(self, base: "LeafCounts") -> "LeafCounts":
        return LeafCounts(
            self.requests - base.requests,
            self.successes - base.successes,
            self.failures - base.failures,
            tuple(a - b for a, b in zip(self.buckets, base.buckets, strict=True)),
        )


_ZERO = LeafCounts()
# (leaf, namespace, weight_micro) of a split: while it is the same, its counts run on.
_Weights = tuple[tuple[str, str, int], ...]


class Ledger:
    def __init__(self) -> None:
        self.leaves: dict[LeafKey, LeafTotals] = {}
        self.tcp: dict[str, TcpTotals] = {}
        self.errors: dict[str, int] = {}
        self.access: dict[AccessKey, int] = {}
        self.limited: dict[LimitKey, int] = {}  # refused by rate limits
        self.left_out: dict[int, list[LeftOut]] = {}  # by worker id: what is so now
        self._weights: dict[tuple[str, str], _Weights] = {}
        self._baselines: dict[LeafKey, LeafCounts] = {}

    def add(self, worker_id: int, stats: Stats) -> None:
        for leaf in stats.leaves:
            key = LeafKey(leaf.authority, leaf.split, leaf.leaf, leaf.namespace)
            _add_leaf(self.leaves.setdefault(key, LeafTotals()), leaf)
        for tcp in stats.tcp:
            _add_tcp(self.tcp.setdefault(tcp.peer, TcpTotals()), worker_id, tcp)
        for error in stats.errors:
            self.errors[error.error] = self.errors.get(error.error, 0) + error.count
        for access in stats.access:
            key_of = _access_key(access)
            is_more = key_of not in self.access and len(self.access) >= MAX_ACCESS_KEYS
            if is_more and key_of.authority.startswith(INBOUND):
                key_of = key_of._replace(authority=f"{INBOUND}other")
            self.access[key_of] = self.access.get(key_of, 0) + access.count
        for limit in stats.limits:
            refused_by = LimitKey(limit.authority, limit.limit, limit.scope)
            self.limited[refused_by] = self.limited.get(refused_by, 0) + limit.count
        said = stats.left_out
        self.left_out[worker_id] = self.left_out.get(worker_id, []) if said is None else said

    def worker_gone(self, worker_id: int) -> None:
        """Its connections closed with it, and nobody is left out by it any more."""
        self.left_out.pop(worker_id, None)
        for totals in self.tcp.values():
            totals.closed += totals.open_now.pop(worker_id, 0)

    def take_effect(self, key: str, state: AuthorityState | None) -> None:
        """A table of this key is in force everywhere: splits whose weights changed count from here."""
        weights = _weights_of(state) if state is not None else {}
        for split, vector in weights.items():
            if self._weights.get((key, split)) != vector:
                self._rebase(key, split)
        for known in [known for known in self._weights if known[0] == key]:
            del self._weights[known]
        self._weights.update({(key, split): vector for split, vector in weights.items()})

    def counts_since_weights(self, key: LeafKey) -> LeafCounts:
        totals = self.leaves.get(key)
        return _counts(totals).minus(self._baselines.get(key, _ZERO)) if totals else _ZERO

    def workers_views(self) -> list[dict[tuple[str, str, str], list[str]]]:
        """Of each worker the endpoints that are not in, by authority, backend and namespace. At least one: who
        says nothing leaves nobody out."""
        views = [
            {(one.authority, one.backend, one.namespace): [*one.out, *one.sick] for one in said}
            for said in self.left_out.values()
        ]
        return views or [{}]

    def _rebase(self, authority: str, split: str) -> None:
        for key, totals in self.leaves.items():
            if key.authority == authority and key.split == split:
                self._baselines[key] = _counts(totals)


def quantile_ms(buckets: tuple[int, ...], q: float) -> float | None:
    """Linear inside a bucket, as Prometheus' histogram_quantile; past the last bound: that bound. None when empty."""
    total = sum(buckets)
    if total == 0:
        return None
    rank, seen, low = q * total, 0, 0.0
    for count, high in zip(buckets, LATENCY_BOUNDS_MS, strict=False):
        if count and seen + count >= rank:
            return low + (high - low) * max(rank - seen, 0.0) / count
        seen, low = seen + count, float(high)
    return float(LATENCY_BOUNDS_MS[-1])


def _access_key(delta: AccessDelta) -> AccessKey:
    return AccessKey(delta.authority, delta.kind, delta.guard, delta.authorization, delta.verdict, delta.protocol)


def _add_leaf(totals: LeafTotals, delta: LeafDelta) -> None:
    totals.requests += delta.requests
    totals.retries += delta.retries
    for why, count in delta.skipped:
        totals.skipped[why] = totals.skipped.get(why, 0) + count
    for response in delta.responses:
        key = ResponseKey(response.status, response.grpc_status, response.is_success, response.error)
        totals.responses[key] = totals.responses.get(key, 0) + response.count
    for latency in delta.latencies:
        own = totals.latencies.setdefault(latency.status, Latency())
        own.sum_ms += latency.sum_ms
        own.buckets = [a + b for a, b in zip(own.buckets, latency.buckets, strict=True)]


def _add_tcp(totals: TcpTotals, worker_id: int, delta: TcpDelta) -> None:
    totals.opened += delta.opened
    totals.closed += delta.closed
    totals.read_bytes += delta.read_bytes
    totals.write_bytes += delta.write_bytes
    totals.open_now[worker_id] = delta.open_now


def _counts(totals: LeafTotals) -> LeafCounts:
    successes = sum(count for key, count in totals.responses.items() if key.is_success)
    columns = zip(*(latency.buckets for latency in totals.latencies.values()), strict=True)
    buckets = tuple(sum(column) for column in columns) or _ZERO.buckets
    return LeafCounts(totals.requests, successes, sum(totals.responses.values()) - successes, buckets)


def _weights_of(state: AuthorityState) -> dict[str, _Weights]:
    backends = state.backends
    return {
        route.split.name: tuple(
            (backends[w.backend].name, backends[w.backend].namespace, w.micro) for w in route.split.weights
        )
        for route in state.routes
    }
