"""The message rules of RFC 9113 section 8 and ours above them: what passes, what it says, and what is refused."""

import pytest

from milliroute.proxy.codec import h2_rules
from milliroute.proxy.codec.h2_rules import judge_length, judge_request, judge_response, judge_trailers
from milliroute.proxy.codec.hpack import Field
from milliroute.proxy.errors import StreamError

Pairs = list[tuple[bytes, bytes]]

GET: Pairs = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"web.shop:8080"), (b":path", b"/a?b=c")]
CONNECT: Pairs = [
    (b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"https"), (b":path", b"/chat"),
    (b":authority", b"web.shop"),
]  # fmt: skip


def fields(pairs: Pairs) -> list[Field]:
    return [Field(name, value) for name, value in pairs]


def without(pairs: Pairs, name: bytes) -> Pairs:
    return [pair for pair in pairs if pair[0] != name]


def replaced(name: bytes, value: bytes, pairs: Pairs = GET) -> Pairs:
    return [(known, value if known == name else old) for known, old in pairs]


def refusal(pairs: Pairs, **options: bool) -> StreamError:
    with pytest.raises(StreamError) as caught:
        judge_request(fields(pairs), **options)
    assert caught.value.code == h2_rules.PROTOCOL_ERROR
    return caught.value


def test_a_plain_request_says_what_its_pseudo_fields_say() -> None:
    verdict = judge_request(fields([*GET, (b"accept", b"*/*"), (b"x-empty", b"")]))
    assert (verdict.method, verdict.target, verdict.scheme) == (b"GET", b"/a?b=c", b"http")
    assert (verdict.authority, verdict.protocol, verdict.content_length) == (b"web.shop:8080", b"", None)
    assert verdict.drop == frozenset()


@pytest.mark.parametrize("name", [b":method", b":scheme", b":path", b":authority"])
def test_each_pseudo_field_of_a_request_must_be_there_once(name: bytes) -> None:
    assert refusal(without(GET, name)).status == 400
    refusal([*GET, (name, dict(GET)[name])])


@pytest.mark.parametrize("name", [b":status", b":protocol", b":other", b":", b":Path"])
def test_a_pseudo_field_that_does_not_belong_is_refused(name: bytes) -> None:
    refusal([*GET, (name, b"200")])


def test_a_pseudo_field_after_a_regular_one_is_refused_also_when_that_one_has_passed_before() -> None:
    seen = Field(b"accept", b"*/*")
    judge_request([*fields(GET), seen])
    with pytest.raises(StreamError):
        judge_request([*fields(GET[:3]), seen, *fields(GET[3:])])


@pytest.mark.parametrize(
    "name", [b"", b"Accept", b"a b", b"a:b", b"a\0", b"caf\xe9", b"a\r\nb", b"a\n", b"x" * 300 + b"X"]
)
def test_a_name_that_is_no_lower_case_token_is_refused(name: bytes) -> None:
    refusal([*GET, (name, b"x")])


@pytest.mark.parametrize(
    "value", [b" a", b"a ", b"\ta", b"a\t", b" ", b"a\0b", b"a\rb", b"a\nb", b"a\n", b"\x7f", b"\x01"]
)
def test_a_value_with_controls_or_outer_white_space_is_refused(value: bytes) -> None:
    refusal([*GET, (b"x-a", value)])


@pytest.mark.parametrize("value", [b"", b"a", b"a b\tc", b"caf\xc3\xa9", b"~!\"'(),/:;<=>?@[]{}"])
def test_a_value_of_visible_characters_and_inner_white_space_passes(value: bytes) -> None:
    judge_request(fields([*GET, (b"x-a", value)]))


