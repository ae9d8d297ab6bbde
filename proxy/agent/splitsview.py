"""GET /splits: configured against observed, as docs/operating.md ("Proxy: GET /splits") lays it out.

In: catalog and ledger. Out: structs that msgspec writes as JSON. Pure.
"""

from collections.abc import Iterator

import msgspec

from milliroute.proxy.agent.catalog import Catalog, Offer
from milliroute.proxy.agent.ledger import LeafCounts, LeafKey, Ledger, quantile_ms
from milliroute.proxy.state import AuthorityState, BackendState, RampState, SplitState, StickyState, WeightState

_MICRO = 1_000_000
_MILLI = 1_000


class LeafView(msgspec.Struct, frozen=True):
    """state: "ok", "empty" (no ready endpoint) or "missing" (no such Service)."""

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


class SplitView(msgspec.Struct, frozen=True):
    name: str
    apex: str
    source: str
    ramp: dict[str, int | list[int]] | None
    sticky: dict[str, str | bool] | None
    leaves: list[LeafView]


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

    @property
    def state(self) -> str:
        if self.backend.is_missing:
            return "missing"
        return "ok" if self.backend.endpoints else "empty"


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
    """One for each key that has an answer, by key."""
    views = []
    for key, entry in sorted(catalog.entries.items()):
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
        key,
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
    counts = [ledger.counts_since_weights(leaf.key) for leaf in leaves]
    total = sum(count.requests for count in counts)
    return SplitView(
        split.name,
        split.apex or state.name,
        split.source,
        _ramp(split.ramp) if split.ramp else None,
        _sticky(split.sticky) if split.sticky else None,
        [_leaf(leaf, count, total) for leaf, count in zip(leaves, counts, strict=True)],
    )


def _leaf(leaf: WeightedLeaf, counts: LeafCounts, total: int) -> LeafView:
    return LeafView(
        leaf.backend.name,
        format_weight(leaf.weight),
        leaf.weight.micro,
        leaf.share,
        len(leaf.backend.endpoints),
        leaf.state,
        counts.requests,
        counts.requests / total if total else None,
        counts.successes,
        counts.failures,
        quantile_ms(counts.buckets, 0.5),
        quantile_ms(counts.buckets, 0.99),
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
