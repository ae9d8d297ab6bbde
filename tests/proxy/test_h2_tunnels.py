"""WebSocket tunnels between the versions: extended CONNECT (RFC 8441) and HTTP/1.1's Upgrade, in every combination."""

import pytest
from h2.events import RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

from milliroute.proxy.config import Codec, Limits, Timeouts
from milliroute.proxy.heads import websocket
from tests.proxy.backends import Origin
from tests.proxy.backends import Visit as H1Visit
from tests.proxy.h2_backend import (
    WEBSOCKET,
    Backend,
    Visit,
    h2_client,
    h2_downstreams,
    over_h2,
    plain,
    serving_h2,
    speaking,
    streams_upstream,
)
from tests.proxy.serving import BOTH_CODECS, get, on_loop, to, until

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)

TUNNELS = {SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = get("/chat", "connection: upgrade", "upgrade: websocket", f"sec-websocket-key: {KEY}")
CANCEL, NO_ERROR = 8, 0
MIB = 1024 * 1024


async def echo(visit: Visit) -> None:
    """Grants a tunnel, and sends back what comes until its end."""
    stream_id = (await visit.head()).stream_id or 0
    visit.respond(stream_id, is_end=False)
    sent = 0
    while True:
        data = visit.body(stream_id)
        await visit.send_all(stream_id, data[sent:], is_end=False)
        sent = len(data)
        if len(visit.body(stream_id)) == sent:
            if visit.all(StreamEnded, stream_id):
                visit.send(stream_id, is_end=True)
                break
            if not await visit.read():
                return
    await visit.until_closed()


async def echo_h1(visit: H1Visit) -> None:
    """The same by HTTP/1.1, with the accept of whatever key it got."""
    head = await visit.head()
    if not head:
        return
    key = next(line[18:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
    await visit.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n")
    await visit.send(b"sec-websocket-accept: " + websocket.accept_of(key) + b"\r\nsec-websocket-protocol: chat\r\n\r\n")
    while data := await visit.reader.read(65536):
        await visit.send(data)


@on_loop
async def test_h2_client_gets_a_tunnel_to_an_h2_backend(codec: Codec) -> None:
    async with Backend(echo, settings=TUNNELS) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(WEBSOCKET, method="CONNECT", is_end=False)
        client.send(stream_id, b"early ")
        client.send(stream_id, b"and late")
        assert await client.until_body(stream_id, 14) == b"early and late"
        assert client.fields(stream_id) == {":status": "200"}
        client.send(stream_id, is_end=True)
        await client.until(StreamEnded, stream_id)
        fields = dict(plain(backend.visits[0].all(RequestReceived)[0].headers))
        assert (fields[":protocol"], fields["sec-websocket-version"]) == ("websocket", "13")


@on_loop
async def test_h2_client_gets_a_tunnel_to_an_http1_backend(codec: Codec) -> None:
    async with Origin(echo_h1) as origin, serving_h2(codec, speaking("http", to(origin))) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(WEBSOCKET, method="CONNECT", is_end=False)
        client.send(stream_id, b"early ")
        client.send(stream_id, b"and late")
        assert await client.until_body(stream_id, 14) == b"early and late"
        assert client.fields(stream_id) == {":status": "200", "sec-websocket-protocol": "chat"}
        client.send(stream_id, is_end=True)
        await client.until(StreamEnded, stream_id)


@on_loop
async def test_http1_client_gets_a_tunnel_to_an_h2_backend(codec: Codec) -> None:
    async with Backend(echo, settings=TUNNELS) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await proxy.client()
        await client.send(UPGRADE + b"early ")
        reply = await client.reply()
        assert (reply.status, reply.fields["upgrade"]) == (101, "websocket")
        assert reply.fields["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 section 1.3
        await client.send(b"and late")
        assert await client.reader.readexactly(14) == b"early and late"
        client.half_close()
        assert await client.rest() == b""
        fields = dict(plain(backend.visits[0].all(RequestReceived)[0].headers))
        assert fields[":method"] == "CONNECT"
        assert not {"sec-websocket-key", "upgrade", "connection"} & set(fields)


@on_loop
async def test_backend_without_extended_connect_is_501(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        await visit.until_closed()

    async with Backend(script) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        old, new = await proxy.client(), await h2_client(proxy)
        await old.send(UPGRADE)
        assert (await old.reply()).status == 501
        stream_id = new.request(WEBSOCKET, method="CONNECT", is_end=False)
        assert (await new.answer_of_open(stream_id))[0] == "501"
        assert backend.visits[0].all(RequestReceived) == []


@on_loop
async def test_h2_backend_that_declines_is_an_ordinary_answer(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        for _ in range(2):
            visit.respond((await visit.head()).stream_id or 0, b"no chat", status=403)
        await visit.until_closed()

    async with Backend(script, settings=TUNNELS) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        old, new = await proxy.client(), await h2_client(proxy)
        await old.send(UPGRADE)
        reply = await old.reply()
        assert (reply.status, reply.body) == (403, b"7\r\nno chat\r\n0\r\n\r\n")
        stream_id = new.request(WEBSOCKET, method="CONNECT", is_end=False)
        assert await new.answer_of_open(stream_id) == ("403", b"no chat")


@on_loop
async def test_http1_backend_that_declines_is_an_ordinary_answer(codec: Codec) -> None:
    async def script(visit: H1Visit) -> None:
        while await visit.head():
            await visit.answer(b"no chat", status="403 Forbidden")

    async with Origin(script) as origin, serving_h2(codec, speaking("http", to(origin))) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(WEBSOCKET, method="CONNECT", is_end=False)
        client.send(stream_id, b"early")
        assert await client.answer_of_open(stream_id) == ("403", b"no chat")


@on_loop
async def test_http1_backend_that_answers_200_has_not_granted_a_tunnel(codec: Codec) -> None:
    async def script(visit: H1Visit) -> None:
        while await visit.head():
            await visit.answer(b"a page")

    async with Origin(script) as origin, serving_h2(codec, speaking("http", to(origin))) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(WEBSOCKET, method="CONNECT", is_end=False)
        assert (await client.answer_of_open(stream_id))[0] == "502"


@on_loop
async def test_reset_by_the_client_reaches_the_h2_backend(codec: Codec) -> None:
    async with Backend(echo, settings=TUNNELS) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(WEBSOCKET, method="CONNECT", is_end=False)
        client.send(stream_id, b"hi")
        await client.until_body(stream_id, 2)
        client.reset(stream_id, CANCEL)
        await until(lambda: backend.visits[0].all(StreamReset) != [])
        assert backend.visits[0].all(StreamReset)[0].error_code == CANCEL


@on_loop
async def test_http1_client_that_resets_its_tunnel_cancels_it_at_the_h2_backend(codec: Codec) -> None:
    async with Backend(echo, settings=TUNNELS) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await proxy.client()
        await client.send(UPGRADE)
        await client.reply()
        client.reset()
        await until(lambda: backend.visits[0].all(StreamReset) != [])
        assert backend.visits[0].all(StreamReset)[0].error_code == CANCEL


@on_loop
async def test_reset_by_the_h2_backend_reaches_either_client(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        for _ in range(2):
            stream_id = (await visit.head()).stream_id or 0
            visit.respond(stream_id, is_end=False)
            await visit.until_body(stream_id, 2)
            visit.reset(stream_id, CANCEL)
        await visit.until_closed()

    async with Backend(script, settings=TUNNELS) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        old, new = await proxy.client(), await h2_client(proxy)
        stream_id = new.request(WEBSOCKET, method="CONNECT", is_end=False)
        new.send(stream_id, b"hi")
        await new.until(StreamReset, stream_id)
        await old.send(UPGRADE + b"hi")
        assert (await old.reply()).status == 101
        with pytest.raises(ConnectionResetError):
            await old.rest()


@on_loop
async def test_reset_by_the_http1_backend_reaches_the_h2_client(codec: Codec) -> None:
    async def script(visit: H1Visit) -> None:
        await visit.head()
        await visit.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        await visit.reader.readexactly(2)
        visit.reset()

    async with Origin(script) as origin, serving_h2(codec, speaking("http", to(origin))) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(WEBSOCKET, method="CONNECT", is_end=False)
        client.send(stream_id, b"hi")
        await client.until(StreamReset, stream_id)
        assert client.fields(stream_id)[":status"] == "200"


@on_loop
async def test_a_mebibyte_passes_both_ways_at_once_from_an_h2_client(codec: Codec) -> None:
    data = bytes(range(256)) * (MIB // 256)
    async with (
        Backend(echo, settings=TUNNELS) as h2_backend,
        Origin(echo_h1) as origin,
        serving_h2(codec, over_h2(h2_backend)) as over2,
        serving_h2(codec, speaking("http", to(origin))) as over1,
    ):
        for proxy in (over2, over1):
            client = await h2_client(proxy)
            stream_id = client.request(WEBSOCKET, method="CONNECT", is_end=False)
            await client.send_all(stream_id, data, is_end=False)
            assert await client.until_body(stream_id, MIB) == data
            client.reset(stream_id, CANCEL)


@on_loop
async def test_a_mebibyte_passes_both_ways_at_once_from_an_http1_client(codec: Codec) -> None:
    data = bytes(range(256)) * (MIB // 256)
    async with Backend(echo, settings=TUNNELS) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await proxy.client()
        await client.send(UPGRADE)
        assert (await client.reply()).status == 101
        client.writer.write(data)
        assert await client.reader.readexactly(MIB) == data


@on_loop
async def test_client_that_reads_nothing_from_its_tunnel_stops_the_backend(codec: Codec) -> None:
    sent: list[int] = [0]

    async def script(visit: Visit) -> None:
        stream_id = (await visit.head()).stream_id or 0
        visit.respond(stream_id, is_end=False)
        while sent[0] < MIB:
            room = min(visit.h2.local_flow_control_window(stream_id), 16384)
            if room:
                visit.send(stream_id, bytes(room))
                sent[0] += room
            elif not await visit.read():
                return

    async with Backend(script, settings=TUNNELS) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy, takes=False)
        stream_id = client.request(WEBSOCKET, method="CONNECT", is_end=False)
        await client.until_body(stream_id, 65535)
        await until(lambda: sent[0] > 65535)
        client.takes = True
        client.h2.increment_flow_control_window(MIB, stream_id)
        client.h2.increment_flow_control_window(MIB)
        client.flush()
        await client.until_body(stream_id, MIB // 2)
        client.reset(stream_id, CANCEL)


@on_loop
async def test_tunnel_keeps_none_of_what_passes_for_a_second_try(codec: Codec) -> None:
    async with Backend(echo, settings=TUNNELS) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(WEBSOCKET, method="CONNECT", is_end=False)
        await client.send_all(stream_id, b"x" * 1000, is_end=False)
        await client.until_body(stream_id, 1000)
        (downstream,) = h2_downstreams(proxy)
        exchange = downstream._clients[stream_id].exchange
        assert exchange is not None
        assert exchange._outgoing == b""
        client.reset(stream_id, CANCEL)


@on_loop
async def test_client_that_waits_for_its_tunnel_is_not_late_with_a_body(codec: Codec) -> None:

    async def script(visit: Visit) -> None:
        await visit.until_closed()

    timeouts = Timeouts(response_s=0.2)
    async with (
        Backend(script, settings=TUNNELS) as backend,
        serving_h2(codec, over_h2(backend), timeouts=timeouts, limits=Limits(stall_s=0.02)) as proxy,
    ):
        client = await h2_client(proxy)
        stream_id = client.request(WEBSOCKET, method="CONNECT", is_end=False)
        assert (await client.answer_of_open(stream_id))[0] == "504"


@on_loop
async def test_tunnel_that_is_granted_and_ended_at_once_is_whole(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        for _ in range(2):
            visit.respond((await visit.head()).stream_id or 0)
        await visit.until_closed()

    async with Backend(script, settings=TUNNELS) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        old, new = await proxy.client(), await h2_client(proxy)
        stream_id = new.request(WEBSOCKET, method="CONNECT", is_end=False)
        new.send(stream_id, b"never read")
        assert (await new.answer_of_open(stream_id))[0] == "200"
        await old.send(UPGRADE)
        assert (await old.reply()).status == 101
        assert await old.rest() == b""
        await until(lambda: streams_upstream(proxy) == 0)
