"""What is over a limit is refused fast and counted, or waits; and nobody else notices."""

import asyncio
import socket

import pytest
from h2.events import ConnectionTerminated, StreamReset

from milliroute.proxy import ipc
from milliroute.proxy.config import Codec, Limits, TlsFiles
from milliroute.proxy.downstream.door import address_key
from milliroute.proxy.guard.overload import RESERVED_FDS
from tests.certificates import authority
from tests.proxy.backends import Origin, Visit, named
from tests.proxy.h2_backend import GRPC, Backend, h2_client, over_h2, serving_h2
from tests.proxy.h2_backend import Visit as H2Visit
from tests.proxy.serving import BOTH_CODECS, Client, get, on_loop, post, serving, to, until
from tests.proxy.test_worker import Gate

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)
MIB = 1024 * 1024


async def said(client: Client) -> bytes:
    """All that comes until the end, in order or by a reset."""
    try:
        return await client.rest()
    except ConnectionResetError:
        return b""


@on_loop
async def test_connection_over_the_limit_is_503_and_closed_and_the_others_serve_on(codec: Codec) -> None:
    async with Origin(named("v1")) as origin, serving(codec, to(origin), limits=Limits(connections=2)) as proxy:
        first, second = await proxy.client(), await proxy.client()
        assert ((await first.get()).status, (await second.get()).status) == (200, 200)
        third = await proxy.client()
        reply = await third.get()
        assert (reply.status, reply.fields["connection"]) == (503, "close")
        assert reply.fields["l5d-proxy-error"] == "over 2 connections"
        assert await third.rest() == b""
        assert (await first.get()).status == 200
        await proxy.counted()
        assert proxy.ledger.errors == {"connection limit": 1}


@on_loop
async def test_a_place_that_is_free_again_is_given_away(codec: Codec) -> None:
    async with Origin(named("v1")) as origin, serving(codec, to(origin), limits=Limits(connections=1)) as proxy:
        first = await proxy.client()
        await first.get()
        first.close()
        await until(lambda: not proxy.worker._connections)
        assert (await (await proxy.client()).get()).status == 200


@on_loop
async def test_refused_connection_that_asks_nothing_is_not_kept(codec: Codec) -> None:
    async with serving(codec, limits=Limits(connections=1)) as proxy:
        await proxy.client()
        await until(lambda: len(proxy.worker._connections) == 1)
        refused = await proxy.client()
        assert await said(refused) == b""
        assert not proxy.worker._doors[0].refusals


@on_loop
async def test_refused_http2_connection_is_told_that_nothing_was_processed(codec: Codec) -> None:
    async with serving(codec, limits=Limits(connections=1)) as proxy:
        await proxy.client()
        await until(lambda: len(proxy.worker._connections) == 1)
        client = await h2_client(proxy)
        client.request()
        last = await client.until(ConnectionTerminated)
        assert (last.error_code, last.last_stream_id) == (0, 0)


@on_loop
async def test_one_address_has_only_so_many_connections_whatever_their_protocol(codec: Codec) -> None:
    async def script(visit: H2Visit) -> None:
        visit.respond((await visit.head()).stream_id or 0)
        await visit.until_closed()

    limits = Limits(connections_per_address=2)
    async with Backend(script) as backend, serving_h2(codec, over_h2(backend), limits=limits) as proxy:
        http1, http2 = await proxy.client(), await h2_client(proxy)
        assert await http2.get() == ("200", b"")
        reply = await (await proxy.client()).get()
        assert (reply.status, reply.fields["l5d-proxy-error"]) == (503, "over 2 connections from one address")
        http2.writer.close()
        await until(lambda: len(proxy.worker._connections) == 1)
        other = await h2_client(proxy)
        other.request()
        await until(lambda: proxy.worker._doors[0].guests.of_address("127.0.0.1") == 2)
        http1.close()
        other.writer.close()
        await until(lambda: not proxy.worker._connections)
        assert proxy.worker._doors[0].guests.of_address("127.0.0.1") == 0


def test_an_ipv6_client_is_its_network(codec: Codec) -> None:
    assert address_key("2001:db8::1") == address_key("2001:db8::ffff:1") != address_key("2001:db8:0:1::1")
    assert address_key("10.0.0.1") != address_key("10.0.0.2")
    assert address_key("fe80::1%eth0") == b"fe80::1%eth0"


