"""What a table makes of a state, and what of its running state survives the next one."""

import random
from collections import Counter
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from milliroute.proxy.errors import NoBackend, NoRoute
from milliroute.proxy.metrics import LeafSeries
from milliroute.proxy.routing import table
from milliroute.proxy.routing.split import Split
from milliroute.proxy.routing.table import AuthorityTable
from milliroute.proxy.state import (
    AuthorityState,
    HeaderMatchState,
    MatchState,
    RampState,
    RateLimitState,
    RateState,
    SplitState,
    StickyState,
)
from tests.proxy.tables import KEY, authority, backend, leaves, request, split

RAMP = RampState([1_000_000, 0], start_unix_ms=1_000_000, duration_ms=100_000)
TWO = [backend("v1", 1), backend("v2", 2)]


def build(state: AuthorityState, previous: AuthorityTable | None = None, *, unix_s: float = 0.0) -> AuthorityTable:
    rng = random.Random(7)
    return table.build(KEY, 1, state, previous, rng=rng, now_s=0.0, unix_s=unix_s, series_for=LeafSeries)


def only(built: AuthorityTable) -> Split:
    assert built.only is not None
    return built.only


def picks(split: Split, count: int, *fields: str, unix_s: float = 0.0, client_ip: str = "10.0.0.1") -> list[str]:
    """Names of the leaves of this many requests."""
    head = request("/", *fields)
    pick = split.pick
    if pick is None:
        return [split.choose(head, client_ip, unix_s).name for _ in range(count)]
    return [split.leaves[pick()].name for _ in range(count)]


def test_split_is_exact_over_its_period() -> None:
    taken = picks(only(build(leaves({"v1": [1], "v2": [2]}, 900_000, 100_000))), 1000)
    assert Counter(taken) == {"v1": 900, "v2": 100}
    assert all(taken[i : i + 10].count("v2") == 1 for i in range(990))


def test_leaf_of_weight_zero_is_never_picked() -> None:
    assert set(picks(only(build(leaves({"v1": [1], "v2": [2]}, 0, 1))), 100)) == {"v2"}


def test_leaf_of_weight_zero_needs_no_endpoints() -> None:
    assert set(picks(only(build(leaves({"v1": [], "v2": [2]}, 0, 1, strict=True))), 100)) == {"v2"}


def test_share_of_an_empty_leaf_goes_to_the_others_in_proportion() -> None:
    split = only(build(leaves({"v1": [1], "v2": [], "v3": [3]}, 300_000, 500_000, 100_000)))
    assert Counter(picks(split, 400)) == {"v1": 300, "v3": 100}


def test_empty_leaf_of_a_strict_split_keeps_its_share() -> None:
    built = only(build(leaves({"v1": [1], "v2": []}, 3, 1, strict=True)))
    assert Counter(picks(built, 400)) == {"v1": 300, "v2": 100}


def test_split_whose_leaves_are_all_empty_has_no_backend() -> None:
    built = only(build(leaves({"v1": [], "v2": []}, 3, 1)))
    with pytest.raises(NoBackend):
        built.choose(request(), "10.0.0.1", 0.0)


def test_apex_may_be_a_leaf_of_its_own_split() -> None:
    assert set(picks(only(build(leaves({"reviews": [1], "v2": [2]}, 1, 1))), 10)) == {"reviews", "v2"}


def matched(*matches: MatchState) -> AuthorityTable:
    backends = [*TWO, backend("reviews", 3)]
    default = split(1, first=2, name="")
    return build(authority(backends, default, (split(1), list(matches))))


def leaf_names(built: AuthorityTable, *fields: str, path: str = "/") -> list[str]:
    return [leaf.name for leaf in built.split_for(request(path, *fields)).leaves]


def test_any_of_the_matches_is_enough() -> None:
    built = matched(MatchState("/a"), MatchState(headers=[HeaderMatchState("b", "1")]))
    assert leaf_names(built, path="/a") == ["v1"]
    assert leaf_names(built, "B: 1", path="/other") == ["v1"]


