"""Readers of single fields: each takes a node and gives a value, or reports what it saw and what it wanted, and where.

A Report collects every error of one file, so that a reader goes on after a bad field; the object it stood in is
dropped.
"""

import re
from collections.abc import Iterator, Mapping

from milliroute.control.errors import ValueTextError
from milliroute.control.manifest.nodes import Fields, Items, Node, Scalar
from milliroute.control.model import Origin

# RFC 1123 labels, as Kubernetes names its Services, with dots where a host or `name.namespace` may stand.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\Z")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}\Z")


class Report:
    """The errors of one file, in the order in which they are met."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.errors: list[str] = []

    def add(self, at: Node, what: str, saw: object, want: str) -> None:
        self.errors.append(f"{self.origin(at)}: {what} (saw {saw}, want {want})")

    def add_value(self, at: Node, where: str, error: ValueTextError) -> None:
        """What a parser of values said, with the name of the field before it."""
        self.add(at, f"{where}: {error.what}", repr(error.saw), error.want)

    def origin(self, at: Node) -> Origin:
        return Origin(self.path, at.line, at.column)


def fields(node: Node | None, name: str, parent: Node, report: Report) -> Fields | None:
    """A mapping that must be there."""
    if isinstance(node, Fields):
        return node
    _wrong(node, name, "a mapping", parent, report)
    return None


def optional_fields(parent: Fields, name: str, report: Report) -> Fields:
    """A mapping that may be absent or null, and is empty then."""
    node = parent.get(name)
    found = fields(node, name, parent, report) if node is not None else None
    return found or Fields({}, parent.line, parent.column)


def items(parent: Fields, name: str, report: Report) -> tuple[Node, ...]:
    """A list that may be absent or null, and is empty then."""
    node = parent.get(name)
    if node is None or isinstance(node, Items):
        return node.nodes if node is not None else ()
    _wrong(node, name, "a list", parent, report)
    return ()


def mappings(parent: Fields, name: str, report: Report) -> Iterator[Fields]:
    """The mappings of such a list; what is no mapping is reported and left out."""
    for position, node in enumerate(items(parent, name, report)):
        found = fields(node, f"{name}[{position}]", node, report)
        if found is not None:
            yield found


def text(parent: Fields, name: str, report: Report, default: str | None = None) -> str:
    """A text; required unless there is a default. "" after an error."""
    node = parent.get(name)
    if isinstance(node, Scalar) and (node.text or default is not None):
        return node.text
    if node is not None or default is None:
        _wrong(node, name, "a text", parent, report)
    return default or ""


def dns_name(parent: Fields, name: str, report: Report, default: str | None = None) -> str:
    """The name of an object or a host: lower case, as Kubernetes demands. "" after an error."""
    found = text(parent, name, report, default)
    if found and not _NAME.match(found):
        report.add(parent.nodes.get(name, parent), f"bad {name}", repr(found), "a lower-case DNS name")
        return ""
    return found


def dns_label(parent: Fields, name: str, report: Report, default: str | None = None) -> str:
    """The same without dots: a namespace, a Service."""
    found = dns_name(parent, name, report, default)
    if "." in found:
        report.add(parent.nodes.get(name, parent), f"bad {name}", repr(found), "a DNS label, without dots")
        return ""
    return found


def number(parent: Fields, name: str, report: Report, *, low: int, high: int) -> int:
    """A required integer within bounds; 0 after an error."""
    node = parent.get(name)
    if isinstance(node, Scalar) and _INTEGER.match(node.text) and low <= int(node.text) <= high:
        return int(node.text)
    _wrong(node, name, f"a number from {low} to {high}", parent, report)
    return 0


def flag(parent: Fields, name: str, report: Report, *, default: bool) -> bool:
    """true or false; null and absent are the default."""
    node = parent.get(name)
    if node is None:
        return default
    if isinstance(node, Scalar) and node.is_plain and node.text.lower() in ("true", "false"):
        return node.text.lower() == "true"
    _wrong(node, name, "true or false", parent, report)
    return default


def texts(parent: Fields, name: str, report: Report) -> Mapping[str, str]:
    """A mapping of texts, such as labels and annotations."""
    found: dict[str, str] = {}
    for key, node in optional_fields(parent, name, report).nodes.items():
        if isinstance(node, Scalar):
            found[key] = node.text
        else:
            _wrong(node, f"{name}.{key}", "a text", parent, report)
    return found


def only(parent: Fields, what: str, known: tuple[str, ...], report: Report) -> None:
    """Report fields that we do not know: a typo in them would change the routing silently."""
    for key, node in parent.nodes.items():
        if key not in known:
            report.add(parent.keys.get(key, node), f"unknown field in {what}", repr(key), " or ".join(known))


def _wrong(node: Node | None, name: str, want: str, parent: Node, report: Report) -> None:
    if node is None:
        report.add(parent, f"missing {name}", "nothing", want)
    else:
        report.add(node, f"bad {name}", node, want)
