"""Rate limits: how many pass, whose they are, and what a new table keeps; pure, and through a worker's sockets."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from milliroute.proxy.config import Codec
from milliroute.proxy.errors import RateLimited
from milliroute.proxy.guard import limiter
from milliroute.proxy.guard.limiter import Limiter, RouteLimits
from milliroute.proxy.state import AuthorityState, GuardState, MatchState, RateLimitState, RateState
from tests.proxy.backends import Origin, named
from tests.proxy.serving import BOTH_CODECS, on_loop, serving
from tests.proxy.tables import authority, backend, leaves, split

PER_SECOND = RateState(10, 1000, 10)
# Nothing comes back while a test runs.
EIGHT = RateState(8, 3_600_000, 8)


@dataclass
class Somebody:
    client_ip: str = "10.0.0.1"
    identities: tuple[str, ...] = ()


def limit(
    total: RateState | None = None, client: RateState | None = None, *, workers: int = 1, name: str = "a"
) -> Limiter:
    return Limiter("reviews.default", RateLimitState(name, "", total, client), workers, 0.0)


def passed(made: Limiter, count: int, now: float, who: Somebody | None = None) -> int:
    return sum(made.judge(who or Somebody(), now) is None for _ in range(count))


def test_a_burst_passes_to_the_request_and_then_as_many_as_the_rate_says() -> None:
    made = limit(PER_SECOND)
    assert passed(made, 50, 0.0) == 10
    assert passed(made, 50, 0.5) == 5
    assert passed(made, 50, 100.0) == 10


@given(
    st.integers(1, 1000),
    st.integers(1, 100),
    st.integers(1, 8),
    st.lists(st.floats(0, 0.5), min_size=1, max_size=200),
)
def test_the_workers_together_never_pass_more_than_the_limit(
    rate: int, burst: int, workers: int, steps: list[float]
) -> None:
    made = [limit(RateState(rate, 1000, burst), workers=workers) for _ in range(workers)]
    now, count = 0.0, 0
    for step in steps:
        now += step
        count += sum(passed(one, 3, now) for one in made)
    # A worker lets one request pass, however small its share of the burst is.
    assert count <= max(burst, workers) + rate * now + 1e-6


def test_a_burst_smaller_than_the_workers_is_one_each() -> None:
    assert passed(limit(RateState(1, 3_600_000, 1), workers=4), 5, 0.0) == 1


def test_who_is_refused_is_told_when_to_come_back_in_whole_seconds() -> None:
    made = limit(RateState(1, 60_000, 1))
    assert made.judge(Somebody(), 0.0) is None
    denied = made.judge(Somebody(), 30.5)
    assert denied is not None
    assert (denied.status, denied.grpc_status, denied.retry_after_s) == (429, 8, 30)
    almost = made.judge(Somebody(), 59.9)
    assert almost is not None
    assert almost.retry_after_s == 1


def test_each_client_has_its_own() -> None:
    made = limit(client=PER_SECOND)
    assert [passed(made, 20, 0.0, Somebody(f"10.0.0.{n}")) for n in range(3)] == [10, 10, 10]


def test_a_client_is_its_identity_wherever_it_comes_from() -> None:
    made = limit(client=PER_SECOND)
    known = [Somebody(f"10.0.0.{n}", ("spiffe://a/b", "b.a")) for n in range(20)]
    assert sum(made.judge(who, 0.0) is None for who in known) == 10
    assert passed(made, 1, 0.0, Somebody("10.0.0.1")) == 1


def test_an_ipv6_client_counts_by_its_64() -> None:
    made = limit(client=PER_SECOND)
    assert sum(made.judge(Somebody(f"2001:db8::{n:x}"), 0.0) is None for n in range(20)) == 10
    assert passed(made, 1, 0.0, Somebody("2001:db8:0:1::1")) == 1
    assert passed(made, 20, 0.0, Somebody("::ffff:10.0.0.1")) == 10
    assert passed(made, 20, 0.0, Somebody("fe80::1%eth0")) == 10


def test_a_client_above_its_own_limit_takes_nothing_from_the_others() -> None:
    made = limit(RateState(20, 1000, 20), PER_SECOND)
    assert passed(made, 1000, 0.0, Somebody("10.0.0.1")) == 10
    assert passed(made, 1000, 0.0, Somebody("10.0.0.2")) == 10
    assert passed(made, 1000, 0.0, Somebody("10.0.0.3")) == 0


def test_clients_named_by_an_override_share_its_rate_in_place_of_their_own() -> None:
    state = RateLimitState("a", "", None, PER_SECOND, ((("x", "y"), RateState(30, 1000, 30)),))
    made = Limiter("reviews.default", state, 1, 0.0)
    assert passed(made, 100, 0.0, Somebody(identities=("x",))) == 30
    assert passed(made, 100, 0.0, Somebody(identities=("z", "y"))) == 0
    assert passed(made, 100, 0.0, Somebody(identities=("z",))) == 10
    assert {(one.scope, one.count) for one in made.take()} == {("override", 170), ("client", 90)}


def test_clients_without_end_cost_no_memory_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter, "MAX_CLIENTS", 10)
    made = limit(client=RateState(1, 3_600_000, 1))
    often = Somebody("10.1.0.1")
    assert made.judge(often, 0.0) is None
    for n in range(1000):
        made.judge(Somebody(f"10.0.{n // 256}.{n % 256}"), 0.0)
        # Whoever goes on asking is not forgotten.
        assert made.judge(often, 0.0) is not None
    assert len(made._clients) == 10


def test_a_request_must_be_within_all_limits_of_its_route() -> None:
    both = RouteLimits([limit(RateState(5, 1000, 5)), limit(RateState(3, 1000, 3), name="b")])
    assert sum(both.judge(Somebody(), 0.0) is None for _ in range(10)) == 3


def test_what_was_refused_is_counted_once() -> None:
    made = limit(PER_SECOND)
    passed(made, 12, 0.0)
    (delta,) = made.take()
    assert (delta.authority, delta.limit, delta.scope, delta.count) == ("reviews.default", "a", "total", 2)
    assert made.take() == []


def limited(state: AuthorityState, *limits: RateLimitState) -> AuthorityState:
    """On every route."""
    return replace(state, routes=[replace(route, rate_limits=limits) for route in state.routes])


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_above_the_limit_is_429_and_the_split_is_exact_among_the_others(codec: Codec) -> None:
    async with Origin(named("v1")) as v1, Origin(named("v2")) as v2:
        state = leaves({"v1": [v1.port], "v2": [v2.port]}, 3, 1)
        async with serving(codec, limited(state, RateLimitState("a", "", EIGHT))) as proxy:
            client = await proxy.client()
            replies = [await client.get() for _ in range(20)]
            assert [reply.status for reply in replies] == [200] * 8 + [429] * 12
            assert (len(v1.asked), len(v2.asked)) == (6, 2)
            assert {reply.fields["retry-after"] for reply in replies[8:]} == {"450"}
            assert replies[8].fields["l5d-proxy-error"] == "over the rate limit"
            await proxy.counted()
            assert proxy.ledger.limited == {("reviews.default", "a", "total"): 12}
            assert proxy.ledger.errors == {RateLimited.label: 12}


@on_loop
async def test_a_table_that_says_the_same_limit_goes_on_counting_and_another_begins_anew() -> None:
    async with Origin(named("v1")) as origin:
        state = leaves({"v1": [origin.port]}, 1)
        async with serving("fast", limited(state, RateLimitState("a", "", EIGHT))) as proxy:
            client = await proxy.client()
            assert [(await client.get()).status for _ in range(8)] == [200] * 8
            warned = replace(state, warnings=["new"])
            await proxy.update(limited(warned, RateLimitState("a", "", EIGHT)))
            assert (await client.get()).status == 429
            await proxy.update(limited(warned, RateLimitState("a", "", replace(EIGHT, burst=9))))
            assert (await client.get()).status == 200
            await proxy.update(warned)
            assert [(await client.get()).status for _ in range(20)] == [200] * 20


@on_loop
async def test_routes_that_say_the_same_share_one_limit_and_a_route_without_is_not_limited() -> None:
    async with Origin(named("v1")) as origin:
        one = [backend("v1", origin.port)]
        state = authority(
            one,
            split(1),
            (split(1, name="default/a"), [MatchState("/a")]),
            (split(1, name="default/b"), [MatchState("/b")]),
        )
        a, b, rest = state.routes
        both = (RateLimitState("x", "", EIGHT),)
        state = replace(state, routes=[replace(a, rate_limits=both), replace(b, rate_limits=both), rest])
        async with serving("fast", state) as proxy:
            client = await proxy.client()
            assert [(await client.get(f"/{'ab'[n % 2]}")).status for n in range(10)] == [200] * 8 + [429] * 2
            assert [(await client.get("/c")).status for _ in range(10)] == [200] * 10


@on_loop
async def test_who_may_not_ask_at_all_takes_nothing_out_of_the_limit() -> None:
    async with Origin(named("v1")) as origin:
        state = limited(leaves({"v1": [origin.port]}, 1), RateLimitState("a", "", EIGHT))
        async with serving("fast", replace(state, access=[GuardState("Server", "s")])) as proxy:
            client = await proxy.client()
            assert {(await client.get()).status for _ in range(10)} == {403}
            await proxy.update(state)
            assert [(await client.get()).status for _ in range(9)] == [200] * 8 + [429]
