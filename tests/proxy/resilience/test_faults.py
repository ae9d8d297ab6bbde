"""Faults on purpose: which requests they befall, and what becomes of those."""

import asyncio
import random

import msgspec
import pytest

from milliroute.proxy.config import Codec
from milliroute.proxy.resilience.faults import Faults
from milliroute.proxy.state import AuthorityState, FaultPartState, FaultState, MatchState
from tests.proxy.backends import Origin, named
from tests.proxy.serving import BOTH_CODECS, get, on_loop, serving, until
from tests.proxy.tables import leaves, request


def faults(state: FaultState, seed: int = 1) -> Faults:
    return Faults(state, random.Random(seed))


def test_three_of_any_ten_are_hit_by_a_share_of_thirty_percent() -> None:
    made = faults(FaultState(abort=FaultPartState(300_000, 503)))
    hits = [made.draw(request(), "v1") is not None for _ in range(1000)]
    assert sum(hits) == 300
    assert all(sum(hits[i : i + 10]) == 3 for i in range(991))


def test_the_kinds_are_counted_apart() -> None:
    state = FaultState(delay=FaultPartState(500_000, 20), reset=FaultPartState(250_000))
    made = faults(state)
    drawn = [made.draw(request(), "v1") for _ in range(100)]
    assert sum(fault is not None and fault.delay_s == 0.02 for fault in drawn) == 50
    assert sum(fault is not None and fault.is_reset for fault in drawn) == 25


def test_only_what_matches_is_hit_and_counted() -> None:
    state = FaultState(MatchState("/api"), "v2", abort=FaultPartState(500_000, 500))
    made = faults(state)
    for _ in range(10):
        assert made.draw(request("/"), "v2") is None
        assert made.draw(request("/api"), "v1") is None
    assert sum(made.draw(request("/api"), "v2") is not None for _ in range(10)) == 5


def test_a_share_of_nothing_hits_nobody() -> None:
    made = faults(FaultState(abort=FaultPartState(0, 500)))
    assert all(made.draw(request(), "v1") is None for _ in range(1000))


def test_proxies_begin_at_places_of_their_own() -> None:
    state = FaultState(abort=FaultPartState(100_000, 500))
    firsts = set()
    for seed in range(40):
        made = faults(state, seed)
        firsts.add(next(i for i in range(10) if made.draw(request(), "v1") is not None))
    assert len(firsts) > 5


def test_what_a_request_asks_for_befalls_it_and_goes_no_further() -> None:
    made = Faults(None, random.Random(1), takes_headers=True)
    head = request(
        "/",
        "X-Milliroute-Fault-Delay-Ms: 20",
        "x-milliroute-fault-bandwidth: 1000",
        "x-other: x-milliroute-fault-reset",
    )
    fault = made.draw(head, "v1")
    assert fault is not None
    assert (fault.delay_s, fault.bytes_per_s, fault.abort, fault.is_reset) == (0.02, 1000, 0, False)
    assert b"x-milliroute-fault-delay" not in head.wire.lower()
    assert b"x-other: x-milliroute-fault-reset\r\n" in head.wire


@pytest.mark.parametrize("field", ["abort: 503", "reset: 1"])
def test_it_may_ask_for_the_end_of_itself(field: str) -> None:
    fault = Faults(None, random.Random(1), takes_headers=True).draw(request("/", f"x-milliroute-fault-{field}"), "v1")
    assert fault is not None
    assert (fault.abort, fault.is_reset) in ((503, False), (0, True))


@pytest.mark.parametrize(
    "field", ["abort: 5", "abort: ", "delay-ms: 1s", "delay-ms: 600001", "bandwidth: 0", "delay: 1"]
)
def test_what_it_asks_for_in_vain_is_said(field: str) -> None:
    fault = Faults(None, random.Random(1), takes_headers=True).draw(request("/", f"x-milliroute-fault-{field}"), "v1")
    assert fault is not None
    assert fault.abort == 400
    assert fault.text.startswith(f"saw 'x-milliroute-fault-{field.strip()}")


def test_a_request_that_asks_for_nothing_gets_what_its_split_says() -> None:
    made = Faults(FaultState(abort=FaultPartState(1_000_000, 503)), random.Random(1), takes_headers=True)
    fault = made.draw(request(), "v1")
    assert fault is not None
    assert fault.abort == 503


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_headers_mean_nothing_to_a_proxy_that_was_not_started_for_it(codec: Codec) -> None:
    async with Origin(named("v1")) as origin:
        state = leaves({"v1": [origin.port]}, 1)
        async with serving(codec, state) as proxy:
            client = await proxy.client()
            assert (await client.get("/", "x-milliroute-fault-abort: 503")).status == 200
            assert origin.asked[0].field("x-milliroute-fault-abort") == "503"
        async with serving(codec, state, takes_faults=True) as proxy:
            client = await proxy.client()
            assert (await client.get("/", "x-milliroute-fault-abort: 503")).status == 503
            bad = await client.get("/", "x-milliroute-fault-abort: 5")
            assert (bad.status, bad.fields["l5d-proxy-error"]) == (
                400, "saw 'x-milliroute-fault-abort: 5', wanted a whole number from 200 to 599"
            )  # fmt: skip
            assert (await client.get("/", "x-milliroute-fault-delay-ms: 1")).status == 200
            assert origin.asked[1].field("x-milliroute-fault-delay-ms") == ""
            assert len(origin.asked) == 2


def faulty(ports: dict[str, list[int]], fault: FaultState) -> AuthorityState:
    state = leaves(ports, 1)
    (route,) = state.routes
    return msgspec.structs.replace(
        state, routes=[msgspec.structs.replace(route, split=msgspec.structs.replace(route.split, fault=fault))]
    )


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_a_share_of_the_requests_is_refused_and_the_backend_never_asked(codec: Codec) -> None:
    async with Origin(named("v1")) as origin:
        state = faulty({"v1": [origin.port]}, FaultState(abort=FaultPartState(500_000, 418)))
        async with serving(codec, state) as proxy:
            client = await proxy.client()
            statuses = [(await client.get()).status for _ in range(10)]
            assert sorted(statuses) == [200] * 5 + [418] * 5
            assert len(origin.asked) == 5


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_a_delay_comes_before_the_backend_is_asked(codec: Codec) -> None:
    async with Origin(named("v1")) as origin:
        state = faulty({"v1": [origin.port]}, FaultState(delay=FaultPartState(1_000_000, 50)))
        async with serving(codec, state) as proxy:
            client = await proxy.client()
            started_s = asyncio.get_running_loop().time()
            assert (await client.get()).body == b"v1"
            assert asyncio.get_running_loop().time() - started_s >= 0.05


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_a_reset_breaks_the_clients_connection(codec: Codec) -> None:
    async with Origin(named("v1")) as origin:
        state = faulty({"v1": [origin.port]}, FaultState(reset=FaultPartState(1_000_000)))
        async with serving(codec, state) as proxy:
            client = await proxy.client()
            await client.send(get("/"))
            with pytest.raises(ConnectionError):
                await client.reader.readexactly(1)
            assert origin.asked == []


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_a_client_that_leaves_during_a_delay_leaves_nothing_behind(codec: Codec) -> None:
    async with Origin(named("v1")) as origin:
        state = faulty({"v1": [origin.port]}, FaultState(delay=FaultPartState(1_000_000, 60_000)))
        async with serving(codec, state) as proxy:
            client = await proxy.client()
            await client.send(get("/"))
            await until(lambda: bool(proxy.worker._context._deadlines))
            client.reset()
            await until(lambda: not proxy.worker._context._deadlines)
