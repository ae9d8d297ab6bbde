# mypy: disable-error-code="call-arg,no-untyped-call,call-overload"
"""Gateway API routes through real processes: weights, matches, filters, redirects, refusals, namespaces, gRPC.

One milliroute for each codec serves most of the tests: each has a Service of its own as the parent of its route.
"""

import http.client
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from h2.events import ResponseReceived

from tests.e2e.h2_peer import client
from tests.e2e.h2_stand import BOTH_CODECS
from tests.e2e.stand import MILLIROUTE, PATIENCE_S, Process, Stand, eventually, get_json, is_ready, stand

BACKENDS = ("reviews", "reviews-v1", "reviews-v2")
ROUTE = """\
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: PARENT}
spec:
  parentRefs: [{group: "", kind: Service, name: PARENT}]
  rules:
"""
RULES = {
    "split": """\
  - matches: [{path: {value: /shop}}, {method: POST}]
    backendRefs: [{name: reviews-v1, port: 80, weight: 9}, {name: reviews-v2, port: 80, weight: 1}]
""",
    "missing": "  - backendRefs: [{name: reviews-v1, port: 80, weight: 3}, {name: nobody, port: 80, weight: 1}]\n",
    "zero": "  - backendRefs: [{name: reviews-v1, port: 80, weight: 0}]\n",
    "own": "  - {matches: [{path: {value: /own}}]}\n",
    "filtered": """\
  - matches: [{path: {value: /v1}}]
    filters:
    - type: URLRewrite
      urlRewrite: {hostname: inner.test, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [{name: X-Set, value: ours}]
        add: [{name: X-Add, value: second}]
        remove: [X-Gone]
    - type: ResponseHeaderModifier
      responseHeaderModifier: {set: [{name: X-Version, value: new}], remove: [X-Internal]}
    backendRefs:
    - name: reviews-v1
      port: 80
      filters:
      - type: RequestHeaderModifier
        requestHeaderModifier: {add: [{name: X-Leaf, value: one}]}
      - type: ResponseHeaderModifier
        responseHeaderModifier: {add: [{name: Set-Cookie, value: canary=1}]}
    - {name: reviews-v2, port: 80}
""",
    "moved": """\
  - matches: [{path: {value: /old}}]
    filters:
    - type: RequestRedirect
      requestRedirect:
        {scheme: https, hostname: new.test, statusCode: 301,
         path: {type: ReplacePrefixMatch, replacePrefixMatch: /fresh}}
""",
    "specific": """\
  - backendRefs: [{name: reviews, port: 80}]
  - matches: [{path: {value: /a}, headers: [{name: X-User, type: RegularExpression, value: "c.*"}]}]
    backendRefs: [{name: reviews-v1, port: 80}]
  - matches: [{path: {value: /a}, queryParams: [{name: beta, value: "1"}]}]
    backendRefs: [{name: reviews-v2, port: 80}]
""",
    "timed": "  - {timeouts: {request: 100ms}, backendRefs: [{name: reviews-v1, port: 80}]}\n",
}
PRODUCER = ROUTE.replace("PARENT", "reviews") + "  - backendRefs: [{name: reviews-v1, port: 80}]\n"
CONSUMER = """\
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ours, namespace: shop}
spec:
  parentRefs: [{group: core, kind: Service, name: reviews, namespace: default}]
  rules:
  - filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier: {set: [{name: X-Consumer, value: shop}]}
"""
# For clients of HTTP/2, whose protocol would be spoken to backends otherwise.
SPEAK_HTTP1 = "".join(
    f"---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n"
    "spec: {ports: [{port: 80, appProtocol: http}]}\n"
    for name in BACKENDS
)
ALL = "".join(ROUTE.replace("PARENT", parent) + rules for parent, rules in RULES.items()) + PRODUCER + CONSUMER


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: str

    @property
    def seen(self) -> dict[str, str]:
        """The fields that the backend got."""
        return dict(json.loads(self.body)["fields"])

    @property
    def line(self) -> str:
        return str(json.loads(self.body)["line"])

    @property
    def leaf(self) -> str:
        return str(json.loads(self.body)["leaf"])


