"""The life of an HTTP/2 connection to a backend: its age, its idleness, its sickness and its end."""

import asyncio

import pytest
from h2.events import PingReceived, StreamReset
from h2.settings import SettingCodes

from milliroute.proxy.config import Codec, Timeouts
from milliroute.proxy.upstream import h2 as upstream_h2
from tests.proxy.backends import closed_port
from tests.proxy.h2_backend import (
    Backend,
    Visit,
    h2_client,
    h2_pools,
    named,
    over_h2,
    serving_h2,
    silent,
    speaking,
    streams_upstream,
)
from tests.proxy.serving import BOTH_CODECS, on_loop, post, until
from tests.proxy.tables import leaves

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)

ONE_STREAM = {SettingCodes.MAX_CONCURRENT_STREAMS: 1}
CANCEL, NO_ERROR = 8, 0


@on_loop
async def test_connection_over_its_age_takes_no_new_streams_and_ends_with_its_last(codec: Codec) -> None:
    may_answer = asyncio.Event()

    async def script(visit: Visit) -> None:
        stream_id = (await visit.request_end()).stream_id
        if not visit.number:
            await may_answer.wait()
        visit.respond(stream_id, b"%d" % visit.number)
        await visit.until_closed()

    async with Backend(script) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        first = client.request()
        await until(lambda: streams_upstream(proxy) == 1)
        (pool,) = h2_pools(proxy)
        pool._connections[0]._old_s = 0.001
        pool.sweep()
        assert await client.get() == ("200", b"1")
        may_answer.set()
        assert await client.answer(first) == ("200", b"0")
        await until(lambda: backend.visits[0].reader.at_eof())


@on_loop
async def test_idle_connection_is_closed_in_order(codec: Codec) -> None:
    async with (
        Backend(named("v1")) as backend,
        serving_h2(codec, over_h2(backend), timeouts=Timeouts(pool_idle_s=0.05)) as proxy,
    ):
        client = await h2_client(proxy)
        await client.get()
        await until(lambda: backend.visits[0].reader.at_eof())
        (pool,) = h2_pools(proxy)
        await until(lambda: not pool._connections)


