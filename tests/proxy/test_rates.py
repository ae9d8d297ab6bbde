"""Slow senders and slow readers are cut off, by a rate and by a standstill; whoever keeps the rate is not."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, PingAckReceived, SettingsAcknowledged, StreamReset
from h2.settings import SettingCodes
from hyperframe.frame import ContinuationFrame, HeadersFrame, PingFrame, RstStreamFrame

from milliroute.proxy.config import Codec, Limits, Timeouts
from tests.proxy.backends import Origin, Visit, named
from tests.proxy.h2_backend import GRPC, Backend, h2_client, h2_downstreams, over_h2, serving_h2, streams_upstream
from tests.proxy.h2_backend import Visit as H2Visit
from tests.proxy.h2_backend import named as h2_named
from tests.proxy.serving import BOTH_CODECS, Client, Proxy, get, on_loop, serving, to, until

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)

MIB = 1024 * 1024
# Over after 0.1 s of too little; a standstill alone would be only after 100 s.
STRICT = Limits(min_rate_bytes_s=1000, rate_grace_s=0.1, stall_s=100.0)
SIZE = 220 * 1024
LAX = Limits(min_rate_bytes_s=0, stall_s=100.0)
HEAD = get("/", "content-length: 100000", method="POST")


async def silent(visit: Visit) -> None:
    await visit.head()
    await visit.reader.read()


async def big(visit: Visit) -> None:
    while await visit.request():
        await visit.answer(b"x" * 32 * MIB)


@asynccontextmanager
async def dripping(client: Client, piece: bytes, gap_s: float) -> AsyncIterator[None]:
    async def drip() -> None:
        while True:
            client.writer.write(piece)
            await asyncio.sleep(gap_s)

    task = asyncio.ensure_future(drip())
    try:
        yield
    finally:
        task.cancel()


async def turns(proxy: Proxy, seconds: float) -> None:
    """So long by the worker's coarse clock."""
    context = proxy.worker._context
    end = context.now + seconds
    await until(lambda: context.now > end)


@on_loop
async def test_body_that_drips_in_is_408_although_it_never_stands_still(codec: Codec) -> None:
    async with Origin(silent) as origin, serving(codec, to(origin), limits=STRICT) as proxy:
        client = await proxy.client()
        await client.send(HEAD)
        async with dripping(client, b"x", 0.005):
            reply = await client.reply()
        assert (reply.status, reply.fields["connection"]) == (408, "close")
        assert "1000 bytes/s" in reply.fields["l5d-proxy-error"]
        await until(lambda: proxy.worker._context.dialer.tcp.open_now == 0)


@on_loop
async def test_body_that_keeps_the_rate_is_not_cut_off(codec: Codec) -> None:
    limits = Limits(min_rate_bytes_s=1000, rate_grace_s=0.5, stall_s=100.0)
    async with Origin(named("v1")) as origin, serving(codec, to(origin), limits=limits) as proxy:
        client = await proxy.client()
        await client.send(get("/", "content-length: 60000", method="POST"))
        for _ in range(60):
            await client.send(b"x" * 1000)
            await turns(proxy, 0.01)
        assert (await client.reply()).status == 200


@on_loop
async def test_without_a_rate_a_drip_is_good_enough(codec: Codec) -> None:
    async with Origin(named("v1")) as origin, serving(codec, to(origin), limits=LAX) as proxy:
        client = await proxy.client()
        await client.send(get("/", "content-length: 10", method="POST"))
        for _ in range(10):
            await client.send(b"x")
            await turns(proxy, 0.02)
        assert (await client.reply()).status == 200


@on_loop
async def test_a_burst_earns_no_right_to_a_long_silence(codec: Codec) -> None:
    async with Origin(silent) as origin, serving(codec, to(origin), limits=Limits(stall_s=0.1)) as proxy:
        client = await proxy.client()
        await client.send(HEAD + b"x" * 50_000)
        assert (await client.reply()).status == 408


@on_loop
async def test_the_time_for_a_head_is_its_whole_time_however_it_drips(codec: Codec) -> None:
    async with serving(codec, timeouts=Timeouts(header_s=0.1)) as proxy:
        client = await proxy.client()
        await client.send(b"GET / HTTP/1.1\r\nhost: reviews\r\n")
        async with dripping(client, b"a: b\r\n", 0.005):
            assert (await client.reply()).status == 408


