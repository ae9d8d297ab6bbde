"""What goes wrong on purpose: which requests of a split are delayed, refused or reset. Pure.

Shares are exact and not drawn: of every ten requests that match, three are hit by a fault of 30 %. The rule not to
break: a split whose owner asks for no faults has no Faults, and pays for none.
"""

import random

from milliroute.proxy.matching import Matcher
from milliroute.proxy.message import RequestHead
from milliroute.proxy.state import FaultPartState, FaultState

_WHOLE = 1_000_000


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
    """What befalls one request; 0 for what does not. abort: a status."""

    __slots__ = ("abort", "delay_s", "is_reset")

    def __init__(self, delay_s: float, abort: int, is_reset: bool) -> None:
        self.delay_s = delay_s
        self.abort = abort
        self.is_reset = is_reset


class Faults:
    """Of one split."""

    __slots__ = ("_abort", "_delay", "_leaf", "_matcher", "_reset")

    def __init__(self, state: FaultState, rng: random.Random) -> None:
        """Raises re2.error for an expression RE2 does not take."""
        self._matcher = Matcher(state.match)
        self._leaf = state.leaf
        self._delay = _Part(state.delay, rng)
        self._abort = _Part(state.abort, rng)
        self._reset = _Part(state.reset, rng)

    def draw(self, head: RequestHead, leaf: str) -> Fault | None:
        """leaf: the name of the one that was picked. None where nothing goes wrong."""
        if (self._leaf and leaf != self._leaf) or not self._matcher.takes(head):
            return None
        delay_s = self._delay.value / 1000 if self._delay.hits() else 0.0
        abort = self._abort.value if self._abort.hits() else 0
        is_reset = self._reset.hits()
        if not (delay_s or abort or is_reset):
            return None
        return Fault(delay_s, abort, is_reset)
