"""Streams of HTTP/2 clients: who takes slowly, who sends slowly, and how a connection ends."""

import asyncio
import struct

import pytest
from h2.events import ResponseReceived, StreamReset
from h2.settings import SettingCodes
from hpack import Encoder
from hyperframe.frame import DataFrame, HeadersFrame, SettingsFrame

from milliroute.proxy.config import Codec, Limits, Timeouts
from milliroute.proxy.downstream import h2 as downstream_h2
from milliroute.proxy.exchange.exchange import CLIENT_GONE_STATUS
from tests.proxy.h2_backend import (
    GRPC,
    Backend,
    Visit,
    h2_client,
    h2_downstreams,
    h2_pools,
    named,
    over_h2,
    serving_h2,
    silent,
    streams_upstream,
)
from tests.proxy.serving import BOTH_CODECS, Client, on_loop, until

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)

SMALL_WINDOW = {SettingCodes.INITIAL_WINDOW_SIZE: 1000}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GOAWAY, PING, HEADERS = 7, 6, 1
CANCEL, SETTINGS_TIMEOUT, NO_ERROR = 8, 4, 0
BODY = bytes(range(256)) * 200


async def early(visit: Visit) -> None:
    """Answers with BODY as soon as it knows the head of a request."""
    while True:
        visit.respond((await visit.head()).stream_id or 0, BODY)


class RawClient:
    """Frames as they are: the library reads nothing more once it has seen a GOAWAY."""

    def __init__(self, raw: Client, *, acknowledges: bool = True) -> None:
        self._raw, self._held, self._acknowledges = raw, b"", acknowledges
        self.frames: list[tuple[int, int, int, bytes]] = []
        raw.writer.write(PREFACE + SettingsFrame(0).serialize())

    def request(self, stream_id: int) -> None:
        fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "reviews")]
        frame = HeadersFrame(stream_id, Encoder().encode(fields, huffman=False), flags=["END_HEADERS", "END_STREAM"])
        self._raw.writer.write(frame.serialize())

    def send(self, data: bytes) -> None:
        self._raw.writer.write(data)

    async def read(self) -> bool:
        data = await self._raw.reader.read(65536)
        self._held += data
        while len(self._held) >= 9 and len(self._held) >= 9 + (size := int.from_bytes(self._held[:3], "big")):
            kind, flags, stream_id = struct.unpack(">BBL", self._held[3:9])
            self.frames.append((kind, flags, stream_id, self._held[9 : 9 + size]))
            self._held = self._held[9 + size :]
            if kind == 4 and not flags & 1 and self._acknowledges:
                self.send(SettingsFrame(0, flags=["ACK"]).serialize())
        return bool(data)

    async def until(self, kind: int, count: int = 1) -> bytes:
        """The payload of the last of so many."""
        while len(found := [payload for seen, _, _, payload in self.frames if seen == kind]) < count:
            assert await self.read(), f"closed: {self.frames}"
        return found[count - 1]

    async def until_closed(self) -> None:
        while await self.read():
            pass


# Slow takers


@on_loop
async def test_client_with_a_tiny_window_gets_all_of_a_finished_response(codec: Codec) -> None:
    async with Backend(named("v" * 40_000)) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy, settings=SMALL_WINDOW)
        stream_id = client.request()
        await until(lambda: bool(backend.visits) and streams_upstream(proxy) == 0)
        assert await client.answer(stream_id) == ("200", b"v" * 40_000)


@on_loop
async def test_client_that_has_not_finished_its_request_gets_all_of_the_response(codec: Codec) -> None:
    async with Backend(early) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy, settings=SMALL_WINDOW)
        stream_id = client.request(method="POST", is_end=False)
        await until(lambda: bool(backend.visits) and streams_upstream(proxy) == 0)
        client.send(stream_id, b"still sending")
        assert await client.answer_of_open(stream_id) == ("200", BODY)


@on_loop
async def test_client_gets_all_of_the_response_while_the_proxy_drains(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downstream_h2, "DRAIN_ANSWER_S", 0.02)
    async with Backend(early) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        raw = RawClient(await proxy.client())
        raw.send(SettingsFrame(0, settings={4: 1000}).serialize())
        raw.request(1)
        await raw.until(HEADERS)
        proxy.worker.drain(5.0)
        await raw.until(GOAWAY)
        raw.send(b"\x00\x00\x04\x08\x00\x00\x00\x00\x01" + struct.pack(">L", len(BODY)))
        await raw.until_closed()
        assert b"".join(payload for kind, _, _, payload in raw.frames if kind == 0) == BODY


