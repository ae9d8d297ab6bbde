"""Time limits of a route: on one try, which then is made elsewhere, and on the whole request."""

import asyncio

import pytest
from msgspec.structs import replace

from milliroute.proxy.config import Codec
from milliroute.proxy.exchange import context, retrying
from milliroute.proxy.resilience.deadlines import TICK_S, Deadlines
from milliroute.proxy.state import PolicyState
from tests.proxy.backends import Origin, Visit
from tests.proxy.failures import AT_ONCE, answering, counting, outs, trying
from tests.proxy.h2_backend import GRPC, Backend, h2_client, named, over_h2, serving_h2
from tests.proxy.h2_backend import silent as h2_silent
from tests.proxy.serving import BOTH_CODECS, Proxy, get, on_loop, post, serving, to, until

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)

IMPATIENT = PolicyState(retry_statuses=[(504, 504)], try_timeout_ms=30)
# Where who is good has to be in time, on however slow a machine.
PATIENT = replace(IMPATIENT, try_timeout_ms=400)


@pytest.fixture(autouse=True, params=["watched from the beginning", "seen coming"])
def _near(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways that a limit of time is kept, by how far it is."""
    if request.param == "seen coming":
        monkeypatch.setattr(context, "NEAR_S", 0.025)


async def silent(visit: Visit) -> None:
    while await visit.request():
        await visit.reader.read()


def is_at_rest(proxy: Proxy) -> bool:
    return not proxy.worker._context._deadlines


def watched(proxy: Proxy) -> list[object]:
    wheel = proxy.worker._context._deadlines
    return [*wheel._new, *wheel._slot_of]


@on_loop
async def test_try_that_takes_too_long_is_made_elsewhere(codec: Codec) -> None:
    async with (
        Origin(silent) as bad,
        answering(200) as good,
        serving(codec, trying(to(bad, good), PATIENT)) as proxy,
    ):
        client = await proxy.client()
        assert {(await client.get()).status for _ in range(10)} == {200}
        assert bad.asked
        await until(lambda: proxy.worker._context.dialer.tcp.open_now == 1)
        assert is_at_rest(proxy)


@on_loop
async def test_of_a_post_it_is_a_504(codec: Codec) -> None:
    async with Origin(silent) as bad, serving(codec, trying(to(bad), IMPATIENT)) as proxy:
        client = await proxy.client()
        await client.send(post(b"once"))
        reply = await client.reply()
        assert (reply.status, reply.fields["l5d-proxy-error"][-13:]) == (504, "within 0.03 s")
        assert len(bad.asked) == 1


@on_loop
async def test_of_a_call_where_the_policy_names_deadline_exceeded(codec: Codec) -> None:
    async with Backend(h2_silent) as bad, Backend(named("v1")) as good:
        policy = PolicyState(retry_grpc=[4], try_timeout_ms=400)
        async with serving_h2(codec, trying(over_h2(bad, good), policy)) as proxy:
            client = await h2_client(proxy)
            assert [await client.get(GRPC, method="POST") for _ in range(10)] == [("200", b"v1")] * 10
            assert bad.visits


@on_loop
async def test_response_timeout_without_retries_is_a_504(codec: Codec) -> None:
    async with Origin(silent) as bad, serving(codec, trying(to(bad), PolicyState(response_timeout_ms=30))) as proxy:
        assert (await (await proxy.client()).get()).status == 504
        assert len(bad.asked) == 1


@on_loop
async def test_time_that_the_client_takes_to_send_is_not_the_trys(codec: Codec) -> None:
    async with answering(200) as origin, serving(codec, trying(to(origin), PATIENT)) as proxy:
        client = await proxy.client()
        await client.send(get("/", "content-length: 2", method="POST") + b"a")
        await until(lambda: bool(proxy.worker._context._deadlines))
        began = proxy.worker._context.now
        await until(lambda: proxy.worker._context.now > began + 0.6)
        await client.send(b"b")
        assert (await client.reply()).status == 200


@on_loop
async def test_request_timeout_is_over_all_tries(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "BACKOFF_S", (0.0, 0.0))
    policy = replace(IMPATIENT, request_timeout_ms=400, retry_limit=100)
    async with Origin(silent) as bad, serving(codec, trying(to(bad), policy)) as proxy:
        reply = await (await proxy.client()).get()
        assert (reply.status, reply.fields["l5d-proxy-error"]) == (504, "no whole response within 0.4 s")
        # Each has its 30 ms, and a slow machine makes that more.
        assert 2 <= len(bad.asked) <= 400 // 30 + 1
        assert is_at_rest(proxy)


@on_loop
async def test_request_timeout_ends_a_pause(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "BACKOFF_S", (60.0, 60.0))
    policy = PolicyState(retry_statuses=[(503, 503)], request_timeout_ms=50)
    async with answering(503) as bad, serving(codec, trying(to(bad), policy)) as proxy:
        assert (await (await proxy.client()).get()).status == 504
        assert is_at_rest(proxy)


@on_loop
async def test_after_a_pause_the_tries_limit_holds_again(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "BACKOFF_S", (0.01, 0.01))

    async def first_busy_then_silent(visit: Visit) -> None:
        await visit.request()
        if len(origin.asked) == 1:
            await visit.answer(b"", status="503 Busy")
            await visit.request()
        await visit.reader.read()

    origin = Origin(first_busy_then_silent)
    policy = PolicyState(retry_statuses=[(503, 503)], try_timeout_ms=60, request_timeout_ms=5000)
    async with origin, serving(codec, trying(to(origin), policy)) as proxy:
        reply = await (await proxy.client()).get()
        assert (reply.status, reply.fields["l5d-proxy-error"][-13:]) == (504, "within 0.06 s")
        assert len(origin.asked) == 2
        assert is_at_rest(proxy)


@on_loop
async def test_while_rounds_are_slow_every_limit_is_watched(codec: Codec) -> None:
    policy = PolicyState(request_timeout_ms=60_000)
    async with Origin(silent) as bad, serving(codec, trying(to(bad), policy)) as proxy:
        clients = [await proxy.client() for _ in range(2)]
        await clients[0].send(get())
        await until(lambda: len(bad.asked) == 1)
        assert is_at_rest(proxy)
        proxy.worker._set_pace(True)
        assert len(watched(proxy)) == 1
        await clients[1].send(get())
        await until(lambda: len(bad.asked) == 2)
        proxy.worker._set_pace(False)
        assert len(watched(proxy)) == 2
        for client in clients:
            client.reset()
        await until(lambda: is_at_rest(proxy))


@on_loop
async def test_while_rounds_are_slow_every_limit_of_streams_is_watched(codec: Codec) -> None:
    policy = PolicyState(request_timeout_ms=60_000)
    async with Backend(h2_silent) as bad, serving_h2(codec, trying(over_h2(bad), policy)) as proxy:
        client = await h2_client(proxy)
        client.request(GRPC, method="POST")
        client.request(GRPC, method="POST")
        await until(lambda: len(bad.visits) == 1 and proxy.worker._context.in_flight == 2)
        assert is_at_rest(proxy)
        proxy.worker._set_pace(True)
        assert len(watched(proxy)) == 2


@on_loop
async def test_request_timeout_of_a_call_is_deadline_exceeded(codec: Codec) -> None:
    async with (
        Backend(h2_silent) as bad,
        serving_h2(codec, trying(over_h2(bad), PolicyState(request_timeout_ms=30))) as proxy,
    ):
        client = await h2_client(proxy)
        stream_id = client.request(GRPC, method="POST")
        assert (await client.answer(stream_id))[0] == "200"
        assert client.fields(stream_id)["grpc-status"] == "4"


@on_loop
async def test_request_timeout_holds_for_the_end_of_the_response(codec: Codec) -> None:
    async def half(visit: Visit) -> None:
        await visit.head()
        await visit.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await visit.reader.read()

    async with Origin(half) as origin, serving(codec, trying(to(origin), PolicyState(request_timeout_ms=400))) as proxy:
        client = await proxy.client()
        await client.send(get())
        await client.reader.readuntil(b"half")
        with pytest.raises(ConnectionResetError):
            await client.rest()


@on_loop
async def test_request_timeout_holds_also_where_the_tries_limit_was_kept(codec: Codec) -> None:
    async def slowly(visit: Visit) -> None:
        await visit.head()
        await visit.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await asyncio.sleep(0.15)  # longer than the limit of a try, which is for the head alone
        await visit.send(b"more")
        await visit.reader.read()

    policy = PolicyState(try_timeout_ms=60, request_timeout_ms=600)
    async with Origin(slowly) as origin, serving(codec, trying(to(origin), policy)) as proxy:
        client = await proxy.client()
        await client.send(get())
        await client.reader.readuntil(b"halfmore")
        with pytest.raises(ConnectionResetError):
            await client.rest()
        assert is_at_rest(proxy)


@on_loop
async def test_request_timeout_is_not_for_tunnels(codec: Codec) -> None:
    async def tunnel(visit: Visit) -> None:
        await visit.head()
        await visit.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        await visit.send(await visit.reader.readexactly(4))

    policy = PolicyState(request_timeout_ms=60_000, try_timeout_ms=60_000)
    async with Origin(tunnel) as origin, serving(codec, trying(to(origin), policy)) as proxy:
        client = await proxy.client()
        await client.send(get("/", "connection: upgrade", "upgrade: websocket"))
        assert (await client.reply()).status == 101
        assert is_at_rest(proxy)
        await client.send(b"ping")
        assert await client.rest() == b"ping"


@on_loop
async def test_idle_timeout_of_the_policy_breaks_a_response_that_stands_still(codec: Codec) -> None:
    async def half(visit: Visit) -> None:
        await visit.head()
        await visit.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await visit.reader.read()

    async with Origin(half) as origin, serving(codec, trying(to(origin), PolicyState(idle_timeout_ms=50))) as proxy:
        client = await proxy.client()
        await client.send(get())
        with pytest.raises(ConnectionResetError):
            await client.rest()


@on_loop
async def test_client_in_a_hurry_puts_no_endpoint_out(codec: Codec) -> None:
    async with (
        Backend(h2_silent) as one,
        Backend(h2_silent) as two,
        serving_h2(codec, counting(over_h2(one, two), AT_ONCE)) as proxy,
    ):
        client = await h2_client(proxy)
        for stream_id in (1, 3, 5):
            client.request([*GRPC, ("grpc-timeout", "10m")], method="POST")
            await client.answer(stream_id)
        assert outs(proxy) == []


def test_a_try_is_late_by_at_most_two_ticks(codec: Codec) -> None:
    """The worker looks every TICK_S: by a clock of its own steps, however they fall."""
    for start in range(100):
        deadlines: Deadlines[str] = Deadlines()
        due_s = 5.0 + 0.0317 * start
        deadlines.add(due_s, codec)
        looks = (4.0 + start * 0.000123 + step * TICK_S for step in range(1000))
        late_s = next(look for look in looks if list(deadlines.due(look))) - due_s
        assert 0 <= late_s <= 0.020001
