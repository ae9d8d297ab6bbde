"""Balancer: of two the cheaper, by peak-EWMA and pending requests."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milliroute.proxy.routing.balancer import DECAY_S, DEFAULT_RTT_S, Balancer, EndpointLoad, is_cheaper

fixed = settings(derandomize=True, deadline=None, max_examples=200)


class Endpoint:
    def __init__(self, name: str, now: float = 0.0) -> None:
        self.name = name
        self.load = EndpointLoad(now)


def endpoints(number: int) -> list[Endpoint]:
    return [Endpoint(f"e{n}") for n in range(number)]


def a_load(rtt_s: float, stamp_s: float, pending: int) -> EndpointLoad:
    load = EndpointLoad(stamp_s)
    load.rtt_s, load.pending = rtt_s, pending
    return load


loads = st.builds(a_load, st.floats(1e-6, 100.0), st.floats(0.0, 1e6), st.integers(0, 1000))


def test_new_endpoint_costs_the_default_and_decays_as_nothing_is_heard() -> None:
    load = EndpointLoad(100.0)
    assert load.cost(100.0) == DEFAULT_RTT_S
    assert load.cost(100.0 + DECAY_S) == pytest.approx(DEFAULT_RTT_S / math.e)


def test_cost_grows_with_each_pending_request_and_falls_back() -> None:
    load = EndpointLoad(0.0)
    load.begin()
    load.begin()
    assert load.cost(0.0) == pytest.approx(3 * DEFAULT_RTT_S)
    load.end()
    load.end()
    assert load.cost(0.0) == DEFAULT_RTT_S


def test_peak_is_taken_at_once_and_forgotten_slowly() -> None:
    load = EndpointLoad(0.0)
    load.observe(2.0, now=1.0)
    assert load.rtt_s == 2.0
    load.observe(0.01, now=1.0)
    assert load.rtt_s == 2.0
    load.observe(0.01, now=1.0 + DECAY_S)
    assert load.rtt_s == pytest.approx(2.0 / math.e + 0.01 * (1 - 1 / math.e))


def test_estimate_never_falls_below_the_newest_sample() -> None:
    load = EndpointLoad(0.0)
    rng = random.Random(1)
    for second in range(1, 200):
        sample = rng.expovariate(20.0)
        load.observe(sample, now=float(second))
        assert load.rtt_s >= sample


def test_clock_that_steps_back_changes_no_estimate_by_more_than_its_sample() -> None:
    load = EndpointLoad(100.0)
    load.observe(0.001, now=50.0)
    assert load.rtt_s == DEFAULT_RTT_S
    assert load.cost(0.0) == DEFAULT_RTT_S


@fixed
@given(loads, loads)
def test_comparison_without_the_moment_agrees_with_the_costs_at_it(one: EndpointLoad, other: EndpointLoad) -> None:
    now = max(one.stamp_s, other.stamp_s)
    costs = one.cost(now), other.cost(now)
    if math.isclose(*costs, rel_tol=1e-9):
        return
    assert is_cheaper(one, other) == (costs[0] < costs[1])
    assert is_cheaper(other, one) == (costs[1] < costs[0])


def test_one_endpoint_is_always_picked() -> None:
    (only,) = endpoints(1)
    assert Balancer([only], random.Random(1)).pick(0.0) is only


@pytest.mark.parametrize("number", [2, 3, 5, 16])
def test_equal_endpoints_are_picked_equally(number: int) -> None:
    balancer = Balancer(endpoints(number), random.Random(2))
    counts = Counter(balancer.pick(0.0).name for _ in range(1_000 * number))
    assert len(counts) == number
    assert all(abs(count - 1_000) < 130 for count in counts.values())


def test_dearest_of_all_is_never_picked_and_the_cheapest_twice_as_often() -> None:
    group = endpoints(5)
    for dearer, endpoint in enumerate(group):
        endpoint.load.rtt_s = 0.01 * (dearer + 1)
    balancer = Balancer(group, random.Random(3))
    counts = Counter(balancer.pick(0.0).name for _ in range(5_000))
    assert counts["e4"] == 0
    assert abs(counts["e0"] - 2_000) < 150


def test_pending_requests_spread_over_all_endpoints() -> None:
    group = endpoints(10)
    balancer = Balancer(group, random.Random(4))
    for _ in range(1_000):
        balancer.pick(0.0).load.begin()
    assert max(e.load.pending for e in group) - min(e.load.pending for e in group) <= 5


def test_endpoint_slow_once_is_tried_again_after_its_peak_has_decayed() -> None:
    slow, fast = endpoints(2)
    balancer = Balancer([slow, fast], random.Random(5))
    slow.load.observe(1.0, now=1.0)
    for second in range(1, 100):
        fast.load.observe(0.01, now=float(second))
        if balancer.pick(float(second)) is slow:
            break
    assert 30 < second < 60


@pytest.mark.parametrize("number", [1, 2, 3, 6])
def test_retry_goes_to_an_untried_endpoint_until_none_is_left(number: int) -> None:
    balancer = Balancer(endpoints(number), random.Random(6))
    tried = [balancer.pick(0.0)]
    while (other := balancer.pick_other(0.0, tried)) is not None:
        assert other not in tried
        tried.append(other)
    assert len(tried) == number


def test_retry_prefers_the_cheaper_of_two_untried() -> None:
    group = endpoints(3)
    group[1].load.begin()
    balancer = Balancer(group, random.Random(7))
    assert {balancer.pick_other(0.0, {group[0]}) for _ in range(20)} == {group[2]}


def test_balancer_over_nothing_is_refused() -> None:
    nothing: list[Endpoint] = []
    with pytest.raises(ValueError, match="no endpoints"):
        Balancer(nothing, random.Random(1))
