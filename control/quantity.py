"""Kubernetes Quantities as exact integers in micro-units (1e-6): `900m` is 900000, `1k` is 1000000000.

The grammar is that of k8s.io/apimachinery/pkg/api/resource: a sign, digits with at most one point (`.5` and `5.`
too), and one of the suffixes n u m k M G T P E, Ki Mi Gi Ti Pi Ei, or a decimal exponent e3 / E-3. No float is ever
involved. What is not a whole number of micro-units is rounded up, as Kubernetes rounds below its nano, so that a
weight above 0 never becomes 0.
"""

import re

from milliroute.control.errors import QuantityError

MICRO = 1_000_000

# A weight beyond this is a mistake; with it a weight fits uint64 (1e18 of 1.8e19 micro-units).
MAX_UNITS = 10**12

# Kubernetes prints at most 18 digits; the bound keeps the integers small whatever is written.
MAX_CHARS = 64

_DECIMAL_EXPONENT = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_POWER = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}

_GRAMMAR = re.compile(
    r"(?P<sign>[+-]?)(?:(?P<whole>[0-9]+)(?:\.(?P<fraction>[0-9]*))?|\.(?P<only>[0-9]+))"
    r"(?:(?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]+))?\Z"
)

_WANT = "a Kubernetes quantity from 0 to 1e12 such as 900m, 1 or 0.1"

# Printed with the largest unit that leaves a whole number, as Kubernetes does.
_FORMATS = ((MICRO * 10**9, "G"), (MICRO * 10**6, "M"), (MICRO * 1000, "k"), (MICRO, ""), (1000, "m"), (1, "u"))


def parse(text: str) -> int:
    """Micro-units of a Quantity, from 0 to MAX_UNITS * MICRO. Raises QuantityError."""
    found = _GRAMMAR.match(text) if len(text) <= MAX_CHARS else None
    if found is None:
        raise QuantityError(_complaint(text), text[:MAX_CHARS], _WANT)
    fraction = found["fraction"] or found["only"] or ""
    mantissa = int((found["whole"] or "") + fraction)
    if mantissa and found["sign"] == "-":
        raise QuantityError("negative quantity", text, _WANT)
    exponent = _decimal_exponent(found["suffix"] or "", found["exponent"]) - len(fraction)
    micro = _scaled(mantissa << _BINARY_POWER.get(found["suffix"] or "", 0), exponent + 6)
    if micro > MAX_UNITS * MICRO:
        raise QuantityError("quantity too large", text, _WANT)
    return micro


def format_micro(micro: int) -> str:
    """The shortest Quantity of whole units: 900000 -> `900m`, 1500000 -> `1500m`, 2000000 -> `2`."""
    size, suffix = next((f for f in _FORMATS if micro % f[0] == 0), _FORMATS[-1]) if micro else (1, "")
    return f"{micro // size}{suffix}"


def _decimal_exponent(suffix: str, exponent: str | None) -> int:
    # Clamped: beyond 200 a mantissa of 64 digits is surely above the maximum, below -200 surely under one micro.
    return max(-200, min(200, int(exponent))) if exponent else _DECIMAL_EXPONENT.get(suffix, 0)


def _scaled(mantissa: int, exponent: int) -> int:
    """mantissa * 10**exponent, rounded up."""
    scale: int = 10 ** abs(exponent)
    return mantissa * scale if exponent >= 0 else -(-mantissa // scale)


def _complaint(text: str) -> str:
    if not text.strip():
        return "empty quantity"
    if text.strip().lower().lstrip("+-.") in ("nan", "inf", "infinity"):
        return "quantity is not a finite number"
    return "bad quantity"
