"""HTTP requests that are tried again by their route's policy: where, how often, and what is left behind."""

import random
from contextlib import AsyncExitStack

import pytest
from msgspec.structs import replace

from milliroute.proxy.config import Codec
from milliroute.proxy.exchange import retrying
from milliroute.proxy.exchange.sending import MAX_REPLAY_BYTES
from milliroute.proxy.resilience import budget
from milliroute.proxy.state import PolicyState
from tests.proxy.backends import Origin, Visit, closed_port
from tests.proxy.failures import ON_503, answering, prefer, trying
from tests.proxy.serving import BOTH_CODECS, Client, get, on_loop, post, serving, to, until
from tests.proxy.tables import leaves

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)

AGAIN = b"200"
ON_502 = PolicyState(retry_statuses=[(502, 502)])


async def statuses(client: Client, count: int) -> set[int]:
    return {(await client.get()).status for _ in range(count)}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of a tick."""
    monkeypatch.setattr(retrying, "BACKOFF_S", (0.0, 0.0))


@on_loop
async def test_status_of_the_policy_is_tried_again_on_another_endpoint(codec: Codec) -> None:
    async with answering(503) as bad, answering(200) as good, serving(codec, trying(to(bad, good))) as proxy:
        client = await proxy.client()
        prefer(proxy, bad)
        assert await statuses(client, 30) == {200}
        assert (len(bad.asked), len(good.asked)) == (30, 30)


@on_loop
async def test_then_on_another_leaf(codec: Codec) -> None:
    async with answering(503) as bad, answering(200) as good:
        state = leaves({"v1": [bad.port], "v2": [good.port]}, 1, 1)
        async with serving(codec, trying(state)) as proxy:
            assert await statuses(await proxy.client(), 10) == {200}
            assert (len(bad.asked), len(good.asked)) == (5, 10)


@on_loop
async def test_leaf_without_weight_is_no_other_leaf(codec: Codec) -> None:
    async with answering(503) as bad, answering(200) as good:
        state = leaves({"v1": [bad.port], "v2": [good.port]}, 1, 0)
        async with serving(codec, trying(state, replace(ON_503, retry_limit=1))) as proxy:
            assert (await (await proxy.client()).get()).status == 503
            assert good.asked == []


@on_loop
async def test_nobody_is_asked_twice_while_another_is_ready(codec: Codec) -> None:
    async with answering(503) as one, answering(503) as two, answering(503) as three, answering(200) as good:
        state = leaves({"v1": [one.port, two.port, three.port], "v2": [good.port]}, 999, 1)
        async with serving(codec, trying(state, replace(ON_503, retry_limit=3))) as proxy:
            client = await proxy.client()
            for number in range(5):
                assert (await client.get()).body == AGAIN
                assert all(len(bad.asked) <= number + 1 for bad in (one, two, three))


@on_loop
async def test_without_a_policy_the_status_is_the_clients(codec: Codec) -> None:
    async with answering(503) as bad, answering(200) as good, serving(codec, to(bad, good)) as proxy:
        assert await statuses(await proxy.client(), 20) == {200, 503}


@on_loop
async def test_limit_ends_it_and_the_last_answer_is_the_clients(codec: Codec, quick: None) -> None:
    policy = replace(ON_503, retry_limit=4)
    async with answering(503) as one, answering(503) as two, serving(codec, trying(to(one, two), policy)) as proxy:
        reply = await (await proxy.client()).get()
        assert (reply.status, reply.body) == (503, b"503")
        assert len(one.asked) + len(two.asked) == 5
        assert min(len(one.asked), len(two.asked)) == 2


@on_loop
async def test_post_is_not_tried_again(codec: Codec) -> None:
    async with answering(503) as bad, serving(codec, trying(to(bad))) as proxy:
        client = await proxy.client()
        await client.send(post(b"once"))
        assert (await client.reply()).status == 503
        assert len(bad.asked) == 1


@on_loop
async def test_post_is_tried_again_whole_where_the_policy_says_so(codec: Codec, quick: None) -> None:
    policy = replace(ON_503, retry_methods=["POST"])
    async with answering(503, 200) as origin, serving(codec, trying(to(origin), policy)) as proxy:
        client = await proxy.client()
        await client.send(post(b"twice"))
        assert (await client.reply()).status == 200
        assert [asked.body for asked in origin.asked] == [b"twice"] * 2


@pytest.mark.parametrize(("size", "status"), [(MAX_REPLAY_BYTES, 200), (MAX_REPLAY_BYTES + 1, 503)])
@on_loop
async def test_body_over_the_limit_is_not_kept_for_another_try(
    codec: Codec, size: int, status: int, quick: None
) -> None:
    async with answering(503, 200) as origin, serving(codec, trying(to(origin))) as proxy:
        client = await proxy.client()
        await client.send(post(b"x" * size).replace(b"POST", b"PUT", 1))
        assert (await client.reply()).status == status
        assert {len(asked.body) for asked in origin.asked} == {size}


@on_loop
async def test_rest_of_a_request_that_was_answered_early_goes_to_the_next(codec: Codec) -> None:
    async def hasty(visit: Visit) -> None:
        await visit.head()
        await visit.answer(b"", status="503 No")
        await visit.reader.read()

    async with Origin(hasty) as bad, answering(200) as good:
        state = leaves({"v1": [bad.port], "v2": [good.port]}, 999_999, 1)
        async with serving(codec, trying(state)) as proxy:
            client = await proxy.client()
            await client.send(get("/", "content-length: 8", method="PUT") + b"half")
            await until(lambda: bool(good.visits))
            await client.send(b"rest")
            assert (await client.reply()).status == 200
            assert good.asked[0].body == b"halfrest"


@on_loop
async def test_response_that_has_begun_is_never_tried_again(codec: Codec) -> None:
    async def half(visit: Visit) -> None:
        await visit.head()
        await visit.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")

    async with Origin(half) as origin, serving(codec, trying(to(origin), ON_502)) as proxy:
        client = await proxy.client()
        await client.send(get())
        await client.reader.readuntil(b"half")
        with pytest.raises(ConnectionResetError):
            await client.rest()
        assert len(origin.visits) == 1


@on_loop
async def test_budget_bounds_the_tries_and_the_failures_pass(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "MIN_PER_S", 0.0)
    async with answering(503) as one, answering(503) as two, serving(codec, trying(to(one, two))) as proxy:
        client = await proxy.client()
        assert await statuses(client, 50) == {503}
        assert len(one.asked) + len(two.asked) == 50 + 10
        await proxy.counted()
        assert proxy.totals("v1").retries == 10


@on_loop
async def test_connection_of_a_response_that_came_whole_is_used_again(codec: Codec, quick: None) -> None:
    async with answering(503, 200) as origin, serving(codec, trying(to(origin))) as proxy:
        assert await statuses(await proxy.client(), 5) == {200}
        assert len(origin.visits) == 1


@on_loop
async def test_connection_of_a_response_with_more_to_come_is_closed(codec: Codec) -> None:
    async def endless(visit: Visit) -> None:
        await visit.request()
        await visit.send(b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await visit.reader.read()

    async with Origin(endless) as bad, answering(200) as good:
        state = leaves({"v1": [bad.port], "v2": [good.port]}, 999_999, 1)
        async with serving(codec, trying(state)) as proxy:
            reply = await (await proxy.client()).get()
            assert (reply.status, reply.body) == (200, AGAIN)
            await until(lambda: proxy.worker._context.dialer.tcp.open_now == 1)


@on_loop
async def test_each_try_counts_as_what_it_was_in_the_leaf_it_was_in(codec: Codec) -> None:
    async with answering(503) as bad, answering(200) as good:
        state = leaves({"v1": [bad.port], "v2": [good.port]}, 1, 1)
        async with serving(codec, trying(state)) as proxy:
            await statuses(await proxy.client(), 10)
            await proxy.counted()
            v1, v2 = proxy.totals("v1"), proxy.totals("v2")
            assert (v1.requests, v1.retries, [key.status for key in v1.responses]) == (5, 0, [503])
            assert (v2.requests, v2.retries, [key.status for key in v2.responses]) == (10, 5, [200])


@on_loop
async def test_tries_within_a_leaf_count_too(codec: Codec, quick: None) -> None:
    async with answering(503, 200) as origin, serving(codec, trying(to(origin))) as proxy:
        await (await proxy.client()).get()
        await proxy.counted()
        totals = proxy.totals("v1")
        assert (totals.requests, totals.retries) == (2, 1)
        assert {key.status: count for key, count in totals.responses.items()} == {503: 1, 200: 1}
        assert proxy.ledger.errors == {}


@on_loop
async def test_connection_reset_before_the_response_is_a_502_to_the_policy(codec: Codec) -> None:
    policy = replace(ON_502, retry_methods=["POST"])
    async with answering(0) as bad, answering(200) as good, serving(codec, trying(to(bad, good), policy)) as proxy:
        client = await proxy.client()
        for _ in range(20):
            await client.send(post(b"x"))
            assert (await client.reply()).status == 200
        await proxy.counted()
        errors = {key.error: count for key, count in proxy.totals("v1").responses.items() if key.error}
        assert errors == {"i/o": len(bad.asked)}
        assert bad.asked


@on_loop
async def test_get_without_a_byte_of_an_answer_is_asked_once_elsewhere_without_any_policy(codec: Codec) -> None:
    async with answering(0) as bad, answering(0) as worse, answering(200) as good:
        async with serving(codec, leaves({"v1": [bad.port], "v2": [good.port]}, 1, 1)) as proxy:
            assert await statuses(await proxy.client(), 10) == {200}
        async with serving(codec, to(bad, worse)) as proxy:
            asked = len(bad.asked) + len(worse.asked)
            assert (await (await proxy.client()).get()).status == 502
            assert len(bad.asked) + len(worse.asked) == asked + 2


@on_loop
async def test_get_goes_elsewhere_when_the_fresh_connection_ends_like_the_kept_one(codec: Codec) -> None:
    """As where a backend is killed: its idle connections end, and its successor is not there yet."""
    async with answering(200, 0) as killed, answering(200) as other, serving(codec) as proxy:
        await proxy.update(leaves({"v1": [killed.port], "v2": [other.port]}, 1, 1))
        assert await statuses(await proxy.client(), 6) == {200}
        assert (len(killed.asked), len(other.asked)) == (4, 5)


@on_loop
async def test_get_goes_on_until_one_answers_but_not_to_all_there_are(codec: Codec) -> None:
    async with answering(0) as bad, answering(200) as good, AsyncExitStack() as origins:
        worse = [await origins.enter_async_context(answering(0)) for _ in range(4)]
        tried = leaves({"v1": [bad.port], "v2": [worse[0].port], "v3": [worse[1].port], "v4": [good.port]}, 1, 1, 1, 1)
        async with serving(codec, tried) as proxy:
            assert await statuses(await proxy.client(), 12) == {200}
        async with serving(codec, to(*worse)) as proxy:
            asked = sum(len(origin.asked) for origin in worse)
            assert (await (await proxy.client()).get()).status == 502
            assert sum(len(origin.asked) for origin in worse) == asked + 1 + retrying.MAX_MOVES


@on_loop
async def test_moves_beyond_the_first_are_paid_for_by_the_budget(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "MIN_PER_S", 0.0)
    async with answering(0) as one, answering(0) as two, answering(0) as three, serving(codec) as proxy:
        await proxy.update(to(one, two, three))
        assert (await (await proxy.client()).get()).status == 502
        assert sum(len(origin.asked) for origin in (one, two, three)) == 2


@on_loop
@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\nconte", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\na: \0\r\n\r\n"]
)
async def test_get_whose_answer_cannot_be_read_goes_elsewhere(codec: Codec, answer: bytes) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(answer)

    async with Origin(script) as bad, answering(200) as good, serving(codec) as proxy:
        await proxy.update(leaves({"v1": [bad.port], "v2": [good.port]}, 1, 1))
        assert await statuses(await proxy.client(), 6) == {200}
        assert len(bad.visits) == 3


@on_loop
async def test_and_without_502_in_the_policy_it_is_the_clients(codec: Codec) -> None:
    async with answering(0) as bad, serving(codec, trying(to(bad))) as proxy:
        assert (await (await proxy.client()).get()).status == 502


@on_loop
async def test_the_only_endpoint_is_asked_again_after_a_pause(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        pauses.append((low, high))
        return 0.0

    monkeypatch.setattr(random, "uniform", uniform)
    policy = replace(ON_503, retry_limit=2)
    async with answering(503, 503, 200) as origin, serving(codec, trying(to(origin), policy)) as proxy:
        assert (await (await proxy.client()).get()).status == 200
        assert pauses == [(0.025, 0.25)] * 2


@on_loop
async def test_body_that_comes_during_a_pause_is_sent_after_it(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "BACKOFF_S", (0.05, 0.05))
    visits = 0

    async def hasty(visit: Visit) -> None:
        nonlocal visits
        visits += 1
        if visits == 1:
            await visit.head()
            await visit.answer(b"", status="503 No")
            await visit.reader.read()
        asked = await visit.request()
        if asked is not None:
            await visit.answer(asked.body)

    async with Origin(hasty) as origin, serving(codec, trying(to(origin))) as proxy:
        client = await proxy.client()
        await client.send(get("/", "content-length: 8", method="PUT") + b"half")
        await until(lambda: bool(proxy.worker._context._deadlines))
        await client.send(b"rest")
        assert (await client.reply()).body == b"halfrest"


@on_loop
async def test_client_that_leaves_during_a_pause_leaves_nothing_behind(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "BACKOFF_S", (60.0, 60.0))
    async with answering(503) as origin, serving(codec, trying(to(origin))) as proxy:
        client = await proxy.client()
        await client.send(get())
        await until(lambda: bool(proxy.worker._context._deadlines))
        client.reset()
        await until(lambda: not proxy.worker._context._deadlines)
        assert [endpoint.load.pending for endpoint in proxy.endpoints()] == [0]


@on_loop
async def test_who_says_when_to_come_back_is_not_asked_before(codec: Codec) -> None:
    async def busy(visit: Visit) -> None:
        while await visit.request():
            await visit.answer(b"", "retry-after: 5", status="503 Busy")

    async with Origin(busy) as origin, serving(codec, trying(to(origin))) as proxy:
        reply = await (await proxy.client()).get()
        assert (reply.status, reply.fields["retry-after"]) == (503, "5")
        assert len(origin.asked) == 1


@pytest.mark.parametrize(("policy", "tries"), [(ON_502, 1), (ON_503, 0)])
@on_loop
async def test_connect_that_is_refused_everywhere_is_tried_again_after_a_pause(
    codec: Codec, policy: PolicyState, tries: int, quick: None
) -> None:
    async with serving(codec, trying(leaves({"v1": [closed_port()]}, 1), policy)) as proxy:
        client = await proxy.client()
        await client.send(post(b"any method"))
        assert (await client.reply()).status == 502
        await proxy.counted()
        assert proxy.totals("v1").retries == tries


@on_loop
async def test_stale_connection_costs_no_try(codec: Codec) -> None:
    """An endpoint that a try goes to may have closed its idle connection meanwhile."""

    async def stale(visit: Visit) -> None:
        await visit.request()
        await visit.answer(b"first")
        if visit.number == 0:
            await visit.request()

    async with answering(503) as bad, Origin(stale) as good:
        state = leaves({"v1": [bad.port], "v2": [good.port]}, 1, 1)
        async with serving(codec, trying(state)) as proxy:
            client = await proxy.client()
            assert [(await client.get()).status for _ in range(4)] == [200] * 4


@pytest.mark.parametrize(
    ("policy", "request_", "why"),
    [
        (replace(ON_503, retry_limit=0), get("/"), "limit"),
        (ON_503, post(b"x"), "method"),
        (ON_503, get("/"), "no_budget"),
    ],
)
@on_loop
async def test_what_is_not_tried_again_is_counted_by_why(
    codec: Codec, policy: PolicyState, request_: bytes, why: str
) -> None:
    async with answering(503) as bad, serving(codec, trying(to(bad), policy)) as proxy:
        client = await proxy.client()
        table = proxy.worker._router._by_key["reviews.default"]
        assert table is not None
        for _ in range(100 if why == "no_budget" else 0):
            table.routes[0].split.budget.spend(0.0)
        await client.send(request_)
        assert (await client.reply()).status == 503
        await proxy.counted()
        assert proxy.totals("v1").skipped == {why: 1}


@on_loop
async def test_what_nobody_wants_tried_again_is_not_counted(codec: Codec) -> None:
    async with answering(500, 200) as bad, serving(codec, trying(to(bad))) as proxy:
        assert await statuses(await proxy.client(), 2) == {500, 200}
        await proxy.counted()
        assert proxy.totals("v1").skipped == {}
