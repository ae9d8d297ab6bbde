"""Durations as Go and Kubernetes write them (`500ms`, `60s`, `1m30s`, `1.5h`), as whole milliseconds.

And `1d`, which Linkerd's annotations know.
"""

import re
from fractions import Fraction
from math import ceil

from milliroute.control.errors import DurationError

# Nobody ramps for longer than a month; the bound keeps times far inside int64.
MAX_MS = 31 * 24 * 3600 * 1000

_UNIT_MS = {
    "ns": Fraction(1, 10**6),
    "us": Fraction(1, 1000),
    "µs": Fraction(1, 1000),
    "ms": Fraction(1),
    "s": Fraction(1000),
    "m": Fraction(60_000),
    "h": Fraction(3_600_000),
    "d": Fraction(86_400_000),
}
_PART = r"([0-9]{1,12}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})(ns|us|µs|ms|s|m|h|d)"
_PARTS = re.compile(_PART)
_WHOLE = re.compile(rf"(?:{_PART})+\Z")

_WANT = "a duration up to 744h such as 500ms, 60s or 1m30s"


def parse_ms(text: str) -> int:
    """Milliseconds, rounded up. Raises DurationError; a bare number is none, except 0 (Go's time.ParseDuration)."""
    if text == "0":
        return 0
    if len(text) > 64 or not _WHOLE.match(text):
        raise DurationError("negative duration" if text.startswith("-") else "bad duration", text[:64], _WANT)
    total = ceil(sum(Fraction(number.rstrip(".")) * _UNIT_MS[unit] for number, unit in _PARTS.findall(text)))
    if total > MAX_MS:
        raise DurationError("duration too long", text, _WANT)
    return total