@on_loop
async def test_reader_that_takes_too_little_is_cut_off_after_the_grace(codec: Codec) -> None:
    limits = Limits(min_rate_bytes_s=10 * MIB, rate_grace_s=0.2, stall_s=100.0)
    async with Origin(big) as origin, serving(codec, to(origin), limits=limits) as proxy:
        client = await proxy.client()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # no public way
        await client.send(get())
        await until(lambda: any(one._is_write_paused for one in proxy.downstreams()))
        await until(lambda: not proxy.downstreams())
        await proxy.counted()
        assert proxy.ledger.errors == {"client timeout": 1}
        assert proxy.worker._context.dialer.tcp.open_now == 0


@on_loop
async def test_reader_that_keeps_the_rate_gets_all(codec: Codec) -> None:
    limits = Limits(min_rate_bytes_s=1000, rate_grace_s=1.0, stall_s=1.0)
    async with Origin(big) as origin, serving(codec, to(origin), limits=limits) as proxy:
        client = await proxy.client()
        await client.send(get())
        await client.reader.readuntil(b"\r\n\r\n")
        taken = 0
        while taken < 32 * MIB:
            taken += len(await client.reader.readexactly(MIB))
            await turns(proxy, 0.05)
        assert taken == 32 * MIB


@on_loop
async def test_reader_that_keeps_the_rate_gets_all_however_seldom_the_kernel_makes_room(codec: Codec) -> None:
    """Of a send buffer it wants a third free before it takes more, and that takes this reader longer than stall_s."""

    async def large(visit: Visit) -> None:
        await visit.request()
        await visit.answer(b"x" * SIZE)

    limits = Limits(min_rate_bytes_s=1000, rate_grace_s=0.3, stall_s=0.3)
    async with Origin(large) as origin, serving(codec, to(origin), limits=limits) as proxy:
        client = await proxy.client()
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await until(lambda: bool(proxy.downstreams()))
        (connection,) = proxy.downstreams()
        accepted = connection._transport.get_extra_info("socket")
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        await client.send(get())
        await client.reader.readuntil(b"\r\n\r\n")
        taken = 0
        while taken < SIZE:
            taken += len(await client.reader.readexactly(min(4096, SIZE - taken)))
            await asyncio.sleep(0.03)


@on_loop
async def test_http2_body_that_drips_in_is_408(codec: Codec) -> None:
    async def script(visit: H2Visit) -> None:
        await visit.until_closed()

    async with Backend(script) as backend, serving_h2(codec, over_h2(backend), limits=STRICT) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(method="POST", is_end=False)
        raw = Client(client.reader, client.writer)
        client.send(stream_id, b"x")
        async with dripping(raw, b"\0\0\1\0\0" + stream_id.to_bytes(4, "big") + b"x", 0.01):
            assert (await client.answer_of_open(stream_id))[0] == "408"
        await until(lambda: streams_upstream(proxy) == 0)


@on_loop
async def test_grpc_call_may_send_its_messages_as_slowly_as_it_likes(codec: Codec) -> None:
    async with Backend(h2_named("v1")) as backend, serving_h2(codec, over_h2(backend), limits=STRICT) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(GRPC, method="POST", is_end=False)
        for _ in range(4):
            client.send(stream_id, b"\0")
            await turns(proxy, 0.1)
        client.send(stream_id, b"\0", is_end=True)
        assert await client.answer(stream_id) == ("200", b"v1")


@on_loop
async def test_http2_field_block_that_does_not_end_in_time_ends_the_connection(codec: Codec) -> None:
    async with serving(codec, timeouts=Timeouts(header_s=0.1)) as proxy:
        client = await h2_client(proxy)
        await client.until(SettingsAcknowledged)
        client.send_frame(HeadersFrame(1, b"\x83"))
        async with dripping(Client(client.reader, client.writer), ContinuationFrame(1, b"\x86").serialize(), 0.005):
            assert (await client.until(ConnectionTerminated)).error_code == ErrorCodes.ENHANCE_YOUR_CALM
        await proxy.counted()
        assert proxy.ledger.errors == {"client timeout": 1}


@on_loop
async def test_http2_frame_that_does_not_end_in_time_ends_the_connection(codec: Codec) -> None:
    for cut in (2, 11):  # within the frame's own head, and behind it
        async with serving(codec, timeouts=Timeouts(header_s=0.1)) as proxy:
            client = await h2_client(proxy)
            await client.until(SettingsAcknowledged)
            client.writer.write(HeadersFrame(1, b"\x83\x86\x84", flags=["END_HEADERS"]).serialize()[:cut])
            assert (await client.until(ConnectionTerminated)).error_code == ErrorCodes.ENHANCE_YOUR_CALM