def test_a_limit_alone_asks_nothing_of_a_request() -> None:
    state = leaves({"v1": [1]}, 1)
    limit = RateLimitState("a", "", RateState(1, 1000, 1))
    built = build(replace(state, routes=[replace(route, rate_limits=(limit,)) for route in state.routes]))
    assert only(built).limits is not None


def test_request_that_no_match_takes_goes_to_the_default_route() -> None:
    built = matched(MatchState("/a"))
    assert built.only is None
    assert leaf_names(built, path="/b") == ["reviews"]


def test_authority_without_routes_has_no_route() -> None:
    with pytest.raises(NoRoute):
        build(AuthorityState("reviews", "default", [], [])).split_for(request())


def test_unchanged_split_goes_on_in_its_cycle() -> None:
    before = build(leaves({"v1": [1], "v2": [2]}, 7, 3))
    expected = build(leaves({"v1": [1], "v2": [2]}, 7, 3))
    straight = picks(only(expected), 20)
    taken = picks(only(before), 4)
    after = build(leaves({"v1": [1, 11], "v2": [2]}, 7, 3), before)
    assert taken + picks(only(after), 16) == straight


def test_changed_weights_start_at_a_new_place() -> None:
    before = build(leaves({"v1": [1], "v2": [2]}, 7, 3))
    after = build(leaves({"v1": [1], "v2": [2]}, 6, 4), before)
    assert Counter(picks(only(after), 10)) == {"v1": 6, "v2": 4}


def test_same_weights_for_other_leaves_are_another_split() -> None:
    before = build(leaves({"v1": [1], "v2": [2]}, 7, 3))
    after = build(leaves({"v1": [1], "v3": [2]}, 7, 3), before)
    assert only(after).pick is not only(before).pick


def test_endpoint_of_an_unrelated_change_keeps_its_load_and_connections() -> None:
    before = build(leaves({"v1": [1, 2]}, 1))
    kept = next(before.endpoints())
    kept.load.begin()
    after = build(leaves({"v1": [1, 3]}, 1), before)
    assert next(after.endpoints()) is kept
    assert [endpoint.port for endpoint in after.endpoints()] == [1, 3]


def test_ramp_moves_the_shares_linearly_by_the_wall_clock() -> None:
    built = only(build(authority(TWO, split(0, 1, ramp=RAMP)), unix_s=1000.0))
    half = picks(built, 1000, unix_s=1050.0)
    assert abs(half.count("v2") - 500) <= 2


def test_split_without_a_ramp_left_is_picked_plainly() -> None:
    built = only(build(authority(TWO, split(0, 1, ramp=RAMP)), unix_s=1000.0))
    assert built.pick is None
    assert picks(built, 1, unix_s=1100.0) == ["v2"]
    assert built.pick is not None


def test_ramp_that_is_over_already_never_starts() -> None:
    assert only(build(authority(TWO, split(0, 1, ramp=RAMP)), unix_s=1100.0)).pick is not None


def test_table_update_during_a_ramp_keeps_it() -> None:
    state = split(1, 3, ramp=RAMP)
    before = build(authority(TWO, state), unix_s=1000.0)
    picks(only(before), 3, unix_s=1050.0)
    after = build(authority([backend("v1", 1, 9), backend("v2", 2)], state), before, unix_s=1050.0)
    assert only(after)._ramp is only(before)._ramp


def unknown_start(state: SplitState) -> SplitState:
    """As a control service says it that was restarted during the ramp."""
    assert state.ramp is not None
    return split(*(w.micro for w in state.weights), ramp=RampState([], 0, state.ramp.duration_ms))


def test_ramp_goes_on_when_the_control_service_forgot_its_start() -> None:
    state = split(0, 1, ramp=RAMP)
    before = build(authority(TWO, state), unix_s=1000.0)
    after = build(authority(TWO, unknown_start(state)), before, unix_s=1050.0)
    assert abs(picks(only(after), 100, unix_s=1050.0).count("v2") - 50) <= 2


def test_forgotten_start_is_remembered_over_a_change_of_endpoints() -> None:
    backends = [*TWO, backend("v3")]
    state = split(0, 1, 1, ramp=RampState([1, 0, 0], RAMP.start_unix_ms, RAMP.duration_ms))
    first = build(authority(backends, state), unix_s=1000.0)
    second = build(authority(backends, unknown_start(state)), first, unix_s=1050.0)
    third = build(authority([*TWO, backend("v3", 3)], unknown_start(state)), second, unix_s=1050.0)
    assert abs(picks(only(third), 100, unix_s=1050.0).count("v1") - 50) <= 2


