"""What a route's owner wants beyond weights: which failures are tried again, and how long things may take. Pure.

A Policy is made once per table from its PolicyState; the exchange asks it. The rule not to break: what is not provably
safe to send twice is not sent twice unless its owner has said so (facts on retry safety).
"""

from collections.abc import Collection

from milliroute.proxy.message import IDEMPOTENT_METHODS
from milliroute.proxy.state import PolicyState


class Policy:
    """statuses: which may be tried again. Times in seconds, 0 for none. try_s: of one try, until its response begins;
    request_s: of the whole request; first_s: the shorter of the two.
    """

    __slots__ = ("_grpc", "_limit", "_methods", "first_s", "idle_s", "request_s", "statuses", "try_s")

    def __init__(self, state: PolicyState) -> None:
        self.statuses = frozenset(status for low, high in state.retry_statuses for status in range(low, high + 1))
        self._grpc = frozenset(b"%d" % code for code in state.retry_grpc)
        self._limit = state.retry_limit
        self._methods: Collection[bytes] | None = None  # None: all
        if "*" not in state.retry_methods:
            self._methods = IDEMPOTENT_METHODS | {method.encode() for method in state.retry_methods}
        limits_ms = [ms for ms in (state.try_timeout_ms, state.response_timeout_ms) if ms]
        self.try_s = min(limits_ms) / 1000 if limits_ms else 0.0
        self.request_s = state.request_timeout_ms / 1000
        self.first_s = min(filter(None, (self.try_s, self.request_s)), default=0.0)
        self.idle_s = state.idle_timeout_ms / 1000

    @property
    def retries_grpc(self) -> bool:
        return bool(self._grpc)

    def retries_status(self, status: int, method: bytes, tries: int) -> bool:
        """tries: retries that were made of this request already."""
        return status in self.statuses and self._allows(method, tries)

    def retries_call(self, grpc_status: bytes, tries: int) -> bool:
        """A gRPC response: any method, since naming its statuses is the opt-in."""
        return grpc_status in self._grpc and tries < self._limit

    def retries_timeout(self, method: bytes, tries: int) -> bool:
        """A try that took too long; asked for by naming 504 or gRPC's DEADLINE_EXCEEDED among what is tried again."""
        return self._retries_own(504, b"4", method, tries)

    def retries_failure(self, method: bytes, tries: int) -> bool:
        """A connection that broke before the response; asked for by naming 502 or gRPC's UNAVAILABLE."""
        return self._retries_own(502, b"14", method, tries)

    def retries_connect(self, is_timeout: bool, tries: int) -> bool:
        """Where nobody could be connected to, after a pause. Nothing was sent, so any method."""
        status, grpc_status = (504, b"4") if is_timeout else (502, b"14")
        return (status in self.statuses or grpc_status in self._grpc) and tries < self._limit

    def why_not(self, status: int, grpc_status: bytes, method: bytes, tries: int) -> str:
        """Of what is not tried again: "limit", "method", or "" where nobody asked for it."""
        if method == b"POST" and grpc_status in self._grpc:
            return "limit" if tries >= self._limit else ""
        if status not in self.statuses:
            return ""
        return "limit" if tries >= self._limit else "method"

    def _retries_own(self, status: int, grpc_status: bytes, method: bytes, tries: int) -> bool:
        """What we would answer ourselves: by its HTTP status or, for a call, which is a POST, by gRPC's."""
        is_call = method == b"POST" and grpc_status in self._grpc and tries < self._limit
        return is_call or self.retries_status(status, method, tries)

    def _allows(self, method: bytes, tries: int) -> bool:
        return tries < self._limit and (self._methods is None or method in self._methods)
