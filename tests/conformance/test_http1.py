"""Every case of the HTTP/1.1 corpora has its outcome, on both codecs and however its bytes arrive."""

import random
from collections.abc import Callable

import pytest

from milliroute.proxy.codec.h1 import CODECS, H1Codec
from milliroute.proxy.message import CHUNKED, RequestHead, ResponseHead
from tests.conformance.corpus import Case, cases, pairs, text
from tests.proxy.codec import feeding
from tests.proxy.codec.feeding import Accepted, Outcome, Refused

REQUESTS, RESPONSES, BODIES = cases("requests"), cases("responses"), cases("bodies")
REQUEST_FLAGS = {"host": b"", "upgrade": b"", "wants_close": False, "is_http10": False, "expects_continue": False}
on_both_codecs = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


def each(corpus: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", corpus, ids=[case["name"] for case in corpus])


def test_the_corpora_cover_every_class_that_a_codec_decides() -> None:
    rows = {row for case in REQUESTS + RESPONSES + BODIES for row in case["rows"]}
    wanted = (
        {f"S{n}" for n in range(1, 23)} | {f"R{n}" for n in range(1, 5)} | {f"A{n}" for n in range(1, 19)} | {"A40"}
    )
    assert wanted <= rows


@on_both_codecs
@each(REQUESTS)
def test_a_request_head_has_its_outcome(codec: H1Codec, case: Case) -> None:
    sent = text(case["send"])
    found = feeding.read_request(codec, sent)
    _check_head(case, sent, found)
    _check_drip(lambda data: feeding.read_request(codec, data), sent, found)
    if isinstance(found, Accepted):
        assert isinstance(found.head, RequestHead)
        for name, usual in REQUEST_FLAGS.items():
            default = b"a" if name == "host" else usual
            wanted = case.get(name, default)
            assert getattr(found.head, name) == (wanted.encode() if isinstance(wanted, str) else wanted), name


@on_both_codecs
@each(RESPONSES)
def test_a_response_head_has_its_outcome(codec: H1Codec, case: Case) -> None:
    sent, method, may_upgrade = text(case["send"]), case["method"].encode(), case.get("may_upgrade", False)
    found = feeding.read_response(codec, sent, method, may_upgrade)
    _check_head(case, sent, found)
    _check_drip(lambda data: feeding.read_response(codec, data, method, may_upgrade), sent, found)
    if isinstance(found, Accepted):
        assert isinstance(found.head, ResponseHead)
        assert found.head.is_reusable is case["is_reusable"]


def _check_head(case: Case, sent: bytes, found: Outcome) -> None:
    if "status" in case:
        assert found == Refused(case["status"])
        return
    assert isinstance(found, Accepted)
    assert found.head.wire.startswith(text(case["forwards"]) + b"\r\n")
    assert found.head.fields() == pairs(case["fields"])
    assert found.head.length == case["length"]
    assert sent[found.end :] == text(case.get("rest", ""))


def _check_drip(read: Callable[[bytes], Outcome], sent: bytes, whole: Outcome) -> None:
    """Before its end an accepted head is only incomplete; a refused one may be refused as soon as that is certain."""
    end = whole.end if isinstance(whole, Accepted) else len(sent)
    step = 1 if end < 2000 else 997
    seen = [read(sent[:size]) for size in range(0, end, step)]
    if isinstance(whole, Accepted):
        assert seen == [None] * len(seen)
        return
    assert all(found is None or isinstance(found, Refused) for found in seen)
    first = next((n for n, found in enumerate(seen) if found is not None), len(seen))
    assert None not in seen[first:]


@on_both_codecs
@each(BODIES)
def test_a_chunked_body_has_its_outcome(codec: H1Codec, case: Case) -> None:
    sent = text(case["send"])
    for pieces in feeding.cuttings(random.Random(1), sent):
        passed = feeding.read_body(codec.body(CHUNKED), pieces)
        decoded = feeding.read_body(codec.body(CHUNKED, decode=True), pieces)
        assert passed.is_done is decoded.is_done
        if "payload" not in case:
            assert passed.is_done is (False if case.get("open") else None)
            continue
        assert decoded.forwarded == text(case["payload"])
        assert passed.rest == decoded.rest == text(case["rest"])
        trailers = pairs(case["trailers"])
        assert feeding.h11_chunks(passed.forwarded) == (decoded.forwarded, trailers, b"")
