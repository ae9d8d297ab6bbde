"""CustomResourceDefinitions of the kinds that we read and that nobody else installs.

SMI's are always ours to install, Linkerd's only where there is no Linkerd. Gateway API's come from its own project:
its versions must fit all who use it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from milliroute.control.install import schemas
from milliroute.control.install.options import Object
from milliroute.control.install.schemas import Schema

Column = tuple[str, str]  # title, JSONPath


@dataclass(frozen=True, slots=True)
class Kind:
    """`versions`: names and schemas; the last is the one that is stored."""

    group: str
    kind: str
    plural: str
    singular: str
    short: tuple[str, ...]
    versions: tuple[tuple[str, Schema], ...]
    columns: tuple[Column, ...] = ()


_SMI_VERSIONS = ("v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4")
SMI = (
    Kind(
        "split.smi-spec.io", "TrafficSplit", "trafficsplits", "trafficsplit", ("ts",),
        tuple((version, schemas.TRAFFIC_SPLIT) for version in _SMI_VERSIONS),
        (("Service", ".spec.service"), ("Backends", ".spec.backends")),
    ),
    Kind(
        "specs.smi-spec.io", "HTTPRouteGroup", "httproutegroups", "httproutegroup", ("htr",),
        (
            ("v1alpha1", schemas.FLAT_ROUTE_GROUP), ("v1alpha2", schemas.FLAT_ROUTE_GROUP),
            ("v1alpha3", schemas.ROUTE_GROUP), ("v1alpha4", schemas.ROUTE_GROUP),
        ),
    ),
    Kind(
        "access.smi-spec.io", "TrafficTarget", "traffictargets", "traffictarget", ("tt",),
        (
            ("v1alpha1", schemas.FLAT_TRAFFIC_TARGET), ("v1alpha2", schemas.TRAFFIC_TARGET),
            ("v1alpha3", schemas.TRAFFIC_TARGET),
        ),
        (("Destination", ".spec.destination.name"),),
    ),
)  # fmt: skip

_POLICY = "policy.linkerd.io"
LINKERD = (
    Kind(
        _POLICY, "Server", "servers", "server", ("srv",),
        tuple((version, schemas.SERVER) for version in ("v1beta1", "v1beta2", "v1beta3")),
        (("Port", ".spec.port"), ("Access Policy", ".spec.accessPolicy")),
    ),
    Kind(
        _POLICY, "AuthorizationPolicy", "authorizationpolicies", "authorizationpolicy", ("authzpolicy",),
        (("v1alpha1", schemas.AUTHORIZATION_POLICY),),
        (("Target", ".spec.targetRef.name"),),
    ),
    Kind(
        _POLICY, "NetworkAuthentication", "networkauthentications", "networkauthentication", ("netauthn",),
        (("v1alpha1", schemas.NETWORK_AUTHENTICATION),),
    ),
    Kind(
        _POLICY, "MeshTLSAuthentication", "meshtlsauthentications", "meshtlsauthentication", ("meshtlsauthn",),
        (("v1alpha1", schemas.MESH_TLS_AUTHENTICATION),),
        (("Identities", ".spec.identities"),),
    ),
    Kind(
        _POLICY, "HTTPLocalRateLimitPolicy", "httplocalratelimitpolicies", "httplocalratelimitpolicy", (),
        (("v1alpha1", schemas.RATE_LIMIT),),
        (("Target", ".spec.targetRef.name"), ("Total", ".spec.total.requestsPerSecond")),
    ),
)  # fmt: skip


def definitions(has_policies: bool) -> Iterator[Object]:
    for kind in (*SMI, *(LINKERD if has_policies else ())):
        yield _definition(kind)


def _definition(kind: Kind) -> Object:
    names: Object = {"kind": kind.kind, "listKind": f"{kind.kind}List", "plural": kind.plural}
    names |= {"singular": kind.singular, **({"shortNames": list(kind.short)} if kind.short else {})}
    versions = [_version(kind, name, schema) for name, schema in kind.versions]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{kind.group}",
            "labels": {"app.kubernetes.io/part-of": "milliroute"},
        },
        "spec": {
            "group": kind.group,
            "names": names,
            "scope": "Namespaced",
            # The versions differ in what they have and not in what it means.
            "conversion": {"strategy": "None"},
            "versions": versions,
        },
    }


def _version(kind: Kind, name: str, schema: Schema) -> Object:
    columns = [{"name": title, "type": "string", "jsonPath": path} for title, path in kind.columns]
    columns.append({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"})
    return {
        "name": name,
        "served": True,
        "storage": name == kind.versions[-1][0],
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": columns,
    }
