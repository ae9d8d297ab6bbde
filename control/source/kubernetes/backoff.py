"""How long to wait before the API server is asked again: pure functions of what went wrong so far."""

from dataclasses import dataclass
from random import Random

# 2**16 times the first wait is past every cap.
_MAX_DOUBLINGS = 16


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. A value, so that tests can be quick."""

    first_s: float = 0.05
    # client-go's reflector stops at 30 s too.
    cap_s: float = 30.0
    # What is refused or not there is asked for this often; a human changes that, or an installer.
    slow_s: float = 30.0
    # What a Retry-After may make us wait at most.
    asked_cap_s: float = 60.0
    # A watch is begun anew this often, at least half of it: a connection that died in silence is found by it.
    watch_s: float = 60.0
    # How much longer than it was asked to a watch may last, and how long any other answer may take.
    patience_s: float = 10.0
    # A kind that was there and is not served any more counts as deleted after this long: an API server that has just
    # begun may not know all of its kinds yet.
    gone_after_s: float = 10.0
    # A kind that may not be read and is not vital counts as empty after this long; until then the source is not
    # complete.
    forbidden_after_s: float = 30.0


def delay_s(failures: int, pace: Pace, rng: Random) -> float:
    """The wait after so many failures in a row (1 is the first), jittered over [half, whole]."""
    whole = min(pace.first_s * 2.0 ** min(failures - 1, _MAX_DOUBLINGS), pace.cap_s)
    return whole * rng.uniform(0.5, 1.0)


def slow_s(pace: Pace, rng: Random) -> float:
    return pace.slow_s * rng.uniform(0.5, 1.0)


def asked_s(retry_after: str, pace: Pace) -> float:
    """The seconds of a Retry-After; 0 for none, and for a date, which API servers do not send."""
    return min(float(retry_after), pace.asked_cap_s) if retry_after.isdecimal() else 0.0
