"""From policies to the guards of an authority, and on to what a proxy judges by."""

from dataclasses import replace

import pytest

from milliroute.control import access, encoding
from milliroute.control.authority import compose
from milliroute.control.hub import Stamp
from milliroute.control.index import Index, index
from milliroute.control.model import AccessDefaults, AccessMode, Network
from milliroute.control.snapshot import build
from milliroute.control.views import AuthenticationView, AuthorityView, AuthorizationView, GuardView
from milliroute.proxy.agent.catalog import Offer
from milliroute.proxy.agent.destination import StateError, decode_response
from milliroute.proxy.guard.access import Access
from tests.proxy.guard.test_access import Asker
from tests.proxy.tables import request

from .building import objects

SERVICES = """\
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{port: 80, targetPort: 8080}, {port: 90, name: admin, targetPort: adm}]}
---
apiVersion: v1
kind: Service
metadata: {name: reviews-v2}
spec: {selector: {app: reviews, version: v2}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratings}
spec: {ports: [{port: 80}]}
---
"""
SERVER = """\
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: {name}, annotations: {{{annotations}}}}}
spec: {{port: {port}, podSelector: {{matchLabels: {{{labels}}}}}, accessPolicy: {mode}}}
---
"""
POLICY = """\
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: {name}, annotations: {{{annotations}}}}}
spec:
  targetRef: {{kind: Server, name: guard}}
  requiredAuthenticationRefs: {required}
---
"""
MESH = """\
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {name: web}
spec: {identityRefs: [{kind: ServiceAccount, name: web}]}
---
"""
GROUP = """\
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: {name: api}
spec: {matches: [{name: reads, pathRegex: /api, methods: [GET]}, {name: writes, pathRegex: /api, methods: [POST]}]}
---
"""
TARGET = """\
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  destination: {{kind: ServiceAccount, name: ratings, namespace: default}}
  sources: [{{kind: ServiceAccount, name: {source}}}]
  rules: {rules}
---
"""
SPLIT = """\
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: {{name: shop}}
spec: {{service: {apex}, backends: [{{service: ratings, weight: {ratings}}}, {{service: reviews-v2, weight: {v2}}}]}}
---
"""
WEB = "spiffe://cluster.local/ns/default/sa/web"
ON_REVIEWS = "milliroute.io/service: reviews"


def server(
    name: str = "guard", *, labels: str = "", annotations: str = "", port: str = "8080", mode: str = "deny"
) -> str:
    text = SERVER.format(name=name, labels=labels, annotations=annotations, port=port, mode=mode)
    return text.replace(", podSelector: {matchLabels: {}}", "") if annotations else text


def world(*parts: str, mode: AccessMode = "all-unauthenticated") -> Index:
    return index(replace(objects(SERVICES + "".join(parts)), defaults=AccessDefaults(mode)))


def view(found: Index, key: str) -> AuthorityView:
    composed = compose(found, {}, key)
    assert composed is not None
    return composed


def guards(found: Index, key: str) -> list[str]:
    return [guard.name for guard in view(found, key).access]


def judge(found: Index, key: str) -> Access:
    """Over the wire."""
    offer, _ = decode_response(encoding.state(Stamp(key, "e", 1, 0), view(found, key)), 0)
    assert isinstance(offer, Offer)
    assert offer.update.state is not None
    return Access(key, offer.update.state.access)


def lets_in(found: Index, key: str, asker: Asker, path: str = "/", method: str = "GET") -> bool:
    return judge(found, key).judge(asker, request(path, method=method)) is None


def test_without_policies_there_is_nothing_to_judge() -> None:
    assert view(world(), "reviews.default").access == ()


@pytest.mark.parametrize(
    ("selector", "guarded"),
    [
        ("app: reviews", ["reviews.default:80", "reviews-v2.default"]),
        ("app: reviews, version: v2", ["reviews-v2.default"]),
        ("app: other", []),
        ("", ["reviews.default:80", "reviews-v2.default"]),
    ],
)
def test_a_server_guards_the_services_whose_selector_has_all_its_labels(selector: str, guarded: list[str]) -> None:
    found = world(server(labels=selector))
    keys = ["reviews.default:80", "reviews.default:90", "reviews-v2.default", "ratings.default"]
    assert [key for key in keys if guards(found, key)] == guarded


