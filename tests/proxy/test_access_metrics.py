"""What guards decided, from a worker's deltas to Prometheus."""

from milliroute.proxy.agent.ledger import Ledger
from milliroute.proxy.ipc import AccessDelta, Stats
from tests.proxy.test_collector import Scrape

LABELS = {"authority": "reviews.default", "srv_kind": "Server", "srv_name": "default/reviews"}


def delta(authorization: str, verdict: str, protocol: str, count: int) -> AccessDelta:
    return AccessDelta("reviews.default", "Server", "default/reviews", authorization, verdict, protocol, count)


def test_decisions_of_all_workers_add_up_under_linkerds_names() -> None:
    ledger = Ledger()
    ledger.add(1, Stats([], [], [], [delta("default/web", "allow", "http", 3), delta("", "deny", "http", 1)]))
    ledger.add(2, Stats([], [], [], [delta("default/web", "allow", "http", 4), delta("", "deny", "tcp", 5)]))
    ledger.add(2, Stats([], [], [], [delta("", "audit", "http", 6)]))
    scrape = Scrape(ledger)
    assert scrape.value("inbound_http_authz_allow_total", **LABELS, authz_name="default/web") == 7
    assert scrape.value("inbound_http_authz_deny_total", **LABELS, authz_name="") == 1
    assert scrape.value("inbound_tcp_authz_deny_total", **LABELS, authz_name="") == 5
    assert scrape.value("inbound_http_authz_audit_total", **LABELS, authz_name="") == 6


def test_without_policies_there_is_no_such_metric() -> None:
    assert "authz" not in Scrape(Ledger()).text
