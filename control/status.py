"""The state of the control service as its admin pages show it: JSON for people and scripts, metrics for Prometheus.

Pure: it reads the snapshot, the hub and the fleet and changes nothing. The shape of `splits` is that of
docs/operating.md, "Control: GET /splits".
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from milliroute.control.fleet import Fleet, Histogram, KeyStatus, ProxyStatus
from milliroute.control.hub import Hub
from milliroute.control.model import SourceStatus
from milliroute.control.routestatus import ParentStatus, RouteStatus
from milliroute.control.snapshot import Snapshot, SplitReport

PREFIX = "milliroute_control_"


class Status:
    """What the pages are made from; `snapshot` and `sources` are replaced by the server, the rest lives on."""

    def __init__(self, snapshot: Snapshot, sources: Sequence[SourceStatus], hub: Hub, fleet: Fleet) -> None:
        self.snapshot = snapshot
        self.sources = sources
        self.hub = hub
        self.fleet = fleet

    def splits(self) -> dict[str, object]:
        return {
            "epoch": self.hub.epoch,
            "version": self.snapshot.version,
            "sources": [{"path": s.path, "state": s.state, "errors": list(s.errors)} for s in self.sources],
            "splits": [_split(split) for split in self.snapshot.splits],
            "routes": [_route(route) for route in self.snapshot.routes],
            "rules": [_split(rule) for rule in self.snapshot.rules],
            "proxies": [self._proxy(proxy) for proxy in self.fleet.proxies()],
        }

    def _proxy(self, proxy: ProxyStatus) -> dict[str, object]:
        return {
            "id": proxy.id,
            "admin": proxy.admin,
            "connected": proxy.connected,
            "authorities": [self._authority(key) for key in proxy.keys.values()],
        }

    def _authority(self, status: KeyStatus) -> dict[str, object]:
        current = self.hub.current(status.key)
        return {
            "key": status.key,
            "published_version": current.stamp.version if current else status.sent_version,
            "acked_version": status.acked_version,
            "acked_epoch": status.acked_epoch,
            "applied_unix_ns": status.applied_unix_ns,
            "propagation_ms": None if status.propagation_s is None else round(status.propagation_s * 1e3, 3),
            "nack": status.nack,
        }


def _split(split: SplitReport) -> dict[str, object]:
    leaves = [
        {"leaf": leaf.leaf, "weight": leaf.weight, "weight_micro": leaf.weight_micro, "share": leaf.share}
        for leaf in split.leaves
    ]
    return {
        "name": split.name,
        "apex": split.apex,
        "source": split.source,
        "status": split.status,
        "warnings": list(split.warnings),
        "leaves": leaves,
        "failover": split.is_failover,
        "rate_limit": split.rate_limit or None,
        "fault": split.fault or None,
    }


def _route(route: RouteStatus) -> dict[str, object]:
    """`parents` as a status has them in a cluster, without what only a cluster knows."""
    return {
        "kind": route.kind,
        "name": f"{route.namespace}/{route.name}",
        "source": route.origin.short,
        "notes": list(route.notes),
        "parents": [_parent(parent, route) for parent in route.parents],
    }


def _parent(parent: ParentStatus, route: RouteStatus) -> dict[str, object]:
    ref = parent.parent
    return {
        "service": f"{ref.name}.{ref.namespace or route.namespace}" + (f":{ref.port}" if ref.port else ""),
        "conditions": [
            {"type": c.type, "status": str(c.is_true), "reason": c.reason, "message": c.message}
            for c in parent.conditions
        ],
    }


class Metrics(Collector):
    """Renders /metrics; the values are read when it is scraped."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        status, hub, fleet = self._status, self._status.hub, self._status.fleet
        yield _gauge("snapshot_version", "Version of the state in force", status.snapshot.version)
        yield _gauge("watchers", "Proxy streams open", hub.watchers)
        yield _gauge("splits", "TrafficSplits in force or in conflict", len(status.snapshot.splits))
        yield _gauge("routes", "Gateway API routes with a Service as parent", len(status.snapshot.routes))
        yield _counter("publications_total", "States serialised, each once for all watchers", hub.publications_total)
        yield _counter("replaced_total", "States replaced by a newer one before they were sent", hub.replaced_total)
        yield _counter("acks_total", "Versions that proxies reported in force", fleet.acks_total)
        yield _counter("nacks_total", "Versions that proxies refused", fleet.nacks_total)
        yield _histogram("propagation_seconds", "From publish until a proxy routes by it", fleet.propagation)
        broken = GaugeMetricFamily(
            PREFIX + "source_broken", "1: not all of the newest content is in force", labels=["path"]
        )
        for source in status.sources:
            broken.add_metric([source.path], float(source.state == "broken"))
        yield broken


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, text, value=value)


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    bounds = [*(str(bound) for bound in histogram.bounds), "+Inf"]
    buckets = list(zip(bounds, (float(count) for count in accumulate(histogram.counts)), strict=True))
    return HistogramMetricFamily(PREFIX + name, text, buckets=buckets, sum_value=histogram.sum)
