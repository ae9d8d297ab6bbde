"""The ledger and the catalog as Prometheus metrics: Linkerd's names where Linkerd has one, and our own.

A scrape reads the counters where they are; nothing is kept twice. Both names of a split are on each series, as up to
Linkerd 2.12: authority is the apex, dst_service the leaf. Imports prometheus_client (4 MiB): cold code, so the agent
imports this at the first scrape.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from milliroute.proxy.agent import build
from milliroute.proxy.agent.catalog import Catalog, Entry, Offer
from milliroute.proxy.agent.ledger import LeafTotals, Ledger, ResponseKey
from milliroute.proxy.agent.rulemetrics import rule_families
from milliroute.proxy.agent.splitsview import WeightedLeaf, distinct_splits, weighted_leaves
from milliroute.proxy.ipc import DIALLED, INBOUND
from milliroute.proxy.metrics import LATENCY_BOUNDS_MS

_LEAF_LABELS = ("direction", "authority", "tls", "dst_service", "dst_namespace")
_BOUNDS = (*(str(bound) for bound in LATENCY_BOUNDS_MS), "+Inf")


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the agent knows beside its counters and tables."""

    is_connected: bool
    disconnected_s: float
    worker_restarts: int
    workers: int
    unix_ns: int


@dataclass(frozen=True, slots=True)
class Sources:
    catalog: Catalog
    ledger: Ledger
    vitals: Callable[[], Vitals]
    labels: Mapping[str, str] = field(default_factory=dict)  # of a sidecar: what it stands beside


class ProxyCollector:
    """collect() is what prometheus_client calls at each scrape."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        labels = {name: value for name, value in self._sources.labels.items() if value}
        return (_with_labels(family, labels) for family in self._families()) if labels else self._families()

    def _families(self) -> Iterator[Metric]:
        yield from _leaf_families(_by_leaf(self._sources.ledger))
        yield from rule_families(self._sources.ledger)
        yield from _tcp_families(self._sources.ledger)
        yield from _access_families(self._sources.ledger)
        yield from _limit_families(self._sources.ledger)
        yield from _table_families(self._sources.catalog, self._sources.vitals().unix_ns)
        yield from _split_families(self._sources.catalog)
        yield from _vital_families(self._sources.vitals())


def renderer(sources: Sources) -> Callable[[], bytes]:
    """A function that writes the text format 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ProxyCollector(sources))
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)


def _with_labels(family: Metric, labels: Mapping[str, str]) -> Metric:
    """On what is counted of traffic."""
    family.samples = [
        sample._replace(labels={**sample.labels, **labels}) if "direction" in sample.labels else sample
        for sample in family.samples
    ]
    return family


def _shown(key: str) -> str:
    """Without the labels by which the control service knows a port of the pod, and without the mark of an address."""
    return key.partition("?")[0] if key.startswith(INBOUND) else key.removeprefix(DIALLED)


def _by_leaf(ledger: Ledger) -> dict[tuple[str, ...], list[LeafTotals]]:
    """Two splits of one authority (by matches) may share a leaf; a series must be there once."""
    groups: dict[tuple[str, ...], list[LeafTotals]] = {}
    for key, totals in ledger.leaves.items():
        direction = "inbound" if key.authority.startswith(INBOUND) else "outbound"
        # A namespace with routes of its own has keys of its own, which begin with its name.
        authority = _shown(key.authority).removeprefix(INBOUND).rpartition("@")[2]
        labels = (direction, authority, "disabled", key.leaf, key.namespace)
        groups.setdefault(labels, []).append(totals)
    return groups


