"""The scanner takes what is plain as it came, and declines everything else."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milliroute.proxy.codec import h1_scan, rules
from milliroute.proxy.codec.h1_scan import scan_request, scan_response, without
from milliroute.proxy.codec.rules import MAX_FIELDS, MAX_HEAD_BYTES, MAX_TARGET_BYTES
from milliroute.proxy.errors import BadResponse, RequestRefused
from milliroute.proxy.message import CHUNKED, UNTIL_CLOSE

PLAIN = b"GET /a?b HTTP/1.1\r\nHost: A:80\r\nX: y\r\n\r\n"


def request(*lines: bytes, line: bytes = b"POST / HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: a", *lines, b"", b""])


def response(*lines: bytes, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([line, *lines, b"", b""])


def test_a_plain_request_is_forwarded_as_the_bytes_it_came_in() -> None:
    found = scan_request(PLAIN + b"next")
    assert found is not None
    head, end = found
    assert (head.method, head.target, head.host, head.length) == (b"GET", b"/a?b", b"a:80", 0)
    assert head.wire == PLAIN
    assert end == len(PLAIN)


def test_without_anything_behind_it_the_buffer_itself_is_forwarded() -> None:
    found = scan_request(PLAIN)
    assert found is not None
    assert found[0].wire is PLAIN


@pytest.mark.parametrize("size", range(len(PLAIN)))
def test_an_incomplete_head_is_declined(size: int) -> None:
    assert scan_request(PLAIN[:size]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n" + PLAIN,
        PLAIN.replace(b"1.1", b"1.0"),
        PLAIN.replace(b"/a", b"http://b/a"),
        PLAIN.replace(b"/a", b"*"),
        PLAIN.replace(b"/a", b"/#a"),
        PLAIN.replace(b"X: y", b"X: a\r\n b"),
        PLAIN.replace(b"X: y", b"X : y"),
        PLAIN.replace(b"y", b"\x01"),
        PLAIN.replace(b"y", b"\x7f"),
        PLAIN.replace(b"y", b"a\nb"),
        PLAIN.replace(b"y", b"a\nTransfer-Encoding: chunked"),
        PLAIN.replace(b"y", b"a\rb"),
        PLAIN.replace(b"y", b"a\n\rb"),
        PLAIN.replace(b"y", b"a\r"),
        PLAIN.replace(b"X", b"X\n"),
        PLAIN.replace(b"A:80", b"a\n"),
        PLAIN.replace(b"A:80", b"a/b"),
        PLAIN.replace(b"A:80", b" a"),
        PLAIN.replace(b"A:80", b"a\t"),
        request(b"Connection: close").replace(b" a", b"  a "),
        PLAIN.replace(b"/a", b"/" + b"a" * MAX_TARGET_BYTES),
        PLAIN.replace(b"X: y\r\n", b"X: y\r\n" * MAX_FIELDS),
        PLAIN.replace(b"y", b"y" * MAX_HEAD_BYTES),
        request(b"Content-Length: 05"),
        request(b"Content-Length:\t5"),
        request(b"Content-Length: 5 "),
        request(b"Content-Length: +5"),
        request(b"Transfer-Encoding: Chunked"),
        request(b"Transfer-Encoding: gzip"),
    ],
)
def test_what_is_not_plain_is_left_to_the_reference(data: bytes) -> None:
    assert scan_request(data) is None


@pytest.mark.parametrize(
    ("line", "length"),
    [(b"Content-Length: 5", 5), (b"content-length:0", 0), (b"transfer-encoding:chunked", CHUNKED)],
)
def test_a_plainly_framed_body_goes_on_as_it_came(line: bytes, length: int) -> None:
    found = scan_request(request(line))
    assert found is not None
    assert (found[0].length, found[0].wire) == (length, request(line))


@pytest.mark.parametrize(
    "lines", [(b"Content-Length: 5", b"Content-Length: 5"), (b"Content-Length: 5", b"Transfer-Encoding: chunked")]
)
def test_a_plain_head_with_a_framing_of_two_meanings_is_refused(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(RequestRefused):
        scan_request(request(*lines))
    with pytest.raises(BadResponse):
        scan_response(response(*lines), b"GET")


@pytest.mark.parametrize("second", [b"Host: A:80", b"host: b", b"HOST:b"])
def test_a_second_host_is_refused_in_any_spelling(second: bytes) -> None:
    for data in (request(second), PLAIN.replace(b"Host: A:80", second + b"\r\nHost: A:80")):
        with pytest.raises(RequestRefused):
            scan_request(data)


@pytest.mark.parametrize(
    "second", [b"Content-Length: 5x", b"content-length: 05", b"Content-length:6", b"Content-Length: "]
)
@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_lengths_none_counts_even_if_one_is_no_number(second: bytes, is_first: bool) -> None:
    lines = (second, b"Content-Length: 5") if is_first else (b"Content-Length: 5", second)
    for scan in (lambda: scan_request(request(*lines)), lambda: scan_response(response(*lines), b"GET")):
        with contextlib.suppress(RequestRefused, BadResponse):
            assert scan() is None


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), b""),
        ((b"X-Forwarded-For: 1.2.3.4",), b"X-Forwarded-For: 1.2.3.4"),
        ((b"x-forwarded-for:1.2.3.4", b"Content-Length: 5"), b"x-forwarded-for:1.2.3.4"),
        ((b"x-a: b", b"x-forwarded-for: 1.2.3.4 "), b"x-forwarded-for: 1.2.3.4 "),
        ((b"x-forwarded-for: 1.2.3.4", b"x-forwarded-for: 1.2.3.4"), None),
        ((b"X-FORWARDED-FOR: 1.2.3.4",), None),
        ((b"x-forwarded-for: 1.2.3.4", b"X_forwarded_Host: a"), None),
        ((b"VIA: 1.1 a",), None),
        ((b"Forwarded: for=a",), None),
        ((b"x-real-ip: a",), None),
        ((b"x-forwarded: a", b"forwarder: b", b"via-a: b", b"x-real-ips: c"), b""),
        ((b"x-forwarded-for: 1.2.3.4", b"connection: close"), None),
        ((b"connection: close",), b""),
    ],
)
def test_what_is_said_of_clients_is_told_where_that_is_asked_for(lines: tuple[bytes, ...], said: bytes | None) -> None:
    found = scan_request(request(*lines), tells=True)
    assert found is not None
    assert found[0].said == said
    plain = scan_request(request(*lines))
    assert plain is not None
    assert plain[0].wire == found[0].wire


# Lines of names that matter, in forms that are taken and in others, and of names that nearly do.
LINES = st.sampled_from((
    b"Host: a", b"host:b", b"HOST: c", b"Host: a/b", b"hosts: a", b"Content-Length: 5", b"content-length: 6",
    b"Content-Length: 05", b"Content-Length: 5x", b"Transfer-Encoding: chunked", b"transfer-encoding: gzip", b"te: x",
    b"tea: x", b"Connection: close", b"cookie: a", b"x: y", b"x-forwarded-for: 1", b"X-Forwarded-For:2", b"via: a",
    b"x-forwarded: a", b"X_forwarded-host: q", b"l5d-x: a", b"l5d: a", b"up: b", b"Upgrade: b",
))  # fmt: skip


@settings(max_examples=2000)
@given(st.lists(LINES, max_size=8))
def test_the_expressions_see_what_is_seen_line_by_line(lines: list[bytes]) -> None:
    """Also because groups in repeats were wrong in CPython more than once (gh-101955, gh-106052)."""
    seen: dict[str, bytes] = {}
    forms = (
        ("host", b"Host: a", b"host:b"),
        ("length", b"Content-Length: 5", b"content-length: 6"),
        ("coding", b"Transfer-Encoding: chunked"),
        ("sender", b"x-forwarded-for: 1", b"X-Forwarded-For:2"),
    )
    for line in lines:
        name = line.partition(b":")[0].lower()
        kind = next((kind for kind, *usual in forms if line in usual and kind not in seen), "")
        if kind:
            seen[kind] = line if kind == "sender" else line.partition(b":")[2].strip()
        elif name in rules.REQUEST_NAMES or rules.is_order(name):
            seen["noted"] = b""
        elif name == b"via" or rules.is_about_clients(name):
            seen["more"] = b""
    wire = b"\r\n".join([b"GET / HTTP/1.1", *lines, b"", b""])
    found = h1_scan._match_telling(wire)
    assert found is not None
    assert found.groups()[2:] == tuple(map(seen.get, ("host", "length", "coding", "sender", "noted", "more")))


def test_what_stays_on_this_hop_is_cut_out_and_the_rest_keeps_its_bytes() -> None:
    found = scan_request(request(b"connection: x-a, close", b"X-A: 1", b"x-B:2 ", b"TE: trailers"))
    assert found is not None
    assert found[0].wire == request(b"x-B:2 ")
    assert found[0].wants_close


@pytest.mark.parametrize("status", [b"100", b"101", b"199", b"600", b"099", b"20", b"2000"])
def test_only_final_statuses_are_scanned(status: bytes) -> None:
    assert scan_response(response(b"Content-Length: 5", line=b"HTTP/1.1 " + status + b" X"), b"GET") is None


@pytest.mark.parametrize(
    ("method", "status", "lines", "length"),
    [
        (b"GET", b"200", (b"Content-Length: 5",), 5),
        (b"GET", b"599", (b"Transfer-Encoding: chunked",), CHUNKED),
        (b"GET", b"200", (), UNTIL_CLOSE),
        (b"HEAD", b"200", (b"Content-Length: 5",), 0),
        (b"HEAD", b"200", (b"Transfer-Encoding: chunked",), 0),
        (b"HEAD", b"200", (), 0),
        (b"GET", b"204", (), 0),
        (b"GET", b"204", (b"Content-Length: 5",), 0),
        (b"GET", b"304", (b"Content-Length: 5",), 0),
        (b"POST", b"304", (b"Transfer-Encoding: chunked",), 0),
    ],
)
def test_the_body_of_a_response_follows_from_method_status_and_fields(
    method: bytes, status: bytes, lines: tuple[bytes, ...], length: int
) -> None:
    found = scan_response(response(*lines, line=b"HTTP/1.1 " + status + b" X"), method)
    assert found is not None
    assert (found[0].length, found[0].is_reusable) == (length, length != UNTIL_CLOSE)


def test_without_keeps_the_order_and_asks_for_the_upgrade_last() -> None:
    wire = without(request(b"Upgrade: x", b"X: y"), frozenset((b"upgrade",)), b"websocket")
    assert wire == request(b"X: y", b"connection: upgrade", b"upgrade: websocket")
