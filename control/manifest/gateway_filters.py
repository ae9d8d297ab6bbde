"""The filters of a Gateway API rule or of a backend in it, from nodes.

In: a rule or a backend, and the rule's matches. Out: Filters, and messages about those that we do not do. The rule not
to break: no field goes out by a filter that frames a message, belongs to one connection, or is an order to proxies.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from milliroute.control.gateway import Filters, HeaderChange, PathChange, Redirect, Rewrite, RouteMatch
from milliroute.control.manifest import fields
from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.gateway_matches import HEADER_NAME, PATH
from milliroute.control.manifest.nodes import Fields, Node, Scalar

_VALUE = re.compile(r"[!-~](?:[\t -~]{0,4094}[!-~])?\Z")
_HOSTNAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*\Z"
)
_STATUSES = ("301", "302", "303", "307", "308")
# RFC 9110 section 7.6.1 and what frames or routes a message; a host is changed by URLRewrite.
FORBIDDEN = frozenset((
    "connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-connection", "te",
    "trailer", "transfer-encoding", "upgrade",
))  # fmt: skip

# Filters of the API that we do not do, by type.
_NOT_DONE = ("RequestMirror", "ExtensionRef", "CORS", "ExternalAuth")


@dataclass(frozen=True, slots=True)
class Found:
    filters: Filters
    unsupported: tuple[str, ...] = ()


def read_filters(parent: Fields, matches: Sequence[RouteMatch], report: Report, *, is_backend: bool = False) -> Found:
    found, unsupported = Filters(), []
    seen: set[str] = set()
    for node in fields.mappings(parent, "filters", report):
        kind = fields.text(node, "type", report)
        name = kind[:3].lower() + kind[3:] if kind.startswith("URL") else kind[:1].lower() + kind[1:]
        if kind in _NOT_DONE or (is_backend and kind in ("RequestRedirect", "URLRewrite")):
            unsupported.append(f"filter {kind}" + (" of a backend" if is_backend else ""))
        elif kind not in _READERS:
            report.add(node.nodes.get("type", node), "bad type of a filter", repr(kind), " or ".join(_READERS))
        else:
            fields.only(node, f"a filter {kind}", ("type", name), report)
            if kind in seen:
                report.add(node, f"filter {kind} twice", repr(kind), "each once")
            seen.add(kind)
            body = fields.fields(node.get(name), name, node, report)
            if body is not None:
                found = _READERS[kind](found, body, matches, report)
    if found.redirect and found.rewrite:
        report.add(parent.nodes["filters"], "both a redirect and a rewrite", "both", "one of them")
    return Found(found, tuple(unsupported))


def _request(found: Filters, node: Fields, matches: Sequence[RouteMatch], report: Report) -> Filters:
    return replace(found, request=_change(node, report))


def _response(found: Filters, node: Fields, matches: Sequence[RouteMatch], report: Report) -> Filters:
    return replace(found, response=_change(node, report))


def _change(node: Fields, report: Report) -> HeaderChange:
    fields.only(node, "a header modifier", ("set", "add", "remove"), report)
    removed = []
    for item in fields.items(node, "remove", report):
        name = item.text if isinstance(item, Scalar) else ""
        _check_name(name, item, report)
        removed.append(name.lower())
    return HeaderChange(tuple(_headers(node, "set", report)), tuple(_headers(node, "add", report)), tuple(removed))


def _headers(parent: Fields, name: str, report: Report) -> Iterator[tuple[str, str]]:
    for node in fields.mappings(parent, name, report):
        fields.only(node, "a header", ("name", "value"), report)
        header, value = fields.text(node, "name", report), fields.text(node, "value", report)
        if header:
            _check_name(header, node.nodes["name"], report)
        if value and not _VALUE.match(value):
            report.add(node.nodes["value"], "bad value of a header", repr(value), "plain ASCII, no blanks at its ends")
        yield header.lower(), value


def _check_name(name: str, at: Node, report: Report) -> None:
    lower = name.lower()
    if HEADER_NAME.match(name) and lower not in FORBIDDEN and not lower.replace("_", "-").startswith("l5d-"):
        return
    wanted = f"an HTTP field name, none of l5d-*, {', '.join(sorted(FORBIDDEN))}"
    report.add(at, "bad name of a header", repr(name), wanted)


def _rewrite(found: Filters, node: Fields, matches: Sequence[RouteMatch], report: Report) -> Filters:
    fields.only(node, "a rewrite", ("hostname", "path"), report)
    return replace(found, rewrite=Rewrite(_hostname(node, report), _path_change(node, matches, report)))


def _redirect(found: Filters, node: Fields, matches: Sequence[RouteMatch], report: Report) -> Filters:
    fields.only(node, "a redirect", ("scheme", "hostname", "path", "port", "statusCode"), report)
    scheme = fields.text(node, "scheme", report, default="")
    if scheme not in ("", "http", "https"):
        report.add(node.nodes["scheme"], "bad scheme", repr(scheme), "http or https")
    status = fields.text(node, "statusCode", report, default="302")
    if status not in _STATUSES:
        report.add(node.nodes["statusCode"], "bad statusCode", repr(status), " or ".join(_STATUSES))
        status = "302"
    port = fields.number(node, "port", report, low=1, high=65535) if node.get("port") is not None else 0
    path = _path_change(node, matches, report)
    return replace(found, redirect=Redirect(scheme, _hostname(node, report), port, path, int(status)))


def _hostname(node: Fields, report: Report) -> str:
    found = fields.text(node, "hostname", report, default="")
    if found and not _HOSTNAME.match(found):
        report.add(node.nodes["hostname"], "bad hostname", repr(found), "a lower-case DNS name")
        return ""
    return found


def _path_change(parent: Fields, matches: Sequence[RouteMatch], report: Report) -> PathChange | None:
    if parent.get("path") is None:
        return None
    node = fields.optional_fields(parent, "path", report)
    fields.only(node, "a path", ("type", "replaceFullPath", "replacePrefixMatch"), report)
    kind = fields.text(node, "type", report)
    if kind == "ReplaceFullPath":
        return PathChange(_replacement(node, "replaceFullPath", report))
    if kind != "ReplacePrefixMatch":
        if kind:
            wanted = "ReplaceFullPath or ReplacePrefixMatch"
            report.add(node.nodes["type"], "bad type of a path", repr(kind), wanted)
        return None
    path = _replacement(node, "replacePrefixMatch", report)
    if len(matches) != 1 or matches[0].path_kind != "PathPrefix":
        report.add(node, "replacePrefixMatch", f"{len(matches)} matches", "one match of the rule, by PathPrefix")
    return PathChange(path, True, matches[0].path)


def _replacement(node: Fields, name: str, report: Report) -> str:
    found = fields.text(node, name, report, default="")
    if found and not PATH.match(found):
        report.add(node.nodes[name], f"bad {name}", repr(found), "a path such as /v1, from its slash on")
    return found or "/"


_Reader = Callable[[Filters, Fields, Sequence[RouteMatch], Report], Filters]
_READERS: dict[str, _Reader] = {
    "RequestHeaderModifier": _request,
    "ResponseHeaderModifier": _response,
    "URLRewrite": _rewrite,
    "RequestRedirect": _redirect,
}
