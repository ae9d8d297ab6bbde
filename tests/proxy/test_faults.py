"""Faults on purpose: which requests they befall."""

import random

from milliroute.proxy.faults import Faults
from milliroute.proxy.state import FaultPartState, FaultState, MatchState
from tests.proxy.tables import request


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