def ask(run: Process, host: str, path: str = "/", method: str = "GET", **headers: str) -> Answer:
    with closing(http.client.HTTPConnection("127.0.0.1", run.port("proxy"), timeout=PATIENCE_S)) as connection:
        fields = {"Host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection.request(method, path, headers=fields)
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode())


def start(here: Stand, codec: str, text: str, kind: str = "route_backend", namespace: str = "default") -> Process:
    """`milliroute run` over this file; the parents of RULES have the endpoint of reviews."""
    file = here.folder / "routes.yaml"
    file.write_text(text)
    ports = dict(zip(BACKENDS, here.backends(*BACKENDS, kind=kind), strict=True))
    names = {**ports, **dict.fromkeys(RULES, ports["reviews"])}
    flags = [f"--backend={name}=127.0.0.1:{port}" for name, port in names.items()]
    run = here.start(
        MILLIROUTE, "run", "-f", str(file), *flags, "--listen", "127.0.0.1:0", "--codec", codec,
        "--admin", "127.0.0.1:0", "--control-admin", "127.0.0.1:0", MILLIROUTE_NAMESPACE=namespace,
    )  # fmt: skip
    admin = run.port("admin")
    eventually(lambda: is_ready(admin), "readiness")
    return run


@pytest.fixture(scope="module", params=["fast", "reference"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with stand(tmp_path_factory.mktemp("routes")) as here:
        yield start(here, request.param, ALL + SPEAK_HTTP1)


def observed(run: Process, name: str) -> dict[str, int]:
    page = get_json(run.port("admin"), "/splits")
    splits = [split for authority in page["authorities"] for split in authority["splits"]]  # type: ignore[attr-defined]  # JSON
    return {leaf["leaf"]: leaf["requests"] for split in splits if split["name"] == name for leaf in split["leaves"]}


def test_the_weights_of_a_rule_are_exact_whatever_match_takes_the_request(run: Process) -> None:
    answers = [ask(run, "split", "/shop/1") if n % 3 else ask(run, "split", "/else", "POST") for n in range(100)]
    assert Counter(answer.leaf for answer in answers) == {"reviews-v1": 90, "reviews-v2": 10}
    wanted = {"reviews-v1": 90, "reviews-v2": 10}
    eventually(lambda: observed(run, "default/split/0") == wanted, "what was counted")


def test_what_no_rule_takes_is_404_with_the_reason(run: Process) -> None:
    answer = ask(run, "split", "/shopping")
    assert (answer.status, answer.headers["l5d-proxy-error"]) == (404, "no rule takes the request")
    assert ask(run, "reviews-v2").leaf == "reviews-v2"


def test_a_backend_that_is_not_there_answers_its_share_with_500(run: Process) -> None:
    assert Counter(ask(run, "missing").status for _ in range(40)) == {200: 30, 500: 10}
    routes = get_json(run.port("control-admin"), "/splits")["routes"]
    (found,) = [route for route in routes if route["name"] == "default/missing"]  # type: ignore[attr-defined]  # JSON
    conditions = {c["type"]: (c["status"], c["reason"]) for c in found["parents"][0]["conditions"]}
    assert conditions == {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("False", "BackendNotFound")}


def test_a_rule_whose_weights_are_all_zero_is_500(run: Process) -> None:
    assert ask(run, "zero").status == 500


def test_a_rule_without_backends_goes_to_the_service_itself(run: Process) -> None:
    assert ask(run, "own", "/own").leaf == "reviews"


def test_filters_change_requests_and_responses_of_http1(run: Process) -> None:
    for _ in range(2):
        answer = ask(run, "filtered", "/v1/cart?a=b", X_Set="theirs", X_Add="first", X_Gone="1", X_Kept="k")
        seen = answer.seen
        assert (answer.line, seen["host"]) == ("GET /new/cart?a=b HTTP/1.1", "inner.test")
        assert (seen["x-set"], seen["x-kept"], "x-gone" in seen) == ("ours", "k", False)
        assert [v for k, v in json.loads(answer.body)["fields"] if k == "x-add"] == ["first", "second"]
        assert (answer.headers["x-version"], "x-internal" in answer.headers) == ("new", False)
        is_first = answer.leaf == "reviews-v1"
        assert ("x-leaf" in seen, "set-cookie" in answer.headers) == (is_first, is_first)


def test_filters_change_requests_and_responses_of_http2(run: Process) -> None:
    with client(run.port("proxy")) as peer:
        pseudo = [(":method", "GET"), (":scheme", "http"), (":path", "/v1"), (":authority", "filtered")]
        stream = peer.h2.get_next_available_stream_id()
        peer.h2.send_headers(stream, [*pseudo, ("x-gone", "1")], end_stream=True)
        peer.flush()
        status, body = peer.answer(stream)
        got: dict[object, object] = dict(peer.until(ResponseReceived, stream).headers or ())
    answer = Answer(int(status), {}, body.decode())
    assert (answer.line, answer.seen["host"]) == ("GET /new HTTP/1.1", "inner.test")
    assert (answer.seen["x-set"], "x-gone" in answer.seen) == ("ours", False)
    assert (got["x-version"], "x-internal" in got) == ("new", False)


def test_a_redirect_is_answered_by_the_proxy(run: Process) -> None:
    answer = ask(run, "moved", "/old/page?x=1")
    assert (answer.status, answer.headers["location"]) == (301, "https://new.test/fresh/page?x=1")
    assert (answer.headers["content-length"], answer.body) == ("0", "")


def test_the_most_specific_match_wins_over_the_order_of_rules(run: Process) -> None:
    assert ask(run, "specific", "/a/b").leaf == "reviews"
    assert ask(run, "specific", "/a/b?beta=1").leaf == "reviews-v2"
    assert ask(run, "specific", "/a/b?beta=1", X_User="carol").leaf == "reviews-v1"


def test_a_timeout_of_a_rule_holds(run: Process) -> None:
    assert ask(run, "timed", "/slow").status == 504


def test_a_producer_route_is_for_everybody_whose_namespace_has_none(run: Process) -> None:
    answer = ask(run, "reviews")
    assert (answer.leaf, "x-consumer" in answer.headers) == ("reviews-v1", False)


@BOTH_CODECS
def test_a_consumer_route_is_for_the_clients_of_its_namespace_and_comes_and_goes_live(
    tmp_path: Path, codec: str
) -> None:
    with stand(tmp_path) as here:
        run = start(here, codec, PRODUCER + CONSUMER, namespace="shop")
        host = "reviews.default.svc.cluster.local"
        answer = ask(run, host)
        assert (answer.leaf, answer.headers.get("x-consumer")) == ("reviews", "shop")
        (here.folder / "routes.yaml").write_text(PRODUCER)
        eventually(lambda: ask(run, host).leaf == "reviews-v1", "the producer's route")
        (here.folder / "routes.yaml").write_text(PRODUCER + CONSUMER)
        eventually(lambda: ask(run, host).headers.get("x-consumer") == "shop", "the consumer's route")


GRPC = """\
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: reviews}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews}]
  rules:
  - matches: [{method: {service: test.Echo, method: Unary}}]
    backendRefs: [{name: reviews-v1, port: 80, weight: 3}, {name: reviews-v2, port: 80, weight: 1}]
  - matches: [{method: {service: test.Echo, method: ServerStream}, headers: [{name: x-to, value: nobody}]}]
    backendRefs: [{name: nobody, port: 80}]
"""


@BOTH_CODECS
def test_a_grpc_route_splits_a_method_and_knows_no_other(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here:
        proxy = start(here, codec, GRPC, "grpc_backend")
        options = (("grpc.default_authority", "reviews"),)
        with grpc.insecure_channel(f"127.0.0.1:{proxy.port('proxy')}", options=options) as channel:
            unary = channel.unary_unary("/test.Echo/Unary")
            leaves = Counter(dict(unary.with_call(b"x", timeout=60)[1].trailing_metadata())["leaf"] for _ in range(40))
            assert leaves == {"reviews-v1": 30, "reviews-v2": 10}
            with pytest.raises(grpc.RpcError) as unknown:
                list(channel.unary_stream("/test.Echo/ServerStream")(b"1", timeout=60))
            assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED
            with pytest.raises(grpc.RpcError) as missing:
                list(channel.unary_stream("/test.Echo/ServerStream")(b"1", metadata=(("x-to", "nobody"),), timeout=60))
            assert missing.value.code() is grpc.StatusCode.UNAVAILABLE
