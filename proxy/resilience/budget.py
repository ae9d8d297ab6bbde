"""How many retries may be made: a share of the recent requests, and a few more. Pure.

Retries make an overload worse, so they are paid for by requests (Linkerd's and Finagle's retry budget). The rule not to
break: a retry that is not paid for is not made, whatever a route allows.
"""

from collections import deque

# Linkerd's defaults, filled in where a profile names none: ratio 0.2, 10 retries a second, over 10 s.
RATIO = 0.2
MIN_PER_S = 10.0
WINDOW_S = 10.0
_SLOTS = 10
_SLOT_S = WINDOW_S / _SLOTS


class RetryBudget:
    """requests: the owner adds one for each request, at its first sending. now: as for `spend`."""

    __slots__ = ("_past", "_slot", "_spent", "requests")

    def __init__(self, now: float = 0.0) -> None:
        self.requests = 0
        self._spent = 0
        self._slot = int(now / _SLOT_S)
        # (slot, requests, retries) of the slots before this one that still count.
        self._past: deque[tuple[int, float, int]] = deque()

    def spend(self, now: float) -> bool:
        """Takes one retry out of the budget; False where there is none. now: by the monotonic clock."""
        self._roll(int(now / _SLOT_S))
        earned = RATIO * (self.requests + sum(requests for _, requests, _ in self._past))
        spent = self._spent + sum(retries for _, _, retries in self._past)
        if spent + 1 > earned + MIN_PER_S * WINDOW_S:
            return False
        self._spent += 1
        return True

    def _roll(self, slot: int) -> None:
        """A look comes with each retry only, so requests since the last one are taken to have come evenly."""
        passed = slot - self._slot
        if passed > 0:
            share = self.requests / passed
            for past in range(max(self._slot, slot - _SLOTS + 1), slot):
                self._past.append((past, share, self._spent if past == self._slot else 0))
            self._slot, self.requests, self._spent = slot, 0, 0
        while self._past and self._past[0][0] <= slot - _SLOTS:
            self._past.popleft()
