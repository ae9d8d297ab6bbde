"""What the first bytes of a connection say, and what backends declare."""

from http.server import BaseHTTPRequestHandler
from io import BytesIO
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from milliroute.proxy.downstream import detection
from milliroute.proxy.downstream.detection import (
    FirstLine,
    is_declared_http,
    is_declared_opaque,
    is_h2_preface,
    is_opaque,
    may_be_opaque,
)
from tests.conformance.corpus import cases, text

CLIENT_HELLO = bytes.fromhex("1603010200010001fc0303")
OPAQUE = {
    "TLS": CLIENT_HELLO,
    "PostgreSQL": bytes.fromhex("0000000804d2162f"),
    "MongoDB": b"\x3f\x00\x00\x00\x01\x00\x00\x00",
    "AMQP": b"AMQP\x00\x00\x09\x01",
    "MQTT": b"\x10\x0c\x00\x04MQTT",
    "Thrift": b"\x80\x01\x00\x01",
    "protobuf": b"\x0a\x05hello\x12\x01x",
    "RESP": b"*1\r\n$4\r\nPING\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "SMTP": b"EHLO example.com\r\n",
    "JSON lines": b'{"id": 1, "method": "subscribe"}\n',
    "a word": b"quit\n",
}
HTTP_LIKE = {
    "a broken version": b"GET / FOO\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "a method alone": b"GET\r\n",
    "a method in lower case": b"get / http/1.1\r\n",
    "memcached, which shares the word": b"get key\r\n",
    "a strange method": b"FOO / HTTP/1.1\r\n",
    "a strange method and version": b"foo / hTTp/9\r\n",
    "NUL after a method": b"GET\x00/ HTTP/1.1\r\n",
    "a colon after a method": b"POST: x\r\n",
    "a byte of latin-1 in the method": b"G\xc9T / HTTP/1.1\r\n",
    "NUL behind a strange method": b"FOO /\x00 HTTP/1.1\r\n",
    "a line feed first": b"\nFOO / HTTP/1.1\r\n",
    "a vertical tab first": b"\x0bGET / HTTP/1.1\r\n",
    "what str.split() takes for blanks": b"\x1fGET\x1c/\x85HTTP/1.1\r\n",
    "a no-break space first": b"\xa0FOO / HTTP/1.1\r\n",
    "a carriage return as line end": b"FOO / HTTP/1.1\rHost: a\r\r\n",
    "a response": b"HTTP/1.1 200 OK\r\n",
    "an unknown preface": b"PRI * HTTP/3.0\r\n",
    "CONNECT": b"CONNECT b:443 HTTP/1.1\r\n",
}
NEARLY_HTTP = st.lists(
    st.sampled_from([b"GET", b"FOO", b"/", b" HTTP/1.1", b"http/1.0", b"\r\n", b"\n", b"\r", b"\x00", b"\x16", b"\x85"])
    | st.sampled_from([b" ", b"\t", b"\x0b", b"\x1f", b"\xa0", b":", b"\xc9", b"x"]),
    max_size=10,
).map(b"".join)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.mark.parametrize("data", OPAQUE.values(), ids=OPAQUE)
def test_what_cannot_begin_a_request_is_opaque(data: bytes) -> None:
    assert is_opaque(data) is True


@pytest.mark.parametrize("data", HTTP_LIKE.values(), ids=HTTP_LIKE)
def test_what_some_server_could_read_as_a_request_is_http(data: bytes) -> None:
    assert is_opaque(data) is False
    assert True not in [is_opaque(data[:size]) for size in range(len(data))]


@pytest.mark.parametrize("case", cases("requests"), ids=lambda case: case["name"])
def test_no_request_of_the_corpus_is_opaque_however_it_is_cut(case: dict[str, str]) -> None:
    sent = text(case["send"])
    sizes = [*range(min(len(sent), 300)), *range(300, len(sent), 997), len(sent)]
    assert True not in [is_opaque(sent[:size]) for size in sizes]


@given(st.binary(max_size=40) | NEARLY_HTTP)
@example(b"A\x00HTTP/1.1\n")
@example(b" \r\n\x01")
def test_a_verdict_holds_whatever_follows(data: bytes) -> None:
    verdicts = [is_opaque(data[:size]) for size in range(len(data) + 1)]
    first = next((n for n, verdict in enumerate(verdicts) if verdict is not None), len(verdicts))
    assert set(verdicts[first:]) in (set(), {verdicts[-1]})


