"""HTTPRoute, GRPCRoute and ReferenceGrant from YAML: what they mean, and one clear message for what is wrong."""

import pytest

from milliroute.control.gateway import (
    BackendRef,
    Filters,
    GrantTo,
    HeaderChange,
    ParentRef,
    PathChange,
    Redirect,
    Rewrite,
    RouteMatch,
    ValueMatch,
)
from milliroute.control.traffic import TrafficPolicy

from .building import errors, objects
from .routing import route

FULL = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: shop, generation: 4, creationTimestamp: "1970-01-01T00:01:00Z"}
spec:
  parentRefs:
  - {group: "", kind: Service, name: reviews, port: 80}
  - {kind: Gateway, name: front, group: gateway.networking.k8s.io, sectionName: web}
  hostnames: [shop.example.com]
  rules:
  - name: first
    matches:
    - path: {type: Exact, value: /a/}
      method: GET
      headers: [{name: X-A, value: b}, {name: x-a, value: ignored}, {name: c, type: RegularExpression, value: "d.*"}]
      queryParams: [{name: P, value: "1"}]
    - {path: {value: /pre/}}
    backendRefs:
    - {name: v1, port: 80, weight: 9}
    - {name: v2, namespace: other, port: 81, weight: 0}
    timeouts: {request: 5s, backendRequest: 500ms}
    retry: {codes: [500, 503], attempts: 2}
  - filters:
    - {type: RequestRedirect, requestRedirect: {scheme: https, port: 8443, statusCode: 308}}
