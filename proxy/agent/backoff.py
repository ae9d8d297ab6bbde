"""How long to wait before the next try: pure functions of what went wrong so far.

Two policies: for the control stream (a fleet must neither stampede nor be late when the service returns) and for a
worker that keeps dying.
"""

from random import Random

# gRPC connection-backoff.md starts at 1 s; we start lower, because most losses are a restart of the service.
CONTROL_FIRST_S = 0.1
# While an outage is young a proxy may be at most this late: a service that returns is caught up with within 2 s.
CONTROL_NEAR_CAP_S = 1.0
# Linkerd: control reconnect 100 ms .. 60 s.
CONTROL_FAR_CAP_S = 60.0
# Past one minute the wait may grow to this part of the outage, so being late stays in proportion.
CONTROL_CAP_PER_DOWN_S = 1 / 60
# A worker that lived this long is restarted at once when it dies.
WORKER_STABLE_S = 1.0
WORKER_FIRST_S = 0.1
WORKER_CAP_S = 5.0
# 2**20 times the first wait is past every cap; more would only overflow.
_MAX_DOUBLINGS = 20


def control_delay_s(failures: int, down_s: float, rng: Random) -> float:
    """The wait before try number failures + 1, after down_s without a stream; jittered over [half, whole]."""
    cap = min(max(CONTROL_NEAR_CAP_S, down_s * CONTROL_CAP_PER_DOWN_S), CONTROL_FAR_CAP_S)
    return min(CONTROL_FIRST_S * 2.0 ** min(failures, _MAX_DOUBLINGS), cap) * rng.uniform(0.5, 1.0)


def worker_delay_s(early_deaths: int) -> float:
    """early_deaths: how often in a row it died younger than WORKER_STABLE_S."""
    if early_deaths == 0:
        return 0.0
    return min(WORKER_FIRST_S * 2.0 ** min(early_deaths - 1, _MAX_DOUBLINGS), WORKER_CAP_S)
