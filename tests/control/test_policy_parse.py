"""Access policies of Linkerd and SMI, from YAML to objects, and what is wrong with those that are not understood."""

import pytest

from milliroute.control.model import (
    AuthorizationPolicy,
    MeshTLSAuthentication,
    Network,
    NetworkAuthentication,
    Reference,
    Server,
    TargetRule,
    TrafficTarget,
)

from .building import errors, objects


def document(kind: str, version: str, spec: str, annotations: str = "") -> str:
    metadata = f"metadata: {{name: one, namespace: shop, annotations: {{{annotations}}}}}"
    return f"apiVersion: {version}\nkind: {kind}\n{metadata}\nspec:\n{spec}\n"


def server(spec: str, annotations: str = "", version: str = "v1beta3") -> str:
    return document("Server", f"policy.linkerd.io/{version}", spec, annotations)


def policy(kind: str, spec: str, annotations: str = "") -> str:
    return document(kind, "policy.linkerd.io/v1alpha1", spec, annotations)


TARGET = "  targetRef: {group: policy.linkerd.io, kind: Server, name: reviews}\n"


@pytest.mark.parametrize("version", ["v1beta1", "v1beta2", "v1beta3"])
def test_a_server_selects_pods_and_a_port(version: str) -> None:
    text = server("  podSelector: {matchLabels: {b: '2', a: '1'}}\n  port: http\n  proxyProtocol: HTTP/2", "", version)
    (found,) = objects(text).access
    assert isinstance(found, Server)
    assert (found.port, found.pod_labels, found.service, found.mode) == ("http", (("a", "1"), ("b", "2")), "", "deny")


def test_a_server_may_name_its_service_and_say_what_holds_without_a_policy() -> None:
    (found,) = objects(server("  port: 80\n  accessPolicy: audit", "milliroute.io/service: reviews")).access
    assert isinstance(found, Server)
    assert (found.port, found.service, found.mode) == (80, "reviews", "audit")


def test_a_policy_requires_authentications_for_a_server() -> None:
    spec = TARGET + (
        "  requiredAuthenticationRefs:\n"
        "  - {group: policy.linkerd.io, kind: MeshTLSAuthentication, name: web}\n"
        "  - {kind: ServiceAccount, name: prom, namespace: monitoring}\n"
    )
    (found,) = objects(policy("AuthorizationPolicy", spec, "'milliroute.io/matches': 'reads, writes'")).access
    assert isinstance(found, AuthorizationPolicy)
    assert found.target == Reference("Server", "shop", "reviews")
    web, prom = Reference("MeshTLSAuthentication", "shop", "web"), Reference("ServiceAccount", "monitoring", "prom")
    assert (found.required, found.groups) == ((web, prom), ("reads", "writes"))


def test_a_policy_for_a_namespace_is_for_its_own() -> None:
    spec = "  targetRef: {kind: Namespace, name: %s}\n  requiredAuthenticationRefs: []\n"
    (found,) = objects(policy("AuthorizationPolicy", spec % "shop")).access
    assert isinstance(found, AuthorizationPolicy)
    assert found.target == Reference("Namespace", "shop", "shop")
    assert (
        "a target in another namespace (saw 'other', want the policy's own, shop)"
        in errors(policy("AuthorizationPolicy", spec % "other"))[0]
    )


def test_networks_and_identities_are_read() -> None:
    nets = policy(
        "NetworkAuthentication", "  networks: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}, {cidr: 'fd00::/8'}]"
    )
    mesh = policy(
        "MeshTLSAuthentication",
        "  identities: ['*', '*.shop.example', web.example, 'spiffe://a.b/c', 'spiffe://a.b/ns/*']\n"
        "  identityRefs: [{kind: ServiceAccount, name: web}, {kind: Namespace, name: ops}]",
    )
    network, identity = objects(nets + "---\n" + mesh).access
    assert isinstance(network, NetworkAuthentication)
    assert network.networks == (Network("10.0.0.0/8", ("10.1.0.0/16",)), Network("fd00::/8"))
    assert isinstance(identity, MeshTLSAuthentication)
    assert len(identity.identities) == 5
    assert identity.accounts == (Reference("ServiceAccount", "shop", "web"), Reference("Namespace", "shop", "ops"))


RULES = "[{kind: HTTPRouteGroup, name: api, matches: [reads]}, {kind: TCPRoute, name: any}]"
SOURCES = "[{kind: ServiceAccount, name: web}]"


