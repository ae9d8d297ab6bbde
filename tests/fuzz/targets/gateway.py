"""Gateway API routes and rate limits, the whole way: what the control service takes, every worker can route by."""

import random
from collections.abc import Iterator

import h11

from milliroute.control import encoding, snapshot
from milliroute.control.hub import Stamp
from milliroute.control.manifest.rate_limit import MAX_REQUESTS, RateLimitError, parse
from milliroute.control.model import KubeObject, Rate
from milliroute.control.snapshot import Snapshot
from milliroute.control.source.merge import FileState, merge
from milliroute.control.source.reading import parsed
from milliroute.proxy.agent.catalog import Offer
from milliroute.proxy.agent.destination import decode_response
from milliroute.proxy.errors import NoRoute, Redirected
from milliroute.proxy.guard.limiter import Limiter
from milliroute.proxy.heads.rewriting import redressed
from milliroute.proxy.message import RequestHead
from milliroute.proxy.metrics import LeafSeries
from milliroute.proxy.routing import table
from milliroute.proxy.routing.table import AuthorityTable, Route
from tests.control import routing
from tests.control.test_gateway_parse import FULL
from tests.control.test_limits import POLICY, SERVER
from tests.fuzz.target import Target, check_said

WORLD, _ = parsed((routing.SERVICES + "---\n" + SERVER).encode(), "world.yaml")
_HEADS = (
    routing.head("/"),
    routing.head("/v1/a?P=1&q=%20", "x-a: b", "c: dd"),
    routing.head("/shop.v1.Cart/Add", "content-type: application/grpc", method="POST"),
    routing.head("*", method="OPTIONS"),
    routing.head("/pre/x", "x-drop: 1"),
)
# And by whom.
ASKED = (("reviews:80", "default"), ("reviews:9090", "default"), ("ratings.other:80", "shop"), ("web.shop:80", "shop"))


class _Asker:
    client_ip = "10.0.0.9"
    identities = ("special.shop.serviceaccount.identity.linkerd.cluster.local",)


def _routes(data: bytes) -> None:
    """Objects beside the Services of routing, and requests by the tables they make."""
    found, errors = parsed(data, "f.yaml")
    assert all(error.startswith("f.yaml") and "\n" not in error for error in errors)
    built = snapshot.build(merge([FileState("world.yaml", WORLD), FileState("f.yaml", found)]), None, 0)
    for asked, namespace in ASKED:
        made = tabled(built, asked, namespace)
        for limit in made.limits:
            _limit(limit)
        for head in _HEADS:
            _route(made, head)
    _check_told(built, found)


def tabled(built: Snapshot, asked: str, namespace: str) -> AuthorityTable:
    """Of a worker; made twice, the second time over the first."""
    key = built.key_of(asked, namespace)
    offer, _ = decode_response(encoding.state(Stamp(key, "e", built.version_of(key), 1), built.view(key)), 1)
    assert isinstance(offer, Offer)
    assert offer.update.state is not None
    made: AuthorityTable | None = None
    for _ in range(2):
        made = table.build(
            key, 1, offer.update.state, made, rng=random.Random(7), now_s=0.0, unix_s=0.0,
            series_for=lambda *names: LeafSeries(*names),
        )  # fmt: skip
    assert made is not None
    return made


def _route(made: AuthorityTable, head: RequestHead) -> None:
    try:
        route = made.route_for(head)
    except NoRoute:
        return
    if route.answer is not None:
        answer = route.answer(head)
        assert 300 <= answer.status < 600
        assert not isinstance(answer, Redirected) or _is_visible(answer.location)
    if route.split.pick is not None:
        route.split.pick()
    _check_filters(route, head.fork())


def _check_filters(route: Route, head: RequestHead) -> None:
    """What goes to a backend reads as one request again, whatever was changed in it."""
    for edit in (route.filters.url, route.filters.request) if route.filters is not None else ():
        if edit is not None:
            edit.apply(head)
    for leaf in route.split.leaves:
        wire = redressed(head, leaf.filters).wire
        server = h11.Connection(h11.SERVER)
        server.receive_data(wire)
        request = server.next_event()
        assert isinstance(request, h11.Request), wire
        assert [name for name, _ in request.headers].count(b"host") == 1
        assert wire.endswith(b"\r\n\r\n")
        assert wire.count(b"\r\n\r\n") == 1


def _limit(limiter: Limiter) -> None:
    """Whoever is refused is told when to come back, and is taken then: by its own limit, and by that of all."""
    now = 0.0
    for _ in range(3):
        for turn in range(3):
            refused = limiter.judge(_Asker(), now)
            if refused is None:
                break
            assert turn < 2
            assert refused.retry_after_s > 0
            now += refused.retry_after_s


def _is_visible(location: bytes) -> bool:
    return location.isascii() and all(0x21 <= byte < 0x7F for byte in location)


