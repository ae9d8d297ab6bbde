"""TCP pass-through: which connections are passed through, to whom, and what happens to them in time."""

import asyncio
from collections import Counter

import pytest

from milliroute.proxy import ipc
from milliroute.proxy.config import Codec, Timeouts
from milliroute.proxy.state import MatchState, StickyState
from tests.conformance.corpus import Case, cases, text
from tests.proxy import tables
from tests.proxy.backends import Origin, Visit, closed_port, named
from tests.proxy.failures import counting, end_penalties, outs
from tests.proxy.serving import BOTH_CODECS, Proxy, on_loop, serving, to, until
from tests.proxy.tunnelling import (
    BINARY,
    MIB,
    declared,
    echo,
    greeting,
    is_reset,
    names,
    pending,
    telling,
    tunnels,
)


async def greeting_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"two")
    writer.close()


@on_loop
async def test_each_connection_is_split_exactly() -> None:
    async with Origin(telling("v1")) as one, Origin(telling("v2")) as two:
        state = tables.leaves({"v1": [one.port], "v2": [two.port]}, 900_000, 100_000)
        async with serving(state=state) as proxy:
            found = await names(proxy, 100)
    assert Counter(found) == {"v1": 90, "v2": 10}
    assert all(found[start : start + 10].count("v2") == 1 for start in range(91))


@on_loop
async def test_requests_on_the_same_listener_are_still_split_one_by_one() -> None:
    async def script(visit: Visit) -> None:
        if visit.number:
            await named("v1")(visit)
        else:
            await echo(visit)

    async with Origin(script) as origin, serving(state=to(origin)) as proxy:
        binary, plain = await proxy.client(), await proxy.client()
        await binary.send(BINARY)
        assert await binary.reader.readexactly(len(BINARY)) == BINARY
        assert (await plain.get()).body == (await plain.get()).body == b"v1"
        await proxy.counted()
        assert proxy.totals("v1").requests == 2


@on_loop
async def test_an_endpoint_that_refuses_is_replaced_by_the_leafs_other() -> None:
    async with Origin(telling("v1")) as origin:
        state = tables.leaves({"v1": [closed_port(), origin.port]}, 1)
        async with serving(state=state) as proxy:
            assert await names(proxy, 10) == ["v1"] * 10
            await until(lambda: pending(proxy) == 0)


@on_loop
async def test_endpoints_that_cannot_be_connected_to_are_left_out_where_failures_count() -> None:
    async with Origin(telling("v1")) as origin:
        closed = closed_port()
        state = counting(tables.leaves({"v1": [closed, origin.port]}, 1))
        async with serving(state=state) as proxy:
            assert await names(proxy, 10) == ["v1"] * 10
            assert outs(proxy) == [closed]
            await proxy.counted()
            assert proxy.totals("v1").retries == 1


async def probed(proxy: Proxy) -> None:
    """The next that picks who is out is a probe."""
    end_penalties(proxy)
    await until(lambda: not proxy.worker._context.ejections.waiting)


@on_loop
async def test_an_endpoint_is_back_with_its_first_connection_and_stays_out_without() -> None:
    async with Origin(telling("v1")) as one:
        closed = closed_port()
        state = counting(tables.leaves({"v1": [one.port], "v2": [closed]}, 1, 1))
        async with serving(state=state) as proxy:
            for _ in range(5):
                assert await names(proxy, 2) == ["v1"] * 2
                assert outs(proxy) == [closed]
                await probed(proxy)
            two = await asyncio.start_server(greeting_server, "127.0.0.1", closed)
            async with two:
                while "two" not in (found := await names(proxy, 4)):
                    assert set(found) == {"v1"}
                    end_penalties(proxy)
                await until(lambda: outs(proxy) == [])
            await until(lambda: pending(proxy) == 0)


@on_loop
async def test_a_leaf_that_refuses_is_replaced_by_another() -> None:
    async with Origin(telling("v2")) as origin:
        state = tables.leaves({"v1": [closed_port()], "v2": [origin.port]}, 1, 1)
        async with serving(state=state) as proxy:
            assert await names(proxy, 4) == ["v2"] * 4
            await proxy.counted()
            assert proxy.totals("v2").retries == 2


