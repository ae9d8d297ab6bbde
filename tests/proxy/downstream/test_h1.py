"""The client side on real sockets: what a client may send, in which order it is answered, when its connection ends."""

import asyncio

import pytest

from milliroute.proxy.config import Codec
from tests.proxy.backends import Origin, Script, Visit, named, response
from tests.proxy.serving import BOTH_CODECS, get, on_loop, post, serving, to, until

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)

UPGRADE = get("/", "connection: Upgrade", "upgrade: websocket")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"


async def target(visit: Visit) -> None:
    """Answers with what was asked for, then with the body."""
    while asked := await visit.request():
        await visit.answer(asked.target.encode() + asked.body)


def answering(wire: bytes) -> Script:
    async def script(visit: Visit) -> None:
        while await visit.request():
            await visit.send(wire)

    return script


@on_loop
async def test_pipelined_requests_are_answered_in_order(codec: Codec) -> None:
    async with Origin(target) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        await client.send(b"".join(get(f"/{n}") + post(b"+", path=f"/{n}") for n in range(500)))
        for n in range(500):
            assert (await client.reply()).body == b"/%d" % n
            assert (await client.reply()).body == b"/%d+" % n


@on_loop
async def test_many_pipelined_requests_of_our_own_answer_do_not_recurse(codec: Codec) -> None:
    async with serving(codec) as proxy:
        await proxy.update(None)
        client = await proxy.client()
        client.writer.write(get() * 5000)
        assert [(await client.reply()).status for _ in range(5000)] == [404] * 5000


@on_loop
async def test_client_that_pipelines_and_reads_nothing_is_read_no_more(codec: Codec) -> None:
    async with Origin(answering(response(b"x" * 10_000))) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # no public way to stop a StreamReader
        client.writer.write(get("/" + "x" * 4000) * 5000)
        connection = next(iter(proxy.downstreams()))
        await until(lambda: connection._is_write_paused and connection._is_paused)
        assert len(connection._pending) < 2**19
        client.reader._transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(5000):
            assert (await client.reply()).status == 200


@on_loop
async def test_slow_reader_leaves_no_paused_connection_in_the_pool(codec: Codec) -> None:
    """The end of an answer fills the client's buffer when the backend's connection is in the pool already."""
    async with Origin(answering(response(b"x" * 9_000_000))) as origin, serving(codec, to(origin)) as proxy:
        client, other = await proxy.client(), await proxy.client()
        await client.send(get())
        await until(lambda: any(c._is_write_paused for c in proxy.downstreams()))
        for _ in range(3):
            assert len((await other.get()).body) == 9_000_000
        assert len((await client.reply()).body) == 9_000_000
        assert len((await client.get()).body) == 9_000_000


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")]
)
@on_loop
async def test_answer_without_a_body_is_followed_by_the_next(codec: Codec, method: str, status: str) -> None:
    framing = "" if status.startswith("204") else "content-length: 5\r\n"
    async with (
        Origin(answering(f"HTTP/1.1 {status}\r\n{framing}\r\n".encode())) as origin,
        serving(codec, to(origin)) as proxy,
    ):
        client = await proxy.client()
        await client.send(get(method=method) * 3)
        for _ in range(3):
            assert (await client.reply("HEAD")).status == int(status[:3])
        assert len(origin.visits) == 1


@on_loop
async def test_chunks_and_trailers_pass_both_ways(codec: Codec) -> None:
    chunked = b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"

    async def script(visit: Visit) -> None:
        while asked := await visit.request():
            assert asked.body == chunked
            await visit.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked)

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        for _ in range(2):
            await client.send(get("/", "transfer-encoding: chunked", method="POST") + chunked)
            assert (await client.reply()).body == chunked


@on_loop
async def test_http10_client_gets_no_chunks_and_a_close(codec: Codec) -> None:
    wire = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    async with (
        Origin(answering(wire + b"5\r\nhello\r\n6\r\n world\r\n0\r\nx: y\r\n\r\n")) as origin,
        serving(codec, to(origin)) as proxy,
    ):
        client = await proxy.client()
        await client.send(b"GET / HTTP/1.0\r\nhost: reviews\r\n\r\n")
        reply = await client.reply()
        assert (reply.interims, reply.body) == ([], b"hello world")
        assert "transfer-encoding" not in reply.fields