@pytest.mark.parametrize(
    ("port", "annotations", "key", "is_guarded"),
    [
        ("8080", "", "reviews.default:80", True),
        ("80", "", "reviews.default:80", False),
        ("adm", "", "reviews.default:90", True),
        ("admin", "", "reviews.default:90", False),
        ("80", ON_REVIEWS, "reviews.default:80", True),
        ("8080", ON_REVIEWS, "reviews.default:80", False),
        ("admin", ON_REVIEWS, "reviews.default:90", True),
        ("80", ON_REVIEWS, "reviews.default", True),
    ],
)
def test_a_port_is_the_pods_with_a_selector_and_the_services_with_a_name(
    port: str, annotations: str, key: str, is_guarded: bool
) -> None:
    labels = "" if annotations else "app: reviews"
    assert bool(guards(world(server(port=port, labels=labels, annotations=annotations)), key)) is is_guarded


def test_a_named_port_of_pods_is_found_by_its_number_in_a_slice() -> None:
    slice_of = (
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"
        "metadata: {name: r, labels: {kubernetes.io/service-name: reviews}}\nports: [{name: admin, port: 9999}]\n---\n"
    )
    assert guards(world(slice_of, server(labels="app: reviews", port="9999")), "reviews.default:90") == [
        "default/guard"
    ]


def test_a_server_of_another_namespace_guards_nothing_here() -> None:
    text = server(annotations="milliroute.io/service: reviews.default", port="80")
    assert guards(world(text.replace("name: guard", "name: guard, namespace: other")), "reviews.default:80") == []


def test_policies_of_one_server_are_alternatives_and_their_authentications_add_up() -> None:
    network = (
        "apiVersion: policy.linkerd.io/v1alpha1\nkind: NetworkAuthentication\nmetadata: {name: net}\n"
        "spec: {networks: [{cidr: 10.0.0.0/8}]}\n---\n"
    )
    both = "[{kind: MeshTLSAuthentication, name: web}, {kind: NetworkAuthentication, name: net}]"
    found = world(
        server(labels="app: reviews"),
        MESH,
        network,
        POLICY.format(name="both", annotations="", required=both),
        POLICY.format(name="ops", annotations="", required="[{kind: ServiceAccount, name: ops}]"),
    )
    key = "reviews.default:80"
    assert lets_in(found, key, Asker("10.0.0.1", WEB))
    assert not lets_in(found, key, Asker("11.0.0.1", WEB))
    assert not lets_in(found, key, Asker("10.0.0.1"))
    ops = "ops.default.serviceaccount.identity.linkerd.cluster.local"
    assert lets_in(found, key, Asker("11.0.0.1", ops))


@pytest.mark.parametrize(
    "required", ["[{kind: MeshTLSAuthentication, name: gone}]", "[{kind: NetworkAuthentication, name: gone}]"]
)
def test_a_policy_whose_authentication_is_missing_lets_nobody_in_and_says_so(required: str) -> None:
    found = world(server(labels="app: reviews"), POLICY.format(name="p", annotations="", required=required))
    assert not lets_in(found, "reviews.default:80", Asker("10.0.0.1", WEB))
    assert any("default/gone, so it lets nobody in" in line for line in access.warnings(found))


def test_a_policy_may_be_for_some_requests_only() -> None:
    policy = POLICY.format(name="p", annotations="milliroute.io/matches: api", required="[]")
    found = world(server(labels="app: reviews"), policy, GROUP)
    assert lets_in(found, "reviews.default:80", Asker(), "/api/1")
    assert not lets_in(found, "reviews.default:80", Asker(), "/api/1", "DELETE")
    assert not lets_in(found, "reviews.default:80", Asker(), "/")
    without = world(server(labels="app: reviews"), policy)
    assert not lets_in(without, "reviews.default:80", Asker(), "/api/1")


def test_traffic_targets_add_up_and_everything_else_is_denied() -> None:
    found = world(
        GROUP,
        TARGET.format(
            name="a", namespace="default", source="web", rules="[{kind: HTTPRouteGroup, name: api, matches: [reads]}]"
        ),
        TARGET.format(name="b", namespace="default", source="ops", rules="[]"),
    )
    key = "ratings.default"
    assert lets_in(found, key, Asker("10.0.0.1", WEB), "/api-not-anchored-at-its-end")
    assert not lets_in(found, key, Asker("10.0.0.1", WEB), "/api", "POST")
    assert not lets_in(found, key, Asker("10.0.0.1", WEB), "/")
    assert lets_in(found, key, Asker("10.0.0.1", WEB.replace("web", "ops")), "/", "POST")
    assert not lets_in(found, key, Asker("10.0.0.1"), "/api")


