"""Retries and timeouts, as the owner of a Service, a split or a route wants them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """Retries and timeouts; times in milliseconds, 0: none of ours. `retry_statuses` are (first, last);
    `retry_methods` go beyond the idempotent ones, `*` is all.
    """

    retry_statuses: tuple[tuple[int, int], ...] = ()
    retry_grpc: tuple[int, ...] = ()
    retry_limit: int = 1
    retry_methods: tuple[str, ...] = ()
    try_timeout_ms: int = 0
    request_timeout_ms: int = 0
    response_timeout_ms: int = 0
    idle_timeout_ms: int = 0
