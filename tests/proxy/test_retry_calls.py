"""gRPC calls, and other requests over HTTP/2, that are tried again: by a status that comes at the end."""

import asyncio

import pytest
from h2.events import RequestReceived, ResponseReceived, StreamReset
from msgspec.structs import replace

from milliroute.proxy.config import Codec
from milliroute.proxy.exchange import retrying
from tests.proxy.failures import ON_503, ON_UNAVAILABLE, calls, trying
from tests.proxy.h2_backend import GRPC, Backend, Peer, Visit, h2_client, named, over_h2, plain, serving_h2, speaking
from tests.proxy.serving import BOTH_CODECS, on_loop, until
from tests.proxy.tables import leaves

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)

OK, UNAVAILABLE, NOT_FOUND = 0, 14, 5
CANCEL = 8


async def call(client: Peer, *fields: tuple[str, str]) -> str:
    """Its grpc-status, from the trailers or from the head."""
    stream_id = client.request([*GRPC, *fields], method="POST")
    await client.answer(stream_id)
    return dict(client.trailers(stream_id)).get("grpc-status") or client.fields(stream_id)["grpc-status"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "BACKOFF_S", (0.0, 0.0))


@pytest.mark.parametrize("style", ["trailers-only", "trailers"])
@on_loop
async def test_call_is_tried_again_on_another_endpoint_by_its_status(codec: Codec, style: str) -> None:
    async with (
        calls(UNAVAILABLE, style=style) as bad,
        calls(OK, style="message") as good,
        serving_h2(codec, trying(over_h2(bad, good), ON_UNAVAILABLE)) as proxy,
    ):
        client = await h2_client(proxy)
        for number in range(20):
            assert await call(client) == "0"
            assert len(client.all(ResponseReceived)) == number + 1
        assert bad.visits


@pytest.mark.parametrize("style", ["trailers-only", "trailers"])
@on_loop
async def test_status_that_is_not_in_the_policy_is_the_clients(codec: Codec, style: str) -> None:
    async with (
        calls(NOT_FOUND, style=style) as one,
        serving_h2(codec, trying(over_h2(one), ON_UNAVAILABLE)) as proxy,
    ):
        client = await h2_client(proxy)
        assert await call(client) == "5"
        assert len(one.visits[0].all(RequestReceived)) == 1


@on_loop
async def test_with_a_message_the_response_has_begun(codec: Codec) -> None:
    async with (
        calls(UNAVAILABLE, style="message") as one,
        serving_h2(codec, trying(over_h2(one), ON_UNAVAILABLE)) as proxy,
    ):
        client = await h2_client(proxy)
        assert await call(client) == "14"
        assert client.body(1) == b"message"
        assert len(one.visits[0].all(RequestReceived)) == 1


@on_loop
async def test_head_that_is_kept_back_goes_on_with_the_next_sweep(codec: Codec) -> None:
    async def streaming(visit: Visit) -> None:
        asked = await visit.request_end()
        visit.respond(asked.stream_id, fields=[GRPC[0]], is_end=False)
        await has_head.wait()
        visit.trail(asked.stream_id, [("grpc-status", "14")])
        await visit.until_closed()

    has_head = asyncio.Event()
    async with Backend(streaming) as one, serving_h2(codec, trying(over_h2(one), ON_UNAVAILABLE)) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(GRPC, method="POST")
        await client.until(ResponseReceived)
        has_head.set()
        await client.answer(stream_id)
        assert client.trailers(stream_id) == [("grpc-status", "14")]
        assert len(one.visits[0].all(RequestReceived)) == 1


@on_loop
async def test_of_a_client_that_still_sends_no_head_is_kept_back(codec: Codec) -> None:
    async def chatting(visit: Visit) -> None:
        stream_id = (await visit.head()).stream_id
        assert stream_id is not None
        visit.respond(stream_id, fields=[GRPC[0]], is_end=False)
        visit.send(stream_id, await visit.until_body(stream_id, 4))
        visit.trail(stream_id, [("grpc-status", "0")])
        await visit.until_closed()

    async with Backend(chatting) as one, serving_h2(codec, trying(over_h2(one), ON_UNAVAILABLE)) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(GRPC, method="POST", is_end=False)
        await client.until(ResponseReceived)
        client.send(stream_id, b"chat")
        assert await client.answer_of_open(stream_id) == ("200", b"chat")