@on_loop
async def test_client_that_takes_none_of_a_finished_response_is_reset(codec: Codec) -> None:
    async with (
        Backend(early) as backend,
        serving_h2(codec, over_h2(backend), limits=Limits(stall_s=0.3)) as proxy,
    ):
        client = await h2_client(proxy, takes=False, settings=SMALL_WINDOW)
        stream_id = client.request()
        assert (await client.until(StreamReset, stream_id)).error_code == CANCEL
        assert len(client.body(stream_id)) == 1000


@on_loop
async def test_client_that_takes_little_by_little_is_not_stuck(codec: Codec) -> None:
    async with (
        Backend(early) as backend,
        serving_h2(codec, over_h2(backend), timeouts=Timeouts(idle_s=0.6)) as proxy,
    ):
        client = await h2_client(proxy, takes=False, settings=SMALL_WINDOW)
        stream_id = client.request()
        taken = await client.until_body(stream_id, 1000)
        for _ in range(8):  # over 0.6 s, and never below low water
            await asyncio.sleep(0.1)
            client.h2.increment_flow_control_window(100, stream_id)
            client.flush()
            taken = await client.until_body(stream_id, len(taken) + 100)
        assert client.all(StreamReset) == []
        client.h2.increment_flow_control_window(len(BODY), stream_id)
        client.flush()
        assert await client.answer(stream_id) == ("200", BODY)


@on_loop
async def test_connection_to_a_client_that_reads_nothing_does_not_stay_for_ever(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downstream_h2, "DRAIN_ANSWER_S", 0.02)
    windows = {SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1}
    size = 8 * 1024 * 1024

    async def script(visit: Visit) -> None:
        stream_id = (await visit.head()).stream_id or 0
        visit.respond(stream_id, is_end=False)
        await visit.send_all(stream_id, bytes(size))

    async with (
        Backend(script) as backend,
        serving_h2(codec, over_h2(backend), timeouts=Timeouts(idle_s=0.1), limits=Limits(stall_s=0.3)) as proxy,
    ):
        client = await h2_client(proxy, settings=windows)
        client.h2.increment_flow_control_window(2**30)
        client.request()
        await until(lambda: h2_downstreams(proxy) != [])
        await until(lambda: proxy.worker._connections == set())


# Slow senders


@on_loop
async def test_request_body_that_stands_still_is_408(codec: Codec) -> None:
    async with Backend(silent) as backend, serving_h2(codec, over_h2(backend), limits=Limits(stall_s=0.3)) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(method="POST", is_end=False)
        client.send(stream_id, b"a part")
        assert (await client.answer_of_open(stream_id))[0] == "408"
        await until(lambda: streams_upstream(proxy) == 0)
        assert backend.visits[0].all(StreamReset)[0].error_code == CANCEL


@on_loop
async def test_grpc_call_may_stand_still_and_owes_no_response_before_its_end(codec: Codec) -> None:
    async with (
        Backend(named("v1")) as backend,
        serving_h2(codec, over_h2(backend), timeouts=Timeouts(response_s=20.0), limits=Limits(stall_s=20.0)) as proxy,
    ):
        client = await h2_client(proxy)
        stream_id = client.request(GRPC, method="POST", is_end=False)
        client.send(stream_id, b"\0\0\0\0\0")
        await until(lambda: streams_upstream(proxy) == 1)
        (downstream,) = h2_downstreams(proxy)
        downstream._clients[stream_id].check_time(downstream.now + 1000)
        client.send(stream_id, b"\0\0\0\0\0", is_end=True)
        assert await client.answer(stream_id) == ("200", b"v1")