def _leaf_families(groups: dict[tuple[str, ...], list[LeafTotals]]) -> Iterator[Metric]:
    requests = CounterMetricFamily("request", "Requests routed to a leaf.", labels=_LEAF_LABELS)
    retries = CounterMetricFamily("milliroute_retries", "Tries after the first one.", labels=_LEAF_LABELS)
    skipped = CounterMetricFamily(
        "route_retryable", "Failures that were not tried again, by why.", labels=(*_LEAF_LABELS, "skipped")
    )
    responses = CounterMetricFamily(
        "response",
        "Responses, by class.",
        labels=(*_LEAF_LABELS, "classification", "status_code", "grpc_status", "error"),
    )
    latencies = HistogramMetricFamily(
        "response_latency_ms",
        "Milliseconds from a request's head to its response's.",
        labels=(*_LEAF_LABELS, "status_code"),
    )
    for labels, parts in groups.items():
        requests.add_metric(labels, sum(part.requests for part in parts))
        retries.add_metric(labels, sum(part.retries for part in parts))
        for why in sorted({why for part in parts for why in part.skipped}):
            skipped.add_metric((*labels, why), sum(part.skipped.get(why, 0) for part in parts))
        _add_responses(responses, labels, parts)
        _add_latencies(latencies, labels, parts)
    yield from (requests, responses, latencies, retries, skipped)


def _add_responses(family: CounterMetricFamily, labels: tuple[str, ...], parts: list[LeafTotals]) -> None:
    counts: dict[ResponseKey, int] = {}
    for part in parts:
        for key, count in part.responses.items():
            counts[key] = counts.get(key, 0) + count
    for key, count in counts.items():
        classification = "success" if key.is_success else "failure"
        family.add_metric((*labels, classification, str(key.status), key.grpc_status, key.error), count)


def _add_latencies(family: HistogramMetricFamily, labels: tuple[str, ...], parts: list[LeafTotals]) -> None:
    for status in sorted({status for part in parts for status in part.latencies}):
        same = [part.latencies[status] for part in parts if status in part.latencies]
        total, cumulative = 0, []
        for bound, *counts in zip(_BOUNDS, *(latency.buckets for latency in same), strict=True):
            total += sum(counts)
            cumulative.append((bound, float(total)))
        family.add_metric((*labels, str(status)), cumulative, sum(latency.sum_ms for latency in same))


def _tcp_families(ledger: Ledger) -> Iterator[Metric]:
    labels = ("direction", "peer")
    opened = CounterMetricFamily("tcp_open", "Connections opened.", labels=labels)
    closed = CounterMetricFamily("tcp_close", "Connections closed.", labels=labels)
    read = CounterMetricFamily("tcp_read_bytes", "Bytes read.", labels=labels)
    written = CounterMetricFamily("tcp_write_bytes", "Bytes written.", labels=labels)
    now = GaugeMetricFamily("tcp_open_connections", "Connections open now.", labels=labels)
    for peer, totals in ledger.tcp.items():
        prefix, _, side = peer.rpartition(" ")
        values = (prefix or "outbound", side)
        opened.add_metric(values, totals.opened)
        closed.add_metric(values, totals.closed)
        read.add_metric(values, totals.read_bytes)
        written.add_metric(values, totals.write_bytes)
        now.add_metric(values, sum(totals.open_now.values()))
    yield from (opened, closed, read, written, now)
    for prefix, direction in (("", "outbound"), ("inbound ", "inbound")):
        errors = CounterMetricFamily(f"{direction}_http_errors", "Answers of the proxy's own.", labels=("error",))
        for error, count in ledger.errors.items():
            if error.startswith("inbound ") == bool(prefix):
                errors.add_metric((error.removeprefix(prefix),), count)
        if errors.samples or not prefix:
            yield errors


def _access_families(ledger: Ledger) -> Iterator[Metric]:
    """Linkerd's, which enforces on the server's side; ours stands before it, and keeps the names."""
    if not ledger.access:
        return
    labels = ("authority", "srv_kind", "srv_name", "authz_name")
    texts = {"allow": "Let in.", "deny": "Turned away.", "audit": "Let in for the audit only."}
    families = {
        (protocol, verdict): CounterMetricFamily(f"inbound_{protocol}_authz_{verdict}", text, labels=labels)
        for protocol in ("http", "tcp")
        for verdict, text in texts.items()
    }
    for key, count in ledger.access.items():
        values = (_shown(key.authority), key.kind, key.guard, key.authorization)
        families[key.protocol, key.verdict].add_metric(values, count)
    yield from families.values()


