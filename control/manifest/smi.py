"""TrafficSplit and HTTPRouteGroup of SMI, all versions, from nodes.

Versions differ little and circulate mixed up, so each field is read as in any version: Quantities where the version
says integers, `matches` where it has none yet, and a group's matches at the top (v1alpha1, v1alpha2) or under spec.
"""

import re
from collections.abc import Iterator

from milliroute.control import names, quantity
from milliroute.control.errors import QuantityError
from milliroute.control.manifest import fields
from milliroute.control.manifest.annotations import read_policy
from milliroute.control.manifest.expression import check_regex
from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.metadata import Metadata
from milliroute.control.manifest.nodes import Fields, Items, Scalar
from milliroute.control.manifest.traffic import read_traffic
from milliroute.control.model import HeaderMatch, HTTPRouteGroup, Leaf, Match, TrafficSplit

# RFC 9110 section 9.1: methods are case-sensitive tokens; all registered ones are upper case.
_METHOD = re.compile(r"\*\Z|[A-Z][A-Z0-9_-]{0,31}\Z")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}\Z")

_WEIGHT_WANTED = "a quantity from 0 to 1e12 such as 900m, 1 or 0.1"


def traffic_split(node: Fields, metadata: Metadata, report: Report) -> TrafficSplit | None:
    """A TrafficSplit; None or errors in the report when it is not valid."""
    spec = fields.fields(node.get("spec"), "spec", node, report)
    policy = read_policy(metadata.annotation_nodes, report)
    if spec is None:
        return None
    fields.only(spec, "spec", ("service", "backends", "matches"), report)
    apex = fields.dns_name(spec, "service", report)
    backends = tuple(_leaves(spec, apex, metadata.namespace, report))
    return TrafficSplit(
        namespace=metadata.namespace,
        name=metadata.name,
        apex=apex,
        backends=backends,
        matches=tuple(_references(spec, report)),
        annotations=metadata.annotations,
        created=metadata.created,
        sticky=policy.sticky,
        ramp_ms=policy.ramp_ms,
        strict_empty_leaf=policy.strict_empty_leaf,
        is_failover=policy.is_failover,
        fault=policy.fault,
        rate_limit=policy.rate_limit,
        policy=read_traffic(metadata.annotation_nodes, report),
        origin=metadata.origin,
    )


def _leaves(spec: Fields, apex: str, namespace: str, report: Report) -> Iterator[Leaf]:
    seen: dict[str, int] = {}
    listed = list(fields.mappings(spec, "backends", report))
    for node in listed:
        fields.only(node, "a backend", ("service", "weight"), report)
        leaf = Leaf(fields.dns_name(node, "service", report), *_weight(node, report))
        key = names.canonical(leaf.service, namespace) if leaf.service else ""
        if key in seen:
            at = node.nodes["service"]
            first = f", first at line {seen[key]}" if seen[key] else ""
            report.add(at, "backend listed twice", f"{leaf.service!r}{first}", "each backend once")
        elif key:
            seen[key] = node.line
        yield leaf
    _check_backends(spec, listed, list(seen), names.canonical(apex, namespace) if apex else "", report)


def _check_backends(spec: Fields, listed: list[Fields], keys: list[str], apex: str, report: Report) -> None:
    at = spec.nodes.get("backends", spec)
    is_list = spec.get("backends") is None or isinstance(at, Items)  # otherwise reported already
    if not listed and is_list:
        report.add(at, "no backends", "none", "a list of service and weight")
    elif len(listed) == 1 and keys == [apex]:
        report.add(at, "the split names only itself as a backend", repr(keys[0]), "at least one other backend")


def _weight(backend: Fields, report: Report) -> tuple[int, str]:
    node = backend.get("weight")
    if node is None:
        report.add(backend.nodes.get("weight", backend), "missing weight", "nothing", _WEIGHT_WANTED)
    elif not isinstance(node, Scalar):
        report.add(node, "bad weight", node, _WEIGHT_WANTED)
    else:
        try:
            return quantity.parse(node.text), node.text
        except QuantityError as error:
            report.add_value(node, "weight", error)
    return 0, ""


def _references(spec: Fields, report: Report) -> Iterator[tuple[str, str]]:
    for node in fields.mappings(spec, "matches", report):
        fields.only(node, "a reference", ("kind", "name", "apiGroup"), report)
        kind = fields.text(node, "kind", report)
        if kind and kind != "HTTPRouteGroup":
            report.add(node.nodes["kind"], "a split may only match by", repr(kind), "HTTPRouteGroup")
        yield kind, fields.dns_name(node, "name", report)


def route_group(node: Fields, metadata: Metadata, report: Report) -> HTTPRouteGroup | None:
    """An HTTPRouteGroup; None or errors in the report when it is not valid."""
    spec = node if node.get("spec") is None else fields.fields(node.get("spec"), "spec", node, report)
    if spec is None:
        return None
    if spec.get("matches") is None:
        report.add(spec, "missing matches", "nothing", "a list of matches")
    matches = tuple(_match(found, report) for found in fields.mappings(spec, "matches", report))
    return HTTPRouteGroup(metadata.namespace, metadata.name, matches, metadata.origin)


def _match(node: Fields, report: Report) -> Match:
    fields.only(node, "a match", ("name", "pathRegex", "methods", "headers"), report)
    return Match(
        name=fields.text(node, "name", report, default=""),
        path_regex=_regex(node, "pathRegex", report),
        methods=tuple(_methods(node, report)),
        headers=tuple(_headers(node, report)),
    )


def _methods(node: Fields, report: Report) -> Iterator[str]:
    for item in fields.items(node, "methods", report):
        if isinstance(item, Scalar) and _METHOD.match(item.text):
            yield item.text
        else:
            report.add(item, "bad method", item, "an upper-case method such as GET, or '*'")


def _headers(node: Fields, report: Report) -> Iterator[HeaderMatch]:
    """A map, as Go has it, or a list of one-key maps, as the CRD of the SDK has it."""
    written = node.get("headers")
    if isinstance(written, Items):
        maps = list(fields.mappings(node, "headers", report))
    else:
        maps = [fields.optional_fields(node, "headers", report)]
    for found in maps:
        for name, value in found.nodes.items():
            if not _HEADER_NAME.match(name):
                report.add(found.keys.get(name, value), "bad header name", repr(name), "an HTTP field name")
            yield HeaderMatch(name.lower(), _regex(found, name, report))


def _regex(parent: Fields, name: str, report: Report) -> str:
    node = parent.get(name)
    if node is None:
        return ""
    if not isinstance(node, Scalar):
        report.add(node, f"bad {name}", node, "a regular expression (RE2)")
        return ""
    check_regex(parent, name, report)
    return node.text
