"""Totals over all workers, and counts since the weights in force."""

from hypothesis import given
from hypothesis import strategies as st

from milliroute.proxy.agent.ledger import MAX_ACCESS_KEYS, LeafKey, Ledger, quantile_ms
from milliroute.proxy.ipc import AccessDelta, ErrorDelta, Stats, TcpDelta
from tests.proxy.samples import KEY, leaf_delta, state, stats

V1 = LeafKey(KEY, "default/reviews", "reviews-v1", "default")


def test_deltas_of_all_workers_add_up() -> None:
    ledger = Ledger()
    ledger.add(1, stats(leaf_delta("reviews-v1", 3)))
    ledger.add(2, stats(leaf_delta("reviews-v1", 4), leaf_delta("reviews-v1", 2, status=503)))
    counts = ledger.counts_since_weights(V1)
    assert (counts.requests, counts.successes, counts.failures) == (9, 7, 2)
    assert counts.buckets[0] == 9


def test_no_counter_goes_back_when_a_worker_dies_and_its_open_connections_count_as_closed() -> None:
    ledger = Ledger()
    ledger.add(1, Stats([], [TcpDelta("src", 5, 1, 4, 10, 20)], []))
    ledger.add(2, Stats([], [TcpDelta("src", 3, 0, 3, 10, 20)], []))
    ledger.worker_gone(1)
    totals = ledger.tcp["src"]
    assert (totals.opened, totals.closed, totals.open_now) == (8, 5, {2: 3})


def test_errors_add_up_by_name() -> None:
    ledger = Ledger()
    for count in (1, 2):
        ledger.add(1, Stats([], [], [ErrorDelta("no route", count)]))
    assert ledger.errors == {"no route": 3}


def test_counts_begin_anew_when_the_weights_of_the_split_change() -> None:
    ledger = Ledger()
    ledger.take_effect(KEY, state())
    ledger.add(1, stats(leaf_delta("reviews-v1", 9)))
    ledger.take_effect(KEY, state(500_000, 500_000))
    ledger.add(1, stats(leaf_delta("reviews-v1", 2, bucket=3)))
    counts = ledger.counts_since_weights(V1)
    assert (counts.requests, counts.successes) == (2, 2)
    assert ledger.leaves[V1].requests == 11


def test_counts_run_on_when_a_new_table_has_the_same_weights() -> None:
    ledger = Ledger()
    ledger.take_effect(KEY, state())
    ledger.add(1, stats(leaf_delta("reviews-v1", 9)))
    ledger.take_effect(KEY, state())
    assert ledger.counts_since_weights(V1).requests == 9


def test_a_split_that_was_deleted_and_comes_back_counts_anew() -> None:
    ledger = Ledger()
    ledger.take_effect(KEY, state())
    ledger.add(1, stats(leaf_delta("reviews-v1", 9)))
    ledger.take_effect(KEY, None)
    ledger.take_effect(KEY, state())
    assert ledger.counts_since_weights(V1).requests == 0


def test_a_leaf_never_heard_of_has_no_counts() -> None:
    assert Ledger().counts_since_weights(V1).requests == 0


def test_quantiles_are_linear_inside_a_bucket() -> None:
    buckets = (0, 10, *[0] * 24)
    assert quantile_ms(buckets, 0.5) == 1.5
    assert quantile_ms((100, *[0] * 25), 0.99) == 0.99


def test_a_quantile_past_the_last_bound_is_that_bound_and_of_nothing_is_none() -> None:
    assert quantile_ms((*[0] * 25, 4), 0.5) == 50_000
    assert quantile_ms((0,) * 26, 0.5) is None


@given(st.lists(st.integers(0, 50), min_size=26, max_size=26).filter(any), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_quantiles_rise_with_q_and_stay_inside_the_bounds(buckets: list[int], a: float, b: float) -> None:
    low, high = quantile_ms(tuple(buckets), min(a, b)), quantile_ms(tuple(buckets), max(a, b))
    assert low is not None
    assert high is not None
    assert 0 <= low <= high <= 50_000


def test_whoever_scans_a_pod_that_lets_nobody_in_makes_its_agent_remember_little() -> None:
    ledger = Ledger()
    for port in range(1, 3001):
        denied = AccessDelta(f"inbound:10.1.0.5:{port}?=shop", "default", "deny", "", "deny", "tcp", 1)
        ledger.add(1, Stats([], [], [], [denied]))
    assert len(ledger.access) == MAX_ACCESS_KEYS + 1
    assert sum(ledger.access.values()) == 3000
