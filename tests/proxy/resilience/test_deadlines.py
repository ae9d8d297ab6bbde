"""Deadlines: the wheel by itself, and what becomes of a call whose grpc-timeout has passed."""

import asyncio
from typing import cast

import pytest
from h2.events import StreamReset
from hypothesis import given
from hypothesis import strategies as st

from milliroute.proxy.config import Codec
from milliroute.proxy.exchange import context
from milliroute.proxy.exchange.context import Context
from milliroute.proxy.resilience.deadlines import TICK_S, Deadlines
from milliroute.proxy.routing.router import Router
from milliroute.proxy.upstream.dialer import Dialer
from tests.proxy.backends import Origin
from tests.proxy.backends import Visit as H1Visit
from tests.proxy.h2_backend import (
    GRPC,
    Backend,
    Visit,
    h2_client,
    mute,
    named,
    over_h2,
    serving_h2,
    silent,
    speaking,
    streams_upstream,
)
from tests.proxy.serving import BOTH_CODECS, Proxy, on_loop, to, until

both_codecs = pytest.mark.parametrize("codec", BOTH_CODECS)
CANCEL = 8


@pytest.fixture(autouse=True, params=["watched from the beginning", "seen coming"])
def _near(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways that a limit of time is kept, by how far it is."""
    if request.param == "seen coming":
        monkeypatch.setattr(context, "NEAR_S", 0.025)


def call(timeout: str) -> list[tuple[str, str]]:
    return [*GRPC, ("grpc-timeout", timeout)]


def statuses(proxy: Proxy) -> list[tuple[int, str, str]]:
    return [
        (key.status, key.grpc_status, key.error) for key, n in proxy.totals("v1").responses.items() for _ in range(n)
    ]


@given(st.lists(st.floats(0, 100)), st.lists(st.floats(0, 110), min_size=1))
def test_deadline_is_due_within_a_tick_after_it_and_once(at: list[float], looks: list[float]) -> None:
    wheel: Deadlines[int] = Deadlines()
    for item, when in enumerate(at):
        wheel.add(when, item)
    told: dict[int, float] = {}
    before = 0.0
    for now in sorted(looks):
        for item in wheel.due(now):
            assert item not in told
            assert at[item] <= now
            assert at[item] >= before - 2 * TICK_S
            told[item] = now
        before = now
    assert all(item in told for item, when in enumerate(at) if when + 2 * TICK_S < before)


def test_discarded_deadline_is_never_due_and_leaves_nothing() -> None:
    wheel: Deadlines[str] = Deadlines()
    wheel.add(1.0, "kept")
    wheel.add(1.0, "dropped")
    wheel.discard("dropped")
    assert list(wheel.due(2.0)) == ["kept"]
    assert not wheel
    wheel.discard("kept")  # it was due and is gone already


def test_earlier_deadline_that_is_added_later_is_due_first() -> None:
    wheel: Deadlines[str] = Deadlines()
    wheel.add(5.0, "late")
    assert list(wheel.due(1.0)) == []
    wheel.add(2.0, "early")
    assert list(wheel.due(3.0)) == ["early"]
    assert list(wheel.due(6.0)) == ["late"]


def test_deadline_that_has_its_slot_can_be_discarded() -> None:
    wheel: Deadlines[str] = Deadlines()
    wheel.add(5.0, "kept")
    wheel.add(5.0, "dropped")
    assert list(wheel.due(1.0)) == []
    wheel.discard("dropped")
    assert list(wheel.due(5.1)) == ["kept"]
    assert not wheel


def test_looking_costs_nothing_while_nothing_is_due() -> None:
    wheel: Deadlines[int] = Deadlines()
    for item in range(1000):
        wheel.add(100.0 + item, item)
    wheel.due(1.0)
    assert len(wheel._slots) == 1000
    wheel._slots = Untouchable(wheel._slots)
    assert list(wheel.due(2.0)) == []


class Untouchable(dict[int, set[int]]):
    def __iter__(self) -> "Untouchable":  # type: ignore[override]
        raise AssertionError("looked at every slot")


# Calls


def test_an_error_of_one_deadline_keeps_no_other_of_its_slot_from_being_due() -> None:
    async def run() -> None:
        loop, reports, done = asyncio.get_running_loop(), list[object](), set[str]()
        loop.set_exception_handler(lambda _, report: reports.append(report["exception"]))

        class Failing:
            def __init__(self, name: str) -> None:
                self.name = name

            def expire(self) -> None:
                done.add(self.name)
                raise RuntimeError(self.name)

        shared = Context(loop, cast(Router, None), cast(Dialer, None), lambda _: None)
        for name in ("a", "b", "c"):
            shared.set_deadline(Failing(name), 0.0)
        await until(lambda: done == {"a", "b", "c"})
        assert len(reports) == 3

    asyncio.run(asyncio.wait_for(run(), 60))


@both_codecs
@on_loop
async def test_call_without_an_answer_in_time_gets_status_4_and_its_backend_is_cancelled(codec: Codec) -> None:
    async with Backend(silent) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        # Time enough to get there, on however slow a machine.
        stream_id = client.request(call("400m"), method="POST")
        assert await client.answer(stream_id) == ("200", b"")
        assert client.fields(stream_id)["grpc-status"] == "4"
        await until(lambda: backend.visits[0].all(StreamReset) != [])
        assert backend.visits[0].all(StreamReset)[0].error_code == CANCEL
        await proxy.counted()
        assert statuses(proxy) == [(504, "", "deadline")]


@both_codecs
@on_loop
async def test_call_whose_response_has_begun_ends_in_trailers_with_status_4(codec: Codec) -> None:
    async def script(visit: Visit) -> None:
        stream_id = (await visit.head()).stream_id or 0
        visit.respond(stream_id, b"begun", [("content-type", "application/grpc")], is_end=False)
        await visit.until_closed()

    async with Backend(script) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(call("400m"), method="POST")
        assert await client.answer(stream_id) == ("200", b"begun")
        assert dict(client.trailers(stream_id))["grpc-status"] == "4"
        await proxy.counted()
        assert statuses(proxy) == [(200, "4", "")]


@both_codecs
@on_loop
async def test_call_whose_request_is_not_finished_meets_its_deadline_too(codec: Codec) -> None:
    async with Backend(silent) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(call("30m"), method="POST", is_end=False)
        client.send(stream_id, b"\0\0\0\0\0")
        assert await client.answer_of_open(stream_id) == ("200", b"")
        assert client.fields(stream_id)["grpc-status"] == "4"


@both_codecs
@on_loop
async def test_deadline_holds_while_the_request_waits_for_a_connection(codec: Codec) -> None:
    async with Backend(mute, greets=False) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(call("30m"), method="POST")
        assert await client.answer(stream_id) == ("200", b"")
        assert client.fields(stream_id)["grpc-status"] == "4"


@both_codecs
@on_loop
async def test_deadline_of_a_call_to_an_http1_backend_hangs_up_on_it(codec: Codec) -> None:
    async def script(visit: H1Visit) -> None:
        await visit.request()
        assert await visit.reader.read() == b""

    async with Origin(script) as origin, serving_h2(codec, speaking("http", to(origin))) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(call("400m"), method="POST")
        await client.answer(stream_id)
        assert client.fields(stream_id)["grpc-status"] == "4"
        await until(lambda: origin.visits[0].reader.at_eof())


@both_codecs
@on_loop
async def test_request_that_is_no_call_gets_504_at_its_deadline(codec: Codec) -> None:
    async with Backend(silent) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        assert (await client.get([("grpc-timeout", "30m")], method="POST"))[0] == "504"


@both_codecs
@on_loop
async def test_call_that_ends_in_time_leaves_no_deadline_behind(codec: Codec) -> None:
    async with Backend(named("v1")) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        for _ in range(3):
            assert await client.get(call("1H"), method="POST") == ("200", b"v1")
        assert not proxy.worker._context._deadlines


@pytest.mark.parametrize("value", ["", "1", "S", "1x", "-1S", "123456789S", "1 S", "0x1S"])
@both_codecs
@on_loop
async def test_malformed_timeout_is_passed_on_and_sets_no_deadline(codec: Codec, value: str) -> None:
    may_answer = asyncio.Event()
    seen: list[str] = []

    async def script(visit: Visit) -> None:
        asked = await visit.request_end()
        seen.append(asked.fields["grpc-timeout"])
        await may_answer.wait()
        visit.respond(asked.stream_id)
        await visit.until_closed()

    async with Backend(script) as backend, serving_h2(codec, over_h2(backend)) as proxy:
        client = await h2_client(proxy)
        stream_id = client.request(call(value), method="POST")
        await until(lambda: streams_upstream(proxy) == 1 and seen == [value])
        assert not proxy.worker._context._deadlines
        may_answer.set()
        await client.answer(stream_id)