"""


def test_a_route_means_what_it_says() -> None:
    (found,) = objects(FULL).routes
    assert (found.kind, found.namespace, found.name, found.generation, found.created) == (
        "HTTPRoute", "shop", "r", 4, 60.0,
    )  # fmt: skip
    assert found.parents == (
        ParentRef("reviews", None, "", "Service", None, 80),
        ParentRef("front", None, "gateway.networking.k8s.io", "Gateway", "web"),
    )
    assert [parent.is_service for parent in found.parents] == [True, False]
    first, second = found.rules
    assert first.matches == (
        RouteMatch(
            "Exact", "/a/", "GET", (ValueMatch("x-a", "b"), ValueMatch("c", "d.*", True)), (ValueMatch("P", "1"),)
        ),
        RouteMatch("PathPrefix", "/pre"),
    )
    assert first.backends == (BackendRef("v1", "shop", 80, 9), BackendRef("v2", "other", 81, 0))
    assert first.policy == TrafficPolicy(
        retry_statuses=((500, 500), (503, 503)), retry_limit=2, try_timeout_ms=500, request_timeout_ms=5000
    )
    assert second.filters.redirect == Redirect("https", "", 8443, None, 308)
    assert (second.matches, second.policy) == ((RouteMatch(),), None)
    assert found.notes == ("hostnames mean nothing where a Service is the parent: ignored",)
    assert found.unsupported == ()


def test_filters_are_read_with_their_names_in_lower_case() -> None:
    text = route("""
  - matches: [{path: {value: /v1}}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: X-A, value: a}], add: [{name: X-B, value: b}], remove: [X-C]}
    - type: URLRewrite
      urlRewrite: {hostname: inner, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}
    backendRefs:
    - name: v1
      filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: Y, value: z}]}}]""")
    (rule,) = objects(text).routes[0].rules
    assert rule.filters == Filters(
        request=HeaderChange((("x-a", "a"),), (("x-b", "b"),), ("x-c",)),
        rewrite=Rewrite("inner", PathChange("/", True, "/v1")),
    )
    assert rule.backends[0].filters == Filters(response=HeaderChange((("y", "z"),)))


@pytest.mark.parametrize(
    ("method", "kind", "path"),
    [
        ("{service: shop.Cart, method: Add}", "Exact", "/shop.Cart/Add"),
        ("{service: shop.Cart}", "PathPrefix", "/shop.Cart"),
        ("{method: Add}", "RegularExpression", "/[^/]+/Add"),
        ('{type: RegularExpression, service: "a|b"}', "RegularExpression", "/(?:a|b)/(?:[^/]+)"),
    ],
)
def test_a_grpc_method_is_a_path(method: str, kind: str, path: str) -> None:
    text = route(f"[{{matches: [{{method: {method}}}]}}]", kind="GRPCRoute")
    (match,) = objects(text).routes[0].rules[0].matches
    assert (match.path_kind, match.path) == (kind, path)


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("gateway.networking.k8s.io/v1beta1", "HTTPRoute"),
        ("gateway.networking.k8s.io/v1alpha2", "GRPCRoute"),
        ("policy.linkerd.io/v1beta3", "HTTPRoute"),
    ],
)
def test_older_versions_and_linkerds_own_kind_are_read(version: str, kind: str) -> None:
    text = route("[]", kind=kind).replace("gateway.networking.k8s.io/v1", version)
    (found,) = objects(text).routes
    assert (found.kind, found.group, len(found.rules)) == (kind, version.partition("/")[0], 1)


def test_a_route_without_rules_takes_everything_to_its_parent() -> None:
    (rule,) = objects(route("[]")).routes[0].rules
    assert (rule.matches[0].takes_all, rule.backends) == (True, ())


def test_what_is_not_done_is_said_and_is_no_error() -> None:
    text = route("""
  - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}}}]
    sessionPersistence: {sessionName: a}
    backendRefs: [{name: v1, filters: [{type: URLRewrite, urlRewrite: {hostname: a}}]}]
    retry: {attempts: 99, backoff: 1s}""")
    (found,) = objects(text).routes
    assert found.unsupported == ("filter RequestMirror", "sessionPersistence", "filter URLRewrite of a backend")
    assert [note.split(":")[0].split(" is")[0] for note in found.notes] == ["retry attempts 99", "backoff"]


def test_annotations_say_it_for_all_rules_and_a_rule_beats_them() -> None:
    text = route("[{timeouts: {request: 1s}}, {}]").replace(
        "name: reviews, namespace: default",
        "name: reviews, annotations: {timeout.linkerd.io/request: 9s, retry.linkerd.io/http: 5xx, "
        "milliroute.io/empty-leaf: skip}",
    )
    (found,) = objects(text).routes
    assert [rule.policy.request_timeout_ms for rule in found.rules if rule.policy] == [1000, 9000]
    assert {rule.policy.retry_statuses for rule in found.rules if rule.policy} == {((500, 599),)}
    assert found.skips_empty


def test_a_reference_grant_is_read() -> None:
    (found,) = objects("""\
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: "", kind: Service}, {group: "", kind: Service, name: ratings}]
""").grants
    assert found.froms == (("gateway.networking.k8s.io", "HTTPRoute", "default"),)
    assert found.tos == (GrantTo("", "Service"), GrantTo("", "Service", "ratings"))


@pytest.mark.parametrize("kind", ["Gateway", "GatewayClass", "TCPRoute", "TLSRoute", "BackendTLSPolicy"])
def test_other_kinds_of_the_group_are_none_of_ours(kind: str) -> None:
    text = f"apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{x: 1}}\n"
    assert errors(text) == ()


def test_an_http_route_and_a_grpc_route_may_have_one_name() -> None:
    assert len(objects(route() + route("[]", kind="GRPCRoute")).routes) == 2


BAD = [
    ("[{matches: [{path: {type: Foo, value: /}}]}]", "bad type of a path match (saw 'Foo'"),
    ("[{matches: [{path: {value: a}}]}]", "bad path (saw 'a', want a path"),
    ('[{matches: [{path: {value: "/a?b"}}]}]', "bad path (saw '/a?b'"),
    ('[{matches: [{path: {type: RegularExpression, value: "("}}]}]', "bad value: missing )"),
    ("[{matches: [{method: get}]}]", "bad method (saw 'get'"),
    ("[{matches: [{headers: [{name: a b, value: c}]}]}]", "bad name in headers (saw 'a b'"),
    ("[{matches: [{headers: [{name: a}]}]}]", "missing value"),
    ("[{matchs: []}]", "unknown field in a rule (saw 'matchs'"),
    ("[{backendRefs: [{name: a, weight: -1}]}]", "bad weight (saw '-1', want a number from 0 to 1000000)"),
    ("[{backendRefs: [{name: a, port: 0}]}]", "bad port"),
    ("[{filters: [{type: Foo}]}]", "bad type of a filter (saw 'Foo'"),
    ("[{filters: [{type: RequestHeaderModifier}]}]", "missing requestHeaderModifier"),
    ("[{timeouts: {request: 5}}]", "request: bad duration (saw '5'"),
    ("[{timeouts: {request: 1s, backendRequest: 2s}}]", "backendRequest is longer than request"),
    ("[{retry: {codes: [200]}}]", "bad code (saw '200'"),
]  # fmt: skip
FILTERS = [
    ("RequestHeaderModifier", "{set: [{name: Host, value: a}]}", "bad name of a header (saw 'Host'"),
    ("RequestHeaderModifier", "{remove: [Transfer-Encoding]}", "bad name of a header (saw 'Transfer-Encoding'"),
    ("ResponseHeaderModifier", "{add: [{name: l5d_proxy_error, value: a}]}", "bad name of a header"),
    ("RequestHeaderModifier", '{set: [{name: a, value: "b\\r\\nc: d"}]}', "bad value of a header"),
    ("RequestRedirect", "{statusCode: 200}", "bad statusCode (saw '200'"),
    ("RequestRedirect", "{scheme: ftp}", "bad scheme (saw 'ftp'"),
    ("RequestRedirect", "{hostname: a b}", "bad hostname (saw 'a b'"),
    ("URLRewrite", "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}, hostname: a b}", "bad hostname"),
    ("URLRewrite", '{path: {type: ReplaceFullPath, replaceFullPath: "/a b"}}', "bad replaceFullPath"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "message"), BAD)
def test_a_bad_rule_is_one_line_with_its_place(rules: str, message: str) -> None:
    (found,) = errors(route(rules))
    assert found.startswith("f.yaml:8:")
    assert message in found


@pytest.mark.parametrize(("kind", "body", "message"), FILTERS)
def test_a_filter_that_must_not_get_into_a_head_is_refused(kind: str, body: str, message: str) -> None:
    name = kind[:1].lower() + kind[1:] if kind != "URLRewrite" else "urlRewrite"
    (found,) = errors(route(f"[{{filters: [{{type: {kind}, {name}: {body}}}]}}]"))
    assert message in found


def test_a_prefix_is_replaced_only_where_there_is_one() -> None:
    rewrite = "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]"
    (found,) = errors(route(f"[{{matches: [{{path: {{type: Exact, value: /a}}}}], {rewrite}}}]"))
    assert "want one match of the rule, by PathPrefix" in found


def test_an_unknown_version_is_an_error() -> None:
    (found,) = errors(route().replace("k8s.io/v1", "k8s.io/v7"))
    assert "unknown apiVersion of a HTTPRoute (saw 'gateway.networking.k8s.io/v7'" in found
