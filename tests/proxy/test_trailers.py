"""Trailers between the versions: chunked ones of HTTP/1.1, a last HEADERS in HTTP/2."""

import pytest
from h2.events import StreamEnded

from milliroute.proxy.config import Codec
from tests.proxy.backends import Origin
from tests.proxy.backends import Visit as H1Visit
from tests.proxy.h2_backend import Backend, Visit, h2_client, over_h2, serving_h2, speaking
from tests.proxy.serving import BOTH_CODECS, get, on_loop, to

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)

CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\nx-sum: 1\r\nX-Other: 2\r\ncontent-length: 9\r\nauthorization: a\r\nl5d-x: 1\r\n\r\n"


async def trailing(visit: Visit) -> None:
    """Answers with the trailers it got, and some of its own; one may not come there."""
    while True:
        asked = await visit.request_end()
        visit.respond(asked.stream_id, asked.body, [("got", repr(sorted(asked.trailers)))], is_end=False)
        visit.trail(asked.stream_id, [("x-sum", "1"), ("authorization", "no"), ("x-other", "2")])


def answering(*pieces: bytes) -> Origin:
    async def script(visit: H1Visit) -> None:
        while await visit.request():
            for piece in pieces:
                await visit.send(piece)

    return Origin(script)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"3\r\nabc\r\n" + END],
        [b"3\r\nabc\r\n", END],
        [b"3\r\na", b"bc\r", b"\n0\r\nx-s", b"um: 1\r\nX-Other: 2\r\n", b"content-length: 9\r\n\r\n"],
    ],
)
@on_loop
async def test_trailers_of_an_http1_client_reach_an_h2_backend_but_for_forbidden_ones(
    codec: Codec, pieces: list[bytes]
) -> None:
    async with Backend(trailing) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await proxy.client()
        await client.send(get("/", "transfer-encoding: chunked", method="POST"))
        for piece in pieces:
            await client.send(piece)
        reply = await client.reply()
        assert reply.fields["got"] == "[('x-other', '2'), ('x-sum', '1')]"
        assert reply.body == b"3\r\nabc\r\n0\r\nx-sum: 1\r\nx-other: 2\r\n\r\n"


@on_loop
async def test_request_that_has_trailers_and_no_body_is_whole(codec: Codec) -> None:
    async with Backend(trailing) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await proxy.client()
        await client.send(get("/", "transfer-encoding: chunked", method="POST") + END)
        assert (await client.reply()).fields["got"] == "[('x-other', '2'), ('x-sum', '1')]"


@on_loop
async def test_http10_client_gets_the_body_and_no_trailers(codec: Codec) -> None:
    async with Backend(trailing) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await proxy.client()
        await client.send(b"POST / HTTP/1.0\r\nhost: reviews\r\ncontent-length: 3\r\n\r\nabc")
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
        assert (head.split(b"\r\n")[0], body) == (b"HTTP/1.1 200 OK", b"abc")


@on_loop
async def test_http10_client_gets_no_trailers_of_an_http1_backend(codec: Codec) -> None:
    async with answering(CHUNKED_HEAD + b"3\r\nabc\r\n" + END) as origin, serving_h2(codec, to(origin)) as proxy:
        client = await proxy.client()
        await client.send(b"GET / HTTP/1.0\r\nhost: reviews\r\n\r\n")
        assert (await client.rest()).partition(b"\r\n\r\n")[2] == b"abc"


@pytest.mark.parametrize(
    "pieces",
    [
        [CHUNKED_HEAD + b"3\r\nabc\r\n" + END],
        [CHUNKED_HEAD, b"3\r\nabc\r\n" + END],
        [CHUNKED_HEAD + b"3\r\nabc\r\n", END],
        [CHUNKED_HEAD + b"3\r\nab", b"c\r\n0\r", b"\nx-sum: 1\r\nx-other: 2", b"\r\n\r\n"],
    ],
)
@on_loop
async def test_trailers_of_an_http1_backend_reach_an_h2_client(codec: Codec, pieces: list[bytes]) -> None:
    async with answering(*pieces) as origin, serving_h2(codec, speaking("http", to(origin))) as proxy:
        client = await h2_client(proxy)
        for stream_id in (client.request(), client.request()):
            assert await client.answer(stream_id) == ("200", b"abc")
            assert client.trailers(stream_id) == [("x-sum", "1"), ("x-other", "2")]


@on_loop
async def test_connection_whose_response_had_trailers_is_used_again(codec: Codec) -> None:
    pieces = [CHUNKED_HEAD + b"3\r\nabc\r\n" + END]
    async with answering(*pieces) as origin, serving_h2(codec, speaking("http", to(origin))) as proxy:
        client = await h2_client(proxy)
        for _ in range(3):
            assert await client.get() == ("200", b"abc")
        assert len(origin.visits) == 1


@on_loop
async def test_trailers_behind_an_empty_body_reach_an_h2_client(codec: Codec) -> None:
    async with answering(CHUNKED_HEAD + END) as origin, serving_h2(codec, speaking("http", to(origin))) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request()
        assert await client.answer(stream_id) == ("200", b"")
        assert client.trailers(stream_id) == [("x-sum", "1"), ("x-other", "2")]


@on_loop
async def test_trailers_of_an_h2_client_reach_an_http1_backend_but_for_forbidden_ones(codec: Codec) -> None:
    async def script(visit: H1Visit) -> None:
        asked = await visit.request()
        assert asked is not None
        await visit.answer(asked.body)

    async with Origin(script) as origin, serving_h2(codec, speaking("http", to(origin))) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(method="POST", is_end=False)
        client.send(stream_id, b"abc")
        client.trail(stream_id, [("x-sum", "1"), ("authorization", "no")])
        assert await client.answer(stream_id) == ("200", b"3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n")


@on_loop
async def test_body_of_known_length_has_no_room_for_trailers_and_is_whole(codec: Codec) -> None:
    async def script(visit: H1Visit) -> None:
        while asked := await visit.request():
            await visit.answer(asked.body)

    async with Origin(script) as origin, serving_h2(codec, speaking("http", to(origin))) as proxy:
        client = await h2_client(proxy)
        for _ in range(2):
            stream_id = client.request([("content-length", "3")], method="POST", is_end=False)
            client.send(stream_id, b"abc")
            client.trail(stream_id, [("x-sum", "1")])
            assert await client.answer(stream_id) == ("200", b"abc")
        assert len(origin.visits) == 1


@on_loop
async def test_trailers_wait_behind_what_the_client_has_not_taken(codec: Codec) -> None:
    body = b"x" * 200_000
    wire = CHUNKED_HEAD + b"%x\r\n%s\r\n" % (len(body), body) + END
    async with answering(wire) as origin, serving_h2(codec, speaking("http", to(origin))) as proxy:
        client = await h2_client(proxy, takes=False)
        stream_id = client.request()
        await client.until_body(stream_id, 65535)
        client.takes = True
        client.h2.increment_flow_control_window(2**20, stream_id)
        client.h2.increment_flow_control_window(2**20)
        client.flush()
        await client.until(StreamEnded, stream_id)
        assert client.body(stream_id) == body
        assert client.trailers(stream_id) == [("x-sum", "1"), ("x-other", "2")]
