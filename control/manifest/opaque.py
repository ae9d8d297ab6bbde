"""The annotation config.linkerd.io/opaque-ports of a Service, ours too: ports of TCP, whatever they seem to speak.

In: the annotations with their positions. Out: the ports, by number and by name.
"""

import re
from dataclasses import dataclass

from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.nodes import Fields, Node

ANNOTATIONS = ("config.milliroute.io/opaque-ports", "config.linkerd.io/opaque-ports")
# The appProtocol that says the same.
OPAQUE = "linkerd.io/opaque"

_NUMBERS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?\Z")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class OpaquePorts:
    """`ranges` are (first, last)."""

    ranges: tuple[tuple[int, int], ...] = ()
    names: frozenset[str] = frozenset()

    def has(self, port: int, name: str) -> bool:
        return name in self.names or any(first <= port <= last for first, last in self.ranges)


def read_opaque(annotations: Fields, report: Report) -> OpaquePorts:
    """Ours beats Linkerd's."""
    for name in ANNOTATIONS:
        node = annotations.nodes.get(name)
        if node is not None:
            return _parse(name, getattr(node, "text", ""), node, report)
    return OpaquePorts()


def _parse(name: str, text: str, node: Node, report: Report) -> OpaquePorts:
    ranges: list[tuple[int, int]] = []
    port_names: set[str] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        numbers = _NUMBERS.match(part)
        first = int(numbers[1]) if numbers else 0
        last = int(numbers[2] or numbers[1]) if numbers else 0
        if numbers and 1 <= first <= last <= 65535:
            ranges.append((first, last))
        elif not numbers and _NAME.match(part):
            port_names.add(part)
        else:
            report.add(node, f"bad {name}", repr(part), "port numbers, ranges such as 9000-9010, or names of ports")
    return OpaquePorts(tuple(ranges), frozenset(port_names))
