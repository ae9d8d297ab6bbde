"""The load generator over HTTP/2 against the real backend, both on one loop; and against backends that answer wrong."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from benchmarks import session as sessions
from benchmarks.backend_h2 import H2BackendConnection, answers
from benchmarks.hpack_plan import Compression, Plan
from benchmarks.scenario_h2 import H2_SCENARIOS, H2Scenario
from benchmarks.session import LoadResult
from benchmarks.session_h2 import H2Session

SMALL, UNARY = H2_SCENARIOS[0], H2_SCENARIOS[2]


async def send_to(make: Callable[[], asyncio.Protocol], scenario: H2Scenario, requests: int) -> list[LoadResult]:
    """Two batches over one session to a server of any protocol."""
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    async with server:
        session = H2Session(scenario)
        await session.open(*server.sockets[0].getsockname())
        session.prepare(requests)
        results = [await session.send(requests), await session.send(requests)]
        session.close()
    return results


def backend(kind: type[H2BackendConnection] = H2BackendConnection) -> Callable[[], H2BackendConnection]:
    """Connections of one backend."""
    made, compression = answers("canary"), Compression()
    return lambda: kind(made, compression)


@pytest.mark.parametrize("scenario", H2_SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_request_is_sent_answered_and_counted_exactly_once(scenario: H2Scenario) -> None:
    requests = 200 if scenario.effort > 0.1 else 20
    for result in uvloop.run(send_to(backend(), scenario, requests)):
        assert (result.requests, result.failed, result.reasons) == (requests, 0, ())
        assert result.by_backend == {"canary": requests}
        assert len(result.latencies_s) == requests
        assert 0 < result.latencies_s[0] <= result.latencies_s[-1] <= result.elapsed_s


class EveryTenthIs503(H2BackendConnection):
    """Answers like the backend, except that each tenth answer of all connections is an error."""

    count = 0

    def _send_fields(self, stream_id: int, fields: Plan, values: tuple[bytes, ...], is_end: bool) -> None:
        EveryTenthIs503.count += 1
        if EveryTenthIs503.count % 10:
            super()._send_fields(stream_id, fields, values, is_end)
        else:
            super()._send_fields(stream_id, ((b":status", b"503"),), (), is_end)


def test_wrong_status_is_a_failure_and_the_other_streams_go_on() -> None:
    result = uvloop.run(send_to(backend(EveryTenthIs503), SMALL, 200))[0]
    assert (result.failed, result.by_backend) == (20, {"canary": 180})
    assert result.reasons == ("wanted status 200, got 503 (20x)",)


class ShortBody(H2BackendConnection):
    """One byte too few."""

    def send_body(self, stream_id: int, grain: bytes, size: int, has_trailers: bool) -> None:
        super().send_body(stream_id, grain, size - 1, has_trailers)


def test_body_of_another_length_is_a_failure() -> None:
    result = uvloop.run(send_to(backend(ShortBody), SMALL, 64))[0]
    assert result.reasons == ("wanted a body of 512 bytes, got 511 (64x)",)


class NoTrailers(H2BackendConnection):
    """Ends gRPC answers with their last byte."""

    def send_body(self, stream_id: int, grain: bytes, size: int, has_trailers: bool) -> None:
        super().send_body(stream_id, grain, size, False)


def test_grpc_answer_without_grpc_status_is_a_failure() -> None:
    result = uvloop.run(send_to(backend(NoTrailers), UNARY, 64))[0]
    assert result.reasons == ("wanted grpc-status 0, got none (64x)",)


class GoesAway(H2BackendConnection):
    """Ends each connection at its first request."""

    def on_block(self, stream_id: int, block: bytes, is_end: bool) -> None:
        self.transport.abort()


def test_requests_fail_when_no_connection_is_left() -> None:
    result = uvloop.run(send_to(backend(GoesAway), SMALL, 100))[0]
    assert (result.failed, result.latencies_s) == (100, ())
    assert sum("connection lost" in reason for reason in result.reasons) == 1
    assert result.reasons[-1] == "no connection left to send on (36x)"


class Silent(H2BackendConnection):
    """Takes requests and says nothing."""

    def on_block(self, stream_id: int, block: bytes, is_end: bool) -> None:
        pass


def test_requests_without_answer_have_failed_when_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SEND_TIMEOUT_S", 0.01)
    result = uvloop.run(send_to(backend(Silent), SMALL, 100))[0]
    assert (result.failed, result.by_backend) == (100, {})