@on_loop
async def test_last_answer_is_the_clients_when_the_limit_is_reached(codec: Codec, quick: None) -> None:
    async with calls(UNAVAILABLE, style="trailers") as one:
        policy = replace(ON_UNAVAILABLE, retry_limit=2)
        async with serving_h2(codec, trying(over_h2(one), policy)) as proxy:
            client = await h2_client(proxy)
            assert await call(client) == "14"
            assert len(one.visits[0].all(RequestReceived)) == 3
            await proxy.counted()
            totals = proxy.totals("v1")
            assert (totals.requests, totals.retries) == (3, 2)
            assert {key.grpc_status: count for key, count in totals.responses.items()} == {"14": 3}


@on_loop
async def test_reset_stream_is_unavailable_to_the_policy(codec: Codec) -> None:
    async def resetting(visit: Visit) -> None:
        while stream_id := (await visit.head()).stream_id:
            visit.reset(stream_id, 2)

    async with (
        Backend(resetting) as bad,
        calls(OK) as good,
        serving_h2(codec, trying(over_h2(bad, good), ON_UNAVAILABLE)) as proxy,
    ):
        client = await h2_client(proxy)
        assert [await call(client) for _ in range(20)] == ["0"] * 20


@on_loop
async def test_grpc_timeout_shrinks_with_each_try(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "BACKOFF_S", (0.03, 0.03))
    async with calls(UNAVAILABLE, UNAVAILABLE, OK) as one:
        policy = replace(ON_UNAVAILABLE, retry_limit=2)
        async with serving_h2(codec, trying(over_h2(one), policy)) as proxy:
            assert await call(await h2_client(proxy), ("grpc-timeout", "5S")) == "0"
            heads = [dict(plain(event.headers)) for event in one.visits[0].all(RequestReceived)]
            first, second, third = [head["grpc-timeout"] for head in heads]
            assert first == "5S"
            assert 5000 - 30 >= int(second.removesuffix("m")) >= int(third.removesuffix("m")) + 30


@on_loop
async def test_stream_of_a_response_that_is_thrown_away_is_reset(codec: Codec) -> None:
    async def endless(visit: Visit) -> None:
        asked = await visit.request_end()
        visit.respond(asked.stream_id, b"no", status=503, is_end=False)
        assert (await visit.until(StreamReset)).error_code == CANCEL
        await visit.until_closed()

    async with Backend(endless) as bad, Backend(named("v2")) as good:
        state = speaking("kubernetes.io/h2c", leaves({"v1": [bad.port], "v2": [good.port]}, 999_999, 1))
        async with serving_h2(codec, trying(state)) as proxy:
            client = await h2_client(proxy)
            assert await client.get() == ("200", b"v2")
            await until(lambda: bool(bad.visits[0].all(StreamReset)))


@on_loop
async def test_response_over_h2_is_tried_again_by_its_http_status(codec: Codec, quick: None) -> None:
    statuses = iter([503, 503, 200])

    async def script(visit: Visit) -> None:
        while True:
            asked = await visit.request_end()
            visit.respond(asked.stream_id, asked.body, status=next(statuses))

    async with (
        Backend(script) as one,
        serving_h2(codec, trying(over_h2(one), replace(ON_503, retry_limit=2))) as proxy,
    ):
        client = await h2_client(proxy)
        stream_id = client.request(method="PUT", is_end=False)
        await client.send_all(stream_id, b"b" * 30_000, is_end=False)
        client.trail(stream_id, [("x-sum", "1")])
        assert await client.answer(stream_id) == ("200", b"b" * 30_000)
        assert len(one.visits[0].all(RequestReceived)) == 3
