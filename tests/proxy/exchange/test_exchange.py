"""One request's life over real sockets: where it goes, what it does when that fails, and what is counted."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from milliroute.proxy import ipc
from milliroute.proxy.config import Codec, Timeouts
from milliroute.proxy.exchange import context
from milliroute.proxy.state import MatchState, StickyState
from tests.proxy.backends import Origin, Visit, closed_port, named
from tests.proxy.serving import BOTH_CODECS, Client, get, on_loop, post, serving, to, until
from tests.proxy.tables import KEY, authority, backend, leaves, split

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)


async def bodies(client: Client, count: int, *fields: str) -> list[str]:
    return [(await client.get("/", *fields)).body.decode() for _ in range(count)]


@on_loop
async def test_weights_hold_exactly_through_the_socket(codec: Codec) -> None:
    async with Origin(named("v1")) as v1, Origin(named("v2")) as v2:
        state = leaves({"v1": [v1.port], "v2": [v2.port]}, 900_000, 100_000)
        async with serving(codec, state) as proxy:
            taken = await bodies(await proxy.client(), 1000)
            assert Counter(taken) == {"v1": 900, "v2": 100}
            assert all(taken[i : i + 10].count("v2") == 1 for i in range(990))


@on_loop
async def test_new_weights_hold_for_the_next_request_of_an_open_connection(codec: Codec) -> None:
    async with Origin(named("v1")) as v1, Origin(named("v2")) as v2, serving(codec) as proxy:
        client = await proxy.client()
        ports = {"v1": [v1.port], "v2": [v2.port]}
        for _ in range(5):
            for micro, name in (((1, 0), "v1"), ((0, 1), "v2")):
                await proxy.update(leaves(ports, *micro))
                assert await bodies(client, 4) == [name] * 4


@on_loop
async def test_match_is_decided_for_each_request(codec: Codec) -> None:
    async with Origin(named("v1")) as v1, Origin(named("apex")) as apex:
        backends = [backend("v1", v1.port), backend("reviews", apex.port)]
        state = authority(backends, split(1, first=1, name=""), (split(1), [MatchState("/api")]))
        async with serving(codec, state) as proxy:
            client = await proxy.client()
            assert (await client.get("/api/x")).body == b"v1"
            assert (await client.get("/x")).body == b"apex"


@on_loop
async def test_sticky_client_stays_over_connections(codec: Codec) -> None:
    async with Origin(named("v1")) as v1, Origin(named("v2")) as v2:
        backends = [backend("v1", v1.port), backend("v2", v2.port)]
        state = authority(backends, split(1, 1, sticky=StickyState(cookie="id")))
        async with serving(codec, state) as proxy:
            one, other = await proxy.client(), await proxy.client()
            for user in range(10):
                cookie = f"Cookie: id=u{user}"
                assert await bodies(one, 2, cookie) == await bodies(other, 2, cookie)


@on_loop
async def test_unknown_authority_is_404(codec: Codec) -> None:
    async with serving(codec, apex="") as proxy:
        await proxy.update(None, "nobody", "nobody.default")
        assert (await (await proxy.client()).get(host="nobody")).status == 404


@on_loop
async def test_request_that_names_nobody_is_404_at_once(codec: Codec) -> None:
    async with serving(codec, apex="") as proxy:
        client = await proxy.client()
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.reply()).status == 404
        assert not any(isinstance(message, ipc.Watch) for message in proxy.said)


@on_loop
async def test_first_request_for_a_name_waits_for_its_table(codec: Codec) -> None:
    async with Origin(named("v1")) as origin, serving(codec, apex="") as proxy:
        client = await proxy.client()
        await client.send(get(host="Reviews:80"))
        await until(lambda: ipc.Watch("reviews:80") in proxy.said)
        await proxy.update(to(origin), "reviews:80")
        assert (await client.reply()).body == b"v1"


@on_loop
async def test_name_nobody_answers_for_is_503_after_the_discovery_timeout(codec: Codec) -> None:
    async with serving(codec, apex="", timeouts=Timeouts(discovery_s=0.05)) as proxy:
        client = await proxy.client()
        assert (await client.get(host="slow")).status == 503
        assert proxy.worker._context.parked == {}


@on_loop
async def test_client_that_goes_away_waits_for_no_table(codec: Codec) -> None:
    async with serving(codec, apex="") as proxy:
        client = await proxy.client()
        await client.send(get(host="slow"))
        await until(lambda: bool(proxy.worker._context.parked))
        client.reset()
        await until(lambda: not proxy.worker._context.parked)


@on_loop
async def test_names_that_wait_are_bounded(codec: Codec) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context, "MAX_PARKED_NAMES", 2)
        async with serving(codec, apex="") as proxy:
            for name in ("a", "b"):
                await (await proxy.client()).send(get(host=name))
            await until(lambda: len(proxy.worker._context.parked) == 2)
            assert (await (await proxy.client()).get(host="c")).status == 503
            await (await proxy.client()).send(get(host="a"))
            await until(lambda: len(proxy.worker._context.parked[b"a"]) == 2)
            proxy.reset_clients()


@on_loop
async def test_long_body_for_a_name_not_known_yet_is_read_on_after_the_answer(codec: Codec) -> None:
    """With an idle connection at hand: what it is sent on was open before the client was paused."""
    async with Origin(named("v1")) as origin, serving(codec, to(origin), apex="") as proxy:
        await (await proxy.client()).get()
        client = await proxy.client()
        whole = post(b"x" * 3_000_000).replace(b"host: reviews", b"host: other")
        client.writer.write(whole)
        await until(lambda: ipc.Watch("other") in proxy.said)
        await proxy.tell(ipc.Alias("other", KEY))
        assert (await client.reply()).body == b"v1"
        assert len(origin.asked[1].body) == 3_000_000


@pytest.mark.parametrize("method", ["GET", "POST"])
@on_loop
async def test_refused_connect_tries_the_next_endpoint(codec: Codec, method: str) -> None:
    async with Origin(named("v1")) as origin, serving(codec, leaves({"v1": [closed_port(), origin.port]}, 1)) as proxy:
        client = await proxy.client()
        for _ in range(20):
            await client.send(get(method=method))
            assert (await client.reply()).body == b"v1"


@on_loop
async def test_refused_connect_tries_another_leaf_when_no_endpoint_is_left(codec: Codec) -> None:
    async with Origin(named("v2")) as origin:
        state = leaves({"v1": [closed_port(), closed_port()], "v2": [origin.port]}, 1, 1)
        async with serving(codec, state) as proxy:
            client = await proxy.client()
            await client.send(post(b"x" * 100) * 10)
            assert [(await client.reply()).body for _ in range(10)] == [b"v2"] * 10
            await proxy.counted()
            assert proxy.totals("v2").requests == 10
            assert proxy.totals("v1").requests == 0


@on_loop
async def test_refused_everywhere_is_502_counted_once(codec: Codec) -> None:
    state = leaves({"v1": [closed_port(), closed_port()], "v2": [closed_port()]}, 1, 1)
    async with serving(codec, state) as proxy:
        assert (await (await proxy.client()).get()).status == 502
        await proxy.counted()
        assert sum(totals.requests for totals in proxy.ledger.leaves.values()) == 1
        assert proxy.ledger.errors == {"connect": 1}


async def stale(visit: Visit) -> None:
    """Keeps its first connection open for one answer, and hangs up the moment it is asked again."""
    await visit.request()
    await visit.answer(b"first")
    if visit.number == 0:
        await visit.request()


@on_loop
async def test_get_on_a_stale_connection_is_sent_once_more_on_a_fresh_one(codec: Codec) -> None:
    async with Origin(stale) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        assert [(await client.get()).status for _ in range(2)] == [200, 200]
        await proxy.counted()
        assert (proxy.totals("v1").requests, proxy.totals("v1").retries) == (2, 1)


@on_loop
async def test_post_that_was_sent_is_never_sent_again(codec: Codec) -> None:
    async with Origin(stale) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        assert (await client.get()).status == 200
        await client.send(post(b"once"))
        assert (await client.reply()).status == 502
        assert [asked.body for asked in origin.asked] == [b"", b"once"]


@on_loop
async def test_stale_connection_of_a_backend_that_is_gone_fails_over(codec: Codec) -> None:
    async with (
        Origin(stale) as v1,
        Origin(named("v2")) as v2,
        serving(codec, leaves({"v1": [v1.port], "v2": [v2.port]}, 1, 0)) as proxy,
    ):
        client = await proxy.client()
        await client.get()
        assert v1._server is not None
        v1._server.close()
        await proxy.update(leaves({"v1": [v1.port], "v2": [v2.port]}, 999_999, 1))
        assert (await client.get()).body == b"v2"


async def silent(visit: Visit) -> None:
    while await visit.request():
        await asyncio.Event().wait()


@on_loop
async def test_backend_that_never_answers_is_504(codec: Codec) -> None:
    async with Origin(silent) as origin, serving(codec, to(origin), timeouts=Timeouts(response_s=0.05)) as proxy:
        client = await proxy.client()
        reply = await client.get()
        assert (reply.status, reply.fields["l5d-proxy-error"][:16]) == (504, "no response from")
        await proxy.update(None)
        assert (await client.get()).status == 404


@on_loop
async def test_backend_has_the_whole_response_timeout_from_the_end_of_the_request_on(codec: Codec) -> None:
    loop = asyncio.get_running_loop()

    async def script(visit: Visit) -> None:
        await visit.request()
        await until(after(0.3))
        await visit.answer(b"done")

    def after(seconds: float) -> Callable[[], bool]:
        end = loop.time() + seconds
        return lambda: loop.time() >= end

    async with Origin(script) as origin, serving(codec, to(origin), timeouts=Timeouts(response_s=0.6)) as proxy:
        client = await proxy.client()
        await client.send(get("/", "content-length: 2", method="POST") + b"a")
        await until(after(0.7))
        await client.send(b"b")
        assert (await client.reply()).body == b"done"


@on_loop
async def test_client_that_goes_away_hangs_up_on_the_backend_and_is_counted(codec: Codec) -> None:
    async with Origin(silent) as origin, serving(codec, to(origin)) as proxy:
        client = await proxy.client()
        await client.send(get())
        await until(lambda: bool(origin.asked))
        client.reset()
        await until(lambda: proxy.worker._context.dialer.tcp.open_now == 0)
        await proxy.counted()
        assert [key.error for key in proxy.totals("v1").responses] == ["client gone"]


@on_loop
async def test_empty_strict_leaf_is_503_and_the_connection_lives(codec: Codec) -> None:
    async with Origin(named("v1")) as v1:
        state = leaves({"v1": [v1.port], "v2": []}, 1, 1, strict=True)
        async with serving(codec, state) as proxy:
            client = await proxy.client()
            statuses = [(await client.get()).status for _ in range(10)]
            assert Counter(statuses) == {200: 5, 503: 5}
