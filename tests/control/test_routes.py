"""Gateway API routes in force: for whom, with which weights, and what their writers are told."""

from collections import Counter

import pytest

from milliroute.control.gateway import ParentRef
from milliroute.control.routestatus import unreadable
from milliroute.control.snapshot import Snapshot

from .routing import build, head, picks, route, shares, tabled

KEY = "reviews.default:80"
V1 = "[{backendRefs: [{name: reviews-v1, port: 80}]}]"
V2 = "[{backendRefs: [{name: reviews-v2, port: 80}]}]"
SPLIT = """
---
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: {name: reviews}
spec: {service: reviews, backends: [{service: reviews-v2, weight: 1}]}
"""
GRANT = """
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: "", kind: Service}]
"""
CONSUMER = route(V2, name="ours", namespace="shop", parent="name: reviews, namespace: default").replace(
    "name: reviews-v2,", "name: reviews-v2, namespace: default,"
)
CONSUMER_GRANT = GRANT.replace("namespace: other", "namespace: default").replace(
    "HTTPRoute, namespace: default", "HTTPRoute, namespace: shop"
)


def conditions(of: Snapshot, number: int = 0, parent: int = 0) -> dict[str, tuple[bool, str]]:
    found = of.routes[number].parents[parent].conditions
    assert [condition.type for condition in found] == ["Accepted", "ResolvedRefs"]
    return {condition.type: (condition.is_true, condition.reason) for condition in found}


GOOD = {"Accepted": (True, "Accepted"), "ResolvedRefs": (True, "ResolvedRefs")}


def accepted(reason: str) -> dict[str, tuple[bool, str]]:
    return {**GOOD, "Accepted": (False, reason)}


def unresolved(reason: str) -> dict[str, tuple[bool, str]]:
    return {**GOOD, "ResolvedRefs": (False, reason)}


def test_weights_are_exact_and_default_to_one() -> None:
    built = build(route("[{backendRefs: [{name: reviews-v1, port: 80, weight: 3}, {name: reviews-v2, port: 80}]}]"))
    table = tabled(built)
    assert Counter(picks(table, 40)) == {"reviews-v1": 30, "reviews-v2": 10}
    assert table.only is not None, "a rule that takes everything and changes nothing costs what a split costs"
    assert table.only.state.name == "default/reviews/0"
    assert conditions(built) == GOOD


def test_rules_that_a_request_meets_at_several_places_share_one_split() -> None:
    rules = """
  - matches: [{path: {type: Exact, value: /a}}, {path: {value: /b}}]
    backendRefs: [{name: reviews-v1, port: 80}, {name: reviews-v2, port: 80}]
  - matches: [{path: {value: /longer}}]"""
    table = tabled(build(route(rules)))
    assert [r.split.state.name for r in table.routes] == [
        "default/reviews/0",
        "default/reviews/1",
        "default/reviews/0",
        "",
        "",
    ]
    assert table.routes[0].split is table.routes[2].split


def test_a_rule_keeps_its_place_in_the_sequence_over_another_ones_change() -> None:
    rules = "[{{backendRefs: [{{name: reviews-v1, port: 80}}, {{name: reviews-v2, port: 80}}]}}, {{name: {}}}]"
    first = tabled(build(route(rules.format("a"), more="")))
    begun = picks(first, 1)
    second = tabled(build(route(rules.format("b"))), previous=first)
    assert second.routes[0].split is not first.routes[0].split
    assert {*begun, *picks(second, 1)} == {"reviews-v1", "reviews-v2"}


def test_a_rule_without_backends_goes_to_its_parent() -> None:
    assert shares(tabled(build(route("[{}]")))) == {"reviews": 1_000_000}


def test_only_the_port_of_the_parent_ref_is_routed() -> None:
    built = build(route(parent="name: reviews, port: 9090"))
    assert shares(tabled(built, "reviews:80")) == {"reviews": 1_000_000}
    assert shares(tabled(built, "reviews:9090")) == {"reviews-v1": 1_000_000}
    by_name = build(route(parent="name: reviews, sectionName: grpc"))
    assert shares(tabled(by_name, "reviews:80")) == {"reviews": 1_000_000}