def _limit_families(ledger: Ledger) -> Iterator[Metric]:
    if not ledger.limited:
        return
    family = CounterMetricFamily(
        "milliroute_rate_limited", "Requests above a rate limit.", labels=("authority", "limit", "scope")
    )
    for key, count in ledger.limited.items():
        family.add_metric((_shown(key.authority), key.limit, key.scope), count)
    yield family


# Name, help and value of what there is once for each authority; None is left out.
_TABLE_GAUGES: tuple[tuple[str, str, Callable[[Entry, Offer, int], float | None]], ...] = (
    ("milliroute_table_version", "Version in force.", lambda entry, offer, now: offer.update.version),
    (
        "milliroute_table_age_seconds",
        "Time since the version in force was published.",
        lambda entry, offer, now: max(now - offer.published_unix_ns, 0) / 1e9,
    ),
    (
        "milliroute_table_propagation_seconds",
        "From the publishing of the last change to its being in force in all workers.",
        lambda entry, offer, now: None if entry.propagation_ns is None else entry.propagation_ns / 1e9,
    ),
    (
        "milliroute_table_from_disk",
        "1 while the version in force was read from the state directory and not confirmed since.",
        lambda entry, offer, now: float(offer.is_from_disk),
    ),
)


def _table_families(catalog: Catalog, now_unix_ns: int) -> Iterator[Metric]:
    for name, text, value_of in _TABLE_GAUGES:
        family = GaugeMetricFamily(name, text, labels=("authority",))
        for key, entry in catalog.entries.items():
            if key.startswith(DIALLED) and not entry.is_known:
                continue  # of all the addresses there are in the world
            value = value_of(entry, entry.in_force, now_unix_ns) if entry.in_force else None
            if value is not None:
                family.add_metric((_shown(key),), value)
        yield family


def _split_families(catalog: Catalog) -> Iterator[Metric]:
    labels = ("authority", "apex", "leaf", "split")
    ratio = GaugeMetricFamily("milliroute_split_weight_ratio", "Configured share of a leaf.", labels=labels)
    skipped = GaugeMetricFamily("milliroute_leaf_skipped", "1: has weight, but no ready endpoint.", labels=labels)
    for leaf in _configured(catalog):
        values = (_shown(leaf.key.authority), leaf.apex, leaf.key.leaf, leaf.key.split)
        ratio.add_metric(values, leaf.share)
        skipped.add_metric(values, float(leaf.weight.micro > 0 and not leaf.backend.endpoints))
    yield from (ratio, skipped)


def _configured(catalog: Catalog) -> Iterator[WeightedLeaf]:
    for key, entry in catalog.entries.items():
        state = entry.in_force.update.state if entry.in_force else None
        if state is None or key.startswith(INBOUND):
            continue
        for split in distinct_splits(state):
            yield from {leaf.key: leaf for leaf in weighted_leaves(key, state, split)}.values()


def _vital_families(vitals: Vitals) -> Iterator[Metric]:
    yield GaugeMetricFamily("milliroute_control_connected", "1: the control stream is up.", float(vitals.is_connected))
    yield GaugeMetricFamily(
        "milliroute_control_disconnected_seconds", "Time without a control stream.", vitals.disconnected_s
    )
    yield CounterMetricFamily("milliroute_worker_restarts", "Workers started anew.", vitals.worker_restarts)
    yield GaugeMetricFamily("milliroute_workers", "Workers alive.", vitals.workers)
    info = GaugeMetricFamily("proxy_build_info", "Always 1.", labels=("version", "python_version"))
    info.add_metric((build.version(), build.python_version()), 1)
    yield info
