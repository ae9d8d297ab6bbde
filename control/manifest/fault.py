"""The annotation milliroute.io/fault: what is to go wrong on purpose, for those who test what their callers do then.

    delay=200ms 10%; abort=503 5%; reset 1%; bandwidth=64Ki; leaf=reviews-v2; path=/api; header=x-test:yes

In: its text. Out: a Fault, or a FaultError with what was seen and wanted. Shares are of the requests that match; all
matches must hold; without a share it is every one of them.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from milliroute.control.errors import DurationError, ValueTextError
from milliroute.control.manifest import duration, expression
from milliroute.control.model import Fault, FaultPart, HeaderMatch

_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)%\Z")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}):(.+)\Z")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\Z")
# A hundredth of a basis point: as fine as weights are.
_WHOLE = 1_000_000
# Bytes in a second. Kubernetes' units of quantities; below some bytes a response would never end.
_BANDWIDTH = re.compile(r"([0-9]{1,10})(Ki|Mi|k|M)?\Z")
_UNITS = {None: 1, "k": 1000, "M": 1_000_000, "Ki": 1024, "Mi": 1024 * 1024}
_MAX_BANDWIDTH = 1_000_000_000
_WANTED = "clauses such as delay=200ms 10%, abort=503, reset, bandwidth=64Ki, path=/api, header=x-a:b, leaf=NAME, by ;"


class FaultError(ValueTextError):
    """A fault that cannot be read."""


def parse(text: str) -> Fault:
    """Raises FaultError."""
    fault = Fault()
    for clause in filter(None, (part.strip() for part in text.split(";"))):
        fault = _with(fault, clause)
    if fault.is_empty:
        raise FaultError("no fault in it", text[:80], _WANTED)
    return replace(fault, text=" ".join(text.split()))


def _with(fault: Fault, clause: str) -> Fault:
    name, equals, rest = clause.partition("=")
    if name in ("path", "leaf", "header") and equals:
        return _matching(fault, name, rest.strip(), clause)
    words = clause.split()
    share = _share(words.pop(), clause) if len(words) > 1 and words[-1].endswith("%") else _WHOLE
    kind, _, value = words[0].partition("=") if len(words) == 1 else ("", "", "")
    reader = _KINDS.get(kind)
    if reader is None:
        raise FaultError("unknown clause", clause[:80], _WANTED)
    part = FaultPart(share, reader(value, clause))
    match kind:
        case "delay":
            return replace(fault, delay=part)
        case "abort":
            return replace(fault, abort=part)
        case "bandwidth":
            return replace(fault, bandwidth=part)
    return replace(fault, reset=part)


def _share(word: str, clause: str) -> int:
    found = _SHARE.match(word)
    micro = round(float(found[1]) * _WHOLE / 100) if found else -1
    if not 0 <= micro <= _WHOLE:
        raise FaultError("bad share", clause[:80], "a share from 0% to 100%")
    return micro


def _delay(value: str, clause: str) -> int:
    try:
        return duration.parse_ms(value)
    except DurationError as error:
        raise FaultError("bad delay", clause[:80], error.want) from error


def _abort(value: str, clause: str) -> int:
    if not re.match(r"[2-5][0-9][0-9]\Z", value):
        raise FaultError("bad status", clause[:80], "a status from 200 to 599")
    return int(value)


def _bandwidth(value: str, clause: str) -> int:
    found = _BANDWIDTH.match(value)
    bytes_per_s = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 1 <= bytes_per_s <= _MAX_BANDWIDTH:
        raise FaultError("bad bandwidth", clause[:80], "bytes in a second from 1 to 1000M, such as 2000, 64Ki or 1M")
    return bytes_per_s


def _reset(value: str, clause: str) -> int:
    if value:
        raise FaultError("reset with a value", clause[:80], "reset, or reset with a share")
    return 0


def _matching(fault: Fault, name: str, value: str, clause: str) -> Fault:
    if name == "leaf":
        if not _NAME.match(value):
            raise FaultError("bad leaf", clause[:80], "the name of a backend")
        return replace(fault, leaf=value)
    if name == "path":
        return replace(fault, path_regex=_regex(value, clause))
    found = _HEADER.match(value)
    if found is None:
        raise FaultError("bad header", clause[:80], "header=NAME:REGEX")
    return replace(fault, headers=(*fault.headers, HeaderMatch(found[1].lower(), _regex(found[2], clause))))


def _regex(text: str, clause: str) -> str:
    if expression.problem(text):
        raise FaultError("bad regular expression", clause[:80], "RE2 syntax")
    return text


_KINDS: dict[str, Callable[[str, str], int]] = {
    "delay": _delay,
    "abort": _abort,
    "reset": _reset,
    "bandwidth": _bandwidth,
}
