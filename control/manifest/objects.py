"""Nodes to objects: which kinds are ours, what every object has, and who reads the rest.

In: the documents of one file. Out: its objects, and errors in the Report. Kinds that are not ours are skipped in
silence, near misses of ours (a misspelt kind in our group, an unknown version) are errors. `kind: List` is
unwrapped.
"""

from collections.abc import Callable, Iterable, Iterator

from milliroute.control.gateway import GROUP as GATEWAY_GROUP
from milliroute.control.manifest import core as parse_core
from milliroute.control.manifest import fields
from milliroute.control.manifest import gateway as parse_gateway
from milliroute.control.manifest import policy_linkerd as parse_policy
from milliroute.control.manifest import policy_smi as parse_access
from milliroute.control.manifest import rate_policy as parse_rates
from milliroute.control.manifest import smi as parse_smi
from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.metadata import read_metadata
from milliroute.control.manifest.nodes import Fields, Node
from milliroute.control.model import KubeObject

# smi-spec.io is the group; smi-specs.io is how many tutorials spell it.
SPLIT_GROUPS = ("split.smi-spec.io", "split.smi-specs.io")
SPECS_GROUPS = ("specs.smi-spec.io", "specs.smi-specs.io")
SMI_VERSIONS = ("v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4")

# Kinds of the SMI groups that say nothing about splitting by HTTP.
_SKIPPED_SMI_KINDS = ("TCPRoute", "UDPRoute")

_SMI_KINDS = {"TrafficSplit": SPLIT_GROUPS, "HTTPRouteGroup": SPECS_GROUPS}

# Kinds of access policies: group, versions. A version that is not listed is an error: a policy must not be skipped.
_LINKERD = parse_policy.GROUP
_POLICY_KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "Server": (_LINKERD, ("v1beta1", "v1beta2", "v1beta3")),
    "AuthorizationPolicy": (_LINKERD, ("v1alpha1",)),
    "NetworkAuthentication": (_LINKERD, ("v1alpha1",)),
    "MeshTLSAuthentication": (_LINKERD, ("v1alpha1",)),
    "HTTPLocalRateLimitPolicy": (_LINKERD, ("v1alpha1",)),
    "TrafficTarget": (parse_access.GROUP, ("v1alpha1", "v1alpha2", "v1alpha3")),
}
# Of Linkerd's group, and about something else: egress, and what its control plane writes.
_SKIPPED_POLICY_KINDS = ("EgressNetwork", "ExternalWorkload")

# The Gateway API's kinds that are ours, and Linkerd's own HTTPRoute, which has the same shape. All others of that group
# (Gateways, TCPRoutes) are somebody else's.
_GATEWAY_VERSIONS: dict[tuple[str, str], tuple[str, ...]] = {
    (GATEWAY_GROUP, "HTTPRoute"): parse_gateway.VERSIONS["HTTPRoute"],
    (GATEWAY_GROUP, "GRPCRoute"): parse_gateway.VERSIONS["GRPCRoute"],
    (GATEWAY_GROUP, "ReferenceGrant"): parse_gateway.GRANT_VERSIONS,
    (_LINKERD, "HTTPRoute"): parse_gateway.LINKERD_VERSIONS,
}

_Reader = Callable[[Fields, Report], KubeObject | None]

