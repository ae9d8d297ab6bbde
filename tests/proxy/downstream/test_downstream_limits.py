"""What a client can't do to us: malformed, slow and greedy clients, and back-pressure in both directions."""

import asyncio

import pytest

from milliroute.proxy.config import Codec, Limits, Timeouts
from milliroute.proxy.upstream.h1 import Upstream
from tests.proxy.backends import Origin, Visit, named
from tests.proxy.serving import BOTH_CODECS, Proxy, get, on_loop, post, serving, to, until

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)

MIB = 1024 * 1024


async def silent(visit: Visit) -> None:
    """Takes a head and nothing more."""
    await visit.head()
    visit.writer.transport.pause_reading()  # type: ignore[attr-defined]  # WriteTransport by type, both by behaviour
    await asyncio.Event().wait()


@on_loop
async def test_malformed_request_is_400_and_the_end(codec: Codec) -> None:
    async with Origin(named("v1")) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        await client.send(get("/ok") + b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n" + get("/never"))
        assert (await client.reply()).status == 200
        reply = await client.reply()
        assert (reply.status, reply.fields["connection"], reply.body) == (400, "close", b"")
        assert "l5d-proxy-error" in reply.fields
        assert await client.rest() == b""
        assert [asked.target for asked in origin.asked] == ["/ok"]


@on_loop
async def test_grpc_request_that_cannot_be_served_gets_200_with_a_grpc_status(codec: Codec) -> None:
    async with serving(codec) as proxy:
        await proxy.update(None)
        reply = await (await proxy.client()).get("/", "content-type: application/grpc")
        assert (reply.status, reply.fields["grpc-status"]) == (200, "5")


@on_loop
async def test_malformed_chunk_is_400_and_hangs_up_on_the_backend(codec: Codec) -> None:
    async with Origin(silent) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        await client.send(get("/", "transfer-encoding: chunked", method="POST") + b"1\r\na\r\n")
        await until(lambda: bool(origin.visits))
        await client.send(b"nonsense\r\n")
        assert (await client.reply()).status == 400
        await until(lambda: proxy.worker._context.dialer.tcp.open_now == 0)


@on_loop
async def test_malformed_chunk_after_the_answer_has_begun_is_no_second_answer(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        await visit.head()
        await visit.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await asyncio.Event().wait()

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        await client.send(get("/", "transfer-encoding: chunked", method="POST") + b"1\r\na\r\n")
        await client.reader.readuntil(b"half")
        await client.send(b"nonsense\r\n")
        with pytest.raises(ConnectionResetError):
            await client.rest()


@on_loop
async def test_head_that_does_not_end_in_time_is_408(codec: Codec) -> None:
    async with serving(codec, timeouts=Timeouts(header_s=0.05)) as proxy:
        client = await proxy.client()
        await client.send(b"GET / HTTP/1.1\r\nhost: re")
        reply = await client.reply()
        assert (reply.status, reply.fields["connection"]) == (408, "close")


@on_loop
async def test_pipelined_head_that_does_not_end_in_time_is_408(codec: Codec) -> None:
    async with Origin(named("v1")) as origin, serving(codec, to(origin), timeouts=Timeouts(header_s=0.05)) as proxy:
        client = await proxy.client()
        await client.send(get() + b"GET / HTTP/1.1\r\nhost: re")
        assert (await client.reply()).status == 200
        assert (await client.reply()).status == 408


@on_loop
async def test_body_that_stands_still_is_408(codec: Codec) -> None:
    async with Origin(silent) as origin, serving(codec, to(origin), limits=Limits(stall_s=0.05)) as proxy:
        client = await proxy.client()
        await client.send(get("/", "content-length: 10", method="POST") + b"half")
        assert (await client.reply()).status == 408
        await until(lambda: proxy.worker._context.dialer.tcp.open_now == 0)


@on_loop
async def test_idle_connection_is_closed_without_an_error(codec: Codec) -> None:
    async with Origin(named("v1")) as origin, serving(codec, to(origin), timeouts=Timeouts(idle_s=0.05)) as proxy:
        client, never_asked = await proxy.client(), await proxy.client()
        await client.get()
        assert await client.rest() == await never_asked.rest() == b""
        await proxy.counted()
        assert proxy.ledger.errors == {}


@on_loop
async def test_client_that_stops_reading_is_cut_off_in_the_end(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.answer(b"x" * 30 * MIB)

    async with Origin(script) as origin, serving(codec, to(origin), limits=Limits(stall_s=0.1)) as proxy:
        client = await proxy.client()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # no public way
        await client.send(get())
        await until(lambda: bool(proxy.downstreams()))
        await until(lambda: not proxy.downstreams())


@on_loop
async def test_closing_connection_whose_client_reads_nothing_is_cut_off(codec: Codec) -> None:
    """30 MiB of answers to pipelined requests, the last of which asks for a close."""

    async def script(visit: Visit) -> None:
        while await visit.request():
            await visit.answer(b"x" * MIB)

    async with Origin(script) as origin, serving(codec, to(origin), limits=Limits(stall_s=0.1)) as proxy:
        client = await proxy.client()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # no public way
        await client.send(get() * 30)
        client.half_close()
        await until(lambda: bool(proxy.downstreams()))
        await until(lambda: not proxy.downstreams())


def buffered(proxy: Proxy) -> int:
    """What this proxy has taken from one side and not yet given to the other; the kernel's buffers don't count."""
    context = proxy.worker._context
    taken = context.tcp.read_bytes + context.dialer.tcp.read_bytes
    held = sum(c._transport.get_write_buffer_size() for c in proxy.downstreams())
    return held if taken else 0


@on_loop
async def test_answer_nobody_reads_is_not_taken_from_the_backend(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.answer(b"x" * 32 * MIB)

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # no public way
        await client.send(get())
        await until(lambda: any(c._is_write_paused for c in proxy.downstreams()))
        assert buffered(proxy) < MIB
        client.reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert len((await client.reply()).body) == 32 * MIB


@on_loop
async def test_upload_nobody_reads_is_not_taken_from_the_client(codec: Codec) -> None:
    async with Origin(silent) as origin, serving(codec, to(origin), timeouts=Timeouts(response_s=0.3)) as proxy:
        client = await proxy.client()
        client.writer.write(post(b"x" * 64 * MIB))
        await until(lambda: any(c._is_paused and c._exchange._upstream for c in proxy.downstreams() if c._exchange))
        (connection,) = proxy.downstreams()
        assert connection._exchange is not None
        upstream = connection._exchange._upstream
        assert isinstance(upstream, Upstream)
        assert upstream._transport.get_write_buffer_size() < MIB
        assert connection._pending == connection._exchange._outgoing == b""


@on_loop
async def test_backend_that_reads_no_more_is_504_and_not_the_clients_fault(codec: Codec) -> None:
    async with (
        Origin(silent) as origin,
        serving(codec, to(origin), timeouts=Timeouts(response_s=0.2), limits=Limits(stall_s=0.1)) as proxy,
    ):
        client = await proxy.client()
        client.writer.write(post(b"x" * 16 * MIB))
        assert (await client.reply()).status == 504


@on_loop
async def test_one_clients_trouble_is_nobody_elses(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        asked = await visit.request()
        while asked:
            await visit.answer(b"x" * (8 * MIB if asked.target == "/big" else 10))
            asked = await visit.request()

    async with Origin(script) as origin, serving(codec, to(origin)) as proxy:
        slow, rude, good = await proxy.client(), await proxy.client(), await proxy.client()
        slow.reader._transport.pause_reading()  # type: ignore[attr-defined]  # no public way
        await slow.send(get("/big") * 2)
        for _ in range(20):
            rude = await proxy.client()
            await rude.send(get("/big"))
            rude.reset()
            assert (await good.get()).body == b"x" * 10
        slow.reset()


@on_loop
async def test_thousands_of_requests_leave_no_descriptor_behind(codec: Codec) -> None:
    async with Origin(named("v1")) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        for _ in range(2500):
            assert (await client.get()).status == 200
        tcp = proxy.worker._context
        assert (tcp.tcp.open_now, tcp.dialer.tcp.open_now, len(origin.visits)) == (1, 1, 1)
        assert not proxy.worker._context.dialer.tasks
