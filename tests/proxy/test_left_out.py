"""Failure accrual through real sockets: what counts as a failure, the probe, and the split after it."""

import asyncio
from collections import Counter

import pytest
from msgspec.structs import replace

from milliroute.proxy.config import Codec, Timeouts
from milliroute.proxy.ipc import LeftOut
from tests.proxy.backends import Origin, Visit, closed_port, named
from tests.proxy.failures import AT_ONCE, answering, calls, counting, end_penalties, outs
from tests.proxy.h2_backend import GRPC, Backend, h2_client, over_h2, serving_h2, speaking, streams_upstream
from tests.proxy.h2_backend import Visit as H2Visit
from tests.proxy.serving import BOTH_CODECS, Client, get, on_loop, serving, to, until
from tests.proxy.tables import leaves

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)


async def silent(visit: Visit) -> None:
    await visit.head()
    await visit.reader.read()


async def taken(client: Client, count: int) -> Counter[str]:
    return Counter([(await client.get()).body.decode() for _ in range(count)])


@pytest.mark.parametrize("status", [500, 503, 0])
@on_loop
async def test_errors_and_resets_in_a_row_put_an_endpoint_out(codec: Codec, status: int) -> None:
    async with answering(status) as bad, answering(200) as good:
        state = leaves({"v1": [bad.port], "v2": [good.port]}, 1, 1)
        async with serving(codec, counting(state, replace(AT_ONCE, max_failures=3))) as proxy:
            client = await proxy.client()
            statuses = [(await client.get()).status for _ in range(40)]
            # A GET whose connection ended before its answer is asked elsewhere, so of the resets nobody hears.
            assert statuses.count(200) == (37 if status else 40)
            assert outs(proxy) == [bad.port]


@pytest.mark.parametrize("status", [200, 404, 429])
@on_loop
async def test_other_statuses_do_not(codec: Codec, status: int) -> None:
    async with answering(status) as one, answering(200) as two, serving(codec, counting(to(one, two))) as proxy:
        client = await proxy.client()
        assert {(await client.get()).status for _ in range(20)} == {status, 200}
        assert outs(proxy) == []


@on_loop
async def test_silence_puts_it_out(codec: Codec) -> None:
    timeouts = Timeouts(response_s=0.4)
    async with (
        Origin(silent) as bad,
        answering(200) as good,
        serving(codec, counting(to(bad, good)), timeouts=timeouts) as proxy,
    ):
        client = await proxy.client()
        statuses = [(await client.get()).status for _ in range(20)]
        assert statuses.count(504) == 1
        assert outs(proxy) == [bad.port]


@on_loop
async def test_refused_connection_puts_it_out(codec: Codec) -> None:
    bad = closed_port()
    async with answering(200) as good:
        state = counting(leaves({"v1": [bad, good.port]}, 1))
        async with serving(codec, state) as proxy:
            client = await proxy.client()
            assert {(await client.get()).status for _ in range(20)} == {200}
            assert outs(proxy) == [bad]


@pytest.mark.parametrize(("grpc_status", "is_out"), [(14, True), (13, True), (5, False), (16, False)])
@pytest.mark.parametrize("style", ["trailers-only", "message"])
@on_loop
async def test_grpc_statuses_of_failure_put_it_out(codec: Codec, grpc_status: int, style: str, is_out: bool) -> None:
    async with (
        calls(grpc_status, style=style) as bad,
        calls(0) as good,
        serving_h2(codec, counting(over_h2(bad, good))) as proxy,
    ):
        client = await h2_client(proxy)
        for _ in range(20):
            await client.answer(client.request(GRPC, method="POST"))
        assert outs(proxy) == ([bad.port] if is_out else [])


@on_loop
async def test_call_that_its_client_cancels_says_nothing(codec: Codec) -> None:
    """Nor that the endpoint is good: its failures before count on."""

    async def script(visit: H2Visit) -> None:
        while True:
            asked = await visit.request_end()
            if "cancel" in asked.fields:
                visit.respond(asked.stream_id, b"begun", [GRPC[0]], is_end=False)
            else:
                visit.respond(asked.stream_id, fields=[GRPC[0], ("grpc-status", "14")])

    async with Backend(script) as bad, calls(0) as spare:
        state = leaves({"v1": [bad.port], "v2": [spare.port]}, 999_999, 1)
        state = counting(speaking("kubernetes.io/h2c", state), replace(AT_ONCE, max_failures=2))
        async with serving_h2(codec, state) as proxy:
            client = await h2_client(proxy)
            await client.answer(client.request(GRPC, method="POST"))
            stream_id = client.request([*GRPC, ("cancel", "1")], method="POST")
            await client.until_body(stream_id, 5)
            client.reset(stream_id, 8)
            await until(lambda: streams_upstream(proxy) == 0)
            assert outs(proxy) == []
            await client.answer(client.request(GRPC, method="POST"))
            assert outs(proxy) == [bad.port]


