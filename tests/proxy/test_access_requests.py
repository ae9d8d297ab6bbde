"""Access policies in a worker in the test's own loop: who is let in, who is turned away, and what is counted."""

import logging

import msgspec
import pytest
from h2.events import ResponseReceived, StreamEnded

from milliroute.proxy.agent.ledger import AccessKey
from milliroute.proxy.config import Codec
from milliroute.proxy.state import (
    AuthenticationState,
    AuthorityState,
    AuthorizationState,
    GuardState,
    MatchState,
    NetworkState,
)
from milliroute.proxy.worker import MAX_DENIAL_LINES
from tests.proxy.backends import Origin, named
from tests.proxy.downstream.test_h2 import H2Client, connect, over_http1
from tests.proxy.serving import BOTH_CODECS, Proxy, get, on_loop, post, serving, to, until
from tests.proxy.tunnelling import BINARY, echo, is_reset

READS = MatchState("/api", ["GET"])


def guarded(state: AuthorityState, *authorizations: AuthorizationState, is_audit: bool = False) -> AuthorityState:
    guard = GuardState("Server", "default/reviews", list(authorizations), is_audit)
    return msgspec.structs.replace(state, access=[guard])


def from_network(cidr: str, *matches: MatchState) -> AuthorizationState:
    return AuthorizationState("net", [AuthenticationState("n", [NetworkState(cidr)])], list(matches))


LOCAL = from_network("127.0.0.0/8")


def decided(proxy: Proxy) -> dict[tuple[str, str], int]:
    return {(key.verdict, key.protocol): count for key, count in proxy.ledger.access.items()}


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_a_request_that_no_policy_lets_in_is_403_and_the_connection_lives(codec: Codec) -> None:
    async with Origin(named("v1")) as origin:
        state = guarded(to(origin), from_network("127.0.0.0/8", READS))
        async with serving(codec, state) as proxy:
            client = await proxy.client()
            denied = await client.get("/admin")
            assert (denied.status, denied.fields["l5d-proxy-error"]) == (403, "denied by an access policy")
            assert (await client.get("/api/1")).body == b"v1"
            assert [asked.target for asked in origin.asked] == ["/api/1"]
            await proxy.counted()
            assert decided(proxy) == {("deny", "http"): 1, ("allow", "http"): 1}
            assert proxy.ledger.errors == {"denied": 1}
            key = AccessKey("reviews.default", "Server", "default/reviews", "net", "allow", "http")
            assert proxy.ledger.access[key] == 1


@pytest.mark.parametrize("codec", BOTH_CODECS)
@pytest.mark.parametrize(
    "path", ["/api/../admin", "/api/%2e%2e/admin", "/api%2fadmin", "/api;/../admin", "//api", "/%61pi"]
)
@on_loop
async def test_a_path_that_hides_another_reaches_no_backend(codec: Codec, path: str) -> None:
    async with (
        Origin(named("v1")) as origin,
        serving(codec, guarded(to(origin), from_network("127.0.0.0/8", MatchState("/")))) as proxy,
    ):
        reply = await (await proxy.client()).get(path)
        assert (reply.status, origin.asked) == (403, [])
        assert "normal form" in reply.fields["l5d-proxy-error"]


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_a_denied_upload_is_answered_and_the_next_request_is_read_right(codec: Codec) -> None:
    async with (
        Origin(named("v1")) as origin,
        serving(codec, guarded(to(origin), from_network("127.0.0.0/8", READS))) as proxy,
    ):
        client = await proxy.client()
        await client.send(post(b"GET /smuggled HTTP/1.1\r\nhost: reviews\r\n\r\n", path="/api") + get("/api"))
        assert (await client.reply()).status == 403
        assert (await client.reply()).body == b"v1"
        assert [asked.target for asked in origin.asked] == ["/api"]


@on_loop
async def test_a_policy_counts_for_the_next_request_of_a_connection_that_is_open() -> None:
    async with Origin(named("v1")) as origin, serving(state=to(origin)) as proxy:
        client = await proxy.client()
        assert (await client.get()).status == 200
        await proxy.update(guarded(to(origin)))
        assert (await client.get()).status == 403
        await proxy.update(guarded(to(origin), LOCAL))
        assert (await client.get()).status == 200
        await proxy.update(to(origin))
        assert (await client.get()).status == 200


