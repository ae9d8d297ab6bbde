"""The admin pages' content: the JSON of docs/operating.md and the metrics."""

import json
from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from milliroute.control import snapshot
from milliroute.control.fleet import Fleet
from milliroute.control.hub import Hub
from milliroute.control.manifest.fault import parse as parse_fault
from milliroute.control.manifest.rate_limit import parse as parse_limit
from milliroute.control.model import Leaf, Objects, Origin, SourceStatus, TrafficSplit
from milliroute.control.status import Metrics, Status
from tests.control.watching import FakeClock, plain

SPLIT = TrafficSplit(
    "default",
    "reviews",
    "reviews",
    (Leaf("reviews-v1", 900_000, "900m"), Leaf("reviews-v2", 100_000, "100m")),
    origin=Origin("split.yaml", 1, 1),
)
SOURCES = (SourceStatus("split.yaml", "last good", ("split.yaml:3:1: x",)), SourceStatus('odd"\n.yaml'))


def make_status() -> Status:
    state = snapshot.build(Objects(splits=(SPLIT,)), None, 0)
    return Status(state, SOURCES, Hub("f00d", state, plain, FakeClock()), Fleet())


def watched_status() -> Status:
    status = make_status()
    key = "reviews.default:9080"
    published = status.hub.watcher().subscribe(key).stamp
    proxy = status.fleet.hello("host-1234", "default", "127.0.0.1:4191")
    status.fleet.sent(proxy, key, "f00d", published.version, published.published_unix_ns)
    status.fleet.ack(proxy, key, "f00d", published.version, published.published_unix_ns + 1_200_000)
    return status


def test_splits_show_sources_weights_and_shares() -> None:
    page = json.loads(json.dumps(make_status().splits()))
    assert page["epoch"] == "f00d"
    assert page["sources"][0] == {"path": "split.yaml", "state": "broken", "errors": ["split.yaml:3:1: x"]}
    [split] = page["splits"]
    assert (split["name"], split["apex"], split["source"]) == ("default/reviews", "reviews", "split.yaml:1")
    assert split["leaves"][0] == {"leaf": "reviews-v1", "weight": "900m", "weight_micro": 900_000, "share": 0.9}
    assert (split["failover"], split["rate_limit"], split["fault"]) == (False, None, None)


def test_splits_show_what_is_in_force_besides_weights() -> None:
    split = replace(SPLIT, is_failover=True, rate_limit=parse_limit("5/s"), fault=parse_fault("abort=503 5%"))
    state = snapshot.build(Objects(splits=(split,)), None, 0)
    status = Status(state, (), Hub("f00d", state, plain, FakeClock()), Fleet())
    [shown] = json.loads(json.dumps(status.splits()))["splits"]
    assert (shown["failover"], shown["rate_limit"], shown["fault"]) == (True, "5/s", "abort=503 5%")


def test_splits_show_what_each_proxy_has_in_force() -> None:
    status = watched_status()
    page = json.loads(json.dumps(status.splits()))
    [proxy] = page["proxies"]
    [authority] = proxy["authorities"]
    assert (proxy["id"], proxy["admin"], proxy["connected"]) == ("host-1234", "127.0.0.1:4191", True)
    assert authority["published_version"] == authority["acked_version"] == status.snapshot.version
    assert (authority["acked_epoch"], authority["propagation_ms"], authority["nack"]) == ("f00d", 1.2, "")


def test_metrics_are_what_prometheus_reads() -> None:
    text = Metrics(watched_status()).render().decode()
    samples = {
        (sample.name, sample.labels.get("path") or sample.labels.get("le", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["milliroute_control_watchers", ""] == 1
    assert samples["milliroute_control_publications_total", ""] == 1
    assert samples["milliroute_control_replaced_total", ""] == 0
    assert samples["milliroute_control_source_broken", "split.yaml"] == 1
    assert samples["milliroute_control_source_broken", 'odd"\n.yaml'] == 0
    assert samples["milliroute_control_propagation_seconds_bucket", "0.001"] == 0
    assert samples["milliroute_control_propagation_seconds_bucket", "0.002"] == 1
    assert samples["milliroute_control_propagation_seconds_count", ""] == 1
