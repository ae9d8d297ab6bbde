"""Heads as values: their fields come from the bytes that go on, and from nothing else."""

import pytest

from milliroute.proxy.message import RequestHead, ResponseHead, parse_fields, with_close


def test_fields_have_lower_case_names_and_bare_values_in_their_order() -> None:
    wire = b"GET / HTTP/1.1\r\nHost: A\r\nX-Y:\t z: 1 \r\nx-y:\r\n\r\n"
    wanted = [(b"host", b"A"), (b"x-y", b"z: 1"), (b"x-y", b"")]
    assert parse_fields(wire) == wanted
    assert RequestHead(b"GET", b"/", b"a", wire).fields() == wanted


def test_a_head_without_fields_has_none() -> None:
    assert ResponseHead(200, b"HTTP/1.1 200 OK\r\n\r\n", 0, True).fields() == []


def test_a_value_keeps_its_inner_white_space_and_8_bit_bytes() -> None:
    assert parse_fields(b"G / H\r\nx:  a \t b\xa0\x85 \r\n\r\n") == [(b"x", b"a \t b\xa0\x85")]


def test_a_request_head_promises_nothing_by_itself() -> None:
    head = RequestHead(b"GET", b"/", b"a", b"")
    assert (head.length, head.upgrade) == (0, b"")
    assert (head.wants_close, head.is_http10, head.expects_continue) == (False, False, False)


@pytest.mark.parametrize("wire", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n"])
def test_close_is_said_last_and_the_rest_stays(wire: bytes) -> None:
    assert with_close(wire) == wire[:-2] + b"connection: close\r\n\r\n"
    assert parse_fields(with_close(wire)) == [*parse_fields(wire), (b"connection", b"close")]