@on_loop
async def test_without_any_backend_the_client_is_reset() -> None:
    refusing = tables.leaves({"v1": [closed_port()], "v2": [closed_port()]}, 1, 1)
    for state, label in ((refusing, "connect"), (tables.leaves({"v1": []}, 1), "no backend"), (None, "no route")):
        async with serving() as proxy:
            await proxy.update(state)
            client = await proxy.client()
            await client.send(BINARY)
            assert await is_reset(client), label
            assert proxy.worker._context.errors._counts == {label: 1}


@on_loop
async def test_a_client_waits_for_the_first_table_with_its_bytes_kept() -> None:
    async with Origin(echo) as origin, serving() as proxy:
        client = await proxy.client()
        await client.send(BINARY)
        client.writer.write(bytes(8 * MIB))
        await until(lambda: bool(proxy.worker._context.parked))
        (tunnel,) = tunnels(proxy)
        assert len(tunnel._held) < MIB
        await proxy.update(to(origin))
        assert await client.reader.readexactly(len(BINARY)) == BINARY
        client.reset()
        await until(lambda: not tunnels(proxy))


@on_loop
async def test_a_name_without_an_answer_resets_in_the_end() -> None:
    async with serving(timeouts=Timeouts(discovery_s=0.02)) as proxy:
        client = await proxy.client()
        await client.send(BINARY)
        assert await is_reset(client)
        assert proxy.worker._context.parked == {}
    async with serving() as proxy:
        client = await proxy.client()
        await client.send(BINARY)
        await until(lambda: bool(proxy.worker._context.parked))
        await proxy.tell(ipc.Alias("reviews", tables.KEY))
        await proxy.update(None)
        assert await is_reset(client)


@on_loop
async def test_a_connection_takes_no_match_and_a_client_address_sticks() -> None:
    async with Origin(telling("v1")) as one, Origin(telling("v2")) as two, Origin(telling("matched")) as three:
        backends = [tables.backend("v1", one.port), tables.backend("v2", two.port), tables.backend("m", three.port)]
        anything = (tables.split(1, first=2, name="matched"), [MatchState(path_regex=".*")])
        sticky = tables.split(1, 1, sticky=StickyState(client_ip=True))
        async with serving(state=tables.authority(backends, sticky, anything)) as proxy:
            found = await names(proxy, 6)
            assert len(set(found)) == 1
            assert found[0] in ("v1", "v2")
            by_header = tables.split(1, 1, sticky=StickyState(header="x"))
            await proxy.update(tables.authority(backends, by_header, anything))
            assert Counter(await names(proxy, 6)) == {"v1": 3, "v2": 3}


# Not for everyone


def _odd(case: Case) -> bool:
    return "status" in case and case["name"] != "the HTTP/2 preface"


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_every_refused_request_of_the_corpus_is_refused_on_a_listener_with_an_apex(codec: Codec) -> None:
    async with Origin(echo) as origin, serving(codec, to(origin)) as proxy:
        for case in filter(_odd, cases("requests")):
            client = await proxy.client()
            await client.send(text(case["send"]))
            assert (await client.reply()).status == case["status"], case["name"]
            client.reset()
        assert origin.visits == []


@on_loop
async def test_without_an_apex_binary_bytes_are_400() -> None:
    async with Origin(echo) as origin, serving(state=to(origin), apex="") as proxy:
        for data in (BINARY, b"EHLO x\r\n"):
            client = await proxy.client()
            await client.send(data)
            assert (await client.reply()).status == 400
        assert origin.visits == []


@on_loop
async def test_only_the_first_bytes_of_a_connection_decide() -> None:
    async with Origin(named("v1")) as origin, serving(state=to(origin)) as proxy:
        client = await proxy.client()
        assert (await client.get()).status == 200
        await client.send(BINARY)
        assert (await client.reply()).status == 400
        assert len(origin.visits) == 1


@pytest.mark.parametrize("protocol", ["http", "https", "grpc", "kubernetes.io/h2c"])
@on_loop
async def test_a_backend_that_says_http_never_gets_a_raw_connection(protocol: str) -> None:
    async with Origin(echo) as origin, serving(state=declared(protocol, origin)) as proxy:
        client = await proxy.client()
        client.writer.write(BINARY + bytes(4 * MIB))  # more than is read before the answer, which no reset may overtake
        assert (await client.reply()).status == 400
        assert await client.rest() == b""
        assert origin.visits == []
    async with Origin(echo) as origin, serving() as proxy:
        client = await proxy.client()
        await client.send(BINARY)
        await until(lambda: bool(proxy.worker._context.parked))
        await proxy.update(declared(protocol, origin))
        assert (await client.reply()).status == 400
        assert origin.visits == []


