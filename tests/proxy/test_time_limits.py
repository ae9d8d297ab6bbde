"""Time limits on backends: what is due from whom decides who is given up."""

import asyncio

import pytest

from milliroute.proxy.config import Codec, Limits, Timeouts
from tests.proxy.backends import Origin, Visit, named
from tests.proxy.serving import BOTH_CODECS, get, on_loop, serving, to, until

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)


async def says_nothing(visit: Visit) -> None:
    await visit.head()
    await visit.reader.read()


@on_loop
async def test_backend_silent_towards_an_expectation_is_504_and_not_the_clients_fault(codec: Codec) -> None:
    async with (
        Origin(says_nothing) as origin,
        serving(codec, to(origin), timeouts=Timeouts(response_s=0.2), limits=Limits(stall_s=0.01)) as proxy,
    ):
        client = await proxy.client()
        await client.send(get("/", "expect: 100-continue", "content-length: 5", method="POST"))
        assert (await client.reply()).status == 504


@on_loop
async def test_client_that_was_told_to_continue_and_does_not_is_408(codec: Codec) -> None:

    async def says_continue(visit: Visit) -> None:
        await visit.head()
        await visit.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await visit.reader.read()

    async with Origin(says_continue) as origin, serving(codec, to(origin), limits=Limits(stall_s=0.05)) as proxy:
        client = await proxy.client()
        await client.send(get("/", "expect: 100-continue", "content-length: 5", method="POST"))
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        assert (await client.reply()).status == 408


@on_loop
async def test_answer_that_stands_still_is_broken_off(codec: Codec) -> None:
    async def half(visit: Visit) -> None:
        await visit.head()
        await visit.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await visit.reader.read()

    async with Origin(half) as origin, serving(codec, to(origin), timeouts=Timeouts(stream_idle_s=0.3)) as proxy:
        client = await proxy.client()
        await client.send(get("/"))
        await client.reader.readuntil(b"half")
        with pytest.raises(ConnectionResetError):
            await client.reader.readexactly(6)
        await until(lambda: proxy.worker._context.dialer.tcp.open_now == 0)


@on_loop
async def test_tunnel_may_be_silent_for_as_long_as_it_likes(codec: Codec) -> None:
    echoes = asyncio.Event()

    async def tunnel(visit: Visit) -> None:
        await visit.head()
        await visit.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        await echoes.wait()
        await visit.send(b"late")

    async with Origin(tunnel) as origin, serving(codec, to(origin), timeouts=Timeouts(stream_idle_s=0.02)) as proxy:
        client = await proxy.client()
        await client.send(get("/", "connection: upgrade", "upgrade: websocket"))
        assert (await client.reply()).status == 101
        context = proxy.worker._context
        begin = context.now
        await until(lambda: context.now > begin + 0.2)
        echoes.set()
        assert await client.reader.readexactly(4) == b"late"


@on_loop
async def test_connection_made_for_a_client_that_left_may_be_replayed_on(codec: Codec) -> None:
    async with Origin(named("v1")) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        await client.get("/")
        (pool,) = proxy.pools()
        assert [connection.is_reused for connection in pool.idle] == [True]
