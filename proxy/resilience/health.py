"""Active health checks: whether an endpoint is well, by what it answered to checks in a row. Pure: time comes in.

One of these stands beside each endpoint of a Service that asks for checks (health.milliroute.io). The checker asks what
is due and says what came of it. The rule not to break: an endpoint nobody has checked yet is well.
"""

import random

from milliroute.proxy.state import HealthState

# Of the interval: so that the proxies of a fleet, and the endpoints of a table, do not check in step.
JITTER = 0.1


class Health:
    """is_sick: the last unhealthy_after checks failed, and healthy_after good ones in a row have not come since."""

    __slots__ = ("_in_a_row", "_is_checking", "_next_s", "_random", "is_sick", "state")

    def __init__(self, state: HealthState, rng: random.Random) -> None:
        self.state = state
        self._random = rng.random
        self._in_a_row = 0  # checks that contradict is_sick
        self._is_checking = False
        self._next_s = 0.0
        self.is_sick = False

    def begin(self, now: float) -> bool:
        """True when a check is due, which then has begun: `done` has to follow."""
        if self._is_checking or now < self._next_s:
            return False
        self._is_checking = True
        return True

    def done(self, is_good: bool, now: float) -> bool:
        """Returns whether is_sick has changed by this."""
        self._is_checking = False
        self._next_s = now + self.state.interval_ms / 1000 * (1 + JITTER * (2 * self._random() - 1))
        if is_good is not self.is_sick:
            self._in_a_row = 0
            return False
        self._in_a_row += 1
        if self._in_a_row < (self.state.healthy_after if self.is_sick else self.state.unhealthy_after):
            return False
        self.is_sick, self._in_a_row = not self.is_sick, 0
        return True