@pytest.mark.parametrize(
    "name", [b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings"]
)
def test_connection_specific_fields_are_refused_in_every_message(name: bytes) -> None:
    refusal([*GET, (name, b"close")])
    with pytest.raises(StreamError):
        judge_response(fields([(b":status", b"200"), (name, b"close")]))
    with pytest.raises(StreamError):
        judge_trailers(fields([(name, b"close")]))


def test_te_says_trailers_or_is_refused() -> None:
    assert judge_request(fields([*GET, (b"te", b"trailers")])).drop == frozenset()
    for value in (b"gzip", b"trailers, gzip", b"", b"trailers;q=1"):
        refusal([*GET, (b"te", value)])


@pytest.mark.parametrize(
    "path",
    [b"", b"a", b"*", b"//\x7f", b"/a b", b"/a#b", b"/\0", b"/caf\xe9", b"http://h/", b"/a\r\nHost: x", b"/a\n", b"?a"],
)
def test_a_path_not_in_origin_form_is_refused(path: bytes) -> None:
    assert refusal(replaced(b":path", path)).status == 400


def test_an_asterisk_is_the_path_of_options_only() -> None:
    assert judge_request(fields(replaced(b":path", b"*", replaced(b":method", b"OPTIONS")))).target == b"*"


def test_a_path_of_over_8_kib_is_414() -> None:
    assert refusal(replaced(b":path", b"/" * 8193)).status == 414
    judge_request(fields(replaced(b":path", b"/" * 8192)))


@pytest.mark.parametrize("method", [b"", b"GE T", b"GET\n", b"G(", b"\0"])
def test_a_method_that_is_no_token_is_refused(method: bytes) -> None:
    refusal(replaced(b":method", method))


@pytest.mark.parametrize("scheme", [b"", b"ftp", b"HTTP", b"http ", b"http\r\n"])
def test_a_scheme_other_than_http_and_https_is_refused(scheme: bytes) -> None:
    refusal(replaced(b":scheme", scheme))


@pytest.mark.parametrize(
    "authority", [b"", b"a b", b"u@h", b"a/b", b"a,b", b"h:", b"h:x", b"h:123456", b"[::1", b"a\n", b"#"]
)
def test_an_authority_that_is_no_host_and_port_is_refused(authority: bytes) -> None:
    refusal(replaced(b":authority", authority))
    refusal([*without(GET, b":authority"), (b"host", authority)])


def test_an_authority_is_known_in_lower_case() -> None:
    assert judge_request(fields(replaced(b":authority", b"WEB.Shop"))).authority == b"web.shop"


def test_host_beside_authority_must_agree_and_is_dropped() -> None:
    authority = dict(GET)[b":authority"]
    assert judge_request(fields([*GET, (b"host", authority)])).drop == {b"host"}
    for host in (b"web.shop", b"other:8080", authority.swapcase(), b""):
        refusal([*GET, (b"host", host)])


def test_host_alone_stands_for_the_authority_and_stays() -> None:
    verdict = judge_request(fields([*without(GET, b":authority"), (b"host", b"web")]))
    assert (verdict.authority, verdict.drop) == (b"web", frozenset())
    refusal([*without(GET, b":authority"), (b"host", b"web"), (b"host", b"web")])


@pytest.mark.parametrize("name", [b"l5d-dst-override", b"l5d_client_id"])
def test_orders_to_proxies_are_dropped_each_time(name: bytes) -> None:
    request = fields([*GET, (name, b"x")])
    assert [judge_request(request).drop for _ in range(2)] == [{name}, {name}]


def test_content_length_is_decimal_of_at_most_18_digits_and_comes_once() -> None:
    assert judge_request(fields([*GET, (b"content-length", b"00012")])).content_length == 12
    for value in (b"", b"+5", b"-1", b"0x10", b"1_0", b"5,5", b"5 5", b"\xd9\xa3", b"1" * 19):
        refusal([*GET, (b"content-length", value)])
    refusal([*GET, (b"content-length", b"5"), (b"content-length", b"5")])


def test_content_length_above_zero_contradicts_end_stream() -> None:
    refusal([*GET, (b"content-length", b"5")], end_stream=True)
    assert judge_request(fields([*GET, (b"content-length", b"0")]), end_stream=True).content_length == 0


@pytest.mark.parametrize(
    ("said", "received", "is_end", "is_right"),
    [(None, 9, True, True), (5, 5, True, True), (5, 4, False, True), (5, 4, True, False), (5, 6, False, False)],
)
def test_data_must_add_up_to_content_length(said: int | None, received: int, is_end: bool, is_right: bool) -> None:
    if is_right:
        judge_length(said, received, is_end=is_end)
    else:
        with pytest.raises(StreamError):
            judge_length(said, received, is_end=is_end)


def test_plain_connect_is_not_offered() -> None:
    connect = [(b":method", b"CONNECT"), (b":authority", b"web:443")]
    assert refusal(connect).status == 501
    assert refusal(connect, may_extended_connect=True).status == 501


def test_extended_connect_passes_where_we_have_offered_it() -> None:
    verdict = judge_request(fields(CONNECT), may_extended_connect=True)
    assert (verdict.protocol, verdict.target, verdict.scheme) == (b"websocket", b"/chat", b"https")
    refusal(CONNECT)


@pytest.mark.parametrize("name", [b":scheme", b":path", b":authority"])
def test_extended_connect_needs_all_pseudo_fields(name: bytes) -> None:
    refusal(without(CONNECT, name), may_extended_connect=True)


def test_extended_connect_has_no_other_method_protocol_or_content_length() -> None:
    refusal(replaced(b":method", b"GET", CONNECT), may_extended_connect=True)
    refusal([*CONNECT, (b"content-length", b"0")], may_extended_connect=True)
    assert refusal(replaced(b":protocol", b"connect-udp", CONNECT), may_extended_connect=True).status == 501


@pytest.mark.parametrize("status", [b"", b"99", b"600", b"20", b"2000", b"abc", b"+20", b"200 ", b"200\n", b"101"])
def test_a_status_that_is_none_is_refused(status: bytes) -> None:
    with pytest.raises(StreamError) as caught:
        judge_response(fields([(b":status", status)]))
    assert caught.value.status == 502


@pytest.mark.parametrize(
    "pairs",
    [[], [(b":status", b"200")] * 2, [(b"a", b"b"), (b":status", b"200")], [(b":status", b"200"), (b":path", b"/")]],
)
def test_a_response_has_one_status_first_and_no_other_pseudo_field(pairs: Pairs) -> None:
    with pytest.raises(StreamError):
        judge_response(fields(pairs))


@pytest.mark.parametrize(
    ("status", "method", "wanted"),
    [
        (b"200", b"GET", (200, 7)), (b"200", b"HEAD", (200, 0)), (b"304", b"GET", (304, 0)), (b"204", b"GET", (204, 0)),
        (b"103", b"GET", (103, None)), (b"200", b"CONNECT", (200, None)), (b"403", b"CONNECT", (403, 7)),
    ],
)  # fmt: skip
def test_a_response_says_how_many_bytes_come(status: bytes, method: bytes, wanted: tuple[int, int | None]) -> None:
    assert judge_response(fields([(b":status", status), (b"content-length", b"7")]), method) == wanted


@pytest.mark.parametrize("status", [b"100", b"200", b"204"])
def test_a_content_length_that_is_no_number_is_refused_in_any_response(status: bytes) -> None:
    for method in (b"GET", b"HEAD"):
        with pytest.raises(StreamError):
            judge_response(fields([(b":status", status), (b"content-length", b"+5")]), method)


def test_a_content_length_in_the_answer_that_opens_a_tunnel_is_ignored() -> None:
    for length in (b"7", b"+5"):
        answer = fields([(b":status", b"200"), (b"content-length", length)])
        assert judge_response(answer, b"CONNECT", end_stream=True) == (200, None)
    with pytest.raises(StreamError):
        judge_response(fields([(b":status", b"403"), (b"content-length", b"+5")]), b"CONNECT")


def test_a_response_that_ends_at_once_has_no_length_unless_it_never_has_a_body() -> None:
    said = fields([(b":status", b"200"), (b"content-length", b"7")])
    assert judge_response(said, b"HEAD", end_stream=True) == (200, 0)
    with pytest.raises(StreamError):
        judge_response(said, end_stream=True)


def test_an_interim_response_does_not_end_the_stream() -> None:
    assert judge_response(fields([(b":status", b"100")])) == (100, None)
    with pytest.raises(StreamError):
        judge_response(fields([(b":status", b"100")]), end_stream=True)


def test_trailers_have_no_pseudo_fields_and_forbidden_ones_are_named() -> None:
    assert judge_trailers(fields([(b"grpc-status", b"0"), (b"grpc-message", b"")])) == frozenset()
    assert judge_trailers(fields([(b"x-sum", b"1"), (b"host", b"h")])) == {b"host"}
    said = {b"l5d-client-id", b"x-forwarded-for", b"x_forwarded_proto", b"forwarded", b"x-real-ip", b"via"}
    assert judge_trailers(fields([(name, b"1") for name in (*said, b"x-sum", b"for")])) == said
    for name in (b":status", b":path", b":other", b"content-length"):
        with pytest.raises(StreamError):
            judge_trailers(fields([(name, b"200")]))


def test_fields_that_passed_before_say_the_same_the_next_time() -> None:
    request = fields([*GET, (b"accept", b"*/*"), (b"te", b"trailers"), (b"content-length", b"1"), (b"l5d-a", b"b")])
    first = judge_request(request)
    assert all(field.kind for field in request)
    assert judge_request(request) == first
    assert (first.content_length, first.drop) == (1, frozenset((b"l5d-a",)))


def test_pseudo_fields_that_passed_before_are_still_refused_where_they_have_no_place() -> None:
    request = fields(GET)
    judge_request(request)
    for wrong in ([*request, request[0]], [*request[1:], *fields([(b"a", b"b")]), request[0]]):
        with pytest.raises(StreamError):
            judge_request(wrong)
    with pytest.raises(StreamError):
        judge_trailers(request)


def test_a_field_that_was_refused_is_refused_the_next_time() -> None:
    request = fields([*GET, (b"te", b"gzip"), (b"a", b" b")])
    for wrong in (request[:-1], [*request[:-2], request[-1]]) * 2:
        with pytest.raises(StreamError):
            judge_request(wrong)
