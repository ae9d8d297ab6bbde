"""snapshot: design section 3 row by row, and versions that rise only on change."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milliroute.control import snapshot
from milliroute.control.model import HTTPRouteGroup, Match, Objects, Origin, SourceStatus, Sticky
from milliroute.control.snapshot import Snapshot
from milliroute.control.source.backends import backend_objects
from milliroute.control.views import AuthorityView, MatchView, RampView, StickyView

from .building import service, split, world

KEY = "reviews.default"
EVEN = split({"reviews-v1": "1", "reviews-v2": "1"})
CANARY = split({"reviews-v1": "900m", "reviews-v2": "100m"})


def build(objects: Objects, previous: Snapshot | None = None, now: int = 0) -> Snapshot:
    return snapshot.build(objects, previous, now)


def view(objects: Objects, key: str = KEY) -> AuthorityView:
    found = build(objects).view(key)
    assert found is not None
    return found


def weights(of: AuthorityView, route: int = 0) -> dict[str, int]:
    return {of.backends[weight.backend].name: weight.micro for weight in of.routes[route].split.weights}


def test_a_split_without_matches_is_the_only_route() -> None:
    found = view(world(CANARY))
    assert len(found.routes) == 1
    assert weights(found) == {"reviews-v1": 900_000, "reviews-v2": 100_000}
    one = found.routes[0].split
    assert (one.name, one.apex, one.source) == ("default/reviews", "reviews", "f.yaml:1")
    assert [weight.text for weight in one.weights] == ["900m", "100m"]
    assert [backend.endpoints[0].host for backend in found.backends] == ["10.0.0.1", "10.0.0.2"]


def test_a_service_without_a_split_goes_to_its_own_endpoints() -> None:
    found = view(world())
    assert (found.routes[0].split.name, found.routes[0].split.apex) == ("", "reviews")
    assert weights(found) == {"reviews": 1_000_000}


@pytest.mark.parametrize("key", ["nobody.default", "reviews.other", "api.example.com", "[::1]:80"])
def test_what_is_neither_service_nor_apex_is_unknown(key: str) -> None:
    assert build(world(CANARY)).view(key) is None


def test_an_apex_without_a_service_is_known_by_its_split() -> None:
    found = view(world(CANARY, names=("reviews-v1", "reviews-v2")))
    assert (found.name, found.namespace, weights(found)["reviews-v1"]) == ("reviews", "default", 900_000)
    assert found.warnings == ()


def test_an_apex_may_be_a_host_name() -> None:
    found = view(world(split({"reviews-v1": "1"}, apex="api.example.com")), "api.example.com:80")
    assert (found.name, found.backends[0].name) == ("api.example.com", "reviews-v1")


def test_a_leaf_of_weight_zero_stays_listed_and_may_be_missing() -> None:
    found = view(world(split({"reviews-v1": "1", "reviews-v3": "0"})))
    assert weights(found) == {"reviews-v1": 1_000_000, "reviews-v3": 0}
    assert found.backends[1].is_missing
    assert found.warnings == ()


def test_a_missing_leaf_service_is_reported() -> None:
    found = view(world(split({"reviews-v1": "1", "reviews-v3": "1"})))
    assert [backend.is_missing for backend in found.backends] == [False, True]
    assert found.warnings == ("backend reviews-v3.default: no such Service",)


def test_all_weights_zero_is_as_if_there_were_no_split_with_a_warning() -> None:
    found = view(world(split({"reviews-v1": "0", "reviews-v2": "0"})))
    assert [route.split.name for route in found.routes] == [""]
    assert weights(found) == {"reviews": 1_000_000}
    assert "all weights are zero" in found.warnings[0]


def test_the_apex_may_be_a_leaf_and_is_its_own_endpoints_then() -> None:
    found = view(world(split({"reviews": "3", "reviews-v2": "1"})))
    assert len(found.routes) == 1
    assert weights(found) == {"reviews": 3_000_000, "reviews-v2": 1_000_000}
    assert found.backends[0].endpoints[0].host == "10.0.0.0"


@pytest.mark.parametrize(("created", "winner"), [((2.0, 1.0), "b"), ((1.0, 2.0), "a"), ((0.0, 0.0), "a")])
def test_of_two_splits_for_one_apex_the_older_wins_then_the_name(created: tuple[float, float], winner: str) -> None:
    one = split({"reviews-v1": "1"}, name="a", created=created[0])
    other = split({"reviews-v2": "1"}, name="b", created=created[1])
    built = build(world(other, one))
    found = built.view(KEY)
    assert found is not None
    assert found.routes[0].split.name == f"default/{winner}"
    loser = {"a": "b", "b": "a"}[winner]
    assert [(p.split, p.apex, p.status) for p in built.problems] == [(f"default/{loser}", "reviews", "conflict")]
    assert f"split default/{loser} is not in force" in found.warnings[0]


def test_apexes_written_differently_are_one_apex() -> None:
    other = split({"reviews-v2": "1"}, name="z", apex="reviews.default.svc.cluster.local")
    assert [p.status for p in build(world(CANARY, other)).problems] == ["conflict"]


def test_a_split_cannot_take_a_service_of_another_namespace() -> None:
    thief = split({"reviews-v1": "1"}, apex="till.shop")
    objects = replace(world(thief), services=(replace(service("till"), namespace="shop"),))
    built = build(objects)
    found = built.view("till.shop")
    assert found is not None
    assert found.routes[0].split.name == ""
    assert built.problems[0].status == "conflict"


def test_matches_are_merged_and_what_does_not_match_goes_to_the_apex() -> None:
    groups = tuple(HTTPRouteGroup("default", name, (Match(path_regex=f"/{name}"),)) for name in "ab")
    one = replace(CANARY, matches=(("HTTPRouteGroup", "a"), ("HTTPRouteGroup", "b")))
    found = view(replace(world(one), route_groups=groups))
    assert [route.split.name for route in found.routes] == ["default/reviews", ""]
    assert found.routes[0].matches == (MatchView("/a"), MatchView("/b"))
    assert weights(found, 1) == {"reviews": 1_000_000}


def test_a_missing_route_group_means_no_match_and_a_warning() -> None:
    found = view(world(replace(CANARY, matches=(("HTTPRouteGroup", "gone"),))))
    assert [route.split.name for route in found.routes] == [""]
    assert "HTTPRouteGroup gone: no such object" in found.warnings[0]


def test_a_leaf_that_lacks_the_port_is_empty_and_reported() -> None:
    objects = world(CANARY)
    ports = (service("reviews", 9080), service("reviews-v1", 9080), service("reviews-v2", 80))
    found = view(replace(objects, services=ports), f"{KEY}:9080")
    assert [len(backend.endpoints) for backend in found.backends] == [1, 0]
    assert "Service reviews-v2.default has no port 9080" in found.warnings[0]


def test_without_a_port_the_leaves_are_asked_for_the_apex_port() -> None:
    ports = (service("reviews", 9080), service("reviews-v1", 80, 9080), service("reviews-v2", 9080))
    found = view(replace(world(CANARY), services=ports))
    assert [backend.port for backend in found.backends] == [9080, 9080]


def backend(name: str) -> Objects:
    """What --backend makes: no declared ports, endpoints with ports of their own."""
    one, endpoints = backend_objects(f"{name}=127.0.0.1:9001")
    return Objects(services=(one,), slices=(endpoints,))


def test_a_port_that_the_service_does_not_declare_is_unknown_under_the_key_asked_for() -> None:
    built = build(world(CANARY))
    assert built.key_of("reviews:81", "default") == f"{KEY}:81"
    assert (built.view(f"{KEY}:81"), built.view(f"{KEY}:80") is None) == (None, False)


def test_all_ports_of_a_service_that_declares_none_are_one_key_and_one_view() -> None:
    built = build(backend("reviews"))
    assert {built.key_of(f"reviews:{port}", "") for port in (1, 80, 9080, 65535)} == {KEY}
    assert {built.key_of("Reviews.default.svc.cluster.local.", ""), built.key_of("reviews", "")} == {KEY}
    found = built.view(KEY)
    assert found is not None
    assert found.backends[0].endpoints[0].port == 9001


def test_an_apex_without_a_service_has_the_ports_that_any_leaf_declares() -> None:
    leaves = (service("reviews-v1", 9080), service("reviews-v2", 9080, 9443), *backend("reviews-v3").services)
    three = split({"reviews-v1": "1", "reviews-v2": "1", "reviews-v3": "1"})
    built = build(Objects(splits=(three,), services=leaves))
    known = {port: built.view(built.key_of(f"reviews:{port}", "")) is not None for port in (80, 9080, 9443)}
    assert known == {80: False, 9080: True, 9443: True}
    assert built.key_of("reviews:9080", "") == f"{KEY}:9080"


def test_the_port_means_nothing_for_an_apex_without_a_service_whose_leaves_declare_none() -> None:
    built = build(replace(backend("reviews-v1"), splits=(CANARY,)))
    assert built.key_of("reviews:9080", "") == KEY
    assert built.view(KEY) is not None


def test_a_name_that_is_not_known_keeps_its_port() -> None:
    assert build(Objects()).key_of("reviews:9080", "shop") == "reviews.shop:9080"


def test_a_key_with_a_port_goes_on_when_ports_are_declared_later_and_ends_when_its_own_goes() -> None:
    key = f"{KEY}:9080"
    first = build(backend("reviews"))
    declared = build(replace(backend("reviews"), services=(service("reviews", 9080),)), first)
    gone = build(replace(backend("reviews"), services=(service("reviews", 80),)), declared)
    ports = [found and found.backends[0].endpoints[0].port for found in (s.view(key) for s in (first, declared, gone))]
    assert ports == [9001, 9001, None]
    assert first.version_of(key) < declared.version_of(key) < gone.version_of(key)


@pytest.mark.parametrize(
    ("sticky", "expected"),
    [
        (Sticky("header", "x-user"), StickyView(header="x-user")),
        (Sticky("cookie", "Id"), StickyView(cookie="Id")),
        (Sticky("client-ip"), StickyView(client_ip=True)),
    ],
)
def test_annotations_become_policies_of_the_split(sticky: Sticky, expected: StickyView) -> None:
    one = view(world(replace(CANARY, sticky=sticky, strict_empty_leaf=True))).routes[0].split
    assert (one.sticky, one.strict_empty_leaf, one.ramp) == (expected, True, None)


def test_a_ramp_starts_from_the_old_weights_and_survives_other_changes() -> None:
    first = build(world(replace(CANARY, ramp_ms=60_000)))
    ramped = replace(EVEN, ramp_ms=60_000)
    second = build(world(ramped), first, now=5000)
    third = build(world(ramped, names=("reviews", "reviews-v1", "reviews-v2", "new")), second, now=6000)
    ramps = [found.routes[0].split.ramp for s in (first, second, third) if (found := s.view(KEY))]
    started = RampView((1_800_000, 200_000), 5000, 60_000)
    assert ramps == [RampView((), 0, 60_000), started, started]


def test_a_leaf_that_left_is_listed_with_weight_zero_during_the_ramp() -> None:
    first = build(world(replace(CANARY, ramp_ms=1000)))
    second = build(world(split({"reviews-v2": "1"}, ramp_ms=1000)), first)
    found = second.view(KEY)
    assert found is not None
    assert weights(found) == {"reviews-v2": 1_000_000, "reviews-v1": 0}
    assert found.routes[0].split.ramp == RampView((100_000, 900_000), 0, 1000)
    after = build(world(split({"reviews-v2": "1"}, ramp_ms=1000), names=("reviews-v2",)), second, now=1000).view(KEY)
    assert after is not None
    assert weights(after) == {"reviews-v2": 1_000_000}


def test_the_first_version_is_1_and_nothing_changed_is_the_same_snapshot() -> None:
    first = build(world(CANARY))
    assert first.version == 1
    broken = (SourceStatus("f.yaml", "last good", ("f.yaml:1:1: x",)),)
    assert build(replace(world(CANARY), sources=broken), first, now=99) is first


def test_an_authority_keeps_view_and_version_while_others_change() -> None:
    first = build(world(CANARY))
    before = first.view(KEY), first.view("reviews-v1.default"), first.view("new.default")
    second = build(world(CANARY, names=("reviews", "reviews-v1", "reviews-v2", "new")), first)
    assert (second.version, second.version_of(KEY), second.version_of("new.default")) == (2, 1, 2)
    assert second.view(KEY) is before[0]
    third = build(world(EVEN), second)
    assert (third.version_of(KEY), third.version_of("reviews-v1.default")) == (3, 1)


def test_what_is_kept_of_unknown_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MAX_KEPT_VIEWS", 4)
    built = build(world())
    for number in range(20):
        assert built.view(f"x{number}.default") is None
    assert len(built._kept) == 4


def test_the_report_lists_every_split_with_shares() -> None:
    (report,) = build(world(CANARY)).splits
    assert (report.name, report.apex) == ("default/reviews", "reviews")
    assert (report.source, report.status, report.warnings) == ("f.yaml:1", "accepted", ())
    assert [(leaf.leaf, leaf.weight, leaf.share) for leaf in report.leaves] == [
        ("reviews-v1", "900m", 0.9),
        ("reviews-v2", "100m", 0.1),
    ]


@given(st.permutations(["a", "b", "c", "d"]))
def test_the_order_of_objects_changes_no_view(order: list[str]) -> None:
    splits = {name: split({"reviews-v1": "1"}, name=name) for name in "abcd"}
    plain, shuffled = world(*splits.values()), world(*(splits[name] for name in order))
    mixed = replace(shuffled, services=shuffled.services[::-1], slices=shuffled.slices[::-1])
    assert build(plain).view(KEY) == build(mixed).view(KEY)
    assert build(plain).splits == build(mixed).splits


def test_a_moved_split_tells_its_new_line() -> None:
    first = build(world(CANARY))
    second = build(world(replace(CANARY, origin=Origin("f.yaml", 7, 1))), first)
    found = second.view(KEY)
    assert found is not None
    assert (found.routes[0].split.source, second.version_of(KEY)) == ("f.yaml:7", 2)


def test_a_snapshot_is_partial_until_every_source_was_read_once_and_never_again() -> None:
    broken = Objects(sources=(SourceStatus("a.yaml", "nothing", ("a.yaml:1:1: bad",)),))
    nothing = Objects(sources=(SourceStatus("a.yaml"),))
    whole = replace(world(CANARY), sources=(SourceStatus("a.yaml"),))
    first = build(broken, None, 0)
    second = build(whole, first, 0)
    assert first.is_partial
    assert build(nothing, None, 0).is_partial
    assert not second.is_partial
    assert not build(nothing, second, 0).is_partial
    assert second.version > first.version