_READERS: dict[str, _Reader] = {
    "TrafficSplit": lambda node, report: parse_smi.traffic_split(node, read_metadata(node, report), report),
    "HTTPRouteGroup": lambda node, report: parse_smi.route_group(node, read_metadata(node, report), report),
    "Service": lambda node, report: parse_core.service(node, read_metadata(node, report), report),
    "EndpointSlice": lambda node, report: parse_core.endpoint_slice(node, read_metadata(node, report), report),
    "Server": lambda node, report: parse_policy.server(node, read_metadata(node, report), report),
    "AuthorizationPolicy": lambda node, report: parse_policy.authorization_policy(
        node, read_metadata(node, report), report
    ),
    "NetworkAuthentication": lambda node, report: parse_policy.network_authentication(
        node, read_metadata(node, report), report
    ),
    "MeshTLSAuthentication": lambda node, report: parse_policy.mesh_tls_authentication(
        node, read_metadata(node, report), report
    ),
    "HTTPLocalRateLimitPolicy": lambda node, report: parse_rates.rate_limit_policy(
        node, read_metadata(node, report), report
    ),
    "TrafficTarget": lambda node, report: parse_access.traffic_target(node, read_metadata(node, report), report),
    "HTTPRoute": lambda node, report: parse_gateway.http_route(node, read_metadata(node, report), report),
    "GRPCRoute": lambda node, report: parse_gateway.grpc_route(node, read_metadata(node, report), report),
    "ReferenceGrant": lambda node, report: parse_gateway.reference_grant(node, read_metadata(node, report), report),
}


def objects(documents: Iterable[Node], report: Report) -> Iterator[KubeObject]:
    """The objects of ours among the documents; one with an error in it is left out and the error is in `report`."""
    pending = list(documents)[::-1]
    while pending:
        node = pending.pop()
        found = fields.fields(node, "document", node, report)
        if found is None:
            continue
        kind, version = fields.text(found, "kind", report), fields.text(found, "apiVersion", report)
        if kind == "List" and version == "v1":
            pending.extend(fields.items(found, "items", report)[::-1])
        elif kind and version and _is_ours(kind, version, found, report):
            yield from _read(kind, found, report)


def _read(kind: str, node: Fields, report: Report) -> Iterator[KubeObject]:
    known_errors = len(report.errors)
    found = _READERS[kind](node, report)
    if found is not None and len(report.errors) == known_errors:
        yield found


def _is_ours(kind: str, api_version: str, node: Fields, report: Report) -> bool:
    if kind == "Service":
        return api_version == "v1"
    if kind == "EndpointSlice":
        return api_version in ("discovery.k8s.io/v1", "discovery.k8s.io/v1beta1")
    if kind in _SMI_KINDS:
        return _is_known_version(kind, api_version, node, report)
    group, _, version = api_version.partition("/")
    versions = _GATEWAY_VERSIONS.get((group, kind))
    if versions is not None:
        if version not in versions:
            want = f"{group}/{' or '.join(versions)}"
            report.add(node.nodes["apiVersion"], f"unknown apiVersion of a {kind}", repr(api_version), want)
        return version in versions
    if api_version.partition("/")[0] in SPLIT_GROUPS + SPECS_GROUPS and kind not in _SKIPPED_SMI_KINDS:
        report.add(node.nodes["kind"], "unknown kind in an SMI group", repr(kind), "TrafficSplit or HTTPRouteGroup")
    return _is_policy(kind, api_version, node, report)


def _is_policy(kind: str, api_version: str, node: Fields, report: Report) -> bool:
    group, _, version = api_version.partition("/")
    known = _POLICY_KINDS.get(kind)
    if known is not None and group == known[0]:
        if version in known[1]:
            return True
        want = f"{group}/{' or '.join(known[1])}"
        report.add(node.nodes["apiVersion"], f"unknown apiVersion of a {kind}", repr(api_version), want)
    elif group in (_LINKERD, parse_access.GROUP) and kind not in _SKIPPED_POLICY_KINDS:
        wanted = [name for name, (of, _) in _POLICY_KINDS.items() if of == group]
        report.add(node.nodes["kind"], "unknown kind of access policy", repr(kind), " or ".join(wanted))
    return False


def _is_known_version(kind: str, api_version: str, node: Fields, report: Report) -> bool:
    group, _, version = api_version.partition("/")
    groups = _SMI_KINDS[kind]
    if group in groups and version in SMI_VERSIONS:
        return True
    want = f"{groups[0]}/{SMI_VERSIONS[0]} to {SMI_VERSIONS[-1]}"
    report.add(node.nodes["apiVersion"], f"unknown apiVersion of a {kind}", repr(api_version), want)
    return False
