"""Failover splits: the first leaf in order that is ready has everything."""

import random
from collections import Counter

import pytest
from msgspec.structs import replace

from milliroute.proxy.errors import NoBackend
from milliroute.proxy.metrics import LeafSeries
from milliroute.proxy.resilience.ejection import Ejections
from milliroute.proxy.routing import table
from milliroute.proxy.routing.leaf import Endpoint, Leaf
from milliroute.proxy.routing.split import Split
from milliroute.proxy.routing.table import AuthorityTable
from milliroute.proxy.state import AuthorityState, StickyState
from tests.proxy.backends import closed_port
from tests.proxy.failures import answering, counting, trying
from tests.proxy.serving import on_loop, serving
from tests.proxy.tables import KEY, leaves, request

ORDER = {"v1": [1], "v2": [2], "v3": [3]}


def failing_over(state: AuthorityState, sticky: StickyState | None = None) -> AuthorityState:
    routes = [replace(r, split=replace(r.split, is_failover=True, sticky=sticky)) for r in state.routes]
    return replace(state, routes=routes)


def build(state: AuthorityState, previous: AuthorityTable | None = None) -> AuthorityTable:
    rng = random.Random(7)
    return table.build(KEY, 1, state, previous, rng=rng, now_s=0.0, unix_s=0.0, series_for=LeafSeries)


def only(built: AuthorityTable) -> Split:
    assert built.only is not None
    return built.only


def taker(built: AuthorityTable) -> str:
    """Of 20 requests, all to one leaf."""
    split = only(built)
    pick = split.pick
    (name,) = {(split.leaves[pick()] if pick else split.choose(request(), "10.0.0.1", 0.0)).name for _ in range(20)}
    return name


def endpoint(built: AuthorityTable, port: int) -> Endpoint:
    return next(one for one in built.endpoints() if one.port == port)


def test_first_leaf_has_everything_whatever_the_weights() -> None:
    assert taker(build(failing_over(leaves(ORDER, 1, 1000, 1)))) == "v1"


def test_leaf_of_weight_zero_takes_no_part() -> None:
    assert taker(build(failing_over(leaves(ORDER, 0, 1, 1)))) == "v2"
    with pytest.raises(NoBackend):
        taker(build(failing_over(leaves({**ORDER, "v2": []}, 0, 1, 0))))


def test_without_endpoints_the_next_in_order_takes_over_and_gives_back() -> None:
    first = build(failing_over(leaves({**ORDER, "v1": []}, 1, 1, 1)))
    assert taker(first) == "v2"
    second = build(failing_over(leaves({**ORDER, "v1": [], "v2": []}, 1, 1, 1)), first)
    assert taker(second) == "v3"
    assert taker(build(failing_over(leaves(ORDER, 1, 1, 1)), second)) == "v1"


def test_leaf_whose_endpoints_are_out_for_their_failures_is_not_ready() -> None:
    built, ejections = build(failing_over(counting(leaves(ORDER, 1, 1, 1)))), Ejections()
    ejections.failed(endpoint(built, 1), 0.0)
    assert taker(built) == "v2"
    ejections.failed(endpoint(built, 2), 0.0)
    assert taker(built) == "v3"
    ejections.failed(endpoint(built, 3), 0.0)
    assert taker(built) == "v3"
    ejections.sweep(60.0)
    ejections.probe(endpoint(built, 1), 60.0)
    ejections.succeeded(endpoint(built, 1), 60.0)
    assert taker(built) == "v1"


def test_new_table_with_nothing_but_what_is_out_takes_it_back() -> None:
    built, ejections = build(failing_over(counting(leaves({"v1": [1], "v2": [2]}, 1, 1)))), Ejections()
    ejections.failed(endpoint(built, 1), 0.0)
    assert taker(build(failing_over(counting(leaves({"v1": [1], "v2": []}, 1, 1))), built)) == "v1"


def test_next_try_goes_to_the_next_leaf_in_order() -> None:
    split = only(build(failing_over(leaves(ORDER, 1, 1, 1))))
    tried: list[Leaf] = []
    names = []
    while (other := split.other([split.leaves[0], *tried])) is not None:
        tried.append(other)
        names.append(other.name)
    assert names == ["v2", "v3"]


def test_sticky_clients_follow_it_too() -> None:
    by_header = StickyState(header="x-user")
    split = only(build(failing_over(leaves({**ORDER, "v1": []}, 1, 1, 1), by_header)))
    names = Counter(split.choose(request("/", f"x-user: {n}"), "10.0.0.1", 0.0).name for n in range(100))
    assert names == {"v2": 100}


@on_loop
async def test_request_that_the_first_leaf_fails_is_answered_by_the_second() -> None:
    async with answering(503) as bad, answering(200) as good, answering(200) as last:
        ports = {"v0": [closed_port()], "v1": [bad.port], "v2": [good.port], "v3": [last.port]}
        async with serving("fast", trying(failing_over(leaves(ports, 1, 1, 1, 1)))) as proxy:
            client = await proxy.client()
            assert {(await client.get()).status for _ in range(5)} == {200}
            assert (len(bad.asked), len(good.asked), len(last.asked)) == (5, 5, 0)