def test_a_traffic_target_of_another_namespace_lets_nobody_in_and_shuts_nobody_out() -> None:
    foreign = TARGET.format(name="a", namespace="other", source="web", rules="[]")
    found = world(foreign)
    assert guards(found, "ratings.default") == []
    assert any("is not of its namespace" in line for line in access.warnings(found))


def test_rules_that_name_nothing_let_nobody_in() -> None:
    rules = "[{kind: HTTPRouteGroup, name: gone}]"
    found = world(TARGET.format(name="a", namespace="default", source="web", rules=rules))
    assert not lets_in(found, "ratings.default", Asker("10.0.0.1", WEB))


def test_a_tcp_route_is_for_connections_that_are_not_http() -> None:
    found = world(TARGET.format(name="a", namespace="default", source="web", rules="[{kind: TCPRoute, name: t}]"))
    judged = judge(found, "ratings.default")
    assert judged.judge(Asker("10.0.0.1", WEB), None) is None
    assert judged.judge(Asker("10.0.0.1"), None) is not None
    assert judged.judge(Asker("10.0.0.1", WEB), request()) is not None


@pytest.mark.parametrize(
    ("mode", "lets"),
    [
        ("all-unauthenticated", {"near", "far", "near-tls", "far-tls"}),
        ("all-authenticated", {"near-tls", "far-tls"}),
        ("cluster-unauthenticated", {"near", "near-tls"}),
        ("cluster-authenticated", {"near-tls"}),
        ("deny", set()),
        ("audit", {"near", "far", "near-tls", "far-tls"}),
    ],
)
@pytest.mark.parametrize("is_default", [True, False])
def test_the_modes_mean_what_linkerds_do(mode: AccessMode, lets: set[str], is_default: bool) -> None:
    askers = {
        "near": Asker("10.0.0.1"),
        "far": Asker("8.8.8.8"),
        "near-tls": Asker("10.0.0.1", WEB),
        "far-tls": Asker("8.8.8.8", WEB),
    }
    found = world(mode=mode) if is_default else world(server(labels="app: reviews", mode=mode), mode="deny")
    assert {name for name, asker in askers.items() if lets_in(found, "reviews.default:80", asker)} == lets


def test_an_apex_is_guarded_by_the_servers_of_the_leaves_that_requests_may_reach() -> None:
    guard = server(labels="version: v2")
    assert guards(world(guard, SPLIT.format(apex="shop", ratings=1, v2=1)), "shop.default") == ["default/guard"]
    assert guards(world(guard, SPLIT.format(apex="shop", ratings=1, v2=0)), "shop.default") == []


def test_the_default_holds_where_a_leaf_has_no_server_and_its_apex_has_none_either() -> None:
    split = SPLIT.format(apex="shop", ratings=1, v2=1)
    on_leaf = world(server(labels="version: v2"), split, mode="deny")
    assert guards(on_leaf, "shop.default") == ["default/guard", "deny"]
    on_apex = world(server(annotations="milliroute.io/service: shop", port="80"), split, mode="deny")
    assert guards(on_apex, "shop.default") == ["default/guard"]


def test_what_points_at_nothing_is_said_once() -> None:
    parts = (server("lost", labels="app: gone"), POLICY.format(name="p", annotations="", required="[]"))
    snapshot = build(objects(SERVICES + "".join(parts)), None, 0)
    assert snapshot.access_warnings == (
        "Server default/lost guards no Service (f.yaml:16)",
        "AuthorizationPolicy default/p: no Server default/guard (f.yaml:21)",
    )


def test_a_server_for_some_of_a_services_pods_says_that_it_does_not_guard_it() -> None:
    found = world(server(labels="app: reviews, version: v2"))
    (line,) = access.warnings(found)
    assert "guards some of the pods of reviews.default" in line


def test_a_changed_policy_makes_a_new_version_of_the_authority() -> None:
    before = build(objects(SERVICES), None, 0)
    assert (before.version_of("reviews.default"), before.version_of("ratings.default")) == (1, 1)
    after = build(objects(SERVICES + server(labels="app: reviews")), before, 0)
    assert (after.version_of("reviews.default"), after.version_of("ratings.default")) == (2, 1)


def test_a_network_that_is_none_is_refused_by_the_proxy_with_a_reason() -> None:

    wrong = AuthenticationView("x", networks=(Network("10.0.0.0/33"),))
    guard = GuardView("Server", "default/x", (AuthorizationView("p", (wrong,)),))
    state = replace(view(world(), "reviews.default"), access=(guard,))
    with pytest.raises(StateError, match=r"10\.0\.0\.0/33"):
        decode_response(encoding.state(Stamp("reviews.default", "e", 1, 0), state), 0)
