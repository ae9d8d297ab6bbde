"""When requests have to be over: many deadlines, few timers. Pure: time comes in, what is due comes out.

A coarse wheel: a deadline falls into a slot of TICK_S, so that setting and cancelling one costs a set operation and not
a timer of the loop. It is never early and at most one tick late, plus what the loop itself is late by.
"""

from collections.abc import Iterable
from typing import Generic, TypeVar

# Design section 6: one coarse timer wheel. A deadline is at most this late.
TICK_S = 0.01

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Of items that can be hashed; an item is in at most one slot, and who added it keeps the slot."""

    __slots__ = ("_earliest", "_slots")

    def __init__(self) -> None:
        self._slots: dict[int, set[T]] = {}
        # No slot is before it: ten thousand far deadlines, and a look costs nothing.
        self._earliest = 0

    def __bool__(self) -> bool:
        return bool(self._slots)

    def add(self, at_s: float, item: T) -> int:
        """Returns the slot, for `discard`."""
        slot = int(at_s / TICK_S) + 1
        items = self._slots.get(slot)
        if items is None:
            items = self._slots[slot] = set()
            self._earliest = min(self._earliest, slot)
        items.add(item)
        return slot

    def discard(self, slot: int, item: T) -> None:
        items = self._slots.get(slot)
        if items is not None:
            items.discard(item)
            if not items:
                del self._slots[slot]

    def due(self, now: float) -> Iterable[T]:
        """Takes out and returns what is due, the earliest slot first."""
        last = int(now / TICK_S)
        if last < self._earliest:
            return ()
        slots = sorted(slot for slot in self._slots if slot <= last)
        self._earliest = min((slot for slot in self._slots if slot > last), default=last + 1)
        return [item for slot in slots for item in self._slots.pop(slot)]
