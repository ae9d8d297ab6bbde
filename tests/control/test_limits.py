"""Which rate limits hold for which route: a split's, its apex's, and those of Linkerd's policies."""

from dataclasses import replace

import pytest

from milliroute.control.api import destination_pb2 as pb
from milliroute.control.encoding import _route as encoded
from milliroute.control.manifest.fault import parse as parse_fault
from milliroute.control.manifest.rate_limit import parse
from milliroute.control.model import Objects, Rate
from milliroute.control.pods import inbound_key
from milliroute.control.snapshot import build
from milliroute.control.views import RateLimitView
from milliroute.proxy.agent.destination import _route as decoded
from milliroute.proxy.state import FaultPartState, RateLimitState, RateState
from tests.control.building import errors, objects, split, world

SERVER = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}, {name: admin, port: 81}]}
---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: web-http, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, port: 80, accessPolicy: all-unauthenticated}
---
"""
POLICY = """\
apiVersion: policy.linkerd.io/v1alpha1
kind: HTTPLocalRateLimitPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: web-http}
  total: {requestsPerSecond: 100}
  identity: {requestsPerSecond: 20}
  overrides:
  - requestsPerSecond: 50
    clientRefs: [{kind: ServiceAccount, namespace: shop, name: special}]
"""


def limits(of: Objects, key: str) -> list[tuple[RateLimitView, ...]]:
    """Of each route."""
    view = build(of, None, 0).view(key)
    assert view is not None
    return [route.rate_limits for route in view.routes]


def test_without_an_annotation_there_is_none() -> None:
    assert limits(world(split({"reviews-v1": "1"})), "reviews.default") == [()]


def test_a_splits_limit_beats_that_of_its_apex() -> None:
    limited = replace(split({"reviews-v1": "1"}), rate_limit=parse("5/s"))
    found = world(limited)
    found = replace(found, services=tuple(replace(one, rate_limit=parse("9/s")) for one in found.services))
    assert limits(found, "reviews.default") == [
        (RateLimitView("TrafficSplit default/reviews", "5/s", Rate(5, 1000, 5)),)
    ]


def test_a_services_limit_holds_for_its_split_too_but_not_by_way_of_a_leaf() -> None:
    found = world(split({"reviews-v1": "1"}))
    by_name = {"reviews": parse("9/s"), "reviews-v1": parse("1/s")}
    found = replace(found, services=tuple(replace(one, rate_limit=by_name.get(one.name)) for one in found.services))
    assert [limit.text for (limit,) in limits(found, "reviews.default")] == ["9/s"]
    assert [limit.text for (limit,) in limits(found, "reviews-v1.default")] == ["1/s"]


def test_linkerds_policy_holds_for_what_its_server_guards() -> None:
    found = objects(SERVER + POLICY)
    ((limit,),) = limits(found, "web.shop:80")
    assert (limit.name, limit.total, limit.client) == (
        "HTTPLocalRateLimitPolicy shop/web", Rate(100, 1000, 100), Rate(20, 1000, 20)
    )  # fmt: skip
    assert limit.text == "100/s; 20/s per client; 50/s for some"
    (((names, rate)),) = limit.overrides
    assert rate == Rate(50, 1000, 50)
    assert names == (
        "special.shop.serviceaccount.identity.linkerd.cluster.local", "spiffe://cluster.local/ns/shop/sa/special"
    )  # fmt: skip
    assert limits(found, "web.shop:81") == [()]


def test_a_policy_of_a_server_that_is_not_there_is_warned_of() -> None:
    (warning,) = build(objects(POLICY), None, 0).access_warnings
    assert warning == "HTTPLocalRateLimitPolicy shop/web: no Server shop/web-http (f.yaml:1)"


def test_what_a_policy_cannot_mean_is_an_error_with_its_place() -> None:
    cases = {
        POLICY.replace("kind: Server", "kind: Pod"): "bad kind of a reference (saw 'Pod', want Server)",
        POLICY.replace("{requestsPerSecond: 100}", "{requestsPerSecond: 0}"): "want a number from 1 to 1000000)",
        POLICY.replace("{requestsPerSecond: 100}", "{requestsPerSecond: 30}"): "(saw 50, want at most 30)",
        POLICY.replace("  total:", "  totals:"): "unknown field in spec (saw 'totals'",
        POLICY.replace("v1alpha1", "v1beta9"): "want policy.linkerd.io/v1alpha1)",
    }
    for text, wanted in cases.items():
        (error,) = errors(text)
        assert error.startswith("f.yaml:")
        assert wanted in error


def test_a_proxy_is_told_the_whole_limit_and_the_whole_fault() -> None:
    fault = parse_fault("bandwidth=64Ki 50%; leaf=reviews-v1")
    limited = replace(split({"reviews-v1": "1"}), rate_limit=parse("5/m; burst=2; 1/s per client"), fault=fault)
    view = build(world(limited), None, 0).view("reviews.default")
    assert view is not None
    (route,) = view.routes
    route = replace(route, rate_limits=(replace(route.rate_limits[0], overrides=((("a", "b"), Rate(1, 2, 3)),)),))
    state = decoded(pb.Route.FromString(encoded(route).SerializeToString()), len(view.backends))
    assert state.rate_limits == (
        RateLimitState(
            "TrafficSplit default/reviews",
            "5/m; burst=2; 1/s per client",
            RateState(5, 60_000, 2),
            RateState(1, 1000, 1),
            ((("a", "b"), RateState(1, 2, 3)),),
        ),
    )
    assert state.split.fault is not None
    assert (state.split.fault.bandwidth, state.split.fault.text) == (
        FaultPartState(500_000, 65_536), "bandwidth=64Ki 50%; leaf=reviews-v1"
    )  # fmt: skip


def test_a_proxy_refuses_a_rate_of_nothing() -> None:
    told = pb.Route(split=pb.Split(), rate_limits=[pb.RateLimit(name="a", total=pb.Rate(requests=1, period_ms=1000))])
    with pytest.raises(ValueError, match="saw 1 requests in 1000 ms, 0 at once in the rate limit of 'a', wanted"):
        decoded(told, 0)


def test_the_proxy_beside_a_pod_is_told_the_policy_of_the_server_that_takes_it() -> None:
    found = objects(SERVER + POLICY)
    for labels, names in (
        ({"app": "web"}, ["HTTPLocalRateLimitPolicy shop/web"]),
        ({"app": "other"}, []),
    ):
        (told,) = limits(found, inbound_key("inbound:10.0.0.7:80", "shop", labels))
        assert [limit.name for limit in told] == names
