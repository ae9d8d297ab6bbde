"""The backend side on real sockets: pools, misbehaving backends, what ends a connection and what keeps it."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from milliroute.proxy.config import Codec, Timeouts
from milliroute.proxy.state import BackendState, EndpointState
from milliroute.proxy.upstream.h1 import Upstream
from tests.proxy.backends import Origin, Script, Visit, closed_port, named, response
from tests.proxy.serving import BOTH_CODECS, get, on_loop, post, serving, to, until
from tests.proxy.tables import authority, backend, leaves, split

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)


@on_loop
async def test_one_client_after_another_uses_one_connection(codec: Codec) -> None:
    async with Origin(named("v1")) as origin, serving(codec, to(origin)) as proxy:
        for _ in range(3):
            client = await proxy.client()
            assert (await client.get()).body == b"v1"
        assert len(origin.visits) == 1


@on_loop
async def test_idle_connections_are_taken_last_in_first_out(codec: Codec) -> None:
    gate = asyncio.Event()

    async def script(visit: Visit) -> None:
        while asked := await visit.request():
            if asked.target == "/wait":
                await gate.wait()
            await visit.answer(b"%d" % visit.number)

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        one, other = await proxy.client(), await proxy.client()
        await one.send(get("/wait"))
        await until(lambda: len(origin.asked) == 1)
        assert (await other.get()).body == b"1"
        gate.set()
        assert (await one.reply()).body == b"0"
        assert (await other.get()).body == b"0"


@on_loop
async def test_connection_idle_for_too_long_is_closed(codec: Codec) -> None:
    async with (
        Origin(named("v1")) as origin,
        serving(codec, to(origin), timeouts=Timeouts(pool_idle_s=0.5)) as proxy,
    ):
        await (await proxy.client()).get()
        assert proxy.pooled() == 1
        await until(lambda: proxy.pooled() == 0)
        await until(lambda: origin.visits[0].reader.at_eof())


@on_loop
async def test_backend_that_closes_after_every_answer_fails_no_request(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.answer(b"v1")

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        replies = [await client.get() for _ in range(100)]
        assert [reply.status for reply in replies] == [200] * 100


@on_loop
async def test_endpoint_that_is_gone_loses_its_idle_connections(codec: Codec) -> None:
    async with Origin(named("old")) as old, Origin(named("new")) as new, serving(codec, to(old)) as proxy:
        client = await proxy.client()
        await client.get()
        await proxy.update(to(new))
        await until(old.visits[0].reader.at_eof)
        assert (await client.get()).body == b"new"


@on_loop
async def test_endpoint_that_is_gone_finishes_what_it_serves(codec: Codec) -> None:
    gate = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.request()
        await gate.wait()
        await visit.answer(b"old")
        assert await visit.request() is None

    async with Origin(script) as old, Origin(named("new")) as new, serving(codec, to(old)) as proxy:
        client = await proxy.client()
        await client.send(get())
        await until(lambda: bool(old.asked))
        await proxy.update(to(new))
        gate.set()
        assert (await client.reply()).body == b"old"
        assert (await client.get()).body == b"new"
        await until(lambda: old.visits[0].writer.is_closing())


@on_loop
async def test_unrelated_update_keeps_idle_connections(codec: Codec) -> None:
    async with Origin(named("a")) as a, Origin(named("b")) as b, serving(codec, to(a)) as proxy:
        client = await proxy.client()
        await client.get()
        await proxy.update(leaves({"v1": [a.port], "v2": [b.port]}, 1, 0))
        await client.get()
        assert len(a.visits) == 1


async def garbage(visit: Visit) -> None:
    await visit.head()
    await visit.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


async def closes_early(visit: Visit) -> None:
    await visit.head()


async def resets(visit: Visit) -> None:
    await visit.head()
    visit.reset()


async def half_a_head(visit: Visit) -> None:
    await visit.head()
    await visit.send(b"HTTP/1.1 200 OK\r\ncontent-le")


async def two_lengths(visit: Visit) -> None:
    await visit.head()
    await visit.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab")


async def bad_chunk(visit: Visit) -> None:
    await visit.head()
    await visit.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnope\r\n")


async def many_interims(visit: Visit) -> None:
    await visit.head()
    await visit.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17 + response(b"late"))


async def unasked_upgrade(visit: Visit) -> None:
    await visit.head()
    await visit.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")


BAD: list[Script] = [
    garbage, closes_early, resets, half_a_head, two_lengths, bad_chunk, many_interims, unasked_upgrade,
]  # fmt: skip


@pytest.mark.parametrize("script", BAD)
@on_loop
async def test_backend_without_a_proper_answer_is_502_and_hurts_nobody_else(codec: Codec, script: Script) -> None:
    async with Origin(script) as bad, Origin(named("good")) as good, serving(codec, apex="") as proxy:
        await proxy.update(to(bad), "bad", "bad.default")
        await proxy.update(to(good), "good", "good.default")
        client, bystander = await proxy.client(), await proxy.client()
        for _ in range(3):
            assert (await client.get(host="bad")).status == 502
            assert (await bystander.get(host="good")).body == b"good"
        assert (await client.get(host="good")).body == b"good"


@on_loop
async def test_bytes_beyond_the_content_length_go_nowhere(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        while await visit.request():
            await visit.send(
                b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
            )

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        assert [(await client.get()).body for _ in range(3)] == [b"ok"] * 3
        assert len(origin.visits) == 3


@on_loop
async def test_bytes_on_an_idle_connection_end_it(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.answer(b"ok")
        if visit.number == 0:
            await visit.send(response(b"evil"))
        await visit.request()
        await visit.answer(b"again")

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        assert (await client.get()).body == b"ok"
        await until(lambda: proxy.pooled() == 0)
        assert (await client.get()).body == b"ok"


@on_loop
async def test_reset_in_the_middle_of_a_body_is_no_clean_end(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        await visit.head()
        await visit.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + b"x" * 500)
        visit.reset()

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        await client.send(get())
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.reply()


@on_loop
async def test_reset_of_a_body_without_length_reaches_the_client_as_a_reset(codec: Codec) -> None:
    gate = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.head()
        await visit.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 500)
        await gate.wait()
        visit.reset()

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        await client.send(get())
        await client.reader.readuntil(b"x" * 500)
        gate.set()
        with pytest.raises(ConnectionResetError):
            await client.rest()


@on_loop
async def test_backend_that_accepts_and_hangs_up_is_a_failed_connect(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        visit.reset()

    async with Origin(script) as origin, Origin(named("good")) as good:
        state = leaves({"v1": [origin.port], "v2": [good.port]}, 1, 1)
        async with serving(codec, state) as proxy:
            client = await proxy.client()
            for _ in range(20):
                await client.send(post(b"x"))
                assert (await client.reply()).status in (200, 502)
            assert len(good.asked) >= 10


class LateLoop:
    """Tells of a new connection only when the backend has closed it again."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.create_task = self._loop.create_task

    async def create_connection(
        self, make: Callable[[], Upstream], host: str, port: int
    ) -> tuple[asyncio.Transport, Upstream]:
        transport, connection = await self._loop.create_connection(make, host, port)
        await until(lambda: connection.is_closing)
        return transport, connection


