"""The rules by themselves: the verdict over the fields that matter, whoever read them."""

import pytest

from milliroute.proxy.codec.rules import is_host, judge_request, judge_response, tokens
from milliroute.proxy.errors import BadResponse, RequestRefused
from milliroute.proxy.message import CHUNKED, UNTIL_CLOSE, Fields

HOST = (b"host", b"a")


def refused(method: bytes, *fields: tuple[bytes, bytes], is_http10: bool = False) -> int:
    with pytest.raises(RequestRefused) as caught:
        judge_request(method, list(fields), is_http10=is_http10)
    return caught.value.status


def test_a_request_without_framing_has_no_body() -> None:
    verdict = judge_request(b"POST", [HOST], is_http10=False)
    assert (verdict.length, verdict.host, verdict.drop) == (0, b"a", frozenset())


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(b"content-length", b"5"), (b"content-length", b"5")], 400),
        ([(b"content-length", b"5"), (b"transfer-encoding", b"chunked")], 400),
        ([(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")], 400),
        ([(b"transfer-encoding", b"gzip, chunked")], 501),
        ([(b"content-length", b"")], 400),
        ([(b"content-length", "٥".encode())], 400),
        ([(b"content-length", b"1" * 19)], 400),
        ([HOST], 400),
        ([(b"expect", b"x")], 417),
    ],
)
def test_a_request_that_can_be_read_in_two_ways_is_refused(fields: Fields, status: int) -> None:
    assert refused(b"POST", HOST, *fields) == status


def test_connect_is_not_offered() -> None:
    assert refused(b"CONNECT", HOST) == 501


def test_chunks_in_http10_are_refused() -> None:
    assert refused(b"POST", HOST, (b"transfer-encoding", b"chunked"), is_http10=True) == 400
    with pytest.raises(BadResponse):
        judge_response(200, b"GET", [(b"transfer-encoding", b"chunked")], is_http10=True, may_upgrade=False)


def test_only_http10_may_leave_host_out() -> None:
    assert judge_request(b"GET", [], is_http10=True).host == b""
    assert refused(b"GET") == 400


def test_what_is_nominated_is_dropped_but_not_what_gives_the_message_its_meaning() -> None:
    value = b"x-a, host, content-length, transfer-encoding, content-type, authorization, expect,, close"
    verdict = judge_request(b"GET", [HOST, (b"connection", value)], is_http10=False)
    assert verdict.drop == {b"connection", b"x-a", b"close"}
    assert verdict.wants_close


@pytest.mark.parametrize(
    ("method", "extra", "upgrade"),
    [
        (b"GET", [], b"websocket"),
        (b"POST", [], b""),
        (b"GET", [(b"content-length", b"5")], b""),
        (b"GET", [(b"upgrade", b"h2c")], b""),
    ],
)
def test_only_a_bare_get_may_upgrade_and_only_to_websocket(method: bytes, extra: Fields, upgrade: bytes) -> None:
    fields = [HOST, (b"connection", b"upgrade"), (b"upgrade", b"websocket"), *extra]
    verdict = judge_request(method, fields, is_http10=False)
    assert verdict.upgrade == upgrade
    assert {b"connection", b"upgrade"} <= verdict.drop


@pytest.mark.parametrize(
    ("status", "method", "fields", "length"),
    [
        (200, b"GET", [], UNTIL_CLOSE),
        (200, b"GET", [(b"content-length", b"5")], 5),
        (200, b"GET", [(b"transfer-encoding", b"chunked")], CHUNKED),
        (200, b"HEAD", [(b"content-length", b"5")], 0),
        (204, b"GET", [(b"transfer-encoding", b"chunked")], 0),
        (304, b"GET", [(b"content-length", b"5")], 0),
        (103, b"GET", [], 0),
    ],
)
def test_the_length_of_a_response(status: int, method: bytes, fields: Fields, length: int) -> None:
    verdict = judge_response(status, method, fields, is_http10=False, may_upgrade=False)
    assert verdict.length == length
    assert verdict.is_reusable == (length != UNTIL_CLOSE)


@pytest.mark.parametrize("status", [101, 103, 204])
def test_framing_fields_do_not_go_on_where_none_may_stand(status: int) -> None:
    fields = [(b"content-length", b"5"), (b"upgrade", b"websocket")]
    verdict = judge_response(status, b"GET", fields, is_http10=False, may_upgrade=True)
    assert b"content-length" in verdict.drop


@pytest.mark.parametrize("value", [b"close", b"keep-alive, close", b"x,close ,"])
def test_a_backend_that_closes_is_not_used_again(value: bytes) -> None:
    fields = [(b"content-length", b"5"), (b"connection", value)]
    assert not judge_response(200, b"GET", fields, is_http10=False, may_upgrade=False).is_reusable


def test_tokens_of_several_values_in_order() -> None:
    assert tokens([b"a, b", b",c\t,", b""]) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("value", [b"a", b"a:80", b"[::1]", b"[::1]:80", b"1.2.3.4", b"a_b", b"A.", b"%61"])
def test_these_are_hosts(value: bytes) -> None:
    assert is_host(value)


@pytest.mark.parametrize(
    "value", [b"", b"a:", b"a:b", b"a@b", b"a,b", b"a b", b"a/", b"::1", b"[a", b"[g]", b"a\n", b"\xe9"]
)
def test_these_are_not(value: bytes) -> None:
    assert not is_host(value)
