"""The annotations about failures and time: retry.*, timeout.* and balancer.* under linkerd.io and milliroute.io.

In: the annotations of a Service or a TrafficSplit with their positions. Out: a TrafficPolicy and a FailureAccrual, None
where nothing is said. Linkerd's names mean what they mean there; ours, which win, have the same and a few more. A bad
value of either is an error: ignored in silence, it would route otherwise than its writer believes.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

import msgspec

from milliroute.control.errors import DurationError
from milliroute.control.manifest import duration
from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.nodes import Fields, Scalar
from milliroute.control.model import FailureAccrual, TrafficPolicy

# In order: what comes later wins.
DOMAINS = ("linkerd.io", "alpha.linkerd.io", "milliroute.io")
OURS = DOMAINS[-1]

# Linkerd's words for gRPC statuses that may be tried again.
GRPC_CODES = {"cancelled": 1, "deadline-exceeded": 4, "resource-exhausted": 8, "internal": 13, "unavailable": 14}
MAX_RETRIES = 10

_STATUS = re.compile(r"([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?\Z")
_METHOD = re.compile(r"\*\Z|[A-Z][A-Z0-9_-]{0,31}\Z")
_SHARE = re.compile(r"0|1|0?\.[0-9]{1,6}|1\.0{1,6}")

# A reader gives what goes into the policy, or None after an error.
_Reader = Callable[[str], object]


class _BadValue(Exception):
    """wanted: in words."""


def read_traffic(annotations: Fields, report: Report) -> TrafficPolicy | None:
    """Retries and timeouts; None where nothing is said of them."""
    found = dict(_read(annotations, report, _TRAFFIC))
    return msgspec.convert(found, TrafficPolicy) if found else None


def read_accrual(annotations: Fields, report: Report) -> FailureAccrual | None:
    """Failure accrual, where balancer.*/failure-accrual asks for it."""
    found = dict(_read(annotations, report, _BALANCER))
    mode = found.pop("mode", None)
    if mode is None:
        return None
    accrual = msgspec.convert(found, FailureAccrual)
    if mode == "consecutive":
        return replace(accrual, success_rate_percent=0)
    return replace(accrual, max_failures=0) if mode == "success-rate" else accrual


def _read(annotations: Fields, report: Report, readers: dict[str, tuple[str, _Reader]]) -> Iterator[tuple[str, object]]:
    for domain in DOMAINS:
        for key, node in annotations.nodes.items():
            name = _name(key, domain)
            if name is None or not isinstance(node, Scalar):
                continue
            if name not in readers:
                family = name.partition("/")[0]
                wanted = [known.replace("/", f".{OURS}/") for known in readers if known.startswith(family + "/")]
                if domain == OURS and wanted:
                    at = annotations.keys.get(key, node)
                    report.add(at, "unknown annotation", repr(key), ", ".join(wanted))
                continue
            field, reader = readers[name]
            try:
                yield field, reader(node.text)
            except DurationError as error:
                report.add_value(node, key, error)
            except _BadValue as error:
                report.add(node, f"bad {key}", node, str(error))


def _name(key: str, domain: str) -> str | None:
    """ "retry.linkerd.io/http" is "retry/http"; None for what is not of this domain."""
    prefix, slash, name = key.partition("/")
    family, dot, rest = prefix.partition(".")
    return f"{family}/{name}" if slash and dot and rest == domain else None


def _statuses(text: str) -> tuple[tuple[int, int], ...]:
    return tuple(_status(part.strip()) for part in text.split(","))


def _status(text: str) -> tuple[int, int]:
    if text == "5xx":
        return 500, 599
    if text == "gateway-error":
        return 502, 504
    found = _STATUS.match(text)
    if found is None or (found[2] and int(found[2]) < int(found[1])):
        raise _BadValue("5xx, gateway-error, a status such as 503 or a range such as 500-504, comma-separated")
    return int(found[1]), int(found[2] or found[1])


def _grpc(text: str) -> tuple[int, ...]:
    codes = [GRPC_CODES.get(part.strip()) for part in text.split(",")]
    if None in codes:
        raise _BadValue(f"one or more of {', '.join(GRPC_CODES)}, comma-separated")
    return tuple(code for code in codes if code is not None)


def _methods(text: str) -> tuple[str, ...]:
    methods = tuple(part.strip() for part in text.split(","))
    if not all(_METHOD.match(method) for method in methods):
        raise _BadValue("HTTP methods such as POST, comma-separated, or *")
    return methods


def _number(low: int, high: int) -> _Reader:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 6 and low <= int(text) <= high):
            raise _BadValue(f"a whole number from {low} to {high}")
        return int(text)

    return read


def _percent(text: str) -> int:
    """0.8 is 80."""
    if not _SHARE.fullmatch(text):
        raise _BadValue("a number from 0 to 1 such as 0.8")
    return round(Fraction(text) * 100)


def _mode(text: str) -> str:
    if text not in ("consecutive", "success-rate", "unified"):
        raise _BadValue("consecutive, success-rate or unified")
    return text


# Annotation -> (field, reader).
_TRAFFIC: dict[str, tuple[str, _Reader]] = {
    "retry/http": ("retry_statuses", _statuses),
    "retry/grpc": ("retry_grpc", _grpc),
    "retry/limit": ("retry_limit", _number(0, MAX_RETRIES)),
    "retry/methods": ("retry_methods", _methods),
    "retry/timeout": ("try_timeout_ms", duration.parse_ms),
    "timeout/request": ("request_timeout_ms", duration.parse_ms),
    "timeout/response": ("response_timeout_ms", duration.parse_ms),
    "timeout/idle": ("idle_timeout_ms", duration.parse_ms),
}
_BALANCER: dict[str, tuple[str, _Reader]] = {
    "balancer/failure-accrual": ("mode", _mode),
    "balancer/failure-accrual-consecutive-max-failures": ("max_failures", _number(1, 1000)),
    "balancer/failure-accrual-consecutive-min-penalty": ("min_penalty_ms", duration.parse_ms),
    "balancer/failure-accrual-consecutive-max-penalty": ("max_penalty_ms", duration.parse_ms),
    "balancer/failure-accrual-consecutive-jitter-ratio": ("jitter_percent", _percent),
    "balancer/failure-accrual-success-rate-threshold": ("success_rate_percent", _percent),
    "balancer/failure-accrual-success-rate-window": ("window_ms", duration.parse_ms),
    "balancer/failure-accrual-success-rate-min-requests": ("min_requests", _number(1, 100_000)),
    "balancer/failure-accrual-max-out": ("max_out_percent", _percent),
}
