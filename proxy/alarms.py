"""What a worker says of errors that nobody expected: the first ones in full, then how many more there were.

In come the loop's reports (asyncio.AbstractEventLoop.set_exception_handler), out go log lines, so few that a storm of
them, such as memory that has run out, fills no disk and does not take the loop's time. The rule not to break: nothing
is raised from here, because nobody is left to catch it.
"""

import asyncio
import logging
from typing import Any

log = logging.getLogger(__name__)

# With their tracebacks, in each period.
MAX_TOLD = 10
PERIOD_S = 60.0


class Alarms:
    def __init__(self, *, most: int = MAX_TOLD, period_s: float = PERIOD_S) -> None:
        self._most = most
        self._period_s = period_s
        self._told = 0
        self._untold = 0
        self._last = ""
        self._is_counting = False

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """context: as the loop documents it, so of values that only the loop knows."""
        try:
            if not self._is_counting:
                self._is_counting = True
                loop.call_later(self._period_s, self._sum_up)
            if self._told < self._most:
                self._told += 1
                loop.default_exception_handler(context)
            else:
                self._untold += 1
                self._last = type(context.get("exception")).__name__
        except Exception:  # above all MemoryError, by what is said about it
            self._untold += 1

    def _sum_up(self) -> None:
        """The period is over."""
        untold, self._untold, self._told = self._untold, 0, 0
        self._is_counting = False
        if untold:
            last = self._last or "unknown"
            log.error("%d more unexpected errors in %g s, the last: %s", untold, self._period_s, last)
