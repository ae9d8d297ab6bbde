"""The admin listener: strict, small, and careful with orders."""

import asyncio
import gzip

import pytest

from milliroute.proxy.agent import admin, listening
from milliroute.proxy.agent.admin import (
    AdminServer,
    RefusedRequestError,
    Request,
    Response,
    answer,
    body_length,
    encode,
)
from milliroute.proxy.config import HostPort

ROUTES: admin.Routes = {
    "/live": {"GET": lambda request: admin.text(200, "live")},
    "/big": {"GET": lambda request: admin.text(200, "x" * 5000)},
    "/broken": {"GET": lambda request: admin.text(200, str(1 // len(request.body)))},
    "/order": {"POST": lambda request: admin.text(200, f"did {request.body.decode()}")},
}


def get(path: str, **headers: str) -> Request:
    return Request("GET", path, headers)


def post(path: str, headers: dict[str, str] | None = None, *, is_loopback: bool = True) -> Request:
    return Request("POST", path, headers or {}, b"", is_loopback)


def test_a_known_path_is_answered_and_another_is_404() -> None:
    assert answer(ROUTES, get("/live")).body == b"live\n"
    assert answer(ROUTES, get("/nothing")).status == 404


def test_another_verb_is_405_and_says_which_are_allowed() -> None:
    refused = answer(ROUTES, Request("DELETE", "/live", {}))
    assert (refused.status, refused.headers["allow"]) == (405, "GET")
    assert answer(ROUTES, get("/order")).status == 405


def test_orders_are_taken_from_loopback_only() -> None:
    assert answer(ROUTES, post("/order")).status == 200
    assert answer(ROUTES, post("/order", is_loopback=False)).status == 403


@pytest.mark.parametrize("header", ["origin", "sec-fetch-site"])
def test_orders_are_not_taken_from_a_page_in_a_browser(header: str) -> None:
    assert answer(ROUTES, post("/order", {header: "https://evil.example"})).status == 403


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("::ffff:127.0.0.1", True), ("10.0.0.1", False)],
)
def test_loopback_is_all_of_127_and_the_one_of_ipv6(host: str, expected: bool) -> None:
    assert admin.is_loopback((host, 1)) is expected


@pytest.mark.parametrize(
    "head",
    [
        b"GET /live HTTP/2.0\r\n\r\n",
        b"GET  /live HTTP/1.1\r\n\r\n",
        b"GET live HTTP/1.1\r\n\r\n",
        b"GET /live HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /live HTTP/1.1\r\na : b\r\n\r\n",
        b"GET /live HTTP/1.1\r\n folded: x\r\n\r\n",
        b"GET /live HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
    ],
)
def test_a_head_that_is_not_plain_is_a_400(head: bytes) -> None:
    with pytest.raises(RefusedRequestError) as caught:
        admin.parse_head(head)
    assert caught.value.status == 400


def test_a_query_does_not_change_the_path() -> None:
    assert admin.parse_head(b"GET /live?x=1 HTTP/1.1\r\nHost: a\r\n\r\n").path == "/live"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-length": "-1"}, 400),
        ({"content-length": "\u0661"}, 400),
        ({"content-length": "1025"}, 413),
        ({"content-length": "9" * 5000}, 413),
        ({"transfer-encoding": "chunked"}, 501),
    ],
)
def test_a_body_that_is_too_big_or_of_unknown_length_is_refused(headers: dict[str, str], status: int) -> None:
    with pytest.raises(RefusedRequestError) as caught:
        body_length(Request("POST", "/order", headers))
    assert caught.value.status == status


def test_a_big_answer_is_compressed_for_who_accepts_it() -> None:
    plain = encode(Response(200, b"x" * 5000), get("/big"))
    packed = encode(Response(200, b"x" * 5000), get("/big", **{"accept-encoding": "gzip, deflate"}))
    head, _, body = packed.partition(b"\r\n\r\n")
    assert b"content-encoding: gzip" in head
    assert b"content-encoding" not in plain
    assert gzip.decompress(body) == b"x" * 5000


def test_head_has_the_length_of_get_and_no_body() -> None:
    whole = encode(Response(200, b"live\n"), Request("HEAD", "/live", {}))
    assert b"content-length: 5\r\n" in whole
    assert whole.endswith(b"\r\n\r\n")


async def _talk(*chunks: bytes) -> bytes:
    (sock,) = listening.open_group(HostPort("127.0.0.1", 0), 1)
    address = listening.bound_address(sock)
    server = AdminServer(sock, ROUTES)
    await server.start()
    reader, writer = await asyncio.open_connection(address.host, address.port)
    for chunk in chunks:
        writer.write(chunk)
        await writer.drain()
    writer.write_eof()
    data = await reader.read()
    writer.close()
    await writer.wait_closed()
    server.close()
    return data


def test_a_request_over_a_socket_gets_its_answer_in_one_piece_or_many() -> None:
    request = b"POST /order HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nit"
    whole = asyncio.run(_talk(request))
    assert whole.startswith(b"HTTP/1.1 200 OK\r\n")
    assert whole.endswith(b"\r\n\r\ndid it\n")
    assert asyncio.run(_talk(*(request[i : i + 1] for i in range(len(request))))) == whole


def test_a_head_that_does_not_end_is_431() -> None:
    assert asyncio.run(_talk(b"GET /live HTTP/1.1\r\nx: " + b"y" * 20_000)).startswith(b"HTTP/1.1 431 ")


def test_a_half_request_gets_no_answer() -> None:
    assert asyncio.run(_talk(b"GET /live HTT")) == b""


def test_our_own_failure_is_a_500_and_not_the_end(caplog: pytest.LogCaptureFixture) -> None:
    assert asyncio.run(_talk(b"GET /broken HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 500 ")
    assert "admin request failed" in caplog.text
