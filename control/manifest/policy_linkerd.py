"""Linkerd's access policies, from nodes: Server, AuthorizationPolicy, NetworkAuthentication, MeshTLSAuthentication.

In: a document and its metadata. Out: an object of the model. The rule not to break: what is not understood is an error
and never ignored, because a policy that means less than its writer believes lets in whom it should not.
"""

import ipaddress
import re
from collections.abc import Iterator
from typing import get_args

from milliroute.control.manifest import fields
from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.metadata import Metadata
from milliroute.control.manifest.nodes import Fields, Node, Scalar
from milliroute.control.model import (
    AccessMode,
    AuthorizationPolicy,
    MeshTLSAuthentication,
    Network,
    NetworkAuthentication,
    Reference,
    Server,
)

GROUP = "policy.linkerd.io"
PREFIX = "milliroute.io/"
# On a Server or a TrafficTarget: the Service it is for, where no pods can be asked for theirs.
SERVICE = PREFIX + "service"
# On an AuthorizationPolicy: HTTPRouteGroups, comma-separated.
MATCHES = PREFIX + "matches"

MODES: tuple[AccessMode, ...] = get_args(AccessMode)
_AUTHENTICATIONS = ("MeshTLSAuthentication", "NetworkAuthentication", "ServiceAccount")

# RFC 1123 as certificates have it; SPIFFE ID sections 2.1 and 2.2: a lower-case trust domain, plain segments.
_DNS = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[a-zA-Z0-9._-]+"
_IDENTITY = re.compile(rf"\*\Z|(?:\*\.)?{_DNS}\Z|spiffe://[a-z0-9._-]+(?:/{_SEGMENT})*(?:/\*)?\Z")
MAX_IDENTITY_CHARS = 2048
_LABEL_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")


def server(node: Fields, metadata: Metadata, report: Report) -> Server | None:
    """A Server; None or errors in the report when it is not valid."""
    spec = fields.fields(node.get("spec"), "spec", node, report)
    annotations = read_annotations(metadata, (SERVICE,), report)
    if spec is None:
        return None
    fields.only(
        spec, "spec", ("podSelector", "externalWorkloadSelector", "port", "proxyProtocol", "accessPolicy"), report
    )
    mode = _mode(spec, report)
    return Server(
        namespace=metadata.namespace,
        name=metadata.name,
        port=_port(spec, report),
        pod_labels=() if SERVICE in annotations else tuple(_pod_labels(spec, report)),
        service=annotations.get(SERVICE, ""),
        mode=mode,
        origin=metadata.origin,
    )


def authorization_policy(node: Fields, metadata: Metadata, report: Report) -> AuthorizationPolicy | None:
    spec = fields.fields(node.get("spec"), "spec", node, report)
    annotations = read_annotations(metadata, (MATCHES,), report)
    if spec is None:
        return None
    fields.only(spec, "spec", ("targetRef", "requiredAuthenticationRefs"), report)
    target = fields.fields(spec.get("targetRef"), "targetRef", spec, report)
    if spec.get("requiredAuthenticationRefs") is None:
        wanted = "a list; an empty one lets everybody in"
        report.add(spec, "missing requiredAuthenticationRefs", "nothing", wanted)
    required = tuple(
        reference(ref, _AUTHENTICATIONS, metadata.namespace, report)
        for ref in fields.mappings(spec, "requiredAuthenticationRefs", report)
    )
    if target is None:
        return None
    return AuthorizationPolicy(
        namespace=metadata.namespace,
        name=metadata.name,
        target=_target(target, metadata, report),
        required=required,
        groups=tuple(name for part in annotations.get(MATCHES, "").split(",") if (name := part.strip())),
        origin=metadata.origin,
    )


def network_authentication(node: Fields, metadata: Metadata, report: Report) -> NetworkAuthentication | None:
    spec = fields.fields(node.get("spec"), "spec", node, report)
    if spec is None:
        return None
    fields.only(spec, "spec", ("networks",), report)
    networks = tuple(_network(found, report) for found in fields.mappings(spec, "networks", report))
    if not networks:
        report.add(spec.nodes.get("networks", spec), "no networks", "none", "a list of cidr and except")
    return NetworkAuthentication(metadata.namespace, metadata.name, networks, metadata.origin)


