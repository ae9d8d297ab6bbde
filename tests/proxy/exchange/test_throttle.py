"""The fault "bandwidth": a response comes slowly and whole, its backend is held up, a client that leaves ends it."""

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from milliroute.proxy.config import Codec
from milliroute.proxy.exchange.throttle import HIGH_WATER_BYTES, Throttle
from milliroute.proxy.message import ResponseHead
from milliroute.proxy.resilience.deadlines import Timed
from milliroute.proxy.state import AuthorityState, FaultPartState, FaultState
from tests.proxy.backends import Origin, Visit
from tests.proxy.h2_backend import GRPC, Backend, h2_client, over_h2, serving_h2
from tests.proxy.h2_backend import Visit as H2Visit
from tests.proxy.serving import BOTH_CODECS, get, on_loop, post, serving, to, until

BODY = bytes(range(256)) * 40


def slow(state: AuthorityState, bytes_per_s: int) -> AuthorityState:
    fault = FaultState(bandwidth=FaultPartState(1_000_000, bytes_per_s))
    return replace(state, routes=[replace(one, split=replace(one.split, fault=fault)) for one in state.routes])


def in_chunks(body: bytes) -> bytes:
    chunks = [b"a\r\n%b\r\n" % body[start : start + 10] for start in range(0, len(body), 10)]
    return b"".join([*chunks, b"0\r\n\r\n"])


def answering(body: bytes, *, is_chunked: bool = False) -> Origin:
    async def script(visit: Visit) -> None:
        while await visit.request():
            if is_chunked:
                visit.writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + in_chunks(body))
                await visit.writer.drain()
            else:
                await visit.answer(body)

    return Origin(script)


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_a_response_comes_whole_and_no_faster_than_it_may(codec: Codec, is_chunked: bool) -> None:
    body = BODY[:1000]
    async with answering(body, is_chunked=is_chunked) as origin, serving(codec, slow(to(origin), 5000)) as proxy:
        client = await proxy.client()
        loop = asyncio.get_running_loop()
        for _ in range(2):  # the connection is as good as before
            started_s = loop.time()
            reply = await client.get()
            assert reply.body == (in_chunks(body) if is_chunked else body)
            # A tick of the wheel and the last piece: never early.
            assert loop.time() - started_s >= 0.2 - 0.01


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_a_response_without_a_body_is_not_held_up(codec: Codec) -> None:
    async with answering(b"") as origin, serving(codec, slow(to(origin), 1)) as proxy:
        assert (await (await proxy.client()).get()).status == 200


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_the_backend_is_not_read_faster_than_the_client_is_served(codec: Codec) -> None:
    sent = 0

    async def flood(visit: Visit) -> None:
        nonlocal sent
        await visit.request()
        visit.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        while True:
            visit.writer.write(b"x" * 65536)
            sent += 65536
            await visit.writer.drain()

    async with Origin(flood) as origin, serving(codec, slow(to(origin), 10_000)) as proxy:
        client = await proxy.client()
        await client.send(get("/"))
        await client.reader.readuntil(b"\r\n\r\n")
        got = len(await client.reader.readexactly(2000))
        assert got == 2000
        # All that kernel, loop and throttle hold is far below what the backend would like to send.
        assert sent < 30_000_000
        client.reset()
        await until(lambda: not proxy.worker._context._deadlines and proxy.worker._context.in_flight == 0)


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(codec: Codec) -> None:
    async with answering(BODY) as origin, serving(codec, slow(to(origin), 100)) as proxy:
        client = await proxy.client()
        await client.send(get("/"))
        await client.reader.readuntil(b"\r\n\r\n")
        assert proxy.worker._context._deadlines
        client.reset()
        await until(lambda: not proxy.worker._context._deadlines)


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_an_answer_before_the_end_of_its_request_takes_no_more_of_it(codec: Codec) -> None:
    async def early(visit: Visit) -> None:
        await visit.head()
        await visit.answer(b"early", status="413 Too Large")

    async with Origin(early) as origin, serving(codec, slow(to(origin), 20)) as proxy:
        client = await proxy.client()
        await client.send(post(b"x" * 10_000_000)[:1000])
        await client.reader.readuntil(b"\r\n\r\n")
        client.writer.write(b"y" * 1_000_000)
        assert (await client.reader.readexactly(5)) == b"early"


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_trailers_come_after_the_last_piece(codec: Codec) -> None:
    async def script(visit: H2Visit) -> None:
        while True:
            asked = await visit.request_end()
            visit.respond(asked.stream_id, b"message" * 100, fields=[GRPC[0]], is_end=False)
            visit.trail(asked.stream_id, [("grpc-status", "0")])

    async with Backend(script) as backend, serving_h2(codec, slow(over_h2(backend), 5000)) as proxy:
        peer = await h2_client(proxy)
        started_s = asyncio.get_running_loop().time()
        stream = peer.request(GRPC, method="POST")
        assert await peer.answer(stream) == ("200", b"message" * 100)
        assert peer.trailers(stream) == [("grpc-status", "0")]
        assert asyncio.get_running_loop().time() - started_s >= 0.13


@on_loop
async def test_a_stream_that_its_client_resets_ends_its_pieces() -> None:
    async def script(visit: H2Visit) -> None:
        while True:
            visit.respond((await visit.request_end()).stream_id, BODY)

    async with Backend(script) as backend, serving_h2("fast", slow(over_h2(backend), 100)) as proxy:
        peer = await h2_client(proxy)
        stream = peer.request()
        await peer.until_body(stream, 1)
        peer.reset(stream, 8)
        await until(lambda: not proxy.worker._context._deadlines)


class Clock:
    """Stands for the context: deadlines come when the test says so."""

    def __init__(self) -> None:
        self.due: list[Timed] = []

    def set_deadline(self, timed: Timed, at_s: float) -> None:
        self.due.append(timed)

    def drop_deadline(self, timed: Timed) -> None:
        self.due.remove(timed)


class Ends:
    """The exchange and the client at once."""

    is_request_under_way = False

    def __init__(self) -> None:
        self.said: list[object] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args: self.said.append((name, *args))


def test_a_client_that_takes_nothing_holds_up_the_pieces_and_the_backend_until_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("milliroute.proxy.exchange.throttle.monotonic", lambda: now)
    ends, clock = Ends(), Clock()
    made = Throttle(ends, ends, clock, 1000)  # type: ignore[arg-type]  # stands for all three
    made.send_response(ResponseHead(200, b"", 0, is_reusable=True), b"a" * (HIGH_WATER_BYTES + 100), False)
    assert ends.said[1:] == [("pause_backend",)]
    made.hold_up()
    assert clock.due == []
    now += 1
    made.go_on()
    assert ends.said[2:] == []  # still above the mark
    now += 0.2
    clock.due.pop().expire()
    assert ends.said[2:] == [("send_body", b"a" * 200, False), ("resume_backend",)]
