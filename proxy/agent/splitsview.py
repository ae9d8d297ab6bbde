"""GET /splits: configured against observed, as docs/operating.md ("Proxy: GET /splits") lays it out.

In: catalog and ledger. Out: structs that msgspec writes as JSON. Pure.
"""

from collections.abc import Iterator, Sequence

import msgspec

from milliroute.proxy.agent.catalog import Catalog, Offer
from milliroute.proxy.agent.ledger import LeafCounts, LeafKey, Ledger, quantile_ms
from milliroute.proxy.ipc import DIALLED, INBOUND
from milliroute.proxy.state import AuthorityState, BackendState, RampState, SplitState, StickyState, WeightState

_MICRO = 1_000_000
_MILLI = 1_000


class LeafView(msgspec.Struct, frozen=True):
    """state: "ok", "empty" (no ready endpoint), "missing" (no such Service) or "out" (some worker leaves all of them
    out). out, sick: endpoints that some worker leaves out for their failures, or by its health checks.
    """

    leaf: str
    weight: str
    weight_micro: int
    share: float
    endpoints: int
    state: str
    requests: int
    observed_share: float | None
    successes: int
    failures: int
    p50_ms: float | None
    p99_ms: float | None
    out: list[str] = []
    sick: list[str] = []


class SplitView(msgspec.Struct, frozen=True):
    name: str
    apex: str
    source: str
    ramp: dict[str, int | list[int]] | None
    sticky: dict[str, str | bool] | None
    leaves: list[LeafView]
    failover: list[str] | None = None  # the leaves that have everything, one unless workers differ; None: no failover
    rate_limits: list[str] = []
    fault: str | None = None


class AuthorityView(msgspec.Struct, frozen=True):
    authority: str
    known: bool
    epoch: str
    version: int
    published_unix_ns: int
    applied_unix_ns: int
    warnings: list[str]
    splits: list[SplitView]


class ControlView(msgspec.Struct, frozen=True):
    """state: "connecting", "connected" or "disconnected"."""

    address: str
    state: str
    since_unix_s: float


class SplitsView(msgspec.Struct, frozen=True):
    proxy: str
    control: ControlView
    authorities: list[AuthorityView]


class WeightedLeaf(msgspec.Struct, frozen=True):
    """One leaf of one split with its place in it; share is what the weights say, 0 when all are zero."""

    key: LeafKey
    apex: str
    weight: WeightState
    backend: BackendState
    share: float

    def state(self, unusable: Sequence[frozenset[str]] = ()) -> str:
        """unusable: of each worker that leaves endpoints out, those."""
        if self.backend.is_missing:
            return "missing"
        if not self.backend.endpoints:
            return "empty"
        return "out" if any(self.is_lost(endpoints) for endpoints in unusable) else "ok"

    def is_lost(self, unusable: frozenset[str]) -> bool:
        """None of its endpoints is in."""
        return all(f"{one.host}:{one.port}" in unusable for one in self.backend.endpoints)


def weighted_leaves(key: str, state: AuthorityState, split: SplitState) -> Iterator[WeightedLeaf]:
    total = sum(weight.micro for weight in split.weights)
    for weight in split.weights:
        backend = state.backends[weight.backend]
        leaf = LeafKey(key, split.name, backend.name, backend.namespace)
        yield WeightedLeaf(leaf, split.apex or state.name, weight, backend, weight.micro / total if total else 0.0)


def distinct_splits(state: AuthorityState) -> list[SplitState]:
    """Several routes may share a split: once each, by name, in the order of the routes."""
    return list({route.split.name: route.split for route in state.routes}.values())


def authorities_view(catalog: Catalog, ledger: Ledger) -> list[AuthorityView]:
    """One for each key that has an answer, by key; not of the pod's own ports, which nothing splits, nor of addresses
    that are nobody's."""
    views = []
    for key, entry in sorted(catalog.entries.items()):
        if key.startswith(INBOUND) or (key.startswith(DIALLED) and not entry.is_known):
            continue
        offer = entry.in_force or entry.newest
        views.append(_authority(key, offer, entry.applied_unix_ns, ledger))
    return views


