"""The short way through an HTTP/1 head says what the long way says, field for field, whatever the head is."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from milliroute.proxy.codec.h1 import CODECS
from milliroute.proxy.config import Codec, Forwarding
from milliroute.proxy.errors import LoopDetected
from milliroute.proxy.heads.forwarding import Forwarder
from milliroute.proxy.heads.forwarding_h1 import Introduction
from milliroute.proxy.message import RequestHead
from tests.proxy.serving import get

NOBODY = Forwarding(is_on=True)
TRUSTING = Forwarding(is_on=True, trusted=("10.0.0.0/8", "fd00::/8"))
LIE = b"x-forwarded-for: 1.2.3.4"

# Names that say something, names that nearly do, and what may stand in their values.
NAMES = st.sampled_from((
    b"x-forwarded-for", b"x_forwarded_for", b"x-forwarded_for", b"x-forwarded-proto", b"x-forwarded-host",
    b"x_forwarded-host", b"x-forwarded-", b"x-forwarded", b"forwarded", b"forwarded-by", b"x-real-ip", b"x_real-ip",
    b"x-real-ips", b"really", b"via", b"x-via", b"via-x", b"f", b"v", b"x", b"x-request-id", b"l5d-x",
))  # fmt: skip
VALUES = st.lists(
    st.sampled_from((b"1.2.3.4", b", ", b" ", b"\t", b"via: 1", b"forwarded:", b"x-forwarded-for: ", b"for=1", b"\xff",
                     b"1.1 here", b"1.1 there", b"https")), max_size=4
).map(b"".join)  # fmt: skip
LINES = st.builds(
    lambda name, is_upper, gap, value: (name.title() if is_upper else name) + b":" + gap + value,
    NAMES, st.booleans(), st.sampled_from((b"", b" ", b"\t  ")), VALUES,
)  # fmt: skip
Outcome = tuple[bytes, list[tuple[bytes, bytes]]]
CONFIGS = st.builds(
    Forwarding, is_on=st.booleans(), trusted=st.sampled_from(((), TRUSTING.trusted)), via=st.sampled_from(("", "Here"))
)


def parsed(codec: Codec, wire: bytes) -> RequestHead:
    found = CODECS[codec].request_telling(wire)
    assert found is not None
    return found[0]


def outcome(config: Forwarding, client_ip: str, head: RequestHead, *, is_https: bool, is_short: bool) -> Outcome:
    """The bytes but for the order of fields of different names, and for the letters of names; or why it is refused."""
    forwarder = Forwarder(config)
    try:
        if is_short:
            Introduction(forwarder, client_ip, is_https=is_https).rewrite(head)
        else:
            head.alter(*forwarder.change(head.fields(), head, client_ip, is_https))
    except LoopDetected as exc:
        return exc.text.encode(), []
    assert head.wire.endswith(b"\r\n\r\n")
    assert head.wire.count(b"\r\n") == len(head.fields()) + 2
    return head.wire.partition(b"\r\n")[0], sorted(head.fields(), key=lambda field: field[0])


@given(
    st.sampled_from(("fast", "reference")),
    CONFIGS,
    st.sampled_from(("10.0.0.1", "192.0.2.1", "fd00::1", "unknown")),
    st.lists(LINES, max_size=5),
    st.sampled_from((b"GET / HTTP/1.1\r\nHost: Reviews:80", b"GET /?via: HTTP/1.1\r\nhost:a", b"GET / HTTP/1.0")),
    st.booleans(),
)
@example("fast", TRUSTING, "10.0.0.1", [LIE], b"GET / HTTP/1.1\r\nhost: a", False)
@example("fast", Forwarding(via="here"), "10.0.0.1", [b"via: 1.1 here"] * 4, b"GET / HTTP/1.1\r\nhost: a", False)
def test_the_short_way_and_the_long_way_say_the_same(
    codec: Codec, config: Forwarding, client_ip: str, lines: list[bytes], start: bytes, is_https: bool
) -> None:
    wire = b"\r\n".join([start, *lines, b"x-other: kept", b"", b""]).replace(b"/?via: ", b"/?via:- ")
    short, long = (
        outcome(config, client_ip, parsed(codec, wire), is_https=is_https, is_short=is_short)
        for is_short in (True, False)
    )
    assert short == long


@given(st.lists(LINES, max_size=5))
def test_one_introduction_of_a_client_serves_all_its_requests(lines: list[bytes]) -> None:
    introduction = Introduction(Forwarder(TRUSTING), "10.0.0.1", is_https=False)
    wire = b"\r\n".join([b"GET / HTTP/1.1\r\nhost: a", *lines, b"", b""])
    heads = [parsed("fast", wire) for _ in range(2)]
    for head in heads:
        introduction.rewrite(head)
    assert heads[0].wire == heads[1].wire


class Never(Forwarder):
    def rewrite(self, head: RequestHead, client_ip: str, *, is_https: bool) -> None:
        raise AssertionError("went the long way")


@pytest.mark.parametrize(("config", "fields"), [(TRUSTING, ["X-Forwarded-For: 1.2.3.4"]), (TRUSTING, []), (NOBODY, [])])
def test_most_requests_go_the_short_way(config: Forwarding, fields: list[str]) -> None:
    head = parsed("fast", get("/", *fields, "x-other: kept"))
    before = head.wire
    Introduction(Never(config), "10.0.0.1", is_https=False).rewrite(head)
    assert head.wire != before
