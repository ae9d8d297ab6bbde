"""From an authority as a client wrote it to its table, over changes of both."""

import random

import pytest

from milliroute.proxy.errors import NoBackend, NoRoute
from milliroute.proxy.routing.router import Router
from milliroute.proxy.routing.table import AuthorityTable
from milliroute.proxy.state import RampState
from tests.proxy.tables import KEY, authority, backend, leaves, request, split

STATE = leaves({"v1": [1], "v2": [2]}, 1, 1)


def router(unix_s: float = 0.0) -> Router:
    return Router(random.Random(7), lambda: 0.0, lambda: unix_s)


def found(routing: Router, name: bytes = b"reviews") -> AuthorityTable:
    table = routing.find(name)
    assert table is not None
    return table


class Visitor:
    client_ip = "10.0.0.1"


def leaf(routing: Router) -> str:
    table = found(routing)
    return routing.leaf_of(table.only or table.split_for(request()), request(), Visitor()).name


def test_name_nobody_told_of_is_neither_found_nor_refused() -> None:
    assert router().find(b"reviews") is None


def test_alias_without_a_state_is_still_unheard_of() -> None:
    routing = router()
    routing.alias("reviews", KEY)
    assert routing.find(b"reviews") is None
    assert not routing.has_state(KEY)


def test_alias_may_come_before_or_after_its_state() -> None:
    routing = router()
    routing.alias("reviews", KEY)
    routing.update(KEY, 1, STATE)
    routing.alias("reviews:80", KEY)
    assert found(routing) is found(routing, b"reviews:80")


def test_unknown_name_has_no_route() -> None:
    routing = router()
    routing.alias("reviews", KEY)
    routing.update(KEY, 1, None)
    with pytest.raises(NoRoute):
        routing.find(b"reviews")


def test_update_holds_for_the_next_request() -> None:
    routing = router()
    routing.alias("reviews", KEY)
    for version, micro in ((1, (1, 0)), (2, (0, 1)), (3, (1, 0))):
        routing.update(KEY, version, leaves({"v1": [1], "v2": [2]}, *micro))
        assert leaf(routing) == ("v1" if micro[0] else "v2")


def test_update_returns_the_endpoints_that_are_gone() -> None:
    routing = router()
    routing.update(KEY, 1, leaves({"v1": [1, 2], "v2": [3]}, 1, 1))
    gone = routing.update(KEY, 2, leaves({"v1": [2]}, 1))
    assert [endpoint.port for endpoint in gone] == [1, 3]
    assert [endpoint.port for endpoint in routing.update(KEY, 3, None)] == [2]


def test_state_that_cannot_be_routed_by_changes_nothing() -> None:
    routing = router()
    routing.alias("reviews", KEY)
    routing.update(KEY, 1, STATE)
    before = found(routing)
    with pytest.raises(ValueError, match="at least 0"):
        routing.update(KEY, 2, leaves({"v1": [1], "v2": [2]}, 1, -1))
    assert found(routing) is before


def test_empty_leaf_of_a_strict_split_is_refused() -> None:
    routing = router()
    routing.alias("reviews", KEY)
    routing.update(KEY, 1, leaves({"v1": []}, 1, strict=True))
    with pytest.raises(NoBackend, match="v1"):
        leaf(routing)


def test_ramp_asks_the_wall_clock() -> None:
    routing = router(unix_s=1000.0)
    routing.alias("reviews", KEY)
    ramp = RampState([1, 0], start_unix_ms=1_000_000, duration_ms=1000)
    routing.update(KEY, 1, authority([backend("v1", 1), backend("v2", 2)], split(0, 1, ramp=ramp)))
    assert {leaf(routing) for _ in range(10)} == {"v1"}


def test_forgotten_name_is_unheard_of_again() -> None:
    routing = router()
    routing.alias("reviews", KEY)
    routing.alias("reviews:80", KEY)
    routing.update(KEY, 1, STATE)
    assert routing.forget("reviews") == []
    assert routing.find(b"reviews") is None
    assert [endpoint.port for endpoint in routing.forget("reviews:80")] == [1, 2]
    assert not routing.has_state(KEY)


def test_forgetting_a_name_never_heard_is_nothing() -> None:
    assert router().forget("reviews") == []


def test_counters_live_over_updates() -> None:
    routing = router()
    routing.update(KEY, 1, STATE)
    before = routing.series()
    routing.update(KEY, 2, leaves({"v1": [9], "v2": [2]}, 3, 1))
    assert routing.series() == before
