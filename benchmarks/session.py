"""The load generator: keep-alive connections in a closed loop, every answer checked, exact counts.

A `Session` is opened once per measurement; `send(n)` sends exactly n requests over its connections, each connection one
at a time, and returns when each has been answered or has failed. What is not a right answer is a failure with a reason.
"""

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

from benchmarks.response import BadResponse, ResponseReader
from benchmarks.scenario import Scenario, request_maker

# A peer that stalls must not stall the run: what is unanswered by then has failed.
SEND_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What `Session.send` saw. `latencies_s` ascends and holds the right answers only."""

    requests: int
    failed: int
    reasons: tuple[str, ...]
    elapsed_s: float
    latencies_s: tuple[float, ...]
    by_backend: Mapping[str, int]


@dataclass(slots=True)
class _Batch:
    """The requests of one `send`."""

    unsent: int
    unanswered: int
    done: asyncio.Future[None]
    reasons: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    backends: list[str] = field(default_factory=list)


class Sending(Protocol):
    """A connection as its session sees it."""

    def send_next(self) -> None:
        """Take what may be sent now, if anything is left."""

    def close(self) -> None:
        """Close at once."""


class Session(ABC):
    """Load on one address, of any protocol. Open, `prepare` and `send` as often as needed, `close`."""

    def __init__(self) -> None:
        self._connections: set[Sending] = set()
        self._number = 0
        self._batch: _Batch | None = None

    @abstractmethod
    async def open(self, host: str, port: int) -> None:
        """Make the scenario's connections; OSError when the address refuses."""

    def prepare(self, requests: int) -> None:  # noqa: B027 -- optional: most requests are made as they are sent
        """Do what can be done before the clock is read for the next `requests`."""

    def close(self) -> None:
        """Close every connection."""
        for connection in tuple(self._connections):
            connection.close()

    async def send(self, requests: int) -> LoadResult:
        """Send exactly `requests` and wait for their answers, SEND_TIMEOUT_S at most."""
        batch = self._batch = _Batch(requests, requests, asyncio.get_running_loop().create_future())
        started_s = time.perf_counter()
        for connection in tuple(self._connections):
            connection.send_next()
        self._end_if_alone(batch)
        try:
            await asyncio.wait_for(batch.done, SEND_TIMEOUT_S)
        except TimeoutError:
            batch.reasons[f"no answer within {SEND_TIMEOUT_S:.0f} s"] += batch.unanswered
        elapsed_s = time.perf_counter() - started_s
        self._batch = None
        return _result(requests, batch, elapsed_s)

    @property
    def sent(self) -> int:
        """How many requests it has sent so far."""
        return self._number

    def take_number(self) -> int:
        """The next request's number, from 1 on; 0 when the batch has been sent."""
        batch = self._batch
        if batch is None or not batch.unsent:
            return 0
        batch.unsent -= 1
        self._number += 1
        return self._number

    def answered(self, backend: str, latency_s: float) -> None:
        """A connection got a right answer."""
        batch = self._batch
        if batch is not None:
            batch.latencies_s.append(latency_s)
            batch.backends.append(backend)
            self._count_down(batch)

    def failed(self, reason: str) -> None:
        """A connection sent a request and did not get a right answer."""
        if self._batch is not None:
            self._batch.reasons[reason] += 1
            self._count_down(self._batch)

    def joined(self, connection: Sending) -> None:
        """A connection is open."""
        self._connections.add(connection)

    def left(self, connection: Sending) -> None:
        """A connection is closed."""
        self._connections.discard(connection)
        if self._batch is not None:
            self._end_if_alone(self._batch)

    def _count_down(self, batch: _Batch) -> None:
        batch.unanswered -= 1
        if not batch.unanswered and not batch.done.done():
            batch.done.set_result(None)

    def _end_if_alone(self, batch: _Batch) -> None:
        if not self._connections and not batch.done.done():
            batch.reasons["no connection left to send on"] += batch.unanswered
            batch.done.set_result(None)


def _result(requests: int, batch: _Batch, elapsed_s: float) -> LoadResult:
    return LoadResult(
        requests=requests,
        failed=requests - len(batch.latencies_s),
        reasons=tuple(f"{reason} ({count}x)" for reason, count in batch.reasons.items()),
        elapsed_s=elapsed_s,
        latencies_s=tuple(sorted(batch.latencies_s)),
        by_backend=dict(Counter(batch.backends)),
    )


def lost(requests: int, reason: str) -> LoadResult:
    """What is said of requests that could not even be sent."""
    return LoadResult(requests, requests, (reason,), 0.0, (), {})


class H1Session(Session):
    """HTTP/1.1: each connection one request at a time."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__()
        self.scenario = scenario
        self.make_request = request_maker(scenario, int.from_bytes(os.urandom(16)))

    async def open(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self.scenario.connections):
            await loop.create_connection(lambda: _Connection(self), host, port)


class _Connection(asyncio.Protocol):
    __slots__ = ("_is_waiting", "_reader", "_sent_s", "_session", "_transport")

    def __init__(self, session: H1Session) -> None:
        self._session = session
        self._reader = ResponseReader(session.scenario.answer_bytes)
        self._is_waiting = False
        self._sent_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not instances of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._session.joined(self)

    def send_next(self) -> None:
        number = self._session.take_number()
        if number:
            self._is_waiting = True
            self._sent_s = time.perf_counter()
            self._transport.write(self._session.make_request(number))

    def data_received(self, data: bytes) -> None:
        if not self._is_waiting:
            self.close()
            return
        try:
            backend = self._reader.feed(data)
        except BadResponse as error:
            self._fail(str(error))
            return
        if backend is not None:
            self._is_waiting = False
            self._session.answered(backend, time.perf_counter() - self._sent_s)
            self.send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_waiting:
            self._fail(f"connection lost before the answer ended: {exc or 'closed'}")
        self._session.left(self)

    def close(self) -> None:
        self._transport.abort()

    def _fail(self, reason: str) -> None:
        self._is_waiting = False
        self._session.failed(reason)
        self._transport.abort()