@pytest.mark.parametrize(
    "text",
    [
        document(
            "TrafficTarget",
            f"access.smi-spec.io/{version}",
            f"  destination: {{kind: ServiceAccount, name: reviews}}\n  sources: {SOURCES}\n  rules: {RULES}",
        )
        for version in ("v1alpha2", "v1alpha3")
    ]
    + [
        "apiVersion: access.smi-spec.io/v1alpha1\nkind: TrafficTarget\nmetadata: {name: one, namespace: shop}\n"
        f"destination: {{kind: ServiceAccount, name: reviews}}\nsources: {SOURCES}\nspecs: {RULES}\n"
    ],
)
def test_a_traffic_target_is_the_same_in_every_version(text: str) -> None:
    (found,) = objects(text).access
    assert isinstance(found, TrafficTarget)
    assert (found.service, found.port) == ("reviews.shop", 0)
    assert found.sources == (Reference("ServiceAccount", "shop", "web"),)
    assert found.rules == (TargetRule("api", ("reads",)), TargetRule())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (server("  port: 80"), "missing podSelector"),
        (server("  port: 0\n  podSelector: {}"), "bad port"),
        (server("  port: HTTP!\n  podSelector: {}"), "bad port"),
        (server("  port: 80\n  podSelector: {matchExpressions: []}"), "unknown field in podSelector without pods"),
        (server("  port: 80\n  podSelector: {}\n  accessPolicy: allow"), "bad accessPolicy (saw 'allow', want all-un"),
        (server("  port: 80\n  podSelektor: {}"), "unknown field in spec"),
        (server("  port: 80", "milliroute.io/sercvice: x"), "unknown annotation"),
        (server("  port: 80", "milliroute.io/service: 'A b'"), "bad milliroute.io/service"),
        (server("  port: 80", "milliroute.io/service: ''"), "bad milliroute.io/service"),
        (server("  port: 80\n  podSelector: {}", version="v9"), "unknown apiVersion of a Server"),
        (policy("AuthorizationPolicy", TARGET), "missing requiredAuthenticationRefs"),
        (policy("AuthorizationPolicy", "  requiredAuthenticationRefs: []"), "missing targetRef"),
        (
            policy("AuthorizationPolicy", "  targetRef: {kind: HTTPRoute, name: x}\n  requiredAuthenticationRefs: []"),
            "bad kind of a reference (saw 'HTTPRoute', want Server or Namespace)",
        ),
        (policy("NetworkAuthentication", "  networks: []"), "no networks"),
        (policy("NetworkAuthentication", "  networks: [{cidr: 10.0.0.1/8}]"), "has host bits set"),
        (policy("NetworkAuthentication", "  networks: [{cidr: 10.0.0.0/8, except: [11.0.0.0/8]}]"), "bad except"),
        (policy("NetworkAuthentication", "  networks: [{cidr: 10.0.0.0/8, except: ['fd00::/8']}]"), "bad except"),
        (policy("MeshTLSAuthentication", "  identities: []"), "no identities"),
        (policy("MeshTLSAuthentication", "  identities: ['a.*']"), "bad identity"),
        (policy("MeshTLSAuthentication", "  identities: ['**']"), "bad identity"),
        (policy("MeshTLSAuthentication", "  identities: ['*shop']"), "bad identity"),
        (policy("MeshTLSAuthentication", "  identities: ['spiffe://a/../b']"), "bad identity"),
        (policy("MeshTLSAuthentication", "  identities: ['spiffe://A/b']"), "bad identity"),
        (policy("ServerAuthorization", "  server: {name: x}"), "unknown kind of access policy"),
        (
            document("TrafficTarget", "access.smi-spec.io/v1alpha3", f"  sources: {SOURCES}"),
            "missing destination",
        ),
        (
            document(
                "TrafficTarget", "access.smi-spec.io/v1alpha3", "  destination: {kind: ServiceAccount, name: x}\n"
            ),
            "no sources",
        ),
        (
            document(
                "TrafficTarget",
                "access.smi-spec.io/v1alpha3",
                "  destination: {kind: ServiceAccount, name: x}\n"
                f"  sources: {SOURCES}\n  rules: [{{kind: HTTPRoute, name: y}}]",
            ),
            "bad kind of a rule",
        ),
    ],
)
def test_what_is_not_understood_is_an_error_and_never_skipped(text: str, complaint: str) -> None:
    found = errors(text)
    assert any(complaint in line for line in found), found
    assert all(line.startswith("f.yaml:") for line in found)


def test_linkerds_other_kinds_are_left_alone() -> None:
    text = policy("HTTPRoute", "  rules: []") + "---\n" + policy("EgressNetwork", "  networks: []")
    assert objects(text).access == ()


def test_two_policies_of_one_name_are_an_error() -> None:
    text = policy("NetworkAuthentication", "  networks: [{cidr: 10.0.0.0/8}]")
    (status,) = objects(text + "---\n" + text).sources
    assert "NetworkAuthentication shop/one is there already" in status.errors[0]