@on_loop
async def test_request_over_the_limit_is_503_and_its_connection_lives(codec: Codec) -> None:
    gate = Gate()
    async with Origin(gate) as origin, serving(codec, to(origin), limits=Limits(requests=1)) as proxy:
        busy, other = await proxy.client(), await proxy.client()
        await busy.send(get())
        await until(lambda: bool(origin.asked))
        reply = await other.get()
        assert (reply.status, reply.fields["l5d-proxy-error"]) == (503, "over 1 requests at once")
        assert "connection" not in reply.fields
        gate.open()
        assert (await busy.reply()).status == 200
        assert (await other.get()).status == 200
        assert proxy.worker._context.in_flight == 0


@on_loop
async def test_grpc_call_over_the_limit_is_unavailable(codec: Codec) -> None:
    async def script(visit: H2Visit) -> None:
        await visit.until_closed()

    async with Backend(script) as backend, serving_h2(codec, over_h2(backend), limits=Limits(requests=1)) as proxy:
        client = await h2_client(proxy)
        first, second = client.request(), client.request(GRPC, method="POST")
        await client.answer(second)
        assert client.fields(second)["grpc-status"] == "14"
        client.reset(first, 8)
        await until(lambda: proxy.worker._context.in_flight == 0)
        assert not client.all(StreamReset)


@on_loop
async def test_request_with_a_body_over_the_limit_is_refused_before_the_body_is_there(codec: Codec) -> None:
    gate = Gate()
    async with Origin(gate) as origin, serving(codec, to(origin), limits=Limits(requests=1)) as proxy:
        busy, other = await proxy.client(), await proxy.client()
        await busy.send(get())
        await until(lambda: bool(origin.asked))
        await other.send(post(b"x" * 10)[:-5])
        reply = await other.reply()
        assert (reply.status, reply.fields["connection"]) == (503, "close")
        gate.open()
        await busy.reply()


@on_loop
async def test_at_the_ceiling_of_descriptors_new_connections_wait_and_idle_ones_give_way(codec: Codec) -> None:
    gate = Gate()
    async with Origin(gate) as origin, serving(codec, to(origin), nofile=RESERVED_FDS + 6) as proxy:
        worker = proxy.worker
        busy = await proxy.client()
        await busy.send(get())
        idle = [await proxy.client(), await proxy.client()]
        late = await proxy.client()  # into the backlog
        await until(lambda: worker._is_full)
        assert len(worker._connections) in (3, 4)  # of the last one accepted nobody knew when it was counted
        await late.send(get())
        assert [await one.rest() for one in idle] == [b"", b""]
        gate.open()
        assert [(await one.reply()).status for one in (busy, late)] == [200, 200]


@on_loop
async def test_who_holds_most_is_cut_off_when_all_hold_too_much_together(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        while asked := await visit.request():
            await visit.answer(b"x" * (32 * MIB if asked.target == "/big" else 10))

    async with Origin(script) as origin, serving(codec, to(origin), limits=Limits(queued_bytes=1000)) as proxy:
        slow, good = await proxy.client(), await proxy.client()
        slow.reader._transport.pause_reading()  # type: ignore[attr-defined]  # no public way
        await slow.send(get("/big"))
        await until(lambda: any(one._is_write_paused for one in proxy.downstreams()))
        await until(lambda: not any(one._is_write_paused for one in proxy.downstreams()))
        assert (await good.get()).status == 200
        await proxy.counted()
        assert proxy.ledger.errors == {"overload": 1}


@on_loop
async def test_handshakes_count_as_connections(codec: Codec, tmp_path_factory: pytest.TempPathFactory) -> None:
    files: TlsFiles = authority(tmp_path_factory.mktemp("door")).server("reviews")
    async with serving(codec, tls=files, limits=Limits(connections=1)) as proxy:
        silent = await proxy.client()
        await until(lambda: len(proxy.worker._connections) == 1)
        refused = await proxy.client()
        assert await said(refused) == b""
        silent.close()
        await until(lambda: not proxy.worker._connections)


@on_loop
async def test_what_waits_while_accepting_is_paused_is_served_by_a_drain(codec: Codec) -> None:
    async with Origin(named("v1")) as origin, serving(codec, to(origin)) as proxy:
        for door in proxy.worker._doors:
            door.pause()
        await asyncio.sleep(0)
        waiting = socket.create_connection(("127.0.0.1", proxy.port))
        await proxy.tell(ipc.Drain(5.0))
        reader, writer = await asyncio.open_connection(sock=waiting)
        writer.write(get())
        assert (await reader.read()).endswith(b"\r\n\r\nv1")
        writer.close()
