"""The text that Prometheus scrapes, parsed by Prometheus' own parser."""

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from milliroute.proxy.agent.catalog import Catalog
from milliroute.proxy.agent.collector import Sources, Vitals, renderer
from milliroute.proxy.agent.ledger import Ledger
from milliroute.proxy.ipc import Applied, ErrorDelta, LimitDelta, Stats, TcpDelta
from milliroute.proxy.state import AuthorityState, RouteState, SplitState, WeightState
from tests.proxy.samples import KEY, backend, leaf_delta, offer, state, stats

Labels = dict[str, str]
V1 = {
    "direction": "outbound",
    "authority": KEY,
    "tls": "disabled",
    "dst_service": "reviews-v1",
    "dst_namespace": "default",
}


class Scrape:
    """One scrape of a proxy whose only table is body; samples by name."""

    def __init__(self, ledger: Ledger, body: AuthorityState | None = None, labels: Labels | None = None) -> None:
        catalog = Catalog()
        catalog.watch(KEY, 0.0)
        catalog.resolve(KEY, KEY)
        catalog.offer(offer(3, body))
        catalog.applied(1, Applied(KEY, "e1", 3, 5_000), [1])
        vitals = Vitals(is_connected=False, disconnected_s=1.5, worker_restarts=2, workers=1, unix_ns=2_000_001_000)
        text = renderer(Sources(catalog, ledger, lambda: vitals, labels or {}))().decode()
        self.text = text
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """Of the one sample that has exactly these labels."""
        (value,) = [sample.value for sample in self.samples if sample.name == name and sample.labels == labels]
        return value


def test_requests_and_responses_carry_linkerds_names_with_apex_and_leaf() -> None:
    ledger = Ledger()
    ledger.add(1, stats(leaf_delta("reviews-v1", 9), leaf_delta("reviews-v1", 2, status=503)))
    scrape = Scrape(ledger)
    assert scrape.value("request_total", **V1) == 11
    success = {"classification": "success", "status_code": "200", "grpc_status": "", "error": ""}
    assert scrape.value("response_total", **V1, **success) == 9
    failure = {"classification": "failure", "status_code": "503", "grpc_status": "", "error": ""}
    assert scrape.value("response_total", **V1, **failure) == 2
    assert scrape.value("milliroute_retries_total", **V1) == 0


def test_latency_is_a_cumulative_histogram_with_linkerds_25_bounds() -> None:
    ledger = Ledger()
    ledger.add(1, stats(leaf_delta("reviews-v1", 9), leaf_delta("reviews-v1", 1, bucket=25)))
    scrape = Scrape(ledger)
    buckets = [s for s in scrape.samples if s.name == "response_latency_ms_bucket"]
    assert [s.labels["le"] for s in buckets][:5] == ["1", "2", "3", "4", "5"]
    assert [s.labels["le"] for s in buckets][-2:] == ["50000", "+Inf"]
    assert [s.value for s in buckets] == [9] * 25 + [10]
    assert scrape.value("response_latency_ms_count", **V1, status_code="200") == 10
    assert scrape.value("response_latency_ms_sum", **V1, status_code="200") == 5.0


def test_a_leaf_of_two_splits_of_one_apex_is_one_series() -> None:
    ledger = Ledger()
    ledger.add(1, stats(leaf_delta("reviews-v1", 9), leaf_delta("reviews-v1", 4, split="")))
    scrape = Scrape(ledger)
    assert scrape.value("request_total", **V1) == 13
    assert scrape.value("response_latency_ms_count", **V1, status_code="200") == 13


def test_no_series_is_there_twice() -> None:
    ledger = Ledger()
    ledger.add(1, stats(leaf_delta("reviews-v1", 9), leaf_delta("reviews-v1", 4, split="")))
    split = SplitState("s", [WeightState(0, 1), WeightState(0, 2)])
    body = AuthorityState("reviews", "default", [backend("a")], [RouteState(split), RouteState(split)])
    samples = Scrape(ledger, body).samples
    identities = [(sample.name, *sorted(sample.labels.items())) for sample in samples]
    assert len(identities) == len(set(identities))


def test_connections_and_errors_are_there_by_side_and_name() -> None:
    ledger = Ledger()
    ledger.add(1, Stats([], [TcpDelta("src", 5, 1, 4, 10, 20)], [ErrorDelta("no route", 3)]))
    scrape = Scrape(ledger)
    side = {"direction": "outbound", "peer": "src"}
    assert scrape.value("tcp_open_total", **side) == 5
    assert scrape.value("tcp_close_total", **side) == 1
    assert scrape.value("tcp_open_connections", **side) == 4
    assert scrape.value("tcp_read_bytes_total", **side) == 10
    assert scrape.value("tcp_write_bytes_total", **side) == 20
    assert scrape.value("outbound_http_errors_total", error="no route") == 3


def test_configured_weights_stand_beside_the_counts() -> None:
    scrape = Scrape(Ledger(), state())
    labels = {"authority": KEY, "apex": "reviews", "split": "default/reviews"}
    assert scrape.value("milliroute_split_weight_ratio", **labels, leaf="reviews-v1") == 0.9
    assert scrape.value("milliroute_split_weight_ratio", **labels, leaf="reviews-v2") == 0.1