def _check_told(built: Snapshot, found: tuple[KubeObject, ...]) -> None:
    """Each of our routes is told of once, in one line."""
    titles = [(route.group, route.title) for route in built.routes]
    assert len(set(titles)) == len(titles) <= len(found)
    assert all("\n" not in warning for warning in _warnings(built))


def _warnings(built: Snapshot) -> Iterator[str]:
    yield from built.access_warnings
    for route in built.routes:
        yield from (condition.message for parent in route.parents for condition in parent.conditions)


def _rate_limit(data: bytes) -> None:
    """The annotation: in range, and the same when it is read again as it is shown."""
    try:
        found = parse(data.decode("utf-8", "replace"))
    except RateLimitError as error:
        check_said(error)
        return
    rates = [rate for rate in (found.total, found.client) if rate is not None]
    assert rates
    assert all(1 <= rate.requests <= MAX_REQUESTS and 1 <= rate.burst <= MAX_REQUESTS for rate in rates)
    assert parse(found.text) == found
    assert "\n" not in found.text
    assert all(isinstance(rate, Rate) for rate in rates)


EVERYTHING = """
- matches: [{path: {type: RegularExpression, value: "/v[0-9]+/.*"}, headers: [{name: x-a, value: b}]}]
  filters:
  - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-b, value: "1"}], remove: [x-drop]}}
  - {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: server, value: me}]}}
  backendRefs:
  - {name: reviews-v1, port: 80, weight: 9}
  - name: reviews-v2
    port: 80
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: x-c, value: d e}]}}]
- matches: [{path: {value: /pre/}}]
  filters: [{type: URLRewrite, urlRewrite: {hostname: other, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
  backendRefs: [{name: reviews-v1, port: 80}]
- matches: [{method: OPTIONS}, {queryParams: [{name: q, type: RegularExpression, value: ".*"}]}]
  filters:
  - type: RequestRedirect
    requestRedirect: {scheme: https, hostname: a.b, port: 443, path: {type: ReplaceFullPath, replaceFullPath: /n}}
""".strip().replace("\n", "\n  ")
GRPC = """[
  {matches: [{method: {service: shop.v1.Cart, method: Add}}], backendRefs: [{name: reviews-v1, port: 9090}]},
  {matches: [{method: {type: RegularExpression, service: "shop.*"}, headers: [{name: x-a, value: b}]}]},
  {matches: [{method: {method: Add}}], backendRefs: [{name: gone, port: 1}]}]"""
GRANT = """
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: "", kind: Service, name: ratings}]
"""


def _route_seeds() -> list[bytes]:
    across = routing.route("[{backendRefs: [{name: ratings, namespace: other, port: 80}]}]") + GRANT
    linkerd = routing.route().replace("gateway.networking.k8s.io/v1", "policy.linkerd.io/v1beta3")
    consumer = routing.route(namespace="shop", parent="name: ratings, namespace: other", kind="GRPCRoute")
    times = "[{timeouts: {request: 5s, backendRequest: 1s500ms}, retry: {codes: [500], attempts: 2, backoff: 1s}}]"
    here = FULL.replace("namespace: shop", "namespace: default").replace("name: v", "name: reviews-v")
    odd = routing.route("[{filters: [{type: ExtensionRef}], sessionPersistence: {}}, {}]", parent="name: reviews")
    texts = [here, odd, routing.route("\n  " + EVERYTHING), routing.route(GRPC, kind="GRPCRoute"), across, linkerd,
             consumer, routing.route(times, created="2026-01-31T12:00:00Z")]  # fmt: skip
    return [text.encode() for text in texts]


_ROUTE_WORDS = (
    b"kind: GRPCRoute", b"type: Exact", b"RegularExpression", b"PathPrefix", b"value: ", b"/", b"(?:", b"{1000}", b")",
    b"[^/]+", b"\\C", b"null", b"weight: 0", b"port: ", b"matches: []", b"filters: []", b"- {}", b", {}", b"[]",
    b"l5d-", b"content-length", b"host", b"%0d%0a", b"'", b'"', b"5s", b"sectionName: a", b"namespace: other",
)  # fmt: skip

TARGETS = (
    Target("routes", _route_seeds, _routes, _ROUTE_WORDS),
    Target(
        "rate-policies",
        lambda: [
            POLICY.encode(),
            POLICY.replace("  identity: {requestsPerSecond: 20}\n", "").encode(),
            (POLICY.partition("  overrides")[0] + "---\n" + POLICY.replace("name: web,", "name: two,")).encode(),
        ],
        _routes,
        (b"requestsPerSecond: ", b"1000000", b"0", b"-1", b"null", b"total: ", b"identity: ", b"{}", b"[]", b"- ",
         b"kind: Server", b"namespace: ", b"overrides: []", b"web-http"),
    ),
    Target(
        "rate-limit",
        lambda: [b"100/s", b"100/s; burst=200; 10/s per client", b"600/m;;", b"5/h per client; burst=1", b"1000000/s"],
        _rate_limit,
        (b"/s", b"/h", b"per client", b"burst=", b";", b"0", b"\xd9\xa5", b"  "),
    ),
)  # fmt: skip
