"""Endpoints that are left out for their failures: who takes their share, who stays in, and how they come back."""

import random
from collections import Counter

import pytest
from msgspec.structs import replace

from milliroute.proxy.metrics import LeafSeries
from milliroute.proxy.resilience.ejection import Ejections
from milliroute.proxy.routing import table
from milliroute.proxy.routing.leaf import Endpoint
from milliroute.proxy.routing.split import Split
from milliroute.proxy.routing.table import AuthorityTable
from milliroute.proxy.state import AccrualState, AuthorityState, RampState
from tests.proxy.failures import AT_ONCE, counting
from tests.proxy.tables import KEY, authority, backend, leaves, request, split

THREE = {"v1": [11, 12], "v2": [21], "v3": [31]}


def build(state: AuthorityState, previous: AuthorityTable | None = None, *, unix_s: float = 0.0) -> AuthorityTable:
    rng = random.Random(7)
    return table.build(KEY, 1, state, previous, rng=rng, now_s=0.0, unix_s=unix_s, series_for=LeafSeries)


def only(built: AuthorityTable) -> Split:
    assert built.only is not None
    return built.only


def endpoint(built: AuthorityTable, port: int) -> Endpoint:
    return next(one for one in built.endpoints() if one.port == port)


def picks(built: AuthorityTable, count: int, *, unix_s: float = 0.0) -> Counter[str]:
    split = only(built)
    return Counter(
        split.leaves[split.pick()].name if split.pick else split.choose(request(), "10.0.0.1", unix_s).name
        for _ in range(count)
    )


def ports_of(built: AuthorityTable, leaf: int) -> set[int]:
    balancer = only(built).leaves[leaf].balancer
    return {balancer.pick().port for _ in range(50)} if balancer is not None else set()


def test_endpoint_that_is_out_is_not_picked_and_its_leaf_keeps_its_share() -> None:
    built, ejections = build(counting(leaves(THREE, 2, 1, 1))), Ejections()
    ejections.failed(endpoint(built, 11), 0.0)
    assert ports_of(built, 0) == {12}
    assert picks(built, 400) == {"v1": 200, "v2": 100, "v3": 100}


def test_leaf_all_of_whose_endpoints_are_out_is_skipped_and_its_share_goes_by_weight() -> None:
    built, ejections = build(counting(leaves(THREE, 500_000, 300_000, 100_000))), Ejections()
    ejections.failed(endpoint(built, 11), 0.0)
    ejections.failed(endpoint(built, 12), 0.0)
    assert picks(built, 400) == {"v2": 300, "v3": 100}


def test_last_endpoint_of_the_last_leaf_stays_in_however_often_it_fails() -> None:
    built, ejections = build(counting(leaves(THREE, 2, 1, 1))), Ejections()
    for _ in range(3):
        for port in (11, 12, 21, 31):
            ejections.failed(endpoint(built, port), 0.0)
    assert picks(built, 10) == {"v3": 10}
    assert ports_of(built, 2) == {31}


def test_leaf_of_weight_zero_is_nowhere_to_go() -> None:
    built, ejections = build(counting(leaves({"v1": [1], "v2": [2]}, 1, 0))), Ejections()
    ejections.failed(endpoint(built, 1), 0.0)
    assert picks(built, 10) == {"v1": 10}


def test_last_endpoint_of_a_strict_leaf_stays_in_for_its_share_goes_nowhere() -> None:
    built, ejections = build(counting(leaves({"v1": [1], "v2": [2]}, 1, 1, strict=True))), Ejections()
    ejections.failed(endpoint(built, 1), 0.0)
    assert ports_of(built, 0) == {1}


@pytest.mark.parametrize(("percent", "out"), [(100, 4), (50, 2), (49, 1), (0, 0)])
def test_no_more_than_the_set_share_of_a_service_is_out(percent: int, out: int) -> None:
    state = leaves({"v1": [1, 2, 3, 4], "v2": [5]}, 1, 1)
    built, ejections = build(counting(state, replace(AT_ONCE, max_out_percent=percent))), Ejections()
    for port in (1, 2, 3, 4):
        ejections.failed(endpoint(built, port), 0.0)
    assert len(built.backends[0].out) == out


