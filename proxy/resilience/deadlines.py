"""When requests have to be over: many deadlines, few timers. Pure: time comes in, what is due comes out.

A coarse wheel: a deadline falls into a slot of TICK_S. It is never early and at most one tick late, plus what the loop
itself is late by. Nearly every request is over long before its deadline, so a new one waits apart and gets its slot
only when it has stayed for SETTLE_S: setting and cancelling is then one dict operation each.
"""

from collections.abc import Iterable
from math import inf
from typing import Generic, Protocol, TypeVar

# Design section 6: one coarse timer wheel. A deadline is at most this late.
TICK_S = 0.01
# A limit of time that ends sooner is watched from its beginning. The others are seen coming by the worker's rounds, as
# each takes QUICK_S and begins SWEEP_S after the last: nearly every request is over before, and need not be entered
# anywhere. While rounds take longer, all are watched.
NEAR_S = 1.0
# Longer than most requests take; whatever is there then is moved at once, so shorter would be more work.
SETTLE_S = 0.1

T = TypeVar("T")


class Timed(Protocol):
    """What can have a deadline. It is hashed for each, so it should be an object: a bound method is made anew at every
    mention and hashes and compares at three times the cost."""

    def expire(self) -> None: ...


class Deadlines(Generic[T]):
    """Of items that can be hashed; an item has at most one."""

    __slots__ = ("_earliest", "_first_s", "_new", "_settle_s", "_slot_of", "_slots")

    def __init__(self) -> None:
        self._new: dict[T, float] = {}
        self._first_s = inf  # none of the new ones is due before
        self._settle_s = 0.0
        self._slots: dict[int, set[T]] = {}
        self._slot_of: dict[T, int] = {}
        # No slot is before it: ten thousand far deadlines, and a look costs nothing.
        self._earliest = 0

    def __bool__(self) -> bool:
        return bool(self._new or self._slot_of)

    def add(self, at_s: float, item: T) -> None:
        self._new[item] = at_s
        if at_s < self._first_s:
            self._first_s = at_s

    def discard(self, item: T) -> None:
        if self._new.pop(item, None) is not None:
            return
        slot = self._slot_of.pop(item, None)
        if slot is not None:
            items = self._slots[slot]
            items.discard(item)
            if not items:
                del self._slots[slot]

    def due(self, now: float) -> Iterable[T]:
        """Takes out and returns what is due, the earliest slot first."""
        if now >= self._first_s or (now >= self._settle_s and self._new):
            self._settle(now)
        last = int(now / TICK_S)
        if last < self._earliest:
            return ()
        slots = sorted(slot for slot in self._slots if slot <= last)
        self._earliest = min((slot for slot in self._slots if slot > last), default=last + 1)
        found = [item for slot in slots for item in self._slots.pop(slot)]
        for item in found:
            del self._slot_of[item]
        return found

    def _settle(self, now: float) -> None:
        for item, at_s in self._new.items():
            slot = self._slot_of[item] = int(at_s / TICK_S) + 1
            items = self._slots.get(slot)
            if items is None:
                items = self._slots[slot] = set()
                self._earliest = min(self._earliest, slot)
            items.add(item)
        self._new.clear()
        self._first_s, self._settle_s = inf, now + SETTLE_S
