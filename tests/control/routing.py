"""Gateway API routes for tests in few words, and the whole way from a file to what a worker does with a request."""

import random
from collections.abc import Sequence

from milliroute.control import encoding, snapshot
from milliroute.control.hub import Stamp
from milliroute.control.model import Objects
from milliroute.control.snapshot import Snapshot
from milliroute.proxy.agent.catalog import Offer
from milliroute.proxy.agent.destination import decode_response
from milliroute.proxy.message import RequestHead
from milliroute.proxy.metrics import LeafSeries
from milliroute.proxy.routing import table
from milliroute.proxy.routing.table import AuthorityTable

from .building import objects

SERVICES = "".join(
    f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{ports: [{{port: 80, name: http}}, {{port: 9090, name: grpc}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: {namespace}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}, {{name: grpc, port: 8090}}]
endpoints: [{{addresses: [10.0.{group}.{number}]}}]
"""
    for group, (namespace, names) in enumerate(
        {"default": ("reviews", "reviews-v1", "reviews-v2"), "other": ("ratings",)}.items()
    )
    for number, name in enumerate(names)
)


def route(
    rules: str = "[{backendRefs: [{name: reviews-v1, port: 80}]}]",
    *,
    name: str = "reviews",
    namespace: str = "default",
    kind: str = "HTTPRoute",
    parent: str = "name: reviews",
    more: str = "",
    created: str = "",
) -> str:
    """One document; `rules` and what follows it in the spec are YAML in one line."""
    when = f", creationTimestamp: {created}" if created else ""
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}{when}}}
spec:
  parentRefs: [{{group: "", kind: Service, {parent}}}]
  rules: {rules}
  {more}
"""


def build(*documents: str, previous: Snapshot | None = None) -> Snapshot:
    return snapshot.build(whole(*documents), previous, 0)


def whole(*documents: str) -> Objects:
    return objects(SERVICES + "".join(documents))


def tabled(
    built: Snapshot, asked: str = "reviews:80", namespace: str = "default", previous: AuthorityTable | None = None
) -> AuthorityTable:
    """What a worker of a proxy in that namespace routes by, over the wire and back."""
    key = built.key_of(asked, namespace)
    raw = encoding.state(Stamp(key, "e", built.version_of(key), 1), built.view(key))
    offer, _ = decode_response(raw, 1)
    assert isinstance(offer, Offer)
    assert offer.update.state is not None
    rng = random.Random(7)
    return table.build(
        key, 1, offer.update.state, previous, rng=rng, now_s=0.0, unix_s=0.0, series_for=lambda *a: LeafSeries(*a)
    )


def head(target: str = "/", *fields: str, method: str = "GET") -> RequestHead:
    lines = [f"{method} {target} HTTP/1.1", "host: reviews", *fields, "", ""]
    return RequestHead(method.encode(), target.encode(), b"reviews", "\r\n".join(lines).encode())


def shares(of: AuthorityTable, request: RequestHead | None = None) -> dict[str, int]:
    """The weights in force, by leaf, for a request."""
    split = of.split_for(request or head())
    return {leaf.name: weight for leaf, weight in zip(split.leaves, split.weights, strict=True)}


def picks(of: AuthorityTable, count: int, request: RequestHead | None = None) -> Sequence[str]:
    split = of.split_for(request or head())
    assert split.pick is not None
    return [split.leaves[split.pick()].name for _ in range(count)]