def test_after_the_penalty_one_request_is_the_probe_and_the_others_go_on_as_before() -> None:
    built, ejections = build(counting(leaves({"v1": [1], "v2": [2], "v3": [3]}, 2, 3, 1))), Ejections()
    one = endpoint(built, 1)
    ejections.failed(one, 0.0)
    ejections.sweep(59.9)
    assert picks(built, 40) == {"v2": 30, "v3": 10}
    ejections.sweep(60.0)
    assert "v1" in picks(built, 6)
    assert ejections.probe(one, 60.1)
    assert not ejections.probe(one, 60.1)
    assert picks(built, 40) == {"v2": 30, "v3": 10}


def test_good_probe_brings_it_back_and_the_split_is_exact_again() -> None:
    built, ejections = build(counting(leaves({"v1": [1], "v2": [2]}, 900_000, 100_000))), Ejections()
    one = endpoint(built, 1)
    ejections.failed(one, 0.0)
    ejections.sweep(60.0)
    ejections.probe(one, 60.0)
    ejections.succeeded(one, 60.1)
    assert picks(built, 10) == {"v1": 9, "v2": 1}
    assert ejections.waiting == set()


def test_bad_probe_leaves_it_out_for_twice_as_long() -> None:
    state = counting(leaves({"v1": [1], "v2": [2]}, 1, 1), AccrualState(max_failures=1, jitter_percent=0))
    built, ejections = build(state), Ejections()
    one = endpoint(built, 1)
    ejections.failed(one, 0.0)
    ejections.sweep(1.0)
    assert ejections.probe(one, 1.0)
    ejections.failed(one, 1.5)
    ejections.sweep(3.4)
    assert picks(built, 10) == {"v2": 10}
    ejections.sweep(3.5)
    assert picks(built, 10) == {"v1": 5, "v2": 5}


def test_probe_without_a_result_is_made_again_after_the_next_sweep() -> None:
    built, ejections = build(counting(leaves({"v1": [1], "v2": [2]}, 1, 1))), Ejections()
    one = endpoint(built, 1)
    ejections.failed(one, 0.0)
    ejections.sweep(60.0)
    assert ejections.probe(one, 60.0)
    ejections.probe_lost(one)
    assert picks(built, 10) == {"v2": 10}
    ejections.sweep(60.1)
    assert ejections.probe(one, 60.2)


def test_answer_to_an_old_request_brings_nothing_back() -> None:
    built, ejections = build(counting(leaves({"v1": [1], "v2": [2]}, 1, 1))), Ejections()
    ejections.failed(endpoint(built, 1), 0.0)
    ejections.succeeded(endpoint(built, 1), 0.1)
    assert picks(built, 10) == {"v2": 10}


def test_share_of_an_endpoint_does_not_shift_the_sequence() -> None:
    """While no leaf becomes empty, the split goes on where it was: exact over any period."""
    built, ejections = build(counting(leaves(THREE, 2, 1, 1))), Ejections()
    taken: Counter[str] = Counter()
    for turn in range(40):
        taken += picks(built, 1)
        ejections.failed(endpoint(built, 11), 100.0 * turn)
        ejections.sweep(100.0 * turn + 99)
        ejections.probe(endpoint(built, 11), 100.0 * turn + 99)
        ejections.succeeded(endpoint(built, 11), 100.0 * turn + 99)
    assert taken == {"v1": 20, "v2": 10, "v3": 10}


def test_new_table_keeps_what_is_out() -> None:
    ports = {"v1": [1], "v2": [2]}
    built, ejections = build(counting(leaves(ports, 1, 1))), Ejections()
    ejections.failed(endpoint(built, 1), 0.0)
    after = build(counting(leaves({"v1": [1], "v2": [2, 3]}, 3, 1)), built)
    assert picks(after, 10) == {"v2": 10}
    more = build(counting(leaves({"v1": [1, 4], "v2": [2, 3]}, 3, 1)), after)
    assert ports_of(more, 0) == {4}
    ejections.sweep(60.0)
    assert ports_of(more, 0) == {1, 4}


