"""What a rule of a Gateway API route matches, from nodes: path, method, headers, query parameters, gRPC methods.

In: a rule. Out: its RouteMatches, at least one. Expressions are RE2 and match the whole: the API leaves both open, and
Linkerd and Envoy read them so.
"""

import re
from collections.abc import Iterator
from typing import Literal, get_args

from milliroute.control.gateway import PathKind, RouteMatch, ValueMatch
from milliroute.control.manifest import fields
from milliroute.control.manifest.expression import check_regex
from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.nodes import Fields

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}\Z")
# What may stand in a path and in no other part of a URL; the API allows no dots and double slashes in what it compares.
PATH = re.compile(r"/[!-\"$->@-~]{0,1023}\Z")
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}\Z")
_QUERY_NAME = re.compile(r"[!-~]{1,256}\Z")
_GRPC_SERVICE = re.compile(r"\.?[A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_][A-Za-z_0-9]*)*\Z")
_GRPC_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*\Z")

_REGEX: Literal["RegularExpression"] = "RegularExpression"
_PATH_KINDS: tuple[PathKind, ...] = get_args(PathKind)


def http_matches(rule: Fields, report: Report) -> tuple[RouteMatch, ...]:
    return tuple(_http(node, report) for node in fields.mappings(rule, "matches", report)) or (RouteMatch(),)


def grpc_matches(rule: Fields, report: Report) -> tuple[RouteMatch, ...]:
    return tuple(_grpc(node, report) for node in fields.mappings(rule, "matches", report)) or (RouteMatch(),)


def _http(node: Fields, report: Report) -> RouteMatch:
    fields.only(node, "a match", ("path", "headers", "queryParams", "method"), report)
    kind, path = _path(fields.optional_fields(node, "path", report), report)
    method = fields.text(node, "method", report, default="")
    if method and not _METHOD.match(method):
        report.add(node.nodes["method"], "bad method", repr(method), "an upper-case method such as GET")
    return RouteMatch(
        path_kind=kind,
        path=path,
        method=method,
        headers=_headers(node, report),
        query=_unique(_values(node, "queryParams", _QUERY_NAME, report)),
    )


def _path(node: Fields, report: Report) -> tuple[PathKind, str]:
    fields.only(node, "a path match", ("type", "value"), report)
    written = fields.text(node, "type", report, default="PathPrefix")
    value = fields.text(node, "value", report, default="/")
    kind = next((known for known in _PATH_KINDS if known == written), None)
    if kind is None:
        report.add(node.nodes["type"], "bad type of a path match", repr(written), " or ".join(_PATH_KINDS))
        return "Exact", "/"
    if kind == _REGEX:
        check_regex(node, "value", report)
    elif not PATH.match(value):
        report.add(node.nodes.get("value", node), "bad path", repr(value), "a path such as /v1, from its slash on")
    return kind, value.rstrip("/") if kind == "PathPrefix" else value


def _headers(node: Fields, report: Report) -> tuple[ValueMatch, ...]:
    found = _values(node, "headers", HEADER_NAME, report)
    return _unique(ValueMatch(one.name.lower(), one.value, one.is_regex) for one in found)


def _values(node: Fields, name: str, names: re.Pattern[str], report: Report) -> Iterator[ValueMatch]:
    for found in fields.mappings(node, name, report):
        fields.only(found, f"one of {name}", ("type", "name", "value"), report)
        written = fields.text(found, "name", report)
        if written and not names.match(written):
            report.add(found.nodes["name"], f"bad name in {name}", repr(written), "a name in plain ASCII")
        is_regex = _is_regex(found, report)
        value = fields.text(found, "value", report)
        if is_regex and value:
            check_regex(found, "value", report)
        yield ValueMatch(written, value, is_regex)


def _unique(found: Iterator[ValueMatch]) -> tuple[ValueMatch, ...]:
    """Of several with one name the API takes the first and forgets the others."""
    first: dict[str, ValueMatch] = {}
    for one in found:
        first.setdefault(one.name, one)
    return tuple(first.values())


def _is_regex(node: Fields, report: Report) -> bool:
    written = fields.text(node, "type", report, default="Exact")
    if written not in ("Exact", _REGEX):
        report.add(node.nodes["type"], "bad type of a match", repr(written), f"Exact or {_REGEX}")
    return written == _REGEX


def _grpc(node: Fields, report: Report) -> RouteMatch:
    fields.only(node, "a match", ("method", "headers"), report)
    method = fields.optional_fields(node, "method", report)
    fields.only(method, "a method match", ("type", "service", "method"), report)
    service = fields.text(method, "service", report, default="")
    name = fields.text(method, "method", report, default="")
    is_regex = _is_regex(method, report)
    if is_regex:
        for part in ("service", "method"):
            check_regex(method, part, report)
    elif (service and not _GRPC_SERVICE.match(service)) or (name and not _GRPC_METHOD.match(name)):
        report.add(method, "bad gRPC method", repr(f"{service}/{name}"), "names such as shop.v1.Cart and Add")
    if method.nodes and not (service or name):
        report.add(method, "a method match without service and method", "neither", "one of them, or both")
    kind, path = _grpc_path(service, name, is_regex)
    return RouteMatch(
        path_kind=kind,
        path=path,
        headers=_headers(node, report),
        service_chars=len(service),
        method_chars=len(name),
    )


def _grpc_path(service: str, method: str, is_regex: bool) -> tuple[PathKind, str]:
    """gRPC's path is /SERVICE/METHOD."""
    if not (service or method):
        return "PathPrefix", ""
    if is_regex:
        return _REGEX, f"/(?:{service or '[^/]+'})/(?:{method or '[^/]+'})"
    if not service:
        return _REGEX, f"/[^/]+/{re.escape(method)}"
    return ("Exact", f"/{service}/{method}") if method else ("PathPrefix", f"/{service}")