class Server(BaseHTTPRequestHandler):
    """The lenient server of Python's own library, as far as the reading of a request line."""

    def __init__(self, data: bytes) -> None:
        self.rfile, self.wfile = BytesIO(data), BytesIO()
        self.client_address = ("127.0.0.1", 1)
        self.raw_requestline = self.rfile.readline(65537)

    def takes_it(self) -> bool:
        return self.parse_request()

    def log_message(self, format: str, *args: object) -> None:
        pass


@given(NEARLY_HTTP.map(lambda data: data + b" / HTTP/1.1\r\n\r\n") | NEARLY_HTTP.map(lambda data: data + b"\r\n\r\n"))
@example(b"F\x00O / HTTP/1.1\r\n\r\n")
@example(b"\x1fGET\xa0/\x85HTTP/1.1\r\n\r\n")
def test_nothing_that_passes_is_a_request_to_pythons_http_server(data: bytes) -> None:
    if is_opaque(data) and FirstLine().feed(data) is not True:
        assert not Server(data).takes_it()


def test_pythons_http_server_would_take_a_binary_method() -> None:
    assert Server(b"F\x00O / HTTP/1.1\r\n\r\n").takes_it()


@given(NEARLY_HTTP, st.lists(st.integers(0, 40), max_size=4))
def test_a_first_line_is_read_alike_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(data)]
    watched, found = FirstLine(), None
    for start, end in pairwise(bounds):
        if found is None and start < end:
            found = watched.feed(data[start:end])
    assert found is FirstLine().feed(data)


def test_a_first_line_that_ends_in_a_version_of_http_is_a_request() -> None:
    for line in (b"\x00 / HTTP/1.1\r\n", b"\n\x00\x85http/11\n", b"\x00 x HTTP/0000000001.0000000001 \t \n"):
        assert FirstLine().feed(line) is True, line
    for line in (b"\x00 / \n HTTP/1.1\n", b"\x16\x03\x01\x02h2\x08http/1.1\n", b"\x00 / HTTP/1.1 x\n", b"\x00 HTTP\n"):
        assert FirstLine().feed(line) is False, line
    assert FirstLine().feed(b"\x00 / HTTP/1.1") is None


@given(st.lists(st.binary(min_size=1, max_size=4), max_size=8))
def test_a_drip_that_may_not_be_opaque_need_not_be_looked_at(pieces: list[bytes]) -> None:
    seen = b""
    for piece in pieces:
        before, seen = seen, seen + piece
        if is_opaque(before) is None and is_opaque(seen) is True:
            assert may_be_opaque(piece)


def test_a_first_line_without_end_is_http_at_its_limit() -> None:
    limit = detection.MAX_FIRST_LINE_BYTES
    assert is_opaque(b"x" * (limit - 1)) is None
    assert is_opaque(b"x" * limit) is False
    assert is_opaque(b"x" * limit + b"\n") is False
    assert is_opaque(b"\n" * limit) is False


def test_a_line_is_undecided_before_its_end() -> None:
    for data in (b"", b"\r\n", b"E", b"EHLO", b"EHLO exam", b"\xc9", b"GET"):
        assert is_opaque(data) is None, data


def test_the_preface_of_http2_is_told_from_its_whole() -> None:
    assert is_h2_preface(PREFACE) is is_h2_preface(PREFACE + b"\x00") is True
    assert {is_h2_preface(PREFACE[:size]) for size in range(len(PREFACE))} == {None}
    assert is_h2_preface(b"PRI * HTTP/1.1") is is_h2_preface(b"\x16") is False
    assert True not in [is_opaque(PREFACE[:size]) for size in range(len(PREFACE) + 1)]


def test_only_where_every_backend_says_so_no_byte_is_awaited() -> None:
    assert is_declared_opaque(["tcp", "MySQL", "linkerd.io/opaque"])
    for names in ([], [""], ["tcp", ""], ["tcp", "http"], ["something"]):
        assert not is_declared_opaque(names), names


def test_one_backend_that_says_http_is_enough() -> None:
    for name in ("http", "HTTP", "https", "grpc", "kubernetes.io/h2c", "kubernetes.io/ws"):
        assert is_declared_http(["", name]), name
    assert not is_declared_http(["", "tcp", "something", "kubernetes.io/other"])
    assert not is_declared_http([])