@on_loop
async def test_http2_requests_that_end_with_their_heads_reach_no_backend(codec: Codec) -> None:
    block = b"\x83\x86\x84\x01\x07reviews"
    async with Backend(h2_named("v1")) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        await client.until(SettingsAcknowledged)
        client.send_frame(
            HeadersFrame(1, block, flags=["END_HEADERS"]),
            RstStreamFrame(1, error_code=8),
            HeadersFrame(3, block, flags=["END_HEADERS", "END_STREAM"]),
            RstStreamFrame(3, error_code=8),
            PingFrame(0, b"12345678"),
        )
        await client.until(PingAckReceived)
        assert await (await h2_client(proxy)).get() == ("200", b"v1")
        await proxy.counted()
        assert proxy.totals("v1").requests == 1


@on_loop
async def test_http2_frames_that_end_may_come_for_longer_and_data_as_the_rate_allows(codec: Codec) -> None:
    timeouts = Timeouts(header_s=0.05)
    async with Backend(h2_named("v1")) as backend, serving_h2(codec, over_h2(backend), timeouts=timeouts) as proxy:
        client = await h2_client(proxy)
        for _ in range(20):
            assert await client.get() == ("200", b"v1")
            await turns(proxy, 0.01)
        stream_id = client.request(method="POST", is_end=False)
        client.writer.write(b"\0\0\2\0\1" + stream_id.to_bytes(4, "big") + b"x")
        await turns(proxy, 0.3)
        client.writer.write(b"x")
        assert await client.answer(stream_id) == ("200", b"v1")


@on_loop
async def test_http2_reader_that_stands_still_loses_its_stream_as_in_http1(codec: Codec) -> None:
    async def script(visit: H2Visit) -> None:
        stream_id = (await visit.head()).stream_id or 0
        visit.respond(stream_id, is_end=False)
        await visit.send_all(stream_id, bytes(MIB))

    limits = Limits(min_rate_bytes_s=0, stall_s=0.1)
    async with Backend(script) as backend, serving_h2(codec, over_h2(backend), limits=limits) as proxy:
        client = await h2_client(proxy, takes=False, settings={SettingCodes.INITIAL_WINDOW_SIZE: 1000})
        client.request()
        await client.until(StreamReset)
        await until(lambda: streams_upstream(proxy) == 0)


@on_loop
async def test_grpc_call_may_read_its_messages_as_slowly_as_it_likes(codec: Codec) -> None:
    async def script(visit: H2Visit) -> None:
        stream_id = (await visit.head()).stream_id or 0
        visit.respond(stream_id, fields=GRPC, is_end=False)
        await visit.send_all(stream_id, bytes(MIB), is_end=False)

    limits = Limits(stall_s=0.1)
    async with Backend(script) as backend, serving_h2(codec, over_h2(backend), limits=limits) as proxy:
        client = await h2_client(proxy, takes=False, settings={SettingCodes.INITIAL_WINDOW_SIZE: 1000})
        client.request(GRPC, method="POST")
        await until(lambda: any(one._is_full for link in h2_downstreams(proxy) for one in link._clients.values()))
        await turns(proxy, 0.5)
        assert streams_upstream(proxy) == 1
        assert not client.all(StreamReset)
        client.writer.close()
        await until(lambda: streams_upstream(proxy) == 0)


@on_loop
async def test_http2_reader_that_takes_too_little_loses_its_stream(codec: Codec) -> None:
    async def script(visit: H2Visit) -> None:
        stream_id = (await visit.head()).stream_id or 0
        visit.respond(stream_id, is_end=False)
        await visit.send_all(stream_id, bytes(MIB))

    limits = Limits(min_rate_bytes_s=MIB, rate_grace_s=0.2, stall_s=100.0)
    async with Backend(script) as backend, serving_h2(codec, over_h2(backend), limits=limits) as proxy:
        client = await h2_client(proxy, takes=False, settings={SettingCodes.INITIAL_WINDOW_SIZE: 1000})
        stream_id = client.request()
        await until(lambda: any(one._is_full for link in h2_downstreams(proxy) for one in link._clients.values()))
        while not client.all(StreamReset):
            client.h2.increment_flow_control_window(10, stream_id)
            client.flush()
            await turns(proxy, 0.02)
            await client.read()
        await until(lambda: streams_upstream(proxy) == 0)
