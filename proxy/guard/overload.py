"""How much is too much: slow peers, connections of one address, descriptors, queued bytes, a token bucket. Pure.

In come numbers and the time, out comes what is over the limit; the rim refuses, pauses or cuts off. Nothing here is
asked once per request but a token bucket, and that only where a route has a limit.
"""

from collections.abc import Hashable, Iterable
from typing import TypeVar

from milliroute.proxy.config import Limits

T = TypeVar("T")

# Descriptors of listeners, pipe, epoll, a file that is read, and of what comes in before accepting stops.
RESERVED_FDS = 64
# Accepting goes on when this share of the ceiling is free again; without it each close would be one accept.
RESUME_RATIO = 0.95


def earned_until(since_s: float, now: float, got_bytes: int, bytes_per_s: int) -> float:
    """For a peer who owes bytes at a rate: since when it owes, after it gave some more. 0 a second: any byte will do.

    Each byte pays for its time and nothing is paid in advance, so a burst earns no right to a long silence. Over the
    limit is who owes for longer than the caller allows.
    """
    return min(since_s + got_bytes / bytes_per_s, now) if bytes_per_s else now


def slow_body_text(limits: Limits) -> str:
    text = f"request body stood still for {limits.stall_s:g} s"
    return f"{text}, or came at less than {limits.min_rate_bytes_s} bytes/s" if limits.min_rate_bytes_s else text


def connection_ceiling(nofile: int) -> int:
    """How many client connections a process with so many descriptors takes: each may need one to a backend as well."""
    return max((nofile - RESERVED_FDS) // 2, 1)


def largest(queued: Iterable[tuple[int, T]], limit_bytes: int) -> list[T]:
    """Whom to cut off so that the rest holds at most limit_bytes together: those who hold most, as few as possible."""
    held = list(queued)
    excess, chosen = sum(size for size, _ in held) - limit_bytes, []
    if excess <= 0:
        return []
    for size, holder in sorted(held, key=lambda pair: pair[0], reverse=True):
        if excess <= 0:
            break
        excess -= size
        chosen.append(holder)
    return chosen


class Counts:
    """So many of each key; a key without any is forgotten, so memory is that of what is open now."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[Hashable, int] = {}

    def __getitem__(self, key: Hashable) -> int:
        return self._counts.get(key, 0)

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, key: Hashable) -> None:
        self._counts[key] = self._counts.get(key, 0) + 1

    def remove(self, key: Hashable) -> None:
        left = self._counts.get(key, 0) - 1
        if left > 0:
            self._counts[key] = left
        else:
            self._counts.pop(key, None)


class TokenBucket:
    """rate_per_s tokens a second, at most burst at once; full at first. 0 a second: burst is all there ever is."""

    __slots__ = ("_burst", "_rate_per_s", "_tokens", "_updated_s")

    def __init__(self, rate_per_s: float, burst: float, now: float) -> None:
        """burst: at least 1, else nothing would ever pass."""
        self._rate_per_s = rate_per_s
        self._burst = max(burst, 1.0)
        self._tokens = self._burst
        self._updated_s = now

    def take(self, now: float) -> float:
        """Takes a token and returns 0.0; or takes none and returns in how many seconds there is one (inf: never)."""
        # In one piece: it is asked with each request of a route with a limit.
        elapsed_s = now - self._updated_s
        self._updated_s = now
        tokens = self._tokens
        if elapsed_s > 0.0:  # a clock that stands or goes back gives none, and takes none
            tokens += elapsed_s * self._rate_per_s
            if tokens > self._burst:
                tokens = self._burst
        if tokens >= 1.0:
            self._tokens = tokens - 1.0
            return 0.0
        self._tokens = tokens
        return self._until_one(tokens)

    def spend(self) -> None:
        """A token that is there, as wait_s has just said."""
        self._tokens -= 1.0

    def wait_s(self, now: float) -> float:
        """The same, and takes none."""
        elapsed_s = max(now - self._updated_s, 0.0)
        tokens = self._tokens = min(self._tokens + elapsed_s * self._rate_per_s, self._burst)
        self._updated_s = now
        return 0.0 if tokens >= 1.0 else self._until_one(tokens)

    def _until_one(self, tokens: float) -> float:
        return (1.0 - tokens) / self._rate_per_s if self._rate_per_s else float("inf")