@on_loop
async def test_expect_continue_is_the_backends_to_answer(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        await visit.head()
        await visit.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await visit.answer(await visit.reader.readexactly(4))

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        await client.send(get("/", "expect: 100-continue", "content-length: 4", method="PUT"))
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"body")
        assert (await client.reply()).body == b"body"


@on_loop
async def test_refused_expectation_reaches_the_client_without_the_body_sent(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        await visit.head()
        await visit.answer(status="401 Unauthorized")

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        await client.send(get("/", "expect: 100-continue", "content-length: 4", method="PUT"))
        reply = await client.reply()
        assert (reply.status, reply.fields["connection"]) == (401, "close")
        assert await client.rest() == b""


@on_loop
async def test_interim_answers_pass(codec: Codec) -> None:
    wire = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 16 + response(b"ok")
    async with Origin(answering(wire)) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        for _ in range(2):
            reply = await client.get()
            assert (reply.interims, reply.body) == ([103] * 16, b"ok")


@on_loop
async def test_upgraded_connection_echoes_a_mebibyte_both_ways(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        await visit.head()
        await visit.send(SWITCHED)
        while data := await visit.reader.read(65536):
            await visit.send(data)
        await visit.send(b"bye")

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        await client.send(UPGRADE + b"early")
        assert (await client.reply()).status == 101
        data = bytes(range(256)) * 4096
        client.writer.write(data)
        client.half_close()
        assert await client.rest() == b"early" + data + b"bye"


@on_loop
async def test_backends_end_of_an_upgraded_connection_is_the_clients(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        await visit.head()
        await visit.send(SWITCHED + b"\x88\x02\x03\xe8")

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        await client.send(UPGRADE)
        assert (await client.reply()).status == 101
        assert await client.rest() == b"\x88\x02\x03\xe8"


@on_loop
async def test_refused_upgrade_is_an_ordinary_answer(codec: Codec) -> None:
    async with Origin(named("no")) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        await client.send(UPGRADE + get())
        assert [(await client.reply()).body for _ in range(2)] == [b"no", b"no"]


@on_loop
async def test_half_closed_client_gets_all_its_answers(codec: Codec) -> None:
    async with Origin(target) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        client.writer.write(b"".join(get(f"/{n}") for n in range(3)) + b"GET /unfinis")
        client.half_close()
        assert [(await client.reply()).body for _ in range(3)] == [b"/0", b"/1", b"/2"]
        assert await client.rest() == b""


@on_loop
async def test_half_closed_client_is_told_which_answer_is_the_last(codec: Codec) -> None:
    gate = asyncio.Event()

    async def script(visit: Visit) -> None:
        while await visit.request():
            await gate.wait()
            await visit.answer(b"late")

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        await client.send(get() * 2)
        client.half_close()
        connection = next(iter(proxy.downstreams()))
        await until(lambda: connection._is_half_closed)
        gate.set()
        assert "connection" not in (await client.reply()).fields
        assert (await client.reply()).fields["connection"] == "close"
        assert await client.rest() == b""


@on_loop
async def test_client_that_wants_a_close_gets_one(codec: Codec) -> None:
    async with Origin(target) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        await client.send(get("/a", "connection: close") + get("/b"))
        reply = await client.reply()
        assert (reply.body, reply.fields["connection"]) == (b"/a", "close")
        assert await client.rest() == b""
        assert len(origin.asked) == 1


@on_loop
async def test_answer_framed_by_its_end_closes_the_client_too(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(b"HTTP/1.1 200 OK\r\n\r\nall")

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        reply = await (await proxy.client()).get()
        assert (reply.body, reply.fields["connection"]) == (b"all", "close")


@on_loop
async def test_early_answer_is_complete_although_the_body_goes_on(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        await visit.head()
        await visit.answer(b"x" * 1_000_000, status="413 Content Too Large")
        await visit.reader.read()

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        client.writer.write(get("/", "content-length: 50000000", method="POST") + b"x" * 4_000_000)
        reply = await client.reply()
        assert (reply.status, len(reply.body), reply.fields["connection"]) == (413, 1_000_000, "close")
