"""The annotation milliroute.io/rate-limit: how many requests a Service takes, from all clients and from each.

    100/s; burst=200; 10/s per client

In: its text. Out: a RateLimit, or a RateLimitError with what was seen and wanted. A burst is of the rate before it;
unless said it is as many as the rate has requests.
"""

import re
from dataclasses import replace

from milliroute.control.errors import ValueTextError
from milliroute.control.manifest.fields import Report
from milliroute.control.manifest.nodes import Fields, Scalar
from milliroute.control.model import Rate, RateLimit

RATE_LIMIT = "milliroute.io/rate-limit"
# Of requests and of a burst; more is no limit for a proxy in Python.
MAX_REQUESTS = 1_000_000

_RATE = re.compile(r"([0-9]{1,7})/(s|m|h)( +per +client)?\Z")
_BURST = re.compile(r"burst=([0-9]{1,7})\Z")
_PERIOD_MS = {"s": 1000, "m": 60_000, "h": 3_600_000}
_WANTED = "rates such as 100/s, 600/m or 10/s per client, each perhaps with burst=50 behind it, by ;"


class RateLimitError(ValueTextError):
    """A rate limit that cannot be read."""


def read_rate_limit(annotations: Fields, report: Report) -> RateLimit | None:
    node = annotations.nodes.get(RATE_LIMIT)
    if not isinstance(node, Scalar):
        return None
    try:
        return parse(node.text)
    except RateLimitError as error:
        report.add_value(node, RATE_LIMIT, error)
        return None


def parse(text: str) -> RateLimit:
    """Raises RateLimitError."""
    rates: dict[str, Rate] = {}
    last = ""
    for clause in filter(None, (part.strip() for part in text.split(";"))):
        if found := _BURST.match(clause):
            if not last:
                raise RateLimitError("burst before any rate", clause, _WANTED)
            rates[last] = replace(rates[last], burst=_number(found[1], clause))
            continue
        found = _RATE.match(clause)
        if found is None:
            raise RateLimitError("unknown clause", clause[:80], _WANTED)
        last = "client" if found[3] else "total"
        if last in rates:
            wanted = "one rate of all clients, and one per client"
            raise RateLimitError("second rate of a kind", clause, wanted)
        requests = _number(found[1], clause)
        rates[last] = Rate(requests, _PERIOD_MS[found[2]], requests)
    if not rates:
        raise RateLimitError("no rate in it", text[:80], _WANTED)
    return RateLimit(rates.get("total"), rates.get("client"), " ".join(text.split()))


def _number(text: str, clause: str) -> int:
    if not 1 <= int(text) <= MAX_REQUESTS:
        raise RateLimitError("bad number", clause, f"a whole number from 1 to {MAX_REQUESTS}")
    return int(text)
