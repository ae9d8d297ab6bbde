"""What a policy allows to be tried again, and which time limits it sets."""

import pytest

from milliroute.proxy.resilience.policy import Policy
from milliroute.proxy.state import PolicyState

IDEMPOTENT = [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"]


@pytest.mark.parametrize("status", [500, 503, 504])
def test_statuses_of_a_range_are_tried_again_with_its_ends(status: int) -> None:
    assert Policy(PolicyState(retry_statuses=[(500, 504)])).retries_status(status, b"GET", 0)


@pytest.mark.parametrize("status", [200, 404, 499, 505])
def test_statuses_outside_are_not(status: int) -> None:
    assert not Policy(PolicyState(retry_statuses=[(500, 504)])).retries_status(status, b"GET", 0)


def test_only_idempotent_methods_unless_others_are_named() -> None:
    plain = Policy(PolicyState(retry_statuses=[(503, 503)]))
    assert all(plain.retries_status(503, method, 0) for method in IDEMPOTENT)
    assert not any(plain.retries_status(503, method, 0) for method in (b"POST", b"PATCH", b"PURGE"))
    named = Policy(PolicyState(retry_statuses=[(503, 503)], retry_methods=["POST"]))
    assert named.retries_status(503, b"POST", 0)
    assert named.retries_status(503, b"GET", 0)
    assert not named.retries_status(503, b"PATCH", 0)


def test_a_star_names_all_methods() -> None:
    assert Policy(PolicyState(retry_statuses=[(503, 503)], retry_methods=["*"])).retries_status(503, b"PURGE", 0)


def test_no_more_tries_than_the_limit() -> None:
    policy = Policy(PolicyState(retry_statuses=[(503, 503)], retry_grpc=[14], retry_limit=2))
    assert [policy.retries_status(503, b"GET", tries) for tries in range(4)] == [True, True, False, False]
    assert [policy.retries_call(b"14", tries) for tries in range(4)] == [True, True, False, False]


@pytest.mark.parametrize(("status", "again"), [(b"14", True), (b"4", False), (b"0", False), (b"", False)])
def test_a_call_is_tried_again_by_its_own_status(status: bytes, again: bool) -> None:
    assert Policy(PolicyState(retry_grpc=[14])).retries_call(status, 0) is again


def test_a_broken_connection_is_a_502_and_a_late_try_a_504() -> None:
    gateway = Policy(PolicyState(retry_statuses=[(502, 502)]))
    assert gateway.retries_failure(b"GET", 0)
    assert not gateway.retries_timeout(b"GET", 0)
    late = Policy(PolicyState(retry_statuses=[(504, 504)]))
    assert late.retries_timeout(b"GET", 0)
    assert not late.retries_failure(b"GET", 0)
    assert not late.retries_timeout(b"POST", 0)


def test_of_a_call_they_are_unavailable_and_deadline_exceeded() -> None:
    assert Policy(PolicyState(retry_grpc=[14])).retries_failure(b"POST", 0)
    assert not Policy(PolicyState(retry_grpc=[14])).retries_timeout(b"POST", 0)
    assert Policy(PolicyState(retry_grpc=[4])).retries_timeout(b"POST", 0)
    assert not Policy(PolicyState(retry_grpc=[14])).retries_failure(b"GET", 0)


def test_a_connect_that_failed_is_tried_again_by_the_same_names() -> None:
    policy = Policy(PolicyState(retry_statuses=[(502, 502)], retry_grpc=[4]))
    assert policy.retries_connect(False, 0)
    assert policy.retries_connect(True, 0)
    assert not policy.retries_connect(False, 1)
    assert not Policy(PolicyState(retry_statuses=[(503, 503)])).retries_connect(False, 0)


def test_of_try_and_response_timeout_the_shorter_one_ends_a_try() -> None:
    assert Policy(PolicyState(try_timeout_ms=300, response_timeout_ms=200)).try_s == 0.2
    assert Policy(PolicyState(try_timeout_ms=300)).try_s == 0.3
    assert Policy(PolicyState()).try_s == 0.0
