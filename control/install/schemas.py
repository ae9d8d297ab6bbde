"""What may stand in the kinds that we read, as structural schemas of apiextensions.k8s.io/v1. Pure values.

They say what the readers of `manifest` take, as far as a schema can; the readers have the last word and say more.
"""

from typing import Any

Schema = dict[str, Any]

# Kubernetes' Quantity, without signs: a weight cannot be negative.
_QUANTITY = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$"
_PORT = {"x-kubernetes-int-or-string": True}
_METHODS = ["*", "GET", "HEAD", "PUT", "POST", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]
_MODES = [
    "all-unauthenticated", "all-authenticated", "cluster-unauthenticated", "cluster-authenticated", "deny", "audit",
]  # fmt: skip


def text(**more: Any) -> Schema:
    return {"type": "string", **more}


def many(of: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": of, **more}


def fields(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    made: Schema = {"type": "object", "properties": properties}
    return {**made, "required": list(required)} if required else made


def spec(inner: Schema) -> Schema:
    """An object with that spec, which it must have."""
    return fields(("spec",), spec=inner)


def by_name(of: Schema) -> Schema:
    return {"type": "object", "additionalProperties": of}


# In every version a weight may be a Quantity, because tutorials write 900m under v1alpha2; whole numbers stay numbers.
WEIGHT: Schema = {"x-kubernetes-int-or-string": True, "pattern": _QUANTITY}
_REFERENCE = fields(("kind", "name"), apiGroup=text(), kind=text(enum=["HTTPRouteGroup"]), name=text(minLength=1))
_LEAF = fields(("service", "weight"), service=text(minLength=1), weight=WEIGHT)
TRAFFIC_SPLIT = spec(
    fields(
        ("service", "backends"),
        service=text(minLength=1),
        backends=many(_LEAF, minItems=1),
        matches=many(_REFERENCE),
    )
)

# Both shapes that are about: a map, and a list of maps with one key. Structural schemas have no either-or of types.
_HEADERS: Schema = {"x-kubernetes-preserve-unknown-fields": True}
_MATCH = fields(
    ("name",), name=text(minLength=1), pathRegex=text(), methods=many(text(enum=_METHODS)), headers=_HEADERS
)
ROUTE_GROUP = spec(fields(("matches",), matches=many(_MATCH)))
# v1alpha1 and v1alpha2 have no spec.
FLAT_ROUTE_GROUP = fields(("matches",), matches=many(_MATCH))

_PEER = fields(("kind", "name"), kind=text(), name=text(minLength=1), namespace=text(), port={"type": "integer"})
_RULE = fields(("kind", "name"), kind=text(enum=["HTTPRouteGroup", "TCPRoute"]), name=text(), matches=many(text()))
_TARGET = fields(("destination", "sources"), destination=_PEER, sources=many(_PEER), rules=many(_RULE))
TRAFFIC_TARGET = spec(_TARGET)
FLAT_TRAFFIC_TARGET = fields(
    ("destination", "sources"), destination=_PEER, sources=many(_PEER), specs=many(_RULE), rules=many(_RULE)
)

_TO = fields(("kind", "name"), group=text(), kind=text(), name=text(minLength=1), namespace=text())
SERVER = spec(
    fields(
        ("port",),
        podSelector=fields(matchLabels=by_name(text())),
        port=_PORT,
        proxyProtocol=text(),
        accessPolicy=text(enum=_MODES),
    )
)
AUTHORIZATION_POLICY = spec(
    fields(("targetRef", "requiredAuthenticationRefs"), targetRef=_TO, requiredAuthenticationRefs=many(_TO))
)
_NETWORK = fields(("cidr",), cidr=text(minLength=1), **{"except": many(text())})
NETWORK_AUTHENTICATION = spec(fields(("networks",), networks=many(_NETWORK, minItems=1)))
MESH_TLS_AUTHENTICATION = spec(fields(identities=many(text(minLength=1)), identityRefs=many(_TO)))
_RATE = fields(("requestsPerSecond",), requestsPerSecond={"type": "integer", "minimum": 0})
_OVERRIDE = fields(
    ("requestsPerSecond", "clientRefs"),
    requestsPerSecond={"type": "integer", "minimum": 0},
    clientRefs=many(_TO, minItems=1),
)
RATE_LIMIT = spec(fields(("targetRef",), targetRef=_TO, total=_RATE, identity=_RATE, overrides=many(_OVERRIDE)))
