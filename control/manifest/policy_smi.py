"""TrafficTarget of SMI, all versions, from nodes: additive allow, and all else to that destination is denied.

v1alpha1 has its fields at the top and says `specs` for `rules`. A destination is a ServiceAccount, which nobody can
resolve without pods: the annotation milliroute.io/service names its Service, else the Service has the account's name.
"""

from collections.abc import Iterator

from milliroute.control.manifest import fields
from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.metadata import Metadata
from milliroute.control.manifest.nodes import Fields, Scalar
from milliroute.control.manifest.policy_linkerd import SERVICE, read_annotations
from milliroute.control.model import Reference, TargetRule, TrafficTarget

GROUP = "access.smi-spec.io"
_FIELDS = ("destination", "sources", "rules")


def traffic_target(node: Fields, metadata: Metadata, report: Report) -> TrafficTarget | None:
    """A TrafficTarget; None or errors in the report when it is not valid."""
    spec = node if node.get("spec") is None else fields.fields(node.get("spec"), "spec", node, report)
    annotations = read_annotations(metadata, (SERVICE,), report)
    if spec is None:
        return None
    if spec is not node:
        fields.only(spec, "spec", _FIELDS, report)
    destination = fields.fields(spec.get("destination"), "destination", spec, report)
    if destination is None:
        return None
    where = _peer(destination, ("ServiceAccount", "Service"), metadata.namespace, report)
    sources = tuple(
        _peer(source, ("ServiceAccount",), metadata.namespace, report)
        for source in fields.mappings(spec, "sources", report)
    )
    if not sources:
        report.add(spec.nodes.get("sources", spec), "no sources", "none", "a list of ServiceAccounts")
    return TrafficTarget(
        namespace=metadata.namespace,
        name=metadata.name,
        service=annotations.get(SERVICE, f"{where.name}.{where.namespace}" if where.name else ""),
        sources=sources,
        rules=tuple(_rules(spec, report)),
        port=0 if destination.get("port") is None else fields.number(destination, "port", report, low=1, high=65535),
        origin=metadata.origin,
    )


def _peer(node: Fields, kinds: tuple[str, ...], namespace: str, report: Report) -> Reference:
    fields.only(node, "a destination or source", ("kind", "name", "namespace", "port"), report)
    kind = fields.text(node, "kind", report)
    if kind and kind not in kinds:
        report.add(node.nodes["kind"], "bad kind", repr(kind), " or ".join(kinds))
    own = fields.dns_label(node, "namespace", report, default=namespace)
    return Reference(kind, own, fields.dns_name(node, "name", report))


def _rules(spec: Fields, report: Report) -> Iterator[TargetRule]:
    for node in fields.mappings(spec, "specs" if spec.get("rules") is None else "rules", report):
        fields.only(node, "a rule", ("kind", "name", "matches"), report)
        kind, name = fields.text(node, "kind", report), fields.dns_name(node, "name", report)
        if kind == "TCPRoute":
            yield TargetRule()
        elif kind == "HTTPRouteGroup":
            yield TargetRule(name, tuple(_names(node, report)))
        elif kind:
            report.add(node.nodes["kind"], "bad kind of a rule", repr(kind), "HTTPRouteGroup or TCPRoute")


def _names(node: Fields, report: Report) -> Iterator[str]:
    for item in fields.items(node, "matches", report):
        if isinstance(item, Scalar) and item.text:
            yield item.text
        else:
            report.add(item, "bad match", item, "the name of a match of the group")