def test_ramp_from_an_unknown_start_is_at_its_end_at_once() -> None:
    state = authority(TWO, unknown_start(split(0, 1, ramp=RAMP)))
    assert set(picks(only(build(state, unix_s=1050.0)), 10)) == {"v2"}


def test_leaf_that_becomes_empty_during_a_ramp_is_skipped() -> None:
    state = split(0, 1, ramp=RAMP)
    before = build(authority(TWO, state), unix_s=1000.0)
    after = build(authority([backend("v1"), TWO[1]], state), before, unix_s=1010.0)
    assert set(picks(only(after), 20, unix_s=1010.0)) == {"v2"}


def test_ramp_to_an_empty_leaf_leaves_the_old_one_in_place_until_its_end() -> None:
    built = only(build(authority([TWO[0], backend("v2")], split(0, 1, ramp=RAMP)), unix_s=1000.0))
    assert set(picks(built, 20, unix_s=1099.0)) == {"v1"}
    with pytest.raises(NoBackend):
        picks(built, 1, unix_s=1100.0)


def test_new_ramp_to_the_same_weights_replaces_the_old() -> None:
    before = build(authority(TWO, split(0, 1, ramp=RAMP)), unix_s=1000.0)
    later = RampState([1, 0], start_unix_ms=1_050_000, duration_ms=100_000)
    after = build(authority(TWO, split(0, 1, ramp=later)), before, unix_s=1050.0)
    assert set(picks(only(after), 10, unix_s=1050.0)) == {"v1"}


def sticky(by: StickyState, *micro: int, ramp: RampState | None = None) -> Split:
    return only(build(authority(TWO, split(*micro, sticky=by, ramp=ramp)), unix_s=1000.0))


STICKY: dict[str, tuple[StickyState, Callable[[int], tuple[str, str]]]] = {
    "header": (StickyState(header="x-user"), lambda n: (f"X-User: u{n}", "10.0.0.1")),
    "cookie": (StickyState(cookie="id"), lambda n: (f"Cookie: id=u{n}", "10.0.0.1")),
    "client-ip": (StickyState(client_ip=True), lambda n: ("x: y", f"10.0.0.{n}")),
}


@pytest.mark.parametrize("by", list(STICKY))
def test_sticky_client_stays_with_its_leaf(by: str) -> None:
    state, client = STICKY[by]
    first, again = sticky(state, 1, 1), sticky(state, 1, 1)
    chosen = {}
    for number in range(50):
        field, address = client(number)
        (chosen[number],) = set(picks(first, 3, field, client_ip=address))
        assert picks(again, 1, field, client_ip=address) == [chosen[number]]
    assert set(chosen.values()) == {"v1", "v2"}


def test_request_without_the_sticky_key_is_split_exactly() -> None:
    assert Counter(picks(sticky(StickyState(header="x-user"), 3, 1), 400)) == {"v1": 300, "v2": 100}


def test_sticky_ramp_moves_clients_one_way_only() -> None:
    built = sticky(StickyState(header="x-user"), 0, 1, ramp=RAMP)
    moved: set[int] = set()
    for unix_s in (1000.0, 1025.0, 1050.0, 1075.0, 1100.0):
        on_new = {n for n in range(40) if picks(built, 1, f"x-user: u{n}", unix_s=unix_s) == ["v2"]}
        assert moved <= on_new
        moved = on_new
    assert moved == set(range(40))


def test_other_leaf_is_one_with_a_weight_an_endpoint_and_no_try() -> None:
    ports: dict[str, list[int]] = {"v1": [1], "v2": [], "v3": [3], "v4": [4]}
    built = only(build(leaves(ports, 1, 8, 0, 1, strict=True)))
    first = built.leaves[0]
    assert {leaf.name for _ in range(50) if (leaf := built.other([first]))} == {"v4"}
    assert built.other([first, built.leaves[3]]) is None
