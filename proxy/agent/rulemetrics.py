"""Requests and responses by the rules of Gateway API routes, as Prometheus metrics.

In: the ledger. Out: families, none where no rule has been asked. A rule is a split whose name has three parts,
`namespace/route/number`; there are as many series as the routes in force have backends.
"""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric

from milliroute.proxy.agent.ledger import LeafTotals, Ledger

_LABELS = ("authority", "route", "rule", "dst_service", "dst_namespace")
_Series = tuple[tuple[str, ...], LeafTotals]


def rule_families(ledger: Ledger) -> Iterator[Metric]:
    series = list(_series(ledger))
    if not series:
        return
    requests = CounterMetricFamily("milliroute_rule_requests", "Requests by rule and backend.", labels=_LABELS)
    responses = CounterMetricFamily(
        "milliroute_rule_responses", "Responses by rule, backend and class.", labels=(*_LABELS, "classification")
    )
    for labels, totals in series:
        requests.add_metric(labels, totals.requests)
        for is_success, name in ((True, "success"), (False, "failure")):
            count = sum(count for key, count in totals.responses.items() if key.is_success is is_success)
            responses.add_metric((*labels, name), count)
    yield from (requests, responses)


def _series(ledger: Ledger) -> Iterator[_Series]:
    for key, totals in ledger.leaves.items():
        if key.split.count("/") == 2:
            route, _, rule = key.split.rpartition("/")
            yield (key.authority, route, rule, key.leaf, key.namespace), totals
