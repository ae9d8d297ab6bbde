"""The two connections of a tunnel: bytes, ends, resets and back-pressure both ways."""

import asyncio
import gc
import socket

import pytest

from milliroute.proxy.config import Codec, Timeouts
from milliroute.proxy.downstream.opaque import Tunnel
from milliroute.proxy.transport.splice import End
from tests.proxy.backends import Origin, Visit
from tests.proxy.serving import BOTH_CODECS, on_loop, serving, to, until
from tests.proxy.tunnelling import (
    BINARY,
    MIB,
    echo,
    pending,
    tunnels,
)


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_binary_bytes_pass_both_ways(codec: Codec) -> None:
    async with Origin(echo) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        for data in (BINARY, bytes(range(256)), b"GET / HTTP/1.1\r\n\r\n"):
            await client.send(data)
            assert await client.reader.readexactly(len(data)) == data
        assert pending(proxy) == 1


@on_loop
async def test_first_bytes_may_come_one_by_one() -> None:
    async with Origin(echo) as origin, serving(state=to(origin)) as proxy:
        for data in (b"AMQP\x00\x00", b"EHLO example.com\r\n"):
            client = await proxy.client()
            for byte in data:
                await client.send(bytes((byte,)))
                await asyncio.sleep(0)
            assert await client.reader.readexactly(len(data)) == data


@on_loop
async def test_a_client_that_ends_still_gets_its_answer() -> None:
    async def script(visit: Visit) -> None:
        data = await visit.reader.read()
        await visit.send(data * 2)

    async with Origin(script) as origin, serving(state=to(origin)) as proxy:
        client = await proxy.client()
        await client.send(BINARY)
        client.half_close()
        assert await client.rest() == BINARY * 2
        await until(lambda: not tunnels(proxy))


@on_loop
async def test_a_backend_that_ends_first_still_gets_the_rest() -> None:
    rest: list[bytes] = []

    async def script(visit: Visit) -> None:
        await visit.reader.readexactly(len(BINARY))
        visit.writer.write_eof()
        rest.append(await visit.reader.read())

    async with Origin(script) as origin, serving(state=to(origin)) as proxy:
        client = await proxy.client()
        await client.send(BINARY)
        assert await client.rest() == b""
        await client.send(b"more")
        client.half_close()
        await until(lambda: rest == [b"more"])
        await until(lambda: not tunnels(proxy) and pending(proxy) == 0)


@on_loop
async def test_a_client_that_resets_resets_the_backend() -> None:
    ends: list[str] = []

    async def script(visit: Visit) -> None:
        try:
            ends.append(repr(await visit.reader.read()))
        except ConnectionResetError:
            ends.append("reset")

    async with Origin(script) as origin, serving(state=to(origin)) as proxy:
        client = await proxy.client()
        await client.send(BINARY)
        await until(lambda: proxy.worker._context.dialer.tcp.write_bytes == len(BINARY))
        client.reset()
        await until(lambda: ends == ["reset"])
        await until(lambda: not tunnels(proxy) and pending(proxy) == 0)


@on_loop
async def test_a_backend_that_resets_resets_the_client() -> None:
    async def script(visit: Visit) -> None:
        await visit.reader.read(1)
        visit.reset()

    async with Origin(script) as origin, serving(state=to(origin)) as proxy:
        client = await proxy.client()
        await client.send(BINARY)
        with pytest.raises(ConnectionResetError):
            await client.rest()


@on_loop
async def test_a_side_that_does_not_read_stops_the_other() -> None:
    """In both directions, and all of it comes once it reads again."""
    go_on = asyncio.Event()
    got: list[int] = []

    async def script(visit: Visit) -> None:
        await visit.reader.readexactly(len(BINARY))
        visit.writer.write(bytes(8 * MIB))
        await go_on.wait()
        got.append(len(await visit.reader.readexactly(8 * MIB)))
        await visit.writer.drain()

    async with Origin(script) as origin, serving(state=to(origin)) as proxy:
        client = await proxy.client()
        await client.send(BINARY)
        client.writer.write(bytes(8 * MIB))
        await until(lambda: bool(tunnels(proxy)))
        (tunnel,) = tunnels(proxy)
        await until(lambda: tunnel._up is not None and tunnel._down._is_paused and tunnel._up._is_paused)
        assert tunnel._up is not None
        for end in (tunnel._down, tunnel._up):
            assert end._transport.get_write_buffer_size() < MIB
        go_on.set()
        assert len(await client.reader.readexactly(8 * MIB)) == 8 * MIB
        await until(lambda: got == [8 * MIB])


@on_loop
async def test_bytes_and_connections_of_both_sides_are_counted() -> None:
    async with Origin(echo) as origin, serving(state=to(origin)) as proxy:
        client = await proxy.client()
        await client.send(BINARY)
        await client.reader.readexactly(len(BINARY))
        client.half_close()
        assert await client.rest() == b""
        await until(lambda: not tunnels(proxy))
        await proxy.counted()
        size = len(BINARY)
        for peer in ("src", "dst"):
            totals = proxy.ledger.tcp[peer]
            assert (totals.opened, totals.closed, totals.read_bytes, totals.write_bytes) == (1, 1, size, size), peer
        assert proxy.totals("v1").requests == 0


@on_loop
async def test_a_peer_that_reads_nothing_after_both_ends_is_given_up() -> None:
    async def script(visit: Visit) -> None:
        await visit.reader.read()
        await visit.send(bytes(16 * MIB))

    async with Origin(script) as origin, serving(state=to(origin), timeouts=Timeouts(idle_s=0.5)) as proxy:
        client = await proxy.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # WriteTransport by type
        await client.send(BINARY)
        client.half_close()
        await until(lambda: any(tunnel._up is not None and tunnel._up._is_paused for tunnel in tunnels(proxy)))
        (tunnel,) = tunnels(proxy)
        assert tunnel._up is not None
        # As if the backend had ended here: what is left in hand fits into no buffer of the client's.
        tunnel._up.has_ended = True
        tunnel.close()
        assert tunnel._down._transport.get_write_buffer_size() > 0
        await until(lambda: not tunnels(proxy))


@on_loop
async def test_keepalive_is_on_at_both_ends() -> None:
    async with Origin(echo) as origin, serving(state=to(origin)) as proxy:
        client = await proxy.client()
        await client.send(BINARY)
        await client.reader.readexactly(len(BINARY))
        (tunnel,) = tunnels(proxy)
        assert tunnel._up is not None
        for end in (tunnel._down, tunnel._up):
            sock = end._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


@on_loop
async def test_a_tunnel_that_is_over_leaves_nothing_to_the_garbage_collector() -> None:
    async with Origin(echo) as origin, serving(state=to(origin)) as proxy:
        gc.collect()
        gc.disable()
        try:
            client = await proxy.client()
            await client.send(BINARY)
            await client.reader.readexactly(len(BINARY))
            assert [one for one in gc.get_objects() if isinstance(one, Tunnel)] != []
            client.close()
            await until(lambda: [one for one in gc.get_objects() if isinstance(one, (Tunnel, End))] == [])
        finally:
            gc.enable()
