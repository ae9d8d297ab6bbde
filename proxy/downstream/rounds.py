"""A worker's look after its clients: each connection once a round, a slice of them in each turn of the loop.

In comes the time, out go the connections' own `check_time`s. The rule not to break: however many connections there are,
and however many have to be cut off at once, the loop is held for SLICE_S and the last connection's share at most.
"""

import asyncio
from collections.abc import Callable, Iterator
from time import monotonic

from milliroute.proxy.exchange.context import ClientConnection

# About what three requests take. Of 2,000 slow clients 50 are cut off in one round, and each is 0.2 ms of CPU: at once
# that was 10 ms in which all others waited (measured).
SLICE_S = 0.0005
# From the begin of a round to its end; with it and the time between two begins limits of time are seen coming.
QUICK_S = 0.3


class Rounds:
    """connections: those of now, whenever that is. queued_bytes: of all of them, at the last round that weighed.
    on_pace: told whether rounds are slow, as soon as one takes longer than QUICK_S and when one has not."""

    __slots__ = ("_began_s", "_connections", "_is_slow", "_is_weighing", "_left", "_loop", "_must_weigh", "_now",
                 "_on_pace", "_slice_s", "_sum_bytes", "queued_bytes")  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connections: set[ClientConnection],
        on_pace: Callable[[bool], None],
        slice_s: float = SLICE_S,
    ) -> None:
        self._loop = loop
        self._connections = connections
        self._on_pace = on_pace
        self._is_slow = False
        self._began_s = 0.0
        self._slice_s = slice_s
        self._left: Iterator[ClientConnection] | None = None  # of a round that is not over
        self._now = 0.0
        self._is_weighing = self._must_weigh = False
        self._sum_bytes = self.queued_bytes = 0

    def begin(self, now: float, *, weighs: bool = False) -> None:
        """A round that is not over takes the place of a new one. now: of all of the round, because what it is held
        against is as coarse, and the time that the loop takes is nobody's fault. weighs: this round or the next."""
        self._must_weigh = self._must_weigh or weighs
        if self._left is not None:
            return
        self._left = iter(list(self._connections))
        self._began_s = monotonic()
        self._now, self._is_weighing, self._sum_bytes = now, self._must_weigh, 0
        self._must_weigh = False
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        is_over = False
        try:
            is_over = self._look()
        finally:  # after an error of one of them too: the others have their turn
            if is_over:
                self._left = None
                if self._is_weighing:
                    self.queued_bytes = self._sum_bytes
            else:
                self._loop.call_soon(self._go_on)

    def _look(self) -> bool:
        """At one slice; returns whether it was the last."""
        begun_s = monotonic()
        if not self._is_slow and begun_s - self._began_s > QUICK_S:
            self._is_slow = True
            self._on_pace(True)
        end_s = begun_s + self._slice_s
        for connection in self._left or ():
            if connection in self._connections:  # it may have ended since the round began
                connection.check_time(self._now)
                if self._is_weighing:
                    self._sum_bytes += connection.queued_bytes()
                if monotonic() > end_s:
                    return False
        if self._is_slow and monotonic() - self._began_s <= QUICK_S:
            self._is_slow = False
            self._on_pace(False)
        return True