def mesh_tls_authentication(node: Fields, metadata: Metadata, report: Report) -> MeshTLSAuthentication | None:
    spec = fields.fields(node.get("spec"), "spec", node, report)
    if spec is None:
        return None
    fields.only(spec, "spec", ("identities", "identityRefs"), report)
    identities = tuple(_identity(item, report) for item in fields.items(spec, "identities", report))
    accounts = tuple(
        reference(ref, ("ServiceAccount", "Namespace"), metadata.namespace, report)
        for ref in fields.mappings(spec, "identityRefs", report)
    )
    if not identities and not accounts:
        report.add(spec, "no identities", "none", "a list of identities or of identityRefs")
    return MeshTLSAuthentication(metadata.namespace, metadata.name, identities, accounts, metadata.origin)


def read_annotations(metadata: Metadata, known: tuple[str, ...], report: Report) -> dict[str, str]:
    """Those of ours, by their whole name; unknown and empty ones are errors."""
    found: dict[str, str] = {}
    for key, node in metadata.annotation_nodes.nodes.items():
        if key.startswith(PREFIX) and isinstance(node, Scalar):
            if key not in known:
                report.add(
                    metadata.annotation_nodes.keys.get(key, node), "unknown annotation", repr(key), " or ".join(known)
                )
            elif not node.text.strip():
                report.add(node, f"bad {key}", node, "a name")
            elif key == SERVICE:
                fields.dns_name(metadata.annotation_nodes, key, report)
            found[key] = node.text.strip()
    return found


def reference(node: Fields, kinds: tuple[str, ...], namespace: str, report: Report) -> Reference:
    """Of one of these kinds; `namespace` is where it is looked for unless it says so."""
    fields.only(node, "a reference", ("group", "kind", "name", "namespace"), report)
    kind = fields.text(node, "kind", report)
    if kind and kind not in kinds:
        report.add(node.nodes["kind"], "bad kind of a reference", repr(kind), " or ".join(kinds))
    own = fields.dns_label(node, "namespace", report, default=namespace)
    return Reference(kind, own, fields.dns_name(node, "name", report))


def _target(node: Fields, metadata: Metadata, report: Report) -> Reference:
    """Namespaces let nobody into others: a target elsewhere is an error, as in Linkerd."""
    found = reference(node, ("Server", "Namespace"), metadata.namespace, report)
    if found.kind == "Namespace":
        found = Reference(found.kind, found.name, found.name)
    if found.namespace != metadata.namespace:
        report.add(
            node, "a target in another namespace", repr(found.namespace), f"the policy's own, {metadata.namespace}"
        )
    return found


def _mode(spec: Fields, report: Report) -> AccessMode:
    written = fields.text(spec, "accessPolicy", report, default="deny")
    for mode in MODES:
        if written == mode:
            return mode
    report.add(spec.nodes["accessPolicy"], "bad accessPolicy", repr(written), " or ".join(MODES))
    return "deny"


def _port(spec: Fields, report: Report) -> int | str:
    written = fields.text(spec, "port", report)
    if written.isdecimal():
        return fields.number(spec, "port", report, low=1, high=65535)
    if written and not _LABEL_NAME.match(written):
        report.add(spec.nodes["port"], "bad port", repr(written), "a number from 1 to 65535 or the name of a port")
    return written


def _pod_labels(spec: Fields, report: Report) -> Iterator[tuple[str, str]]:
    selector = fields.fields(spec.get("podSelector"), "podSelector", spec, report)
    if selector is None:
        return
    fields.only(selector, "podSelector without pods", ("matchLabels",), report)
    yield from sorted(fields.texts(selector, "matchLabels", report).items())


def _network(node: Fields, report: Report) -> Network:
    fields.only(node, "a network", ("cidr", "except"), report)
    cidr = fields.text(node, "cidr", report)
    outer = _cidr(cidr, node.nodes.get("cidr", node), report) if cidr else None
    excepts: list[str] = []
    for item in fields.items(node, "except", report):
        text = item.text if isinstance(item, Scalar) else ""
        inner = _cidr(text, item, report)
        excepts.append(text)
        if inner and outer and not (inner.version == outer.version and inner.subnet_of(outer)):  # type: ignore[arg-type]  # the versions are the same
            report.add(item, "bad except", repr(text), f"a part of {cidr}")
    return Network(cidr, tuple(excepts))


def _cidr(text: str, at: Node, report: Report) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Strict: with bits set behind the prefix nobody knows what was meant."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        report.add(at, f"bad network: {error}", repr(text), "a CIDR such as 10.0.0.0/8 or fd00::/8")
        return None


def _identity(node: Node, report: Report) -> str:
    text = node.text if isinstance(node, Scalar) else ""
    is_good = len(text) <= MAX_IDENTITY_CHARS and _IDENTITY.match(text)
    if not is_good:
        report.add(
            node, "bad identity", node, "*, *.suffix, a DNS name, spiffe://DOMAIN/PATH or spiffe://DOMAIN/PATH/*"
        )
    return text