def test_a_backend_is_reached_at_its_own_port() -> None:
    table = tabled(build(route("[{backendRefs: [{name: reviews-v1, port: 9090}]}]")))
    assert [str(endpoint) for endpoint in table.routes[0].split.leaves[0].backend.endpoints] == ["10.0.0.1:8090"]


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        ("name: nobody, port: 80", "BackendNotFound"),
        ("name: reviews-v1, port: 81", "BackendNotFound"),
        ("name: ratings, namespace: other, port: 80", "RefNotPermitted"),
        ("name: reviews-v1, kind: Bucket, group: example.com", "InvalidKind"),
    ],
)
def test_the_share_of_a_refused_backend_is_500(ref: str, reason: str) -> None:
    built = build(route(f"[{{backendRefs: [{{{ref}}}, {{name: reviews-v2, port: 80, weight: 3}}]}}]"))
    table = tabled(built)
    assert [(leaf.status, leaf.balancer is None) for leaf in table.routes[0].split.leaves] == [(500, True), (0, False)]
    assert table.routes[0].split.weights == [1_000_000, 3_000_000]
    assert conditions(built) == unresolved(reason)


def test_a_reference_grant_permits_what_it_names() -> None:
    rules = "[{backendRefs: [{name: ratings, namespace: other, port: 80}]}]"
    assert conditions(build(route(rules), GRANT)) == GOOD
    assert shares(tabled(build(route(rules), GRANT))) == {"ratings": 1_000_000}
    by_name = GRANT.replace("kind: Service}", "kind: Service, name: else}")
    assert conditions(build(route(rules), by_name)) == unresolved("RefNotPermitted")
    by_kind = GRANT.replace("kind: HTTPRoute", "kind: GRPCRoute")
    assert conditions(build(route(rules), by_kind)) == unresolved("RefNotPermitted")


def test_a_skipped_leaf_keeps_the_share_of_a_refused_one() -> None:
    skip = route("[{backendRefs: [{name: nobody, port: 80}, {name: reviews-v2, port: 80}]}]").replace(
        "name: reviews, namespace: default", 'name: reviews, annotations: {milliroute.io/empty-leaf: "skip"}'
    )
    assert shares(tabled(build(skip))) == {"nobody": 1_000_000, "reviews-v2": 1_000_000}


def test_a_traffic_split_beats_a_route_and_the_route_is_told() -> None:
    built = build(route(V1), SPLIT)
    assert shares(tabled(built)) == {"reviews-v2": 1_000_000}
    assert conditions(built) == accepted("OverriddenByTrafficSplit")


def test_a_grpc_route_beats_an_http_route_on_the_same_port() -> None:
    built = build(route(V1, name="a"), route(V2, name="z", kind="GRPCRoute"))
    assert shares(tabled(built)) == {"reviews-v2": 1_000_000}
    assert [conditions(built, number) for number in (0, 1)] == [GOOD, accepted("Conflicted")]
    assert [status.kind for status in built.routes] == ["GRPCRoute", "HTTPRoute"]
    apart = build(
        route(V1, parent="name: reviews, port: 80"), route(V2, kind="GRPCRoute", parent="name: reviews, port: 9090")
    )
    assert [conditions(apart, number) for number in (0, 1)] == [GOOD, GOOD]


@pytest.mark.parametrize("parent", ["name: nobody", "name: reviews, port: 81", "name: reviews, sectionName: tcp"])
def test_a_parent_that_is_not_there_is_told(parent: str) -> None:
    built = build(route(V1, parent=parent))
    assert conditions(built) == accepted("NoMatchingParent")
    assert shares(tabled(built)) == {"reviews": 1_000_000}


def test_what_is_not_supported_is_told_and_not_in_force() -> None:
    built = build(route("[{filters: [{type: CORS}], backendRefs: [{name: reviews-v1, port: 80}]}]"))
    assert conditions(built) == accepted("UnsupportedValue")
    assert "filter CORS" in built.routes[0].parents[0].conditions[0].message
    assert shares(tabled(built)) == {"reviews": 1_000_000}


def test_a_route_with_a_gateway_as_its_only_parent_is_none_of_ours() -> None:
    built = build(route(V1).replace('group: "", kind: Service', "kind: Gateway"))
    assert (built.routes, built.rules) == ((), ())
    assert shares(tabled(built)) == {"reviews": 1_000_000}


def test_a_route_that_could_not_be_read_has_conditions_too() -> None:
    (status,) = unreadable([ParentRef("reviews", kind="Service"), ParentRef("front", kind="Gateway")], "bad path")
    assert [(c.type, c.is_true, c.reason) for c in status.conditions] == [
        ("Accepted", False, "UnsupportedValue"), ("ResolvedRefs", True, "ResolvedRefs"),
    ]  # fmt: skip


def test_the_older_of_two_routes_comes_first() -> None:
    old, new = '"2020-01-01T00:00:00Z"', '"2021-01-01T00:00:00Z"'
    built = build(route(V1, name="a", created=new), route(V2, name="b", created=old))
    assert shares(tabled(built)) == {"reviews-v2": 1_000_000}
    assert [rule.name for rule in built.rules] == ["default/a/0", "default/b/0"]


