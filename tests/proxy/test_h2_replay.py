"""Requests over HTTP/2 that are sent again: what a backend said it has not processed, and nothing else."""

import pytest
from h2.events import RequestReceived

from milliroute.proxy.config import Codec
from tests.proxy.h2_backend import (
    Backend,
    Visit,
    h2_client,
    named,
    over_h2,
    serving_h2,
)
from tests.proxy.serving import BOTH_CODECS, get, on_loop, until

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)

REFUSED_STREAM, INTERNAL_ERROR = 7, 2


def refusing(times: int, *, how: str = "refused") -> Backend:
    """A backend that refuses so many requests, and then answers with what it was asked."""
    refused = [0]

    async def script(visit: Visit) -> None:
        while True:
            stream_id = (await visit.head()).stream_id
            assert stream_id is not None
            if refused[0] == times:
                break
            refused[0] += 1
            if how == "goaway":
                visit.goaway(0)
                await visit.until_closed()
                return
            visit.reset(stream_id, REFUSED_STREAM)
        visit._taken -= 1
        while True:
            asked = await visit.request_end()
            trailers = "".join(f"{name}={value}" for name, value in asked.trailers)
            visit.respond(asked.stream_id, asked.body, [("method", asked.fields[":method"]), ("trailed", trailers)])

    return Backend(script)


@pytest.mark.parametrize("how", ["refused", "goaway"])
@on_loop
async def test_what_a_backend_has_not_processed_is_sent_again_with_its_body_and_trailers(
    codec: Codec, how: str
) -> None:
    backend = refusing(2, how=how)
    async with backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(method="POST", is_end=False)
        await client.send_all(stream_id, b"b" * 30_000, is_end=False)
        client.trail(stream_id, [("x-sum", "1")])
        assert await client.answer(stream_id) == ("200", b"b" * 30_000)
        assert client.fields(stream_id)["trailed"] == "x-sum=1"


@pytest.mark.parametrize("how", ["refused", "goaway"])
@on_loop
async def test_request_of_http1_is_sent_again_with_its_chunks(codec: Codec, how: str) -> None:
    backend = refusing(1, how=how)
    async with backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await proxy.client()
        await client.send(get("/", "transfer-encoding: chunked", method="POST") + b"3\r\nabc\r\n")
        await until(lambda: bool(backend.visits) and backend.visits[0].all(RequestReceived) != [])
        await client.send(b"2\r\nde\r\n0\r\nx-sum: 1\r\n\r\n")
        reply = await client.reply()
        assert (reply.status, reply.body, reply.fields["trailed"]) == (200, b"5\r\nabcde\r\n0\r\n\r\n", "x-sum=1")


@on_loop
async def test_body_that_is_still_coming_follows_to_the_next_connection(codec: Codec) -> None:
    backend = refusing(1)
    async with backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(method="POST", is_end=False)
        client.send(stream_id, b"first ")
        await until(lambda: len(backend.visits) == 2)
        client.send(stream_id, b"second", is_end=True)
        assert await client.answer(stream_id) == ("200", b"first second")


@on_loop
async def test_refused_request_of_which_too_much_has_gone_out_is_502(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        stream_id = (await visit.head()).stream_id
        assert stream_id is not None
        await visit.until_body(stream_id, 100_000)
        visit.reset(stream_id, REFUSED_STREAM)
        await visit.until_closed()

    async with Backend(script) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(method="POST", is_end=False)
        await client.send_all(stream_id, b"b" * 100_000, is_end=False)
        status, _ = await client.answer_of_open(stream_id)
        assert status == "502"


@on_loop
async def test_request_that_is_refused_again_and_again_is_given_up(codec: Codec) -> None:
    backend = refusing(100)
    async with backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        assert (await client.get(method="POST"))[0] == "502"
        assert sum(len(visit.all(RequestReceived)) for visit in backend.visits) == 4
    assert proxy.totals("v1").requests == 1


@on_loop
async def test_another_endpoint_is_asked_before_the_one_that_refused(codec: Codec) -> None:
    async with (
        refusing(100) as refuses,
        Backend(named("v1")) as good,
        serving_h2(codec, over_h2(refuses, good)) as proxy,
    ):
        client = await h2_client(proxy)
        assert [await client.get(method="POST") for _ in range(6)] == [("200", b"v1")] * 6
        asked = [len(visit.all(RequestReceived)) for visit in refuses.visits]
        assert 0 < sum(asked) <= 6


@on_loop
async def test_stream_at_or_below_the_last_id_of_a_goaway_is_finished(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        asked = await visit.request_end()
        visit.goaway(asked.stream_id)
        visit.respond(asked.stream_id, b"last words")
        await visit.until_closed()

    async with Backend(script) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        assert await client.get(method="POST") == ("200", b"last words")
        assert await client.get(method="POST") == ("200", b"last words")
        assert len(backend.visits) == 2


@on_loop
async def test_stream_that_a_backend_reset_by_an_error_is_never_sent_again(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        first = await visit.request_end()
        visit.respond(first.stream_id)
        visit.reset((await visit.request_end()).stream_id, INTERNAL_ERROR)
        await visit.until_closed()

    async with Backend(script) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        assert (await client.get())[0] == "200"
        assert (await client.get())[0] == "502"
        assert len(backend.visits) == 1


@on_loop
async def test_get_on_a_connection_that_ended_meanwhile_is_sent_once_more(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        if visit.number:
            await named("v1")(visit)
            return
        visit.respond((await visit.request_end()).stream_id)
        await visit.head()
        visit.abort()

    async with Backend(script) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        assert (await client.get())[0] == "200"
        assert await client.get() == ("200", b"v1")
