"""The reader that judges every answer."""

import pytest

from benchmarks.backend import answers
from benchmarks.response import BadResponse, ResponseReader, chunked_bytes
from benchmarks.scenario import BODY_BYTES, Answer


def whole(kind: Answer) -> bytes:
    """A backend's answer number 7."""
    return answers("stable")[kind.encode()] % 7


@pytest.mark.parametrize("kind", list(BODY_BYTES))
@pytest.mark.parametrize("step", [100_000, 1000, 7])
def test_answer_is_complete_with_its_last_byte_however_it_is_cut(kind: Answer, step: int) -> None:
    reader, raw = ResponseReader(BODY_BYTES[kind]), whole(kind)
    *before, last = [reader.feed(raw[at : at + step]) for at in range(0, len(raw), step)]
    assert last == "stable"
    assert set(before) <= {None}


def test_one_reader_reads_one_answer_after_another() -> None:
    reader = ResponseReader(BODY_BYTES["chunked"])
    assert [reader.feed(whole("chunked")) for _ in range(3)] == ["stable"] * 3


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 512\r\n\r\n", "wanted status 200"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 511\r\n\r\n", "wanted content-length 512, got 511"),
        (b"HTTP/1.1 200 OK\r\nx-backend: stable\r\n\r\n", "neither content-length nor chunked"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 512\r\n\r\n" + b"b" * 513, "1 bytes more"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "wanted 512 bytes in chunks, got 3",
        ),
    ],
)
def test_anything_but_the_expected_answer_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(BadResponse, match=reason):
        ResponseReader(512).feed(raw)


def test_chunks_may_be_cut_anew_by_a_proxy() -> None:
    assert chunked_bytes(b"1\r\na\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n") == 11


@pytest.mark.parametrize("raw", [b"5\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n0\r\n\r\n", b"x\r\n0\r\n\r\n"])
def test_chunked_body_must_be_exactly_one(raw: bytes) -> None:
    with pytest.raises(BadResponse):
        chunked_bytes(raw)
