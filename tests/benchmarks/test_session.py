"""The load generator against the real backend, both on one loop."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from benchmarks import session as sessions
from benchmarks.backend import BackendConnection, answers, serve
from benchmarks.scenario import SCENARIOS, Scenario
from benchmarks.session import H1Session, LoadResult

SMALL = SCENARIOS[0]


async def send_to_backend(scenario: Scenario, requests: int) -> list[LoadResult]:
    """Two batches over one session to one backend."""
    made = answers("canary")
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    port: asyncio.Future[int] = loop.create_future()
    serving = loop.create_task(serve(lambda: BackendConnection(made), port.set_result, stopped))
    session = H1Session(scenario)
    await session.open("127.0.0.1", await port)
    results = [await session.send(requests), await session.send(requests)]
    session.close()
    stopped.set()
    await serving
    return results


async def send_to(make: Callable[[], asyncio.Protocol], requests: int) -> LoadResult:
    """One batch to a server of any protocol."""
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    async with server:
        session = H1Session(SMALL)
        await session.open(*server.sockets[0].getsockname())
        result = await session.send(requests)
        session.close()
    return result


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_request_is_sent_answered_and_counted_exactly_once(scenario: Scenario) -> None:
    for result in uvloop.run(send_to_backend(scenario, 200)):
        assert (result.requests, result.failed, result.reasons) == (200, 0, ())
        assert result.by_backend == {"canary": 200}
        assert len(result.latencies_s) == 200
        assert 0 < result.latencies_s[0] <= result.latencies_s[-1] <= result.elapsed_s


class EveryTenthIs503(BackendConnection):
    """Answers like the backend, except that each tenth answer of all connections is an error."""

    count = 0

    def _answer(self, head: bytes) -> None:
        EveryTenthIs503.count += 1
        if EveryTenthIs503.count % 10:
            super()._answer(head)
        else:
            self._transport.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")


def test_wrong_status_is_a_failure_and_the_other_connections_go_on() -> None:
    result = uvloop.run(send_to(lambda: EveryTenthIs503(answers("stable")), 200))
    assert (result.failed, result.by_backend) == (20, {"stable": 180})
    assert "503" in result.reasons[0]
    assert result.reasons[0].endswith("(20x)")


class Closes(asyncio.Protocol):
    """Closes a connection at its first request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.close()


def test_requests_fail_when_no_connection_is_left() -> None:
    result = uvloop.run(send_to(Closes, 100))
    assert (result.failed, result.latencies_s) == (100, ())
    assert sorted(result.reasons) == [
        "connection lost before the answer ended: closed (32x)",
        "no connection left to send on (68x)",
    ]


def test_requests_without_answer_have_failed_when_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SEND_TIMEOUT_S", 0.01)
    result = uvloop.run(send_to(asyncio.Protocol, 40))
    assert (result.failed, result.by_backend) == (40, {})