@on_loop
async def test_stream_of_which_only_the_client_speaks_does_not_stand_still(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        stream_id = (await visit.head()).stream_id or 0
        visit.respond(stream_id, is_end=False)
        await visit.until_body(stream_id, 2)
        await visit.until_closed()

    async with (
        Backend(script) as backend,
        serving_h2(codec, over_h2(backend), timeouts=Timeouts(stream_idle_s=100.0)) as proxy,
    ):
        client = await h2_client(proxy)
        stream_id = client.request(GRPC, method="POST", is_end=False)
        await until(lambda: bool(h2_downstreams(proxy)) and bool(h2_downstreams(proxy)[0]._clients))
        (downstream,) = h2_downstreams(proxy)
        exchange = downstream._clients[stream_id].exchange
        assert exchange is not None
        await until(lambda: exchange.has_begun_response)
        exchange._read_s -= 90.0
        client.send(stream_id, b"xx")
        await until(lambda: backend.visits[0].body(1) == b"xx")
        downstream._clients[stream_id].check_time(downstream.now + 50.0)
        assert streams_upstream(proxy) == 1
        client.reset(stream_id, CANCEL)


# What is counted


@on_loop
async def test_call_that_its_client_cancels_in_the_middle_is_counted_once(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        stream_id = (await visit.head()).stream_id or 0
        visit.respond(stream_id, fields=[("content-type", "application/grpc")], is_end=False)
        await visit.until_closed()

    async with Backend(script) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(GRPC, method="POST")
        await client.until(ResponseReceived, stream_id)
        client.reset(stream_id, CANCEL)
        await until(lambda: streams_upstream(proxy) == 0)
        await proxy.counted()
        assert [(key.grpc_status, n) for key, n in proxy.totals("v1").responses.items()] == [("1", 1)]


@on_loop
async def test_request_whose_client_leaves_before_the_answer_is_counted_as_gone(codec: Codec) -> None:
    async with Backend(silent) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        client.request()
        await until(lambda: streams_upstream(proxy) == 1)
        client.writer.close()
        await until(lambda: streams_upstream(proxy) == 0)
        await proxy.counted()
        assert [key.status for key in proxy.totals("v1").responses] == [CLIENT_GONE_STATUS]


# The end of a connection


@on_loop
async def test_idle_connection_ends_in_two_steps_and_a_request_between_them_is_served(codec: Codec) -> None:
    async with (
        Backend(named("v1")) as backend,
        serving_h2(codec, over_h2(backend), timeouts=Timeouts(idle_s=0.05)) as proxy,
    ):
        client = RawClient(await proxy.client())
        assert int.from_bytes((await client.until(GOAWAY))[:4], "big") == 2**31 - 1
        client.request(1)
        await client.until(HEADERS)
        ping = await client.until(PING)
        client.send(b"\x00\x00\x08\x06\x01\x00\x00\x00\x00" + ping)
        assert (await client.until(GOAWAY, 2))[:8] == struct.pack(">LL", 1, NO_ERROR)
        await client.until_closed()
        assert b"v1" in [payload for kind, _, _, payload in client.frames if kind == 0]


@on_loop
async def test_client_that_answers_no_ping_ends_all_the_same(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downstream_h2, "DRAIN_ANSWER_S", 0.02)
    async with (
        Backend(named("v1")) as backend,
        serving_h2(codec, over_h2(backend), timeouts=Timeouts(idle_s=0.05)) as proxy,
    ):
        client = RawClient(await proxy.client())
        await client.until(GOAWAY, 2)
        await client.until_closed()


@on_loop
async def test_settings_that_are_never_acknowledged_end_the_connection(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downstream_h2, "SETTINGS_TIMEOUT_S", 0.05)
    async with Backend(silent) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = RawClient(await proxy.client(), acknowledges=False)
        client.request(1)
        assert int.from_bytes((await client.until(GOAWAY))[4:8], "big") == SETTINGS_TIMEOUT
        await client.until_closed()


@on_loop
async def test_connection_over_its_age_drains_and_what_it_has_begun_is_served(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downstream_h2, "DRAIN_ANSWER_S", 0.02)
    may_answer = asyncio.Event()

    async def script(visit: Visit) -> None:
        stream_id = (await visit.request_end()).stream_id
        await may_answer.wait()
        visit.respond(stream_id, b"late")
        await visit.until_closed()

    timeouts = Timeouts(h2_max_age_s=0.5)
    async with Backend(script) as backend, serving_h2(codec, over_h2(backend), timeouts=timeouts) as proxy:
        client = RawClient(await proxy.client())
        client.request(1)
        await client.until(GOAWAY)
        may_answer.set()
        await client.until_closed()
        assert b"late" in [payload for kind, _, _, payload in client.frames if kind == 0]


@on_loop
async def test_broken_connection_takes_its_streams_with_it_at_once(codec: Codec) -> None:
    async with Backend(silent) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = RawClient(await proxy.client())
        client.request(1)
        await until(lambda: streams_upstream(proxy) == 1)
        client.send(DataFrame(99, b"x").serialize())
        await client.until(GOAWAY)
        assert streams_upstream(proxy) == 0
        await client.until_closed()


@on_loop
async def test_reset_stream_frees_the_backend_and_the_next_is_served(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        await visit.head()
        visit.respond((await visit.request_end()).stream_id, b"second")
        await visit.until_closed()

    async with Backend(script) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        first = client.request()
        await until(lambda: streams_upstream(proxy) == 1)
        client.reset(first, CANCEL)
        assert await client.get() == ("200", b"second")
        assert len(h2_pools(proxy)[0]._connections) == 1
