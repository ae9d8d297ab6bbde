"""The fleet: which proxies are known, and what each of them has in force.

Hellos, sends, acks and nacks come in, as values with their times; status values for the admin pages and propagation
delays come out. Pure: it keeps no clock and opens nothing.

The one rule: a proxy is known by its id. When one reconnects before its old stream was seen to end, the newer
stream owns the entry.
"""

from bisect import bisect_left
from dataclasses import dataclass, field

# Seconds. The goal is 10 ms at the median and 100 ms at p99 (from the file's save), so the bounds are dense there.
PROPAGATION_BOUNDS_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 10.0, 60.0)

# Proxies that left are still shown to the operator, the newest of them.
MAX_DISCONNECTED = 256

# A peer's text, kept for every proxy and key.
MAX_REASON_CHARACTERS = 500


@dataclass(slots=True)
class KeyStatus:
    """One authority of one proxy. Times are unix nanoseconds, 0 for never."""

    key: str
    sent_epoch: str = ""
    sent_version: int = 0
    # From here propagation counts: the publish time, or the send time of a state that was published before it was
    # asked for.
    due_unix_ns: int = 0
    acked_epoch: str = ""
    acked_version: int = 0
    applied_unix_ns: int = 0
    propagation_s: float | None = None
    nack: str = ""


@dataclass(slots=True)
class ProxyStatus:
    id: str
    namespace: str
    admin: str
    connected: bool = True
    keys: dict[str, KeyStatus] = field(default_factory=dict)


class Histogram:
    """Counts per bound, not cumulative; the last count is for everything above."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Fleet:
    """Owns the proxies' statuses. A session keeps the ProxyStatus that hello() gave it and hands it back."""

    def __init__(self) -> None:
        self.propagation = Histogram(PROPAGATION_BOUNDS_S)
        self.acks_total = 0
        self.nacks_total = 0
        self._proxies: dict[str, ProxyStatus] = {}

    def proxies(self) -> tuple[ProxyStatus, ...]:
        return tuple(self._proxies.values())

    def hello(self, proxy_id: str, namespace: str, admin: str) -> ProxyStatus:
        # Removed first, so that the order is that of the last hello.
        self._proxies.pop(proxy_id, None)
        status = ProxyStatus(proxy_id, namespace, admin)
        self._proxies[proxy_id] = status
        return status

    def bye(self, proxy: ProxyStatus) -> None:
        """The stream of `proxy` ended; the oldest of too many disconnected ones are forgotten."""
        proxy.connected = False
        gone = [status.id for status in self._proxies.values() if not status.connected]
        for proxy_id in gone[: max(0, len(gone) - MAX_DISCONNECTED)]:
            del self._proxies[proxy_id]

    def sent(self, proxy: ProxyStatus, key: str, epoch: str, version: int, due_unix_ns: int) -> None:
        status = proxy.keys.setdefault(key, KeyStatus(key))
        status.sent_epoch, status.sent_version, status.due_unix_ns = epoch, version, due_unix_ns

    def forget(self, proxy: ProxyStatus, key: str) -> None:
        proxy.keys.pop(key, None)

    def ack(self, proxy: ProxyStatus, key: str, epoch: str, version: int, applied_unix_ns: int) -> None:
        """Record that `version` is in force. Keys that were not sent are ignored, so a peer cannot grow the entry."""
        status = proxy.keys.get(key)
        if status is None:
            return
        self.acks_total += 1
        is_new = (epoch, version) != (status.acked_epoch, status.acked_version)
        status.acked_epoch, status.acked_version, status.applied_unix_ns = epoch, version, applied_unix_ns
        if (epoch, version) != (status.sent_epoch, status.sent_version):
            return
        status.nack = ""
        if is_new:
            # Clocks of two machines may differ; a negative delay would only confuse.
            status.propagation_s = max(0, applied_unix_ns - status.due_unix_ns) / 1e9
            self.propagation.observe(status.propagation_s)

    def nack(self, proxy: ProxyStatus, key: str, version: int, reason: str) -> None:
        status = proxy.keys.get(key)
        if status is None:
            return
        self.nacks_total += 1
        status.nack = f"version {version}: {reason}"[:MAX_REASON_CHARACTERS]
