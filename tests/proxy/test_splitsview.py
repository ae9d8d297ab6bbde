"""GET /splits: configured against observed."""

import msgspec
import pytest

from milliroute.proxy.agent.catalog import Catalog
from milliroute.proxy.agent.ledger import Ledger
from milliroute.proxy.agent.splitsview import authorities_view, format_weight
from milliroute.proxy.ipc import Applied, LeftOut, Stats
from milliroute.proxy.state import (
    AuthorityState,
    FaultState,
    RampState,
    RateLimitState,
    RateState,
    RouteState,
    SplitState,
    StickyState,
    WeightState,
)
from tests.proxy.samples import KEY, backend, leaf_delta, offer, state, stats


def catalog_with(body: AuthorityState | None) -> Catalog:
    catalog = Catalog()
    catalog.watch("reviews:9080", 0.0)
    catalog.resolve("reviews:9080", KEY)
    catalog.offer(offer(3, body, is_known=body is not None))
    catalog.applied(1, Applied(KEY, "e1", 3, 5_000), [1])
    return catalog


def test_an_authority_has_the_shape_of_the_interface_document() -> None:
    ledger = Ledger()
    ledger.add(1, stats(leaf_delta("reviews-v1", 9), leaf_delta("reviews-v2", 1, status=500)))
    (view,) = msgspec.to_builtins(authorities_view(catalog_with(state()), ledger))
    split = view.pop("splits")[0]
    assert view == {
        "authority": KEY,
        "known": True,
        "epoch": "e1",
        "version": 3,
        "published_unix_ns": 1_000,
        "applied_unix_ns": 5_000,
        "warnings": [],
    }
    v1, v2 = split.pop("leaves")
    assert split == {
        "name": "default/reviews",
        "apex": "reviews",
        "source": "split.yaml:1",
        "ramp": None,
        "sticky": None,
        "failover": None,
        "rate_limits": [],
        "fault": None,
    }
    assert v1 == {
        "leaf": "reviews-v1",
        "weight": "900m",
        "weight_micro": 900_000,
        "share": 0.9,
        "endpoints": 1,
        "state": "ok",
        "requests": 9,
        "observed_share": 0.9,
        "successes": 9,
        "failures": 0,
        "p50_ms": 0.5,
        "p99_ms": pytest.approx(0.99),
        "out": [],
        "sick": [],
    }
    assert (v2["observed_share"], v2["successes"], v2["failures"]) == (0.1, 0, 1)


def test_without_requests_the_observed_numbers_are_null() -> None:
    (view,) = authorities_view(catalog_with(state()), Ledger())
    leaf = view.splits[0].leaves[0]
    assert (leaf.requests, leaf.observed_share, leaf.p50_ms, leaf.p99_ms) == (0, None, None, None)


def test_an_unknown_authority_is_listed_as_such() -> None:
    (view,) = authorities_view(catalog_with(None), Ledger())
    assert (view.known, view.splits) == (False, [])


def test_a_leaf_says_whether_it_is_empty_or_missing() -> None:
    split = SplitState("s", [WeightState(0, 1), WeightState(1, 1), WeightState(2, 0)])
    backends = [backend("a", 0), backend("b", 0, is_missing=True), backend("c", 2)]
    body = AuthorityState("reviews", "default", backends, [RouteState(split)])
    (view,) = authorities_view(catalog_with(body), Ledger())
    assert [(leaf.state, leaf.endpoints) for leaf in view.splits[0].leaves] == [("empty", 0), ("missing", 0), ("ok", 2)]
    assert view.splits[0].apex == "reviews"


def test_all_zero_weights_have_no_share() -> None:
    (view,) = authorities_view(catalog_with(state(0, 0)), Ledger())
    assert [leaf.share for leaf in view.splits[0].leaves] == [0.0, 0.0]


def test_ramp_and_sticky_are_shown() -> None:
    split = SplitState("s", [WeightState(0, 1)], RampState([5], 7, 9), StickyState(cookie="c"))
    body = AuthorityState("reviews", "default", [backend("a")], [RouteState(split)])
    (view,) = authorities_view(catalog_with(body), Ledger())
    assert view.splits[0].ramp == {"from_micro": [5], "start_unix_ms": 7, "duration_ms": 9}
    assert view.splits[0].sticky == {"cookie": "c"}


def failing_over() -> AuthorityState:
    split = SplitState("s", [WeightState(0, 0), WeightState(1, 1), WeightState(2, 1)], is_failover=True)
    return AuthorityState("reviews", "default", [backend("a"), backend("b"), backend("c", 2)], [RouteState(split)])


def left_out(*said: LeftOut) -> Stats:
    return Stats([], [], [], left_out=list(said))


def test_endpoints_that_a_worker_leaves_out_are_said_and_a_leaf_without_others_is_out() -> None:
    ledger = Ledger()
    ledger.add(1, left_out(LeftOut(KEY, "b", "default", ["10.0.0.1:9000"], [])))
    ledger.add(2, left_out(LeftOut(KEY, "c", "default", [], ["10.0.0.1:9001"])))
    (view,) = authorities_view(catalog_with(failing_over()), ledger)
    a, b, c = view.splits[0].leaves
    assert (a.out, a.sick, a.state) == ([], [], "ok")
    assert (b.out, b.sick, b.state) == (["10.0.0.1:9000"], [], "out")
    assert (c.out, c.sick, c.state) == ([], ["10.0.0.1:9001"], "ok")


def test_the_leaf_that_a_failover_has_taken_is_the_first_that_is_in_for_each_worker() -> None:
    ledger = Ledger()
    catalog = catalog_with(failing_over())

    def taken() -> list[str] | None:
        return authorities_view(catalog, ledger)[0].splits[0].failover

    assert taken() == ["b"]
    ledger.add(1, left_out(LeftOut(KEY, "b", "default", ["10.0.0.1:9000"], [])))
    assert taken() == ["c"]
    ledger.add(2, Stats([], [], []))
    assert taken() == ["c", "b"]
    ledger.worker_gone(1)
    assert taken() == ["b"]


def test_a_split_that_is_no_failover_has_taken_no_leaf() -> None:
    (view,) = authorities_view(catalog_with(state()), Ledger())
    assert view.splits[0].failover is None


def test_rate_limits_and_faults_are_shown_as_they_were_written() -> None:
    split = SplitState("s", [WeightState(0, 1)], fault=FaultState(text="abort=503 5%"))
    limit = RateLimitState("TrafficSplit default/s", "5/s", RateState(5, 1000, 5))
    routes = [RouteState(split, rate_limits=(limit,)), RouteState(split, rate_limits=(limit,))]
    (view,) = authorities_view(catalog_with(AuthorityState("reviews", "default", [backend("a")], routes)), Ledger())
    assert view.splits[0].rate_limits == ["5/s (TrafficSplit default/s)"]
    assert view.splits[0].fault == "abort=503 5%"


@pytest.mark.parametrize(("micro", "text"), [(2_000_000, "2"), (1_500_000, "1500m"), (1, "1u"), (0, "0")])
def test_a_weight_without_its_text_is_written_as_a_quantity(micro: int, text: str) -> None:
    assert format_weight(WeightState(0, micro)) == text
    assert format_weight(WeightState(0, micro, "as written")) == "as written"