async def _ask(client: H2Client, stream_id: int, *fields: tuple[str, str]) -> dict[bytes, bytes]:
    pseudo = [(":method", "POST"), (":scheme", "http"), (":path", "/s/M"), (":authority", "reviews")]
    client._h2.send_headers(stream_id, [*pseudo, *fields], end_stream=True)
    client._writer.write(client._h2.data_to_send())
    answer = await client.until(ResponseReceived, stream_id)
    await client.until(StreamEnded, stream_id)
    assert isinstance(answer, ResponseReceived)
    return dict(answer.headers)


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_a_denied_call_is_permission_denied_and_other_streams_go_on(codec: Codec) -> None:
    async with (
        Origin(named("v1")) as origin,
        serving(codec, over_http1(guarded(to(origin), from_network("127.0.0.0/8", READS)))) as proxy,
    ):
        client = await connect(proxy)
        call = await _ask(client, 1, ("content-type", "application/grpc"), ("te", "trailers"))
        assert (call[b":status"], call[b"grpc-status"]) == (b"200", b"7")
        assert (await _ask(client, 3))[b":status"] == b"403"
        client.get(5, "/api")
        await client.until(StreamEnded, 5)
        assert client.body(5) == b"v1"
        assert len(origin.asked) == 1


@on_loop
async def test_an_audit_lets_in_counts_and_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with Origin(named("v1")) as origin, serving(state=guarded(to(origin), is_audit=True)) as proxy:
        client = await proxy.client()
        assert [(await client.get("/x")).status for _ in range(3)] == [200] * 3
        await proxy.counted()
        assert decided(proxy) == {("audit", "http"): 3}
        lines = [record.message for record in caplog.records]
        assert len(lines) == 1
        assert "audited by Server default/reviews, the last: GET /x from 127.0.0.1" in lines[0]


@on_loop
async def test_a_thousand_denials_are_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    async with Origin(named("v1")) as origin, serving(state=guarded(to(origin))) as proxy:
        client = await proxy.client()
        for _ in range(10):
            await client.send(get() * 100)
            assert {(await client.reply()).status for _ in range(100)} == {403}
        await proxy.counted()
        assert decided(proxy) == {("deny", "http"): 1000}
    assert len(caplog.records) == 1


@on_loop
async def test_denials_of_very_many_names_are_logged_little_by_little(caplog: pytest.LogCaptureFixture) -> None:
    async with Origin(named("v1")) as origin, serving(apex="") as proxy:
        client = await proxy.client()
        names = [f"n{number}" for number in range(2 * MAX_DENIAL_LINES)]
        for name in names:
            await proxy.update(guarded(to(origin)), name, f"{name}.default")
        await client.send(b"".join(get(host=name) for name in names))
        assert {(await client.reply()).status for _ in names} == {403}
        await proxy.counted()
        assert len(caplog.records) == MAX_DENIAL_LINES
        await until(lambda: len(caplog.records) == len(names))


@on_loop
async def test_the_orders_and_identities_of_clients_are_never_passed_on() -> None:
    async with Origin(named("v1")) as origin, serving(state=guarded(to(origin), LOCAL)) as proxy:
        await (await proxy.client()).get("/", "l5d-client-id: admin", "L5D_Client_Id: admin")
        (asked,) = origin.asked
        assert b"admin" not in asked.head


@on_loop
async def test_a_connection_that_is_not_http_is_reset_where_nobody_lets_it_in() -> None:
    async with Origin(echo) as origin, serving(state=guarded(to(origin), from_network("127.0.0.0/8", READS))) as proxy:
        client = await proxy.client()
        await client.send(BINARY)
        assert await is_reset(client)
        assert origin.visits == []
        await proxy.counted()
        assert decided(proxy) == {("deny", "tcp"): 1}


@on_loop
async def test_a_connection_that_is_no_longer_let_in_ends_within_a_sweep() -> None:
    async with Origin(echo) as origin, serving(state=guarded(to(origin), LOCAL)) as proxy:
        client = await proxy.client()
        await client.send(BINARY)
        assert await client.reader.readexactly(len(BINARY)) == BINARY
        await proxy.update(guarded(to(origin), LOCAL, from_network("10.0.0.0/8")))
        await client.send(BINARY)
        assert await client.reader.readexactly(len(BINARY)) == BINARY
        await proxy.update(guarded(to(origin), from_network("10.0.0.0/8")))
        assert await is_reset(client)
        await until(lambda: not proxy.worker._connections)