@on_loop
async def test_connection_lost_before_its_first_request_is_a_failed_connect(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        visit.reset()

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        proxy.worker._context.dialer.loop = cast("asyncio.AbstractEventLoop", LateLoop())
        client = await proxy.client()
        await client.send(post(b"x"))
        reply = await client.reply()
        assert (reply.status, "accepted" in reply.fields["l5d-proxy-error"]) == (502, True)


@pytest.mark.parametrize(("host", "port"), [("a..b", 80), ("127.0.0.1", 70000), ("no-such-host.invalid", 80)])
@on_loop
async def test_endpoint_that_is_no_address_is_502(codec: Codec, host: str, port: int) -> None:
    state = authority([BackendState("v1", "default", endpoints=[EndpointState(host, port)])], split(1))
    async with serving(codec, state) as proxy:
        assert (await (await proxy.client()).get()).status in (502, 504)


@on_loop
async def test_refused_connect_is_502_with_its_reason(codec: Codec) -> None:
    async with serving(codec, authority([backend("v1", closed_port())], split(1))) as proxy:
        reply = await (await proxy.client()).get()
        assert reply.status == 502
        assert "refused" in reply.fields["l5d-proxy-error"].lower()


@on_loop
async def test_early_answer_ends_the_connection_to_a_backend_that_reads_no_more(codec: Codec) -> None:
    gate = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.head()
        await gate.wait()
        await visit.answer(b"too much", status="413 Content Too Large")
        await asyncio.Event().wait()

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        client.writer.write(get("/", "content-length: 80000000", method="POST") + b"x" * 30_000_000)
        await until(lambda: any(connection._is_paused for connection in proxy.downstreams()))
        gate.set()
        reply = await client.reply()
        assert (reply.status, reply.fields["connection"]) == (413, "close")
        await until(lambda: proxy.worker._context.dialer.tcp.open_now == 0)
