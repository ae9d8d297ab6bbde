"""The annotations health.milliroute.io/...: how the endpoints of a Service are checked.

In: the annotations of a Service with their positions. Out: a HealthCheck, None where none is asked for. A bad value is
an error: ignored in silence, nobody would be checked.
"""

import re

import msgspec

from milliroute.control.errors import DurationError
from milliroute.control.manifest import duration
from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.nodes import Fields, Scalar
from milliroute.control.model import HealthCheck

PREFIX = "health.milliroute.io/"
# RFC 9112 section 3.2.1, origin-form; short enough for any log.
_PATH = re.compile(r"/[!-~]{0,255}\Z")
# A name of protobuf; its length fits into one byte of the message.
_SERVICE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,126}\Z|\Z")
MIN_INTERVAL_MS = 100


def read_health(annotations: Fields, report: Report) -> HealthCheck | None:
    kinds: list[tuple[str, str]] = []
    numbers: dict[str, int] = {}
    for key, node in annotations.nodes.items():
        if not key.startswith(PREFIX) or not isinstance(node, Scalar):
            continue
        name = key.removeprefix(PREFIX)
        if name in _KINDS:
            pattern, wanted = _KINDS[name]
            if not pattern.match(node.text):
                report.add(node, f"bad {key}", node, wanted)
            kinds.append((name, "" if name == "tcp" else node.text))
        elif name in _TIMES:
            numbers[_TIMES[name]] = _time(key, node, report)
        elif name in _COUNTS:
            numbers[_COUNTS[name]] = _count(key, node, report)
        else:
            wanted = ", ".join(PREFIX + known for known in (*_KINDS, *_TIMES, *_COUNTS))
            report.add(annotations.keys.get(key, node), "unknown annotation", repr(key), wanted)
    if len(kinds) > 1 or (numbers and not kinds):
        named = ", ".join(name for name, _ in kinds) or "none"
        report.add(annotations, f"kinds of {PREFIX}", named, "one of http, tcp and grpc")
    if len(kinds) != 1:
        return None
    kind, target = kinds[0]
    return msgspec.convert({"kind": kind, "target": target, **numbers}, HealthCheck)


def _time(key: str, node: Scalar, report: Report) -> int:
    try:
        found = duration.parse_ms(node.text)
    except DurationError as error:
        report.add_value(node, key, error)
        return MIN_INTERVAL_MS
    if found < MIN_INTERVAL_MS:
        report.add(node, f"bad {key}", node, f"at least {MIN_INTERVAL_MS}ms")
    return found


def _count(key: str, node: Scalar, report: Report) -> int:
    text = node.text
    if text.isascii() and text.isdigit() and len(text) <= 3 and int(text):
        return int(text)
    report.add(node, f"bad {key}", node, "a whole number from 1 to 999")
    return 1


# Annotation -> pattern, and what it wants in words.
_KINDS = {
    "http": (_PATH, "a path such as /healthz"),
    "tcp": (re.compile(r"true\Z"), '"true"'),
    "grpc": (_SERVICE, 'the name of a service, or "" for all'),
}
_TIMES = {"interval": "interval_ms", "timeout": "timeout_ms"}
_COUNTS = {"unhealthy-after": "unhealthy_after", "healthy-after": "healthy_after"}
