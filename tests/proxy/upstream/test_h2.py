"""HTTP/2 connections to backends: when one is made, who gets a stream, and who waits."""

import asyncio
from contextlib import suppress

import pytest
from h2.events import RequestReceived
from h2.settings import SettingCodes

from milliroute.proxy.config import Codec, Timeouts
from milliroute.proxy.exchange.retrying import MAX_UNPROCESSED_TRIES
from milliroute.proxy.upstream import h2 as upstream_h2
from tests.proxy.backends import Origin
from tests.proxy.backends import Visit as H1Visit
from tests.proxy.h2_backend import (
    Backend,
    Visit,
    h2_client,
    h2_pools,
    mute,
    named,
    over_h2,
    plain,
    serving_h2,
    silent,
    speaking,
    streams_upstream,
)
from tests.proxy.serving import BOTH_CODECS, on_loop, to, until
from tests.proxy.tables import leaves

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)

ONE_STREAM = {SettingCodes.MAX_CONCURRENT_STREAMS: 1}
CANCEL = 8


@on_loop
async def test_nothing_is_asked_before_the_backend_has_sent_its_settings(codec: Codec) -> None:
    asked_early: list[bool] = []

    async def late(visit: Visit) -> None:
        early = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):  # whatever the proxy would send too early comes within it
                while data := await visit.reader.read(65536):
                    early += data
        visit.h2.initiate_connection()
        visit.seen += visit.h2.receive_data(early)
        asked_early.append(visit.all(RequestReceived) != [])
        visit.flush()
        await named("v1")(visit)

    async with Backend(late, greets=False) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        assert await client.get() == ("200", b"v1")
        assert asked_early == [False]


@on_loop
async def test_backend_that_speaks_http1_is_502_and_was_asked_nothing(codec: Codec) -> None:
    async def script(visit: H1Visit) -> None:
        await visit.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await visit.reader.read()

    async with Origin(script) as origin, serving_h2(codec, speaking("kubernetes.io/h2c", to(origin))) as proxy:
        client = await h2_client(proxy)
        assert (await client.get(method="POST"))[0] == "502"


@on_loop
async def test_backend_that_speaks_http1_is_left_for_another_endpoint(codec: Codec) -> None:
    async def script(visit: H1Visit) -> None:
        await visit.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await visit.reader.read()

    async with Origin(script) as origin, Backend(named("v1")) as good:
        state = speaking("kubernetes.io/h2c", leaves({"v1": [origin.port, good.port]}, 1))
        async with serving_h2(codec, state) as proxy:
            client = await h2_client(proxy)
            assert [await client.get(method="POST") for _ in range(4)] == [("200", b"v1")] * 4


@on_loop
async def test_backend_without_settings_is_a_connect_timeout(codec: Codec) -> None:
    async with (
        Backend(mute, greets=False) as backend,
        serving_h2(codec, over_h2(backend), timeouts=Timeouts(connect_s=0.05)) as proxy,
    ):
        client = await h2_client(proxy)
        assert (await client.get())[0] == "504"


@on_loop
async def test_backend_that_greets_and_says_goodbye_is_asked_four_times_at_most(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        visit.goaway(0)
        await visit.until_closed()

    async with Backend(script) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        assert (await client.get())[0] == "502"
        assert len(backend.visits) <= 1 + MAX_UNPROCESSED_TRIES


@on_loop
async def test_backend_that_greets_and_hangs_up_is_502(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        visit.writer.write_eof()

    async with Backend(script) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        assert (await client.get(method="POST"))[0] == "502"


@on_loop
async def test_backend_that_allows_no_streams_is_given_few_connections(codec: Codec) -> None:
    settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 0}
    async with (
        Backend(silent, settings=settings) as backend,
        serving_h2(codec, over_h2(backend), timeouts=Timeouts(connect_s=0.2)) as proxy,
    ):
        client = await h2_client(proxy)
        assert (await client.get())[0] == "504"
        assert len(backend.visits) <= 2


@on_loop
async def test_streams_above_the_limit_go_over_more_connections_and_all_are_answered(codec: Codec) -> None:
    settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 2}
    async with Backend(named("v1"), settings=settings) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        ids = [client.request() for _ in range(20)]
        assert [await client.answer(stream_id) for stream_id in ids] == [("200", b"v1")] * 20
        assert all(visit.all(RequestReceived) for visit in backend.visits[:2])


