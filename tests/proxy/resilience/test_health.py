"""Health checks: when an endpoint is sick, what the checker asks, and who is left out by it."""

import random

import pytest
from msgspec.structs import replace

from milliroute.proxy.config import Codec
from milliroute.proxy.resilience.health import Health
from milliroute.proxy.state import AuthorityState, HealthState
from tests.proxy.backends import Origin, Visit, closed_port, named
from tests.proxy.failures import answering
from tests.proxy.h2_backend import GRPC, Backend, serving_h2, speaking
from tests.proxy.h2_backend import Visit as H2Visit
from tests.proxy.serving import BOTH_CODECS, Proxy, on_loop, serving, to, until
from tests.proxy.tables import leaves

both_codecs = pytest.mark.parametrize("codec", BOTH_CODECS)

# Every sweep, and out or in by one check.
HTTP = HealthState("http", "/healthz", interval_ms=1, timeout_ms=200, unhealthy_after=1, healthy_after=1)
TCP = replace(HTTP, kind="tcp", target="")
CALL = replace(HTTP, kind="grpc", target="reviews")


def checked(state: AuthorityState, health: HealthState = HTTP) -> AuthorityState:
    return replace(state, backends=[replace(backend, health=health) for backend in state.backends])


def sick(proxy: Proxy) -> list[int]:
    return sorted(endpoint.port for backend in proxy.worker._router.backends() for endpoint in backend.sick)


def health(**settings: int) -> Health:
    return Health(replace(HealthState("tcp"), **settings), random.Random(1))


def results(one: Health, *are_good: bool) -> list[bool]:
    """is_sick after each."""
    found = []
    for is_good in are_good:
        one.done(is_good, 0.0)
        found.append(one.is_sick)
    return found


def test_it_is_sick_after_so_many_failures_in_a_row_and_well_after_so_many_good_checks() -> None:
    assert results(health(), False, False, True, False, False, False) == [False] * 5 + [True]
    assert results(health(unhealthy_after=1), False, True, False, True, True) == [True, True, True, True, False]


def test_one_check_at_a_time_and_the_next_after_the_interval() -> None:
    one = health(interval_ms=5000)
    assert one.begin(0.0)
    assert not one.begin(100.0)
    one.done(True, 100.0)
    assert not one.begin(104.4)
    assert one.begin(105.6)


@both_codecs
@on_loop
async def test_endpoint_whose_page_says_an_error_gets_no_requests_until_it_is_well(codec: Codec) -> None:
    is_well = False

    async def script(visit: Visit) -> None:
        while asked := await visit.request():
            is_good = asked.target == "/" or is_well
            await visit.answer(b"one", status="200 OK" if is_good else "500 No")

    async with Origin(script) as one, Origin(named("two")) as two:
        state = leaves({"v1": [one.port], "v2": [two.port]}, 1, 1)
        async with serving(codec, checked(state)) as proxy:
            await until(lambda: sick(proxy) == [one.port])
            client = await proxy.client()
            assert {(await client.get()).body for _ in range(10)} == {b"two"}
            is_well = True
            await until(lambda: sick(proxy) == [])
            assert sorted([(await client.get()).body for _ in range(10)]) == [b"one"] * 5 + [b"two"] * 5
            assert "/healthz" in {asked.target for asked in one.asked}


@both_codecs
@on_loop
async def test_the_last_endpoint_stays_in_until_there_is_another(codec: Codec) -> None:
    async with (
        answering(500) as one,
        answering(200) as two,
        serving(codec, checked(to(one))) as proxy,
    ):
        await until(lambda: len(one.asked) > 3)
        assert sick(proxy) == []
        await proxy.update(checked(to(one, two)))
        await until(lambda: sick(proxy) == [one.port])


@both_codecs
@on_loop
async def test_silence_and_refusal_are_failures_and_checks_count_nowhere(codec: Codec) -> None:
    async def silent(visit: Visit) -> None:
        await visit.head()
        await visit.reader.read()

    shut = closed_port()
    async with Origin(silent) as one, Origin(named("two")) as two:
        state = checked(leaves({"v1": [one.port, shut, two.port]}, 1), replace(HTTP, timeout_ms=30))
        async with serving(codec, state) as proxy:
            await until(lambda: sick(proxy) == sorted([one.port, shut]))
            await proxy.counted()
            assert proxy.totals("v1").requests == 0


@both_codecs
@on_loop
async def test_tcp_checks_only_connect(codec: Codec) -> None:
    shut = closed_port()
    async with (
        Origin(named("one")) as one,
        serving(codec, checked(leaves({"v1": [one.port, shut]}, 1), TCP)) as proxy,
    ):
        await until(lambda: sick(proxy) == [shut])
        assert one.asked == []


@pytest.mark.parametrize(
    ("message", "status", "is_well"),
    [(b"\x08\x01", "0", True), (b"\x08\x02", "0", False), (b"", "0", False), (b"\x08\x01", "12", False)],
)
@both_codecs
@on_loop
async def test_grpc_checks_ask_for_the_health_of_the_service(
    codec: Codec, message: bytes, status: str, is_well: bool
) -> None:
    async def script(visit: H2Visit) -> None:
        while True:
            asked = await visit.request_end()
            assert asked.fields[":path"] == "/grpc.health.v1.Health/Check"
            assert asked.body == b"\0\0\0\0\x09\n\x07reviews"
            visit.respond(asked.stream_id, b"\0" + len(message).to_bytes(4, "big") + message, [GRPC[0]], is_end=False)
            visit.trail(asked.stream_id, [("grpc-status", status)])

    async with Backend(script) as one, answering(200) as other:
        state = speaking("kubernetes.io/h2c", leaves({"v1": [one.port], "v2": [other.port]}, 1, 1))
        backends = [replace(state.backends[0], health=CALL), state.backends[1]]
        async with serving_h2(codec, replace(state, backends=backends)) as proxy:
            (endpoint,) = [e for e in proxy.endpoints() if e.port == one.port]
            await until(lambda: bool(one.visits) and len(one.visits[0].seen) > 12)
            assert endpoint.health is not None
            assert endpoint.health.is_sick is not is_well
            await proxy.update(None)


def test_new_table_keeps_who_is_sick() -> None:
    from tests.proxy.resilience.test_ejection import build, endpoint, ports_of

    state = checked(leaves({"v1": [1, 2]}, 1))
    built = build(state)
    one = endpoint(built, 1)
    assert one.health is not None
    one.health.done(False, 0.0)
    built.backends[0].set_sick(one, one.health.is_sick)
    after = build(checked(leaves({"v1": [1, 2, 3]}, 1)), built)
    assert ports_of(after, 0) == {2, 3}
    assert ports_of(build(leaves({"v1": [1, 2, 3]}, 1), after), 0) == {1, 2, 3}