def test_new_table_under_a_probe_takes_its_result() -> None:
    built, ejections = build(counting(leaves({"v1": [1], "v2": [2]}, 1, 1))), Ejections()
    one = endpoint(built, 1)
    ejections.failed(one, 0.0)
    ejections.sweep(60.0)
    assert ejections.probe(one, 60.0)
    after = build(counting(leaves({"v1": [1, 4], "v2": [2]}, 1, 1)), built)
    assert ports_of(after, 0) == {4}
    ejections.succeeded(one, 60.1)
    assert ports_of(after, 0) == {1, 4}


def test_new_table_between_the_sweep_and_the_probe_does_not_lose_the_endpoint() -> None:
    built, ejections = build(counting(leaves({"v1": [1], "v2": [2]}, 1, 1))), Ejections()
    ejections.failed(endpoint(built, 1), 0.0)
    ejections.sweep(60.0)
    after = build(counting(leaves({"v1": [1, 4], "v2": [2]}, 1, 1)), built)
    assert ports_of(after, 0) == {1, 4}
    assert ejections.probe(endpoint(after, 1), 60.0)


def test_new_table_with_nothing_but_what_is_out_takes_it_back() -> None:
    built, ejections = build(counting(leaves({"v1": [1, 2]}, 1))), Ejections()
    ejections.failed(endpoint(built, 1), 0.0)
    after = build(counting(leaves({"v1": [1]}, 1)), built)
    assert picks(after, 10) == {"v1": 10}
    assert ports_of(after, 0) == {1}
    ejections.sweep(60.0)
    assert not ejections.probe(endpoint(after, 1), 60.0)


def test_other_accrual_begins_anew_and_none_ends_it() -> None:
    state = leaves({"v1": [1], "v2": [2]}, 1, 1)
    built, ejections = build(counting(state)), Ejections()
    ejections.failed(endpoint(built, 1), 0.0)
    other = build(counting(state, replace(AT_ONCE, max_failures=3)), built)
    assert picks(other, 10) == {"v1": 5, "v2": 5}
    none = build(state, built)
    assert picks(none, 10) == {"v1": 5, "v2": 5}
    ejections.failed(endpoint(none, 1), 1.0)
    ejections.sweep(100.0)
    assert picks(none, 10) == {"v1": 5, "v2": 5}


def test_endpoint_that_is_gone_is_forgotten_after_its_penalty() -> None:
    built, ejections = build(counting(leaves({"v1": [1], "v2": [2]}, 1, 1))), Ejections()
    ejections.failed(endpoint(built, 1), 0.0)
    after = build(counting(leaves({"v1": [3], "v2": [2]}, 1, 1)), built)
    assert picks(after, 10) == {"v1": 5, "v2": 5}
    ejections.sweep(60.0)
    assert ejections.waiting == set()
    assert picks(after, 10) == {"v1": 5, "v2": 5}


def test_ramp_goes_on_where_it_is_when_its_beginning_is_back() -> None:
    ramp = RampState([1, 0], start_unix_ms=1_000_000, duration_ms=100_000)
    state = counting(authority([backend("v1", 1), backend("v2", 2)], split(0, 1, ramp=ramp)))
    built, ejections = build(state, unix_s=1010.0), Ejections()
    one = endpoint(built, 1)
    ejections.failed(one, 0.0)
    assert picks(built, 100, unix_s=1050.0) == {"v2": 100}
    ejections.sweep(60.0)
    assert ejections.probe(one, 60.0)
    ejections.succeeded(one, 60.0)
    assert 49 <= picks(built, 100, unix_s=1050.0)["v1"] <= 51
    assert picks(built, 100, unix_s=1100.0) == {"v2": 100}


def test_all_leaves_of_one_service_are_no_alternative_to_each_other() -> None:
    state = counting(authority([backend("v1", 1)], split(1)))
    twice = replace(state.routes[0].split, weights=[*state.routes[0].split.weights] * 2)
    built = build(replace(state, routes=[replace(state.routes[0], split=twice)]))
    Ejections().failed(endpoint(built, 1), 0.0)
    assert picks(built, 10) == {"v1": 10}