def test_a_consumer_route_is_for_the_clients_of_its_namespace_only() -> None:
    built = build(route(V1), CONSUMER, CONSUMER_GRANT)
    assert built.key_of("reviews.default:80", "shop") == "shop@reviews.default:80"
    assert built.key_of("reviews.default:80", "bank") == built.key_of("reviews:80", "default") == KEY
    assert shares(tabled(built, "reviews.default:80", "shop")) == {"reviews-v2": 1_000_000}
    assert shares(tabled(built, "reviews.default:80", "bank")) == {"reviews-v1": 1_000_000}
    assert shares(tabled(built)) == {"reviews-v1": 1_000_000}
    assert [conditions(built, number) for number in (0, 1)] == [GOOD, GOOD]


def test_without_consumer_routes_all_namespaces_share_one_key() -> None:
    built = build(route(V1))
    assert {built.key_of("reviews.default:80", namespace) for namespace in ("", "default", "shop")} == {KEY}
    assert built.view(KEY) is built.view(KEY)


def test_a_consumer_route_need_not_be_granted_what_it_is_a_route_for() -> None:
    again = CONSUMER.replace("name: reviews-v2", "name: reviews")
    assert conditions(build(again)) == GOOD
    assert conditions(build(CONSUMER)) == unresolved("RefNotPermitted")


def test_requests_are_404_where_rules_exist_and_none_takes_them() -> None:
    table = tabled(build(route("[{matches: [{path: {value: /a}}], backendRefs: [{name: reviews-v1, port: 80}]}]")))
    found = table.route_for(head("/b"))
    assert found.answer is not None
    error = found.answer(head("/b"))
    assert (error.status, error.grpc_status) == (404, 5)


def test_a_call_that_no_rule_of_a_grpc_route_takes_is_unimplemented() -> None:
    rules = "[{matches: [{method: {service: a.B}}], backendRefs: [{name: reviews-v1, port: 80}]}]"
    table = tabled(build(route(rules, kind="GRPCRoute")))
    assert table.route_for(head("/a.B/C")).answer is None
    answer = table.route_for(head("/a.Bc/D")).answer
    assert answer is not None
    assert (answer(head()).status, answer(head()).grpc_status) == (404, 12)


def test_weights_that_are_all_zero_are_500() -> None:
    answer = tabled(build(route("[{backendRefs: [{name: reviews-v1, port: 80, weight: 0}]}]"))).routes[0].answer
    assert answer is not None
    assert answer(head()).status == 500


def test_a_backend_without_endpoints_keeps_its_share() -> None:
    empty = "\n---\napiVersion: v1\nkind: Service\nmetadata: {name: empty}\n"
    rules = "[{backendRefs: [{name: reviews-v1, port: 80}, {name: empty, port: 80}]}]"
    table = tabled(build(route(rules), empty))
    assert shares(table) == {"reviews-v1": 1_000_000, "empty": 1_000_000}
    assert [(leaf.status, leaf.balancer is None) for leaf in table.routes[0].split.leaves] == [(0, False), (0, True)]
    skip = route(rules).replace("namespace: default", 'annotations: {milliroute.io/empty-leaf: "skip"}', 1)
    assert shares(tabled(build(skip, empty))) == {"reviews-v1": 1_000_000, "empty": 0}


def test_a_changed_route_makes_a_new_version_of_its_parent_only() -> None:
    first = build(route(V1))
    keys = KEY, "reviews-v1.default:80"
    assert [first.version_of(key) for key in keys] == [1, 1]
    second = build(route(V2), previous=first)
    assert [second.version_of(key) for key in keys] == [2, 1]


def test_connections_that_are_not_http_go_to_the_service_itself() -> None:
    table = tabled(build(route(V1)))
    plain = [r for r in table.routes if not r.split.state.name and r.answer is None]
    assert [[leaf.name for leaf in r.split.leaves] for r in plain] == [["reviews"]]


def test_linkerds_own_route_may_have_the_name_of_another_one() -> None:
    match = "matches: [{path: {value: /linkerd}}], "
    linkerd = route(V2.replace("[{", "[{" + match, 1)).replace(
        "gateway.networking.k8s.io/v1", "policy.linkerd.io/v1beta3"
    )
    table = tabled(build(route(V1), linkerd))
    assert shares(table, head("/linkerd")) == {"reviews-v2": 1_000_000}
    assert shares(table, head("/")) == {"reviews-v1": 1_000_000}
