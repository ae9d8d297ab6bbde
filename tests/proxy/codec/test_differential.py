"""What the fast codec accepts, the reference and h11 alone accept too, and mean the same by it.

Over 100,000 generated heads and bodies in all by `make long`, a fifth of them by `make test`; each shard has a seed of
its own and asserts that it did not pass for want of cases. Inputs once found to differ are kept by name in
test_found.py.
"""

import random
from collections import Counter

import pytest

from milliroute.proxy.codec.h1 import FAST, REFERENCE
from milliroute.proxy.codec.h1_scan import scan_request, scan_response
from milliroute.proxy.message import CHUNKED, RequestHead, ResponseHead
from tests.proxy.codec import promises
from tests.proxy.codec.bodies import chunked_body
from tests.proxy.codec.feeding import (
    Accepted,
    cuttings,
    h11_chunks,
    meaning,
    outcome,
    read_body,
    read_request,
    read_response,
)
from tests.proxy.codec.heads import request_head, response_head
from tests.sizes import cases

REQUESTS, RESPONSES, BODIES = range(10), range(100, 106), range(200, 202)  # seeds
CASES = cases(6500)  # of each seed
METHODS = (b"GET", b"GET", b"GET", b"POST", b"HEAD")
FRAMING_TRAILERS = (b"content-length", b"transfer-encoding")


@pytest.mark.slow
def test_nearly_all_of_the_cases_are_different_inputs() -> None:
    """Made here again, as far as they do not depend on what was decided on the way; each shard counts what it tried."""
    made: set[bytes] = set()
    for seeds, make in ((REQUESTS, request_head), (RESPONSES, response_head), (BODIES, chunked_body)):
        for seed in seeds:
            rng = random.Random(seed)
            made.update(make(rng) for _ in range(CASES))
    assert len(made) > cases(100_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", REQUESTS)
def test_a_request_means_the_same_to_scanner_reference_and_h11(seed: int) -> None:
    rng = random.Random(seed)
    _check_shares(Counter(_request_case(request_head(rng)) for _ in range(CASES)))


def _request_case(data: bytes) -> str:
    fast = read_request(FAST, data)
    assert meaning(fast) == meaning(read_request(REFERENCE, data)), data
    assert meaning(fast) == meaning(outcome(lambda: FAST.request_telling(data))), data
    if not isinstance(fast, Accepted):
        return "refused"
    head = fast.head
    assert isinstance(head, RequestHead)
    promises.check_passed_on(head, data)
    promises.check_request_again(head, data)
    if not isinstance(outcome(lambda: scan_request(data)), Accepted):
        return "reference only"
    promises.check_request_by_h11(head, data)
    return "scanned"


@pytest.mark.slow
@pytest.mark.parametrize("seed", RESPONSES)
def test_a_response_means_the_same_to_scanner_reference_and_h11(seed: int) -> None:
    rng = random.Random(seed)
    cases = ((response_head(rng), rng.choice(METHODS), rng.random() < 0.2) for _ in range(CASES))
    _check_shares(Counter(_response_case(*case) for case in cases))


def _response_case(data: bytes, method: bytes, may_upgrade: bool) -> str:
    fast = read_response(FAST, data, method, may_upgrade)
    assert meaning(fast) == meaning(read_response(REFERENCE, data, method, may_upgrade)), data
    if not isinstance(fast, Accepted):
        return "refused"
    head = fast.head
    assert isinstance(head, ResponseHead)
    promises.check_passed_on(head, data)
    promises.check_response_again(head, data, method, may_upgrade)
    if not isinstance(outcome(lambda: scan_response(data, method)), Accepted):
        return "reference only"
    promises.check_response_by_h11(head, data, method)
    return "scanned"


def _check_shares(seen: Counter[str]) -> None:
    """No verdict is so rare that this could pass without having tried it."""
    assert seen.total() == CASES
    assert seen["scanned"] > CASES * 0.25, seen
    assert seen["reference only"] > CASES * 0.04, seen
    assert seen["refused"] > CASES * 0.2, seen


@pytest.mark.slow
@pytest.mark.parametrize("seed", BODIES)
def test_a_chunked_body_means_the_same_however_it_is_cut(seed: int) -> None:
    rng = random.Random(seed)
    seen = Counter(_body_case(rng, chunked_body(rng)) for _ in range(CASES))
    assert seen.total() == CASES
    assert seen[True] > CASES * 0.4, seen
    assert seen[False] > CASES * 0.03, seen
    assert seen[None] > CASES * 0.1, seen


def _body_case(rng: random.Random, data: bytes) -> bool | None:
    cuts = cuttings(rng, data)
    decoded = read_body(FAST.body(CHUNKED, decode=True), cuts[0])
    for pieces in cuts:
        for codec in (FAST, REFERENCE):
            assert read_body(codec.body(CHUNKED, decode=True), pieces) == decoded, (data, pieces)
            passed = read_body(codec.body(CHUNKED), pieces)
            assert (passed.is_done, passed.rest) == (decoded.is_done, decoded.rest), (data, pieces)
            if passed.is_done:
                promises.check_trailers(passed.forwarded, decoded.forwarded, data)
    if decoded.is_done:
        _check_by_h11(data, decoded.forwarded, decoded.rest)
    return decoded.is_done


def _check_by_h11(data: bytes, payload: bytes, rest: bytes) -> None:
    message = data[: len(data) - len(rest)]
    if any(b"\n" + name + b":" in message.lower() for name in FRAMING_TRAILERS):
        return  # h11 raises on some that we drop
    alone = h11_chunks(data)
    assert alone is not None, data
    assert (alone[0], alone[2]) == (payload, rest), data
