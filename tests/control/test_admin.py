"""The admin listener: pages, refusals, and peers that send garbage or nothing."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from milliroute.control import admin, errors
from milliroute.control.admin import AdminServer, Page
from milliroute.control.config import Address


def broken_page() -> Page:
    raise RuntimeError("a bug")


PAGES = {"/live": lambda: Page(b"live\n"), "/broken": broken_page}


async def exchange(address: Address, request: bytes, *, half_close: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(request)
    if half_close:
        writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


def served(scenario: Callable[[Address], Awaitable[bytes]]) -> bytes:
    async def main() -> bytes:
        server = AdminServer(PAGES)
        address = await server.start(Address("127.0.0.1", 0))
        try:
            return await asyncio.wait_for(scenario(address), 60)
        finally:
            await server.close()

    return asyncio.run(main())


def ask(request: bytes) -> bytes:
    return served(lambda address: exchange(address, request))


def test_a_page_is_answered_whole_and_the_connection_closed() -> None:
    answer = ask(b"GET /live?verbose HTTP/1.1\r\nhost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length: 5\r\n" in answer
    assert b"connection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\nlive\n")


def test_head_has_the_length_and_no_body() -> None:
    answer = ask(b"HEAD /live HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b"content-length: 5\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /nothing HTTP/1.1", b"404"),
        (b"POST /live HTTP/1.1", b"405"),
        (b"GET live HTTP/1.1", b"400"),
        (b"GET /live HTTP/2.0", b"400"),
        (b"GET /live\x00 HTTP/1.1", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
        (b"GET /" + b"a" * 3000 + b" HTTP/1.1", b"400"),
    ],
)
def test_a_bad_request_has_its_status(request_line: bytes, status: bytes) -> None:
    assert ask(request_line + b"\r\n\r\n").split(b" ")[1] == status


def test_a_head_without_end_is_refused_at_its_limit() -> None:
    answer = ask(b"GET /live HTTP/1.1\r\n" + b"x: " + b"y" * 100 * 1024)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_many_short_lines_count_against_the_same_limit() -> None:
    answer = ask(b"GET /live HTTP/1.1\r\n" + b"x: y\r\n" * 5000)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_peer_that_leaves_early_gets_nothing() -> None:
    assert served(lambda address: exchange(address, b"GET /li", half_close=True)) == b""


def test_a_peer_that_sends_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "HEAD_TIMEOUT_S", 0.01)
    assert ask(b"GET /live HTTP/1.1\r\n") == b""


def test_a_bug_in_a_page_is_a_500_and_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert ask(b"GET /broken HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 500 ")
    assert "/broken" in caplog.text


def test_connections_past_the_limit_are_closed_and_others_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "MAX_CONNECTIONS", 1)

    async def scenario(address: Address) -> bytes:
        _, holder = await asyncio.open_connection(address.host, address.port)
        holder.write(b"GET /live HTTP/1.1\r\n")
        refused = await exchange(address, b"")
        holder.write(b"\r\n")
        holder.close()
        return refused

    assert served(scenario) == b""


def test_a_taken_port_is_one_clear_message() -> None:
    async def scenario(address: Address) -> bytes:
        with pytest.raises(errors.ControlError, match=r"cannot listen on 127.0.0.1:\d+ \(control-admin\): .*in use"):
            await AdminServer({}).start(address)
        return b""

    served(scenario)
