"""Failure accrual of one endpoint: out, one probe, back."""

import random

import pytest

from milliroute.proxy.resilience.accrual import Accrual
from milliroute.proxy.state import AccrualState

NO_JITTER = AccrualState(max_failures=3, jitter_percent=0)


def made(state: AccrualState = NO_JITTER) -> Accrual:
    return Accrual(state, random.Random(1))


def fail(accrual: Accrual, times: int, now: float = 0.0) -> list[bool]:
    return [accrual.failed(now) for _ in range(times)]


def test_it_is_out_after_so_many_failures_in_a_row_and_says_so_once() -> None:
    accrual = made()
    assert fail(accrual, 5) == [False, False, True, False, False]
    assert accrual.is_out


def test_a_success_between_begins_the_count_anew() -> None:
    accrual = made()
    fail(accrual, 2)
    assert not accrual.succeeded(0.0)
    assert fail(accrual, 2) == [False, False]
    assert not accrual.is_out


def test_one_probe_when_the_penalty_is_over_and_no_second_while_it_runs() -> None:
    accrual = made()
    fail(accrual, 3)
    assert not accrual.may_probe(0.99)
    assert accrual.may_probe(1.0)
    assert not accrual.may_probe(50.0)


def test_a_good_probe_brings_it_back() -> None:
    accrual = made()
    fail(accrual, 3)
    accrual.may_probe(1.0)
    assert accrual.succeeded(1.1)
    assert not accrual.is_out


def test_each_bad_probe_doubles_the_penalty_up_to_the_highest() -> None:
    accrual = made()
    fail(accrual, 3)
    now, waits = 0.0, []
    for _ in range(8):
        waits.append(accrual.back_s - now)
        now = accrual.back_s
        assert accrual.may_probe(now)
        accrual.failed(now)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_answers_to_old_requests_do_not_lengthen_the_penalty() -> None:
    accrual = made()
    fail(accrual, 3)
    before = accrual.back_s
    fail(accrual, 10, 0.5)
    assert accrual.back_s == before


def test_a_probe_without_a_result_may_be_made_again() -> None:
    accrual = made()
    fail(accrual, 3)
    assert accrual.may_probe(1.0)
    accrual.probe_lost()
    assert accrual.may_probe(1.0)


def test_penalties_are_spread_by_the_jitter() -> None:
    accruals = [Accrual(AccrualState(max_failures=1), random.Random(seed)) for seed in range(50)]
    for accrual in accruals:
        accrual.failed(0.0)
    backs = [accrual.back_s for accrual in accruals]
    assert 1.0 <= min(backs) < 1.1
    assert 1.4 < max(backs) <= 1.5


@pytest.mark.parametrize(("good", "is_out"), [(9, False), (6, True)])
def test_it_is_out_below_the_success_rate(good: int, is_out: bool) -> None:
    state = AccrualState(max_failures=0, success_rate_percent=80, min_requests=5)
    accrual = made(state)
    for number in range(10):
        if number < good:
            accrual.succeeded(1.0)
        else:
            accrual.failed(1.0)
    assert accrual.is_out is is_out


def test_a_rate_of_few_requests_says_nothing() -> None:
    accrual = made(AccrualState(max_failures=0, success_rate_percent=80, min_requests=5))
    assert fail(accrual, 4) == [False] * 4
    assert fail(accrual, 1) == [True]


def test_old_requests_count_less_and_less() -> None:
    accrual = made(AccrualState(max_failures=0, success_rate_percent=50, min_requests=5))
    for _ in range(100):
        accrual.succeeded(0.0)
    assert any(fail(accrual, 10, 60.0))