@on_loop
async def test_leaf_that_is_out_loses_no_share_for_good(codec: Codec) -> None:
    """Its share goes to the others by weight; after a good probe the split is exact again."""
    async with answering(503, 503, 200) as sick, Origin(named("v2")) as v2, Origin(named("v3")) as v3:
        state = leaves({"v1": [sick.port], "v2": [v2.port], "v3": [v3.port]}, 6, 3, 1)
        async with serving(codec, counting(state, replace(AT_ONCE, max_failures=2))) as proxy:
            client = await proxy.client()
            while not outs(proxy):
                await client.get()
            first = await taken(client, 4)
            assert "503" not in first
            end_penalties(proxy)
            while outs(proxy) or len(sick.asked) < 3:
                await client.get()
            assert await taken(client, 30) == {"200": 18, "v2": 9, "v3": 3}


@on_loop
async def test_one_request_at_a_time_is_a_probe_and_the_others_go_elsewhere(codec: Codec) -> None:
    is_well = asyncio.Event()

    async def sick(visit: Visit) -> None:
        await visit.request()
        await visit.answer(b"no", status="503 No")
        await visit.request()
        await is_well.wait()
        await visit.answer(b"well")

    async with Origin(sick) as origin, Origin(named("v2")) as good:
        state = counting(leaves({"v1": [origin.port], "v2": [good.port]}, 1, 1))
        async with serving(codec, state) as proxy:
            clients = [await proxy.client() for _ in range(10)]
            while not outs(proxy):
                await clients[0].get()
            end_penalties(proxy)
            await until(lambda: not proxy.worker._context.ejections.waiting)
            for client in clients:
                await client.send(get())
            await until(lambda: len(origin.asked) == 2)
            await until(lambda: len(good.asked) >= 9)
            assert outs(proxy) == [origin.port]
            is_well.set()
            assert Counter([(await client.reply()).body for client in clients]) == {b"v2": 9, b"well": 1}
            assert outs(proxy) == []


@on_loop
async def test_probe_whose_client_leaves_is_made_again(codec: Codec) -> None:
    async def sick(visit: Visit) -> None:
        if visit.number == 0:
            await visit.request()
            await visit.answer(b"no", status="503 No")
            await visit.request()
            await visit.reader.read()
        while await visit.request():
            await visit.answer(b"well")

    async with Origin(sick) as origin, Origin(named("v2")) as good:
        state = counting(leaves({"v1": [origin.port], "v2": [good.port]}, 1, 1))
        async with serving(codec, state) as proxy:
            client = await proxy.client()
            while not outs(proxy):
                await client.get()
            end_penalties(proxy)
            await until(lambda: not proxy.worker._context.ejections.waiting)
            leaving = [await proxy.client() for _ in range(2)]
            for one in leaving:
                await one.send(get())
            await until(lambda: len(origin.asked) == 2)
            for one in leaving:
                one.reset()
            while (await client.get()).body != b"well":
                pass  # its share is still the other leaf's
            assert await taken(client, 10) == {"v2": 5, "well": 5}


@on_loop
async def test_the_agent_is_told_who_is_out_and_when_nobody_is_any_more(codec: Codec) -> None:
    async with answering(503, 200) as bad, answering(200) as good:
        state = leaves({"v1": [bad.port], "v2": [good.port]}, 1, 1)
        async with serving(codec, counting(state)) as proxy:
            client = await proxy.client()
            while not outs(proxy):
                await client.get()
            await proxy.counted()
            said = LeftOut("reviews.default", "v1", "default", [f"127.0.0.1:{bad.port}"], [])
            assert proxy.ledger.left_out == {0: [said]}
            end_penalties(proxy)
            while outs(proxy):
                await client.get()
            await proxy.counted()
            assert proxy.ledger.left_out == {0: []}