def format_weight(weight: WeightState) -> str:
    """As the author wrote it; else as a Quantity."""
    if weight.text:
        return weight.text
    if weight.micro % _MICRO == 0:
        return str(weight.micro // _MICRO)
    return f"{weight.micro // _MILLI}m" if weight.micro % _MILLI == 0 else f"{weight.micro}u"


def _authority(key: str, offer: Offer, applied_unix_ns: int, ledger: Ledger) -> AuthorityView:
    update, state = offer.update, offer.update.state
    return AuthorityView(
        key.removeprefix(DIALLED),
        state is not None,
        update.epoch,
        update.version,
        offer.published_unix_ns,
        applied_unix_ns,
        list(state.warnings) if state else [],
        [_split(key, state, split, ledger) for split in distinct_splits(state)] if state else [],
    )


def _split(key: str, state: AuthorityState, split: SplitState, ledger: Ledger) -> SplitView:
    leaves = list(weighted_leaves(key, state, split))
    routes = [route for route in state.routes if route.split.name == split.name]
    limits = dict.fromkeys(f"{limit.text} ({limit.name})" for route in routes for limit in route.rate_limits)
    counts = [ledger.counts_since_weights(leaf.key) for leaf in leaves]
    total = sum(count.requests for count in counts)
    return SplitView(
        split.name,
        split.apex or state.name,
        split.source,
        _ramp(split.ramp) if split.ramp else None,
        _sticky(split.sticky) if split.sticky else None,
        [_leaf(leaf, count, total, ledger) for leaf, count in zip(leaves, counts, strict=True)],
        _taken(leaves, ledger) if split.is_failover else None,
        list(limits),
        split.fault.text if split.fault else None,
    )


def _taken(leaves: list[WeightedLeaf], ledger: Ledger) -> list[str]:
    """As each worker sees it: of those that take part the first with an endpoint that is in."""
    taking_part = [leaf for leaf in leaves if leaf.weight.micro]
    taken: dict[str, None] = {}
    for worker in ledger.workers_views():
        for leaf in taking_part:
            if not leaf.is_lost(frozenset(worker.get(_where(leaf), ()))):
                taken[leaf.backend.name] = None
                break
    return list(taken)


def _where(leaf: WeightedLeaf) -> tuple[str, str, str]:
    return leaf.key.authority, leaf.backend.name, leaf.backend.namespace


def _leaf(leaf: WeightedLeaf, counts: LeafCounts, total: int, ledger: Ledger) -> LeafView:
    authority, name, namespace = _where(leaf)
    left_out = [
        one
        for said in ledger.left_out.values()
        for one in said
        if (one.authority, one.backend, one.namespace) == (authority, name, namespace)
    ]
    return LeafView(
        leaf.backend.name,
        format_weight(leaf.weight),
        leaf.weight.micro,
        leaf.share,
        len(leaf.backend.endpoints),
        leaf.state([frozenset((*one.out, *one.sick)) for one in left_out]),
        counts.requests,
        counts.requests / total if total else None,
        counts.successes,
        counts.failures,
        quantile_ms(counts.buckets, 0.5),
        quantile_ms(counts.buckets, 0.99),
        sorted({endpoint for one in left_out for endpoint in one.out}),
        sorted({endpoint for one in left_out for endpoint in one.sick}),
    )


def _ramp(ramp: RampState) -> dict[str, int | list[int]]:
    return {
        "from_micro": list(ramp.from_micro),
        "start_unix_ms": ramp.start_unix_ms,
        "duration_ms": ramp.duration_ms,
    }


def _sticky(sticky: StickyState) -> dict[str, str | bool] | None:
    if sticky.header:
        return {"header": sticky.header}
    if sticky.cookie:
        return {"cookie": sticky.cookie}
    return {"client_ip": True} if sticky.client_ip else None