def test_a_weighted_leaf_without_endpoints_is_reported_as_skipped() -> None:
    split = SplitState("s", [WeightState(0, 1), WeightState(1, 1), WeightState(2, 0)], apex="reviews")
    backends = [backend("a"), backend("b", 0), backend("c", 0)]
    scrape = Scrape(Ledger(), AuthorityState("reviews", "default", backends, [RouteState(split)]))
    labels = {"authority": KEY, "apex": "reviews", "split": "s"}
    assert [scrape.value("milliroute_leaf_skipped", **labels, leaf=leaf) for leaf in "abc"] == [0, 1, 0]


def test_the_table_and_the_control_stream_say_how_they_are() -> None:
    scrape = Scrape(Ledger())
    assert scrape.value("milliroute_table_version", authority=KEY) == 3
    assert scrape.value("milliroute_table_age_seconds", authority=KEY) == 2.0
    assert scrape.value("milliroute_table_from_disk", authority=KEY) == 0
    assert scrape.value("milliroute_control_connected") == 0
    assert scrape.value("milliroute_control_disconnected_seconds") == 1.5
    assert scrape.value("milliroute_worker_restarts_total") == 2
    assert "process_resident_memory_bytes" in scrape.text
    assert "proxy_build_info{" in scrape.text


def test_retries_that_were_not_made_are_counted_by_why() -> None:
    ledger = Ledger()
    ledger.add(1, stats(msgspec.structs.replace(leaf_delta("reviews-v1", 9), skipped=[("no_budget", 3), ("limit", 1)])))
    ledger.add(2, stats(msgspec.structs.replace(leaf_delta("reviews-v1", 9), skipped=[("no_budget", 2)])))
    scrape = Scrape(ledger)
    assert scrape.value("route_retryable_total", **V1, skipped="no_budget") == 5
    assert scrape.value("route_retryable_total", **V1, skipped="limit") == 1


def test_what_rate_limits_refused_is_counted_by_limit_and_scope() -> None:
    assert "milliroute_rate_limited" not in Scrape(Ledger()).text
    ledger = Ledger()
    ledger.add(1, Stats([], [], [], limits=[LimitDelta(KEY, "Service default/reviews", "client", 3)]))
    ledger.add(2, Stats([], [], [], limits=[LimitDelta(KEY, "Service default/reviews", "client", 4)]))
    labels = {"authority": KEY, "limit": "Service default/reviews", "scope": "client"}
    assert Scrape(ledger).value("milliroute_rate_limited_total", **labels) == 7


def test_what_is_refused_before_a_port_of_the_pod_is_shown_without_the_pods_labels() -> None:
    ledger = Ledger()
    delta = LimitDelta("inbound:10.1.0.5:8080?=shop&app=web", "HTTPLocalRateLimitPolicy shop/web", "total", 3)
    ledger.add(1, Stats([], [], [], limits=[delta]))
    labels = {"authority": "inbound:10.1.0.5:8080", "limit": delta.limit, "scope": "total"}
    assert Scrape(ledger).value("milliroute_rate_limited_total", **labels) == 3


def test_a_sidecar_tells_the_two_directions_apart_and_says_what_it_stands_beside() -> None:
    ledger, key = Ledger(), "inbound:10.1.0.5:8080"
    ledger.add(1, stats(leaf_delta("web", 9, authority=key, split=""), leaf_delta("reviews-v1", 2)))
    tcp = [TcpDelta("src", 1, 0, 1, 0, 0), TcpDelta("inbound src", 5, 1, 4, 10, 20)]
    ledger.add(1, Stats([], tcp, [ErrorDelta("inbound loop", 3), ErrorDelta("connect", 2)]))
    beside = {"namespace": "shop", "pod": "web-0", "workload": "web"}
    scrape = Scrape(ledger, labels=beside)
    theirs = {"direction": "inbound", "authority": "10.1.0.5:8080", "dst_service": "web"}
    assert scrape.value("request_total", **{**V1, **theirs}, **beside) == 9
    assert scrape.value("request_total", **V1, **beside) == 2
    assert scrape.value("tcp_open_total", direction="inbound", peer="src", **beside) == 5
    assert scrape.value("tcp_open_total", direction="outbound", peer="src", **beside) == 1
    assert scrape.value("inbound_http_errors_total", error="loop") == 3
    assert scrape.value("outbound_http_errors_total", error="connect") == 2
    assert scrape.value("milliroute_control_connected") == 0


def test_rules_of_routes_are_counted_by_name_and_splits_are_not() -> None:
    ledger = Ledger()
    ledger.add(1, stats(leaf_delta("reviews-v1", 9, split="default/cart/1"), leaf_delta("reviews-v1", 4)))
    ledger.add(1, stats(leaf_delta("reviews-v1", 1, status=503, split="default/cart/1")))
    scrape = Scrape(ledger)
    labels = {"route": "default/cart", "rule": "1", "dst_service": "reviews-v1", "dst_namespace": "default"}
    assert scrape.value("milliroute_rule_requests_total", authority=KEY, **labels) == 10
    assert scrape.value("milliroute_rule_responses_total", authority=KEY, classification="failure", **labels) == 1
    assert scrape.value("request_total", **V1) == 14
    only_a_split = Ledger()
    only_a_split.add(1, stats(leaf_delta("reviews-v1", 4)))
    assert "milliroute_rule" not in Scrape(only_a_split).text