@on_loop
async def test_who_waits_for_a_stream_is_served_in_order(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_h2, "MAX_CONNECTIONS", 1)
    async with Backend(named("v1"), settings=ONE_STREAM) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        ids = [client.request() for _ in range(8)]
        for stream_id in ids:
            assert await client.answer(stream_id) == ("200", b"v1")
        paths = [dict(plain(event.headers))[":path"] for event in backend.visits[0].all(RequestReceived)]
        assert paths == [f"/{stream_id}" for stream_id in ids]


@on_loop
async def test_wait_for_a_stream_ends_in_504_also_where_pools_are_seldom_swept(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_h2, "MAX_CONNECTIONS", 1)
    timeouts = Timeouts(connect_s=0.1, pool_idle_s=1000.0)
    async with (
        Backend(silent, settings=ONE_STREAM) as backend,
        serving_h2(codec, over_h2(backend), timeouts=timeouts) as proxy,
    ):
        client = await h2_client(proxy)
        client.request()
        await until(lambda: streams_upstream(proxy) == 1)
        assert (await client.get())[0] == "504"


@on_loop
async def test_wait_for_a_stream_goes_on_elsewhere_when_its_connection_dies(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_h2, "MAX_CONNECTIONS", 1)

    async def script(visit: Visit) -> None:
        if visit.number:
            await named("v1")(visit)
            return
        await visit.head()
        await until(lambda: any(pool.waiting for pool in h2_pools(proxies[0])))
        visit.abort()

    timeouts = Timeouts(connect_s=5.0, pool_idle_s=1000.0)
    async with (
        Backend(script, settings=ONE_STREAM) as backend,
        serving_h2(codec, over_h2(backend), timeouts=timeouts) as proxy,
    ):
        proxies = [proxy]
        client = await h2_client(proxy)
        first, second = client.request(method="POST"), client.request(method="POST")
        assert (await client.answer(first))[0] == "502"
        assert await client.answer(second) == ("200", b"v1")


@on_loop
async def test_wait_for_a_stream_outlives_the_endpoint_that_leaves_the_table(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_h2, "MAX_CONNECTIONS", 1)

    async def script(visit: Visit) -> None:
        await (named("old") if visit.number else silent)(visit)

    async with (
        Backend(script, settings=ONE_STREAM) as old,
        Backend(named("new")) as new,
        serving_h2(codec, over_h2(old)) as proxy,
    ):
        client = await h2_client(proxy)
        client.request()
        await until(lambda: streams_upstream(proxy) == 1)
        waits = client.request()
        (pool,) = h2_pools(proxy)
        await until(lambda: len(pool.waiting) == 1)
        await proxy.update(over_h2(new))
        assert await client.answer(waits) == ("200", b"old")
        assert await client.get() == ("200", b"new")
        client.reset(1, CANCEL)
        await until(lambda: pool not in h2_pools(proxy) or not pool._connections)


@on_loop
async def test_waiting_is_bounded(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_h2, "MAX_WAITING", 3)
    async with (
        Backend(mute, greets=False) as backend,
        serving_h2(codec, over_h2(backend), timeouts=Timeouts(connect_s=0.6)) as proxy,
    ):
        client = await h2_client(proxy)
        ids = [client.request() for _ in range(5)]
        statuses = [(await client.answer(stream_id))[0] for stream_id in ids]
        assert sorted(statuses) == ["502", "502", "504", "504", "504"]


@on_loop
async def test_client_that_leaves_while_it_waits_leaves_nothing_behind(codec: Codec) -> None:
    async with (
        Backend(mute, greets=False) as backend,
        serving_h2(codec, over_h2(backend), timeouts=Timeouts(connect_s=1.0)) as proxy,
    ):
        client = await h2_client(proxy)
        stream_id = client.request()
        await until(lambda: any(pool.waiting for pool in h2_pools(proxy)))
        client.reset(stream_id, CANCEL)  # what is reset in the same breath never waits
