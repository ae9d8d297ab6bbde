"""What is said of clients over HTTP/2: what the rules say, from memory."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milliroute.proxy.codec.h2_rules import judge_request
from milliroute.proxy.codec.hpack import Decoder, Encoder, Field
from milliroute.proxy.config import Forwarding
from milliroute.proxy.errors import LoopDetected
from milliroute.proxy.heads.forwarding import MAX_PASSES, Forwarder
from milliroute.proxy.heads.forwarding_h2 import MAX_KEPT, MAX_KEPT_BYTES, Introduction
from milliroute.proxy.heads.message_h2 import H2RequestHead
from milliroute.proxy.message import Fields

FULL = Forwarding(is_on=True, trusted=("10.0.0.0/8",), via="edge")
CONFIGS = st.sampled_from((FULL, Forwarding(is_on=True), Forwarding(via="edge"), Forwarding(is_on=True, via="Edge")))
ADDRESSES = st.sampled_from(("10.0.0.1", "192.0.2.1", "fd00::1", "unknown"))
NAMES = st.sampled_from((
    b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x_forwarded_for", b"x-forwarded-client-cert",
    b"forwarded", b"x-real-ip", b"via", b"x-other", b"cookie", b"te", b"l5d-dst-override",
))  # fmt: skip
VALUES = st.sampled_from((b"1.2.3.4", b"", b"https", b"for=1;proto=http", b"1.1 edge, 2 EDGE", b"1.1 edge", b"2 b"))
HOSTS = st.sampled_from((b"reviews", b"Reviews:80", b"other"))


def fields_of(host: bytes, said: Fields) -> list[Field]:
    pseudo = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", host)]
    return [Field(name, b"trailers" if name == b"te" else value) for name, value in (*pseudo, *said)]


def introduced(introduction: Introduction, fields: list[Field]) -> H2RequestHead:
    verdict = judge_request(fields, end_stream=True)
    head = H2RequestHead(verdict, fields, True)
    introduction.rewrite(head, verdict.said)
    return head


def told(head: H2RequestHead) -> Fields:
    return [(f.name, f.value) for f in head.h2_fields() if isinstance(f, Field)]


def outcome(of: Callable[[], H2RequestHead]) -> Fields | str:
    try:
        return told(of())
    except LoopDetected as exc:
        return str(exc)


@given(CONFIGS, ADDRESSES, st.booleans(), st.lists(st.tuples(HOSTS, st.lists(st.tuples(NAMES, VALUES), max_size=6))))
def test_from_memory_and_by_the_rules_alone_is_the_same(
    config: Forwarding, client_ip: str, is_https: bool, requests: list[tuple[bytes, Fields]]
) -> None:
    forwarder = Forwarder(config)
    introduction = Introduction(forwarder, client_ip, is_https=is_https)

    def by_the_rules() -> H2RequestHead:
        head = H2RequestHead(judge_request(fields, end_stream=True), fields, True)
        forwarder.rewrite(head, client_ip, is_https=is_https)
        return head

    for host, said in requests * 2:
        fields = fields_of(host, said)
        before = [(field.name, field.value) for field in fields]
        found = outcome(lambda: introduced(introduction, fields))  # noqa: B023  # called at once
        assert found == outcome(by_the_rules)
        assert [(field.name, field.value) for field in fields] == before  # they are others' too


@given(st.lists(st.lists(st.tuples(NAMES, VALUES), max_size=4)))
def test_a_backend_reads_what_the_head_says(requests: list[Fields]) -> None:
    introduction, encoder, decoder = Introduction(Forwarder(FULL), "192.0.2.1", is_https=True), Encoder(), Decoder()
    for said in requests:
        try:
            head = introduced(introduction, fields_of(b"reviews", said))
        except LoopDetected:
            continue
        assert [(f.name, f.value) for f in decoder.decode(encoder.encode(head.h2_fields()))] == told(head)


def test_clients_of_one_proxy_are_not_taken_for_each_other() -> None:
    forwarder = Forwarder(FULL)
    for client_ip in ("10.0.0.1", "192.0.2.1"):
        for is_https in (False, True):
            found = dict(told(introduced(Introduction(forwarder, client_ip, is_https=is_https), fields_of(b"a", []))))
            assert found[b"x-forwarded-for"] == client_ip.encode()
            assert found[b"x-forwarded-proto"] == (b"https" if is_https else b"http")


@pytest.mark.parametrize("others", [[], [(b"x-forwarded-proto", b"https")]])
def test_what_one_request_says_is_not_told_of_the_next(others: Fields) -> None:
    introduction = Introduction(Forwarder(FULL), "10.0.0.1", is_https=False)
    for host, client in ((b"a", b"1.2.3.4"), (b"a", b"5.6.7.8"), (b"b", b"5.6.7.8")):
        found = dict(told(introduced(introduction, fields_of(host, [(b"x-forwarded-for", client), *others]))))
        assert found[b"x-forwarded-for"] == client + b", 10.0.0.1"
        assert found[b"x-forwarded-host"] == host


def test_a_loop_is_one_each_time() -> None:
    introduction = Introduction(Forwarder(FULL), "10.0.0.1", is_https=False)
    circling = fields_of(b"a", [(b"via", b", ".join([b"1.1 edge"] * MAX_PASSES))])
    for _ in range(3):
        with pytest.raises(LoopDetected):
            introduced(introduction, circling)


def test_what_is_remembered_is_bounded() -> None:
    forwarder = Forwarder(FULL)
    introduction = Introduction(forwarder, "10.0.0.1", is_https=False)
    for number in range(3 * MAX_KEPT):
        introduced(introduction, fields_of(b"a", [(b"x-forwarded-for", b"%d" % number)]))
        assert len(forwarder.kept) <= MAX_KEPT
    forwarder.kept.clear()
    introduced(introduction, fields_of(b"a", [(b"x-forwarded-for", b"1" * MAX_KEPT_BYTES)]))
    introduced(introduction, fields_of(b"a" * (MAX_KEPT_BYTES + 1), []))
    assert forwarder.kept == {}


def test_of_what_is_said_only_what_is_the_same_for_all_clients_enters_a_backends_table() -> None:
    introduction, encoder = Introduction(Forwarder(FULL), "10.0.0.1", is_https=False), Encoder()
    encoder.encode(introduced(introduction, fields_of(b"a", [])).h2_fields())
    entries = [(b"via", b"2 edge"), (b"x-forwarded-proto", b"http")]
    assert encoder.table_bytes == sum(len(name) + len(value) + 32 for name, value in entries)
