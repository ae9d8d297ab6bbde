"""Counters of the request path: plain integers and bucket lists in slots objects, reached by reference.

A worker bumps them (0.03-0.1 us each; a labelled prometheus-client counter costs 1.3 us) and once a second takes what
changed as deltas, which the agent adds up. Nothing here knows a text format; the agent's collector does.
"""

from bisect import bisect_left

from milliroute.proxy.ipc import ErrorDelta, LatencyDelta, LeafDelta, ResponseDelta, TcpDelta

# Linkerd's response_latency_ms bounds; the last bucket is +Inf.
LATENCY_BOUNDS_MS = (
    1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 100, 200, 300, 400, 500,
    1000, 2000, 3000, 4000, 5000, 10000, 20000, 30000, 40000, 50000,
)  # fmt: skip


# UNKNOWN, DEADLINE_EXCEEDED, PERMISSION_DENIED, INTERNAL, UNAVAILABLE, DATA_LOSS: Linkerd's table of failures.
GRPC_FAILURES = frozenset(("2", "4", "7", "13", "14", "15"))


class StatusSeries:
    """One status code of one leaf. grpc_status: "" or a number as text; error: "" or one of our own."""

    __slots__ = ("buckets", "count", "error", "grpc_status", "is_success", "status", "sum_ms")

    def __init__(self, status: int, grpc_status: str = "", error: str = "") -> None:
        self.status = status
        self.grpc_status = grpc_status
        self.error = error
        self.is_success = status < 500
        self.count = 0
        self.sum_ms = 0.0
        self.buckets = [0] * (len(LATENCY_BOUNDS_MS) + 1)


class LeafSeries:
    """All counts of one leaf under one authority; lives as long as the worker, over table swaps."""

    __slots__ = (
        "authority",
        "by_error",
        "by_status",
        "leaf",
        "namespace",
        "requests",
        "retries",
        "skipped",
        "split",
        "tunnels",
    )

    def __init__(self, authority: str, split: str, leaf: str, namespace: str) -> None:
        self.authority = authority
        self.split = split
        self.leaf = leaf
        self.namespace = namespace
        self.requests = 0
        self.retries = 0
        self.tunnels = 0  # open now: while there are any, each report names this authority as one in use
        self.skipped: dict[str, int] = {}
        self.by_status: dict[int, StatusSeries] = {}
        self.by_error: dict[str, StatusSeries] = {}

    def record(self, status: int, latency_ms: float) -> None:
        """A response of the backend; latency from the request's head to the response's."""
        series = self.by_status.get(status)
        if series is None:
            series = self.by_status[status] = StatusSeries(status)
        series.count += 1
        series.sum_ms += latency_ms
        series.buckets[bisect_left(LATENCY_BOUNDS_MS, latency_ms)] += 1

    def record_grpc(self, status: int, grpc_status: str, latency_ms: float) -> None:
        """A gRPC response: its status decides, where it has one (Linkerd's classification)."""
        key = f"grpc {status} {grpc_status}"
        series = self.by_error.get(key)
        if series is None:
            series = self.by_error[key] = StatusSeries(status, grpc_status)
            series.is_success = status < 500 and grpc_status not in GRPC_FAILURES
        series.count += 1
        series.sum_ms += latency_ms
        series.buckets[bisect_left(LATENCY_BOUNDS_MS, latency_ms)] += 1

    def record_error(self, status: int, error: str, latency_ms: float) -> None:
        """An answer of our own in the place of the backend's; error: its short name."""
        series = self.by_error.get(error)
        if series is None:
            series = self.by_error[error] = StatusSeries(status, error=error)
        series.count += 1
        series.sum_ms += latency_ms
        series.buckets[bisect_left(LATENCY_BOUNDS_MS, latency_ms)] += 1

    def skip(self, why: str) -> None:
        """A failure that its owner wanted to be tried again, and was not: no_budget, limit, method or body."""
        self.skipped[why] = self.skipped.get(why, 0) + 1

    def take(self) -> LeafDelta | None:
        """What changed since the last call, and zero from here; None where nothing did and nobody has a tunnel."""
        changed = [s for s in (*self.by_status.values(), *self.by_error.values()) if s.count]
        if not (self.requests or changed or self.retries or self.skipped or self.tunnels):
            return None
        delta = LeafDelta(
            self.authority,
            self.split,
            self.leaf,
            self.namespace,
            self.requests,
            [ResponseDelta(s.status, s.grpc_status, s.is_success, s.error, s.count) for s in changed],
            [LatencyDelta(s.status, s.buckets, s.sum_ms) for s in changed],
            self.retries,
            list(self.skipped.items()),
        )
        self.requests = self.retries = 0
        self.skipped = {}
        for s in changed:
            s.count, s.sum_ms, s.buckets = 0, 0.0, [0] * len(s.buckets)
        return delta


class TcpSeries:
    """Connections and bytes of one side: "src" is downstream, "dst" is upstream; of a sidecar's inbound listeners
    "inbound src" and "inbound dst"."""

    __slots__ = ("_reported_open", "closed", "open_now", "opened", "peer", "read_bytes", "write_bytes")

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.opened = self.closed = self.open_now = self.read_bytes = self.write_bytes = 0
        self._reported_open = 0

    def take(self) -> TcpDelta | None:
        is_quiet = self.open_now == self._reported_open and not (self.opened or self.closed)
        if is_quiet and not (self.read_bytes or self.write_bytes):
            return None
        delta = TcpDelta(self.peer, self.opened, self.closed, self.open_now, self.read_bytes, self.write_bytes)
        self._reported_open = self.open_now
        self.opened = self.closed = self.read_bytes = self.write_bytes = 0
        return delta


class ErrorCounts:
    """Answers of our own, by short name. prefix: of the names that are reported, "" or "inbound "."""

    __slots__ = ("_counts", "_prefix")

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._counts: dict[str, int] = {}

    def add(self, error: str) -> None:
        self._counts[error] = self._counts.get(error, 0) + 1

    def take(self) -> list[ErrorDelta]:
        counts, self._counts = self._counts, {}
        return [ErrorDelta(self._prefix + error, count) for error, count in counts.items()]
