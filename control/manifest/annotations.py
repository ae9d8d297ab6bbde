"""The annotations that a TrafficSplit may carry: milliroute.io/sticky, ramp, empty-leaf, failover, fault and
rate-limit.

In: the annotations with their positions. Out: what they mean. One of ours that is unknown or has a bad value is an
error: ignored in silence, it would route otherwise than its writer believes.
"""

import re
from dataclasses import dataclass, replace

from milliroute.control.errors import DurationError
from milliroute.control.manifest import duration, fault
from milliroute.control.manifest.fault import FaultError
from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.nodes import Fields, Scalar
from milliroute.control.manifest.rate_limit import RATE_LIMIT, read_rate_limit
from milliroute.control.model import Fault, RateLimit, Sticky

PREFIX = "milliroute.io/"
STICKY = PREFIX + "sticky"
RAMP = PREFIX + "ramp"
EMPTY_LEAF = PREFIX + "empty-leaf"
FAULT = PREFIX + "fault"
FAILOVER = PREFIX + "failover"

# RFC 9110 section 5.6.2 (field names), which RFC 6265 section 4.1.1 uses for cookie names too.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}\Z")


@dataclass(frozen=True, slots=True)
class Policy:
    """`ramp_ms` 0: weights hold at once."""

    sticky: Sticky | None = None
    ramp_ms: int = 0
    strict_empty_leaf: bool = False
    fault: Fault | None = None
    is_failover: bool = False
    rate_limit: RateLimit | None = None


def read_policy(annotations: Fields, report: Report) -> Policy:
    """What the annotations of ours say; foreign ones are left alone."""
    policy = Policy()
    for key, node in annotations.nodes.items():
        if key.startswith(PREFIX) and isinstance(node, Scalar):
            policy = _with(policy, key, node, annotations, report)
    if policy.is_failover and (policy.ramp_ms or policy.strict_empty_leaf):
        other = RAMP if policy.ramp_ms else EMPTY_LEAF
        report.add(annotations.nodes[other], f"{other} of a failover split", repr(other), f"{FAILOVER} without it")
    return policy


def _with(policy: Policy, key: str, node: Scalar, annotations: Fields, report: Report) -> Policy:
    if key == STICKY:
        return replace(policy, sticky=_sticky(node, report))
    if key == RAMP:
        return replace(policy, ramp_ms=_ramp(node, report))
    if key == FAULT:
        return replace(policy, fault=_fault(node, report))
    if key == RATE_LIMIT:
        return replace(policy, rate_limit=read_rate_limit(annotations, report))
    if key == EMPTY_LEAF:
        if node.text != "strict":
            report.add(node, f"bad {key}", node, "strict, or no such annotation")
        return replace(policy, strict_empty_leaf=node.text == "strict")
    if key == FAILOVER:
        if node.text not in ("true", "false"):
            report.add(node, f"bad {key}", node, '"true" or "false"')
        return replace(policy, is_failover=node.text == "true")
    wanted = f"{STICKY}, {RAMP}, {FAULT}, {RATE_LIMIT}, {FAILOVER} or {EMPTY_LEAF}"
    report.add(annotations.keys.get(key, node), "unknown annotation", repr(key), wanted)
    return policy


def _sticky(node: Scalar, report: Report) -> Sticky | None:
    by, equals, name = node.text.partition("=")
    if by == "client-ip" and not equals:
        return Sticky("client-ip")
    if _TOKEN.match(name):
        if by == "header":
            return Sticky("header", name.lower())
        if by == "cookie":
            return Sticky("cookie", name)
    report.add(node, f"bad {STICKY}", node, "header=NAME, cookie=NAME or client-ip")
    return None


def _fault(node: Scalar, report: Report) -> Fault | None:
    try:
        return fault.parse(node.text)
    except FaultError as error:
        report.add_value(node, FAULT, error)
        return None


def _ramp(node: Scalar, report: Report) -> int:
    try:
        return duration.parse_ms(node.text)
    except DurationError as error:
        report.add_value(node, RAMP, error)
        return 0
