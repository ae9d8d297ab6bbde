"""What goes wrong on purpose: which requests of a split are delayed, refused, reset or answered slowly. Pure.

Shares are exact and not drawn: of every ten requests that match, three are hit by a fault of 30 %. The rule not to
break: a split whose owner asks for no faults has no Faults, and pays for none; what a request asks for in its own
headers is looked at only by a proxy that was started for it.
"""

import random

from milliroute.proxy.message import RequestHead
from milliroute.proxy.routing.matching import Matcher
from milliroute.proxy.state import FaultPartState, FaultState

_WHOLE = 1_000_000
# Fields by which a request asks for what shall befall it; they go no further.
_PREFIX = b"x-milliroute-fault-"
_DELAY, _ABORT, _RESET, _BANDWIDTH = (_PREFIX + kind for kind in (b"delay-ms", b"abort", b"reset", b"bandwidth"))
# Field -> least and most.
_BOUNDS = {_DELAY: (0, 600_000), _ABORT: (200, 599), _RESET: (1, 1), _BANDWIDTH: (1, 1_000_000_000)}


class _Part:
    """One in so many, evenly: what has been due adds up, and at a whole it is hit."""

    __slots__ = ("_due", "_share", "value")

    def __init__(self, state: FaultPartState | None, rng: random.Random) -> None:
        self._share = 0 if state is None else state.share_micro
        self.value = 0 if state is None else state.value
        # Workers and proxies that start together do not all hit the same request.
        self._due = rng.randrange(_WHOLE)

    def hits(self) -> bool:
        self._due += self._share
        if self._due < _WHOLE:
            return False
        self._due -= _WHOLE
        return True


class Fault:
    """What befalls one request; 0 for what does not. abort: a status, and text is said with it. bytes_per_s: of its
    response's body."""

    __slots__ = ("abort", "bytes_per_s", "delay_s", "is_reset", "text")

    def __init__(
        self, delay_s: float, abort: int, is_reset: bool, bytes_per_s: int = 0, text: str = "a fault on purpose"
    ) -> None:
        self.delay_s = delay_s
        self.abort = abort
        self.is_reset = is_reset
        self.bytes_per_s = bytes_per_s
        self.text = text


class Faults:
    """Of one split."""

    __slots__ = ("_abort", "_bandwidth", "_delay", "_leaf", "_matcher", "_reset", "_takes_headers")

    def __init__(self, state: FaultState | None, rng: random.Random, *, takes_headers: bool = False) -> None:
        """state None: only what requests ask for. Raises re2.error for an expression RE2 does not take."""
        self._takes_headers = takes_headers
        of = state or FaultState()
        self._matcher = Matcher(of.match)
        self._leaf = of.leaf
        self._delay = _Part(of.delay, rng)
        self._abort = _Part(of.abort, rng)
        self._reset = _Part(of.reset, rng)
        self._bandwidth = _Part(of.bandwidth, rng)

    def draw(self, head: RequestHead, leaf: str) -> Fault | None:
        """leaf: the name of the one that was picked. None where nothing goes wrong. What the request asks for itself
        beats what its split says, and is taken out of its head."""
        if self._takes_headers and (asked := _asked(head)) is not None:
            return asked
        if (self._leaf and leaf != self._leaf) or not self._matcher.takes(head):
            return None
        delay_s = self._delay.value / 1000 if self._delay.hits() else 0.0
        abort = self._abort.value if self._abort.hits() else 0
        is_reset = self._reset.hits()
        bytes_per_s = self._bandwidth.value if self._bandwidth.hits() else 0
        if not (delay_s or abort or is_reset or bytes_per_s):
            return None
        return Fault(delay_s, abort, is_reset, bytes_per_s)


def _asked(head: RequestHead) -> Fault | None:
    """In the request's headers; what can't be read is answered with 400, so that no test passes for a typing error."""
    if not (head.is_h2 or _PREFIX in head.wire.lower()):
        return None
    fields = [(name, value) for name, value in head.fields() if name.startswith(_PREFIX)]
    if not fields:
        return None
    head.alter(frozenset(name for name, _ in fields), [])
    values = dict.fromkeys(_BOUNDS, 0)
    for name, value in fields:
        low, high = _BOUNDS.get(name, (0, -1))
        if not (value.isdigit() and len(value) <= 10 and low <= int(value) <= high):
            is_known = name in _BOUNDS
            wanted = f"a whole number from {low} to {high}" if is_known else "delay-ms, abort, reset or bandwidth"
            saw = f"{name.decode('latin-1')}: {value[:40].decode('latin-1')}"
            return Fault(0.0, 400, False, text=f"saw {saw!r}, wanted {wanted}")
        values[name] = int(value)
    return Fault(values[_DELAY] / 1000, values[_ABORT], bool(values[_RESET]), values[_BANDWIDTH])