@on_loop
async def test_a_binary_method_does_not_bring_a_request_to_a_backend() -> None:
    line = b"F\x00O / HTTP/1.1\r\nhost: reviews\r\n\r\n"
    async with Origin(echo) as origin, serving(state=to(origin)) as proxy:
        client = await proxy.client()
        await client.send(line)
        assert (await client.reply()).status == 400
        assert origin.visits == []
        for cut in (3, 4, 7, 9, 15):
            client = await proxy.client()
            await client.send(line[:cut])
            assert await client.reader.readexactly(cut) == line[:cut]
            await client.send(line[cut:])
            assert await is_reset(client)
        await until(lambda: not tunnels(proxy))
        assert proxy.worker._context.errors._counts == {"malformed": 6}


@on_loop
async def test_an_undecided_line_that_does_not_end_is_408() -> None:
    async with serving(timeouts=Timeouts(header_s=0.05)) as proxy:
        client = await proxy.client()
        await client.send(b"\xc9 no end")
        assert (await client.reply()).status == 408


@on_loop
async def test_a_first_line_without_end_is_refused_at_its_limit() -> None:
    async with Origin(echo) as origin, serving(state=to(origin)) as proxy:
        client = await proxy.client()
        await client.send(b"x" * 40_000)
        assert (await client.reply()).status == 414
        assert origin.visits == []


# Servers that speak first


@on_loop
async def test_a_declared_server_speaks_first() -> None:
    async with Origin(greeting) as origin, serving(state=declared("tcp", origin)) as proxy:
        client = await proxy.client()
        assert await client.reader.readline() == b"220 ready\r\n"
        await client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert await client.reader.readexactly(18) == b"GET / HTTP/1.1\r\n\r\n"


@on_loop
async def test_a_client_that_came_before_the_table_hears_a_declared_server_too() -> None:
    async with Origin(greeting) as origin, serving() as proxy:
        client = await proxy.client()
        await until(lambda: bool(proxy.downstreams()))
        await proxy.update(declared("mysql", origin))
        assert await client.reader.readline() == b"220 ready\r\n"


@on_loop
async def test_an_undeclared_server_is_not_connected_to_before_the_client_speaks() -> None:
    async with Origin(greeting) as origin, serving(state=to(origin), timeouts=Timeouts(idle_s=0.05)) as proxy:
        client = await proxy.client()
        assert await client.rest() == b""
        assert origin.visits == []


# Time


@on_loop
async def test_a_client_gone_while_the_backend_is_connected_to_leaves_nothing() -> None:
    async with Origin(greeting) as origin, serving(state=declared("tcp", origin)) as proxy:
        for _ in range(20):
            client = await proxy.client()
            client.reset()
        await until(lambda: not (tunnels(proxy) or proxy.worker._context.dialer.tasks))
        await until(lambda: proxy.worker._context.dialer.tcp.open_now == 0)
        assert pending(proxy) == 0


@on_loop
async def test_an_authority_is_in_use_for_as_long_as_a_tunnel_is_open() -> None:
    """Who is not in use is forgotten by a sidecar's agent, and then nobody would hear of a denial."""
    async with Origin(echo) as origin, serving(state=to(origin)) as proxy:
        client = await proxy.client()
        await client.send(BINARY)
        await client.reader.readexactly(len(BINARY))
        (series,) = proxy.worker._router.series()
        for _ in range(2):
            delta = series.take()
            assert delta is not None
            assert (delta.authority, delta.requests, delta.responses) == ("reviews.default", 0, [])
        client.close()
        await until(lambda: not tunnels(proxy))
        assert series.take() is None


@on_loop
async def test_a_tunnel_goes_on_in_a_drain_and_is_reset_when_the_grace_ends() -> None:
    async with Origin(echo) as origin, serving(state=to(origin)) as proxy:
        client = await proxy.client()
        await client.send(BINARY)
        await client.reader.readexactly(len(BINARY))
        proxy.worker.drain(0.1)
        await client.send(BINARY)
        assert await client.reader.readexactly(len(BINARY)) == BINARY
        assert await is_reset(client)