@on_loop
async def test_idle_connection_is_closed_at_a_goaway(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        visit.respond((await visit.request_end()).stream_id)
        visit.goaway(1)
        await visit.until_closed()

    async with (
        Backend(script) as backend,
        serving_h2(codec, over_h2(backend), timeouts=Timeouts(pool_idle_s=1000.0)) as proxy,
    ):
        client = await h2_client(proxy)
        await client.get()
        await until(lambda: backend.visits[0].reader.at_eof())


@on_loop
async def test_backend_that_answers_no_ping_is_given_up(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_h2, "KEEPALIVE_S", 0.05)
    monkeypatch.setattr(upstream_h2, "KEEPALIVE_TIMEOUT_S", 0.05)

    async def deaf(visit: Visit) -> None:
        await visit.head()
        while b"\x08\x06" not in await visit.reader.read(65536):  # a PING: 8 bytes, type 6
            pass
        await visit.reader.read()

    async with (
        Backend(deaf) as backend,
        serving_h2(codec, over_h2(backend), timeouts=Timeouts(pool_idle_s=0.02)) as proxy,
    ):
        client = await h2_client(proxy)
        assert (await client.get(method="POST"))[0] == "502"


@on_loop
async def test_silent_backend_is_pinged_once_in_a_while_and_kept(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_h2, "KEEPALIVE_S", 0.02)

    async with (
        Backend(silent) as backend,
        serving_h2(codec, over_h2(backend), timeouts=Timeouts(pool_idle_s=0.02)) as proxy,
    ):
        client = await h2_client(proxy)
        stream_id = client.request()
        await until(lambda: bool(backend.visits) and backend.visits[0].all(PingReceived) != [])
        connection = h2_pools(proxy)[0]._connections[0]
        # Its answer is here too, or the sweeps below would take it for dead.
        await until(lambda: connection.heard_s > connection._ping_s)
        heard_s = connection.heard_s
        for sweep in range(1, 100):
            connection.sweep(heard_s + sweep)
        await until(lambda: streams_upstream(proxy) == 1)
        monkeypatch.setattr(upstream_h2, "PING_INTERVAL_S", 50.0)
        connection.sweep(heard_s + 100)
        await until(lambda: len(backend.visits[0].all(PingReceived)) == 2)
        client.reset(stream_id, CANCEL)


@on_loop
async def test_connection_that_takes_no_more_streams_is_still_looked_after(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_h2, "KEEPALIVE_S", 0.05)
    monkeypatch.setattr(upstream_h2, "KEEPALIVE_TIMEOUT_S", 0.05)

    async def leaves_silently(visit: Visit) -> None:
        visit.goaway(((await visit.head()).stream_id) or 0)
        await visit.reader.read()
        await asyncio.Event().wait()

    async with (
        Backend(leaves_silently) as backend,
        serving_h2(codec, over_h2(backend), timeouts=Timeouts(pool_idle_s=0.02)) as proxy,
    ):
        client = await h2_client(proxy)
        assert (await client.get(method="POST"))[0] == "502"


@on_loop
async def test_settings_that_a_backend_never_acknowledges_end_the_connection(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_h2, "SETTINGS_TIMEOUT_S", 0.05)

    async def script(visit: Visit) -> None:
        visit.writer.write(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        await visit.reader.read()

    async with (
        Backend(script, greets=False) as backend,
        serving_h2(codec, over_h2(backend), timeouts=Timeouts(pool_idle_s=0.02)) as proxy,
    ):
        client = await h2_client(proxy)
        assert (await client.get(method="POST"))[0] == "502"


@on_loop
async def test_early_answer_resets_the_rest_of_the_request_and_frees_its_place(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        for _ in range(2):
            visit.respond((await visit.head()).stream_id or 0, b"enough")
        await visit.until_closed()

    async with Backend(script, settings=ONE_STREAM) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        for _ in range(2):
            stream_id = client.request(method="POST", is_end=False)
            assert await client.answer_of_open(stream_id) == ("200", b"enough")
        assert (await backend.visits[0].until(StreamReset, 1)).error_code == NO_ERROR
        assert len(backend.visits) == 1


@on_loop
async def test_early_answer_frees_the_place_also_of_a_request_that_waits_for_window(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        for _ in range(2):
            stream_id = (await visit.head()).stream_id or 0
            await visit.until_body(stream_id, 65535)
            visit.respond(stream_id, b"enough")
        await visit.until_closed()

    async with (
        Backend(script, settings=ONE_STREAM, takes=False) as backend,
        serving_h2(codec, over_h2(backend)) as proxy,
    ):
        client = await proxy.client()
        await client.send(post(b"b" * 70_000))
        assert (await client.reply()).body == b"6\r\nenough\r\n0\r\n\r\n"
        await until(lambda: streams_upstream(proxy) == 0)
        (pool,) = h2_pools(proxy)
        assert pool._connections[0].h2.open_streams == 0


@on_loop
async def test_refused_connect_goes_to_the_next_endpoint(codec: Codec) -> None:
    async with Backend(named("v1")) as backend:
        state = speaking("kubernetes.io/h2c", leaves({"v1": [closed_port(), backend.port]}, 1))
        async with serving_h2(codec, state) as proxy:
            client = await h2_client(proxy)
            assert [await client.get(method="POST") for _ in range(4)] == [("200", b"v1")] * 4


@on_loop
async def test_backend_that_half_closes_fails_what_it_owes_at_once(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        await visit.head()
        visit.writer.write_eof()
        await asyncio.Event().wait()

    async with Backend(script) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        assert (await client.get(method="POST"))[0] == "502"
