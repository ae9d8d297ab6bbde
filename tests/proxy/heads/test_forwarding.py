"""Whose word about clients goes on, and how a request that goes round in circles ends."""

import pytest

from milliroute.proxy.codec.h1 import CODECS
from milliroute.proxy.codec.rules import is_about_clients
from milliroute.proxy.config import Codec, Forwarding
from milliroute.proxy.errors import ConfigError, LoopDetected
from milliroute.proxy.heads.forwarding import MAX_HOPS, MAX_PASSES, Forwarder, parse_network
from milliroute.proxy.message import RequestHead
from tests.proxy.backends import Origin, named
from tests.proxy.h2_backend import Backend, h2_client, over_h2, serving_h2
from tests.proxy.h2_backend import named as h2_named
from tests.proxy.serving import BOTH_CODECS, get, on_loop, serving, to

NOBODY = Forwarding(is_on=True)
TRUSTING = Forwarding(is_on=True, trusted=("10.0.0.0/8", "fd00::/8"))
LIE = "x-forwarded-for: 1.2.3.4"


def rewritten(config: Forwarding, client_ip: str, *fields: str, is_https: bool = False) -> list[tuple[bytes, bytes]]:
    """The fields about clients and hops that go on."""
    parsed = CODECS["fast"].request(get("/", *fields, "x-other: kept", host="Reviews:80"))
    assert parsed is not None
    head: RequestHead = parsed[0]
    Forwarder(config).rewrite(head, client_ip, is_https=is_https)
    assert (b"x-other", b"kept") in head.fields()
    assert head.wire.startswith(b"GET / HTTP/1.1\r\n")
    again = CODECS["fast"].request(head.wire)
    assert again is not None
    assert again[1] == len(head.wire)
    return [field for field in head.fields() if field[0] not in (b"host", b"x-other")]


def test_of_a_client_that_is_not_trusted_nothing_goes_on_but_its_address() -> None:
    lies = (LIE, "X-Forwarded-Proto: https", "X_Forwarded_Host: a", "forwarded: for=1.2.3.4", "x-real-ip: 1.2.3.4")
    assert rewritten(NOBODY, "192.0.2.1", *lies) == [
        (b"x-forwarded-for", b"192.0.2.1"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"reviews:80"),
    ]


def test_a_trusted_clients_word_goes_on_and_its_address_behind_it() -> None:
    said = (LIE, "x-forwarded-for: 10.9.9.9", "x-forwarded-proto: https", "x-forwarded-host: shop")
    found = rewritten(TRUSTING, "10.0.0.1", *said)
    assert sorted(found) == [
        (b"x-forwarded-for", b"1.2.3.4, 10.9.9.9, 10.0.0.1"),
        (b"x-forwarded-host", b"shop"),
        (b"x-forwarded-proto", b"https"),
    ]


def test_forwarded_grows_where_a_trusted_client_sent_it() -> None:
    found = dict(rewritten(TRUSTING, "fd00::1", "forwarded: for=192.0.2.9", is_https=True))
    assert found[b"forwarded"] == b'for=192.0.2.9, for="[fd00::1]";proto=https;host="reviews:80"'
    assert b"forwarded" not in dict(rewritten(TRUSTING, "fd00::1"))


def test_an_address_is_trusted_by_its_network_alone() -> None:
    for address in ("11.0.0.1", "fe80::1", "unknown", ""):
        assert b"1.2.3.4" not in dict(rewritten(TRUSTING, address, LIE))[b"x-forwarded-for"]


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "here", "10.0.0.0/8,"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="wanted networks"):
        parse_network(text)


def test_a_spelling_that_a_server_takes_for_the_same_is_the_same() -> None:
    assert all(map(is_about_clients, (b"x_forwarded_for", b"x-forwarded_client-cert", b"x_real_ip", b"forwarded")))
    assert not any(map(is_about_clients, (b"x-forward", b"forwarded-by", b"traceparent", b"x-request-id")))


def test_via_alone_leaves_the_other_fields_as_they_are() -> None:
    assert rewritten(Forwarding(via="Edge"), "192.0.2.1", LIE, "via: 1.0 before") == [
        (b"x-forwarded-for", b"1.2.3.4"),
        (b"via", b"1.0 before"),
        (b"via", b"1.1 edge"),
    ]


def test_a_request_that_came_through_here_too_often_is_a_loop() -> None:
    passes = ["via: 1.1 EDGE (milliroute), 1.1 other"] * MAX_PASSES
    assert rewritten(Forwarding(via="edge"), "192.0.2.1", *passes[1:])
    with pytest.raises(LoopDetected, match="through edge 4 times"):
        rewritten(Forwarding(via="edge"), "192.0.2.1", *passes)


def test_a_chain_of_too_many_proxies_is_a_loop_by_whatever_name() -> None:
    hops = ", ".join(f"1.1 p{number}" for number in range(MAX_HOPS))
    assert rewritten(Forwarding(via="edge"), "192.0.2.1", f"via: {hops}")
    with pytest.raises(LoopDetected, match="33 proxies"):
        rewritten(Forwarding(via="edge"), "192.0.2.1", f"via: {hops}, 2 last")


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_without_the_flags_what_is_said_of_clients_passes_and_orders_do_not(codec: Codec) -> None:
    async with Origin(named("v1")) as origin, serving(codec, to(origin)) as proxy:
        fields = (LIE, "forwarded: for=1.2.3.4", "via: 1.1 before", "l5d-dst-override: other", "L5D_client_id: root")
        await (await proxy.client()).get("/", *fields)
        (asked,) = origin.asked
        assert asked.field("x-forwarded-for") == "1.2.3.4"
        assert (asked.field("forwarded"), asked.field("via")) == ("for=1.2.3.4", "1.1 before")
        assert b"l5d" not in asked.head.lower()


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_backend_sees_who_really_asked_over_http1(codec: Codec) -> None:
    forwarding = Forwarding(is_on=True, via="edge")
    async with Origin(named("v1")) as origin, serving(codec, to(origin), forwarding=forwarding) as proxy:
        client = await proxy.client()
        for _ in range(2):
            assert (await client.get("/", LIE)).status == 200
        for asked in origin.asked:
            assert asked.field("x-forwarded-for") == "127.0.0.1"
            assert (asked.field("x-forwarded-proto"), asked.field("via")) == ("http", "1.1 edge")


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_backend_sees_who_really_asked_over_http2(codec: Codec) -> None:
    async with (
        Backend(h2_named("v1")) as backend,
        serving_h2(codec, over_h2(backend), forwarding=Forwarding(is_on=True, via="edge")) as proxy,
    ):
        client = await h2_client(proxy)
        assert await client.get([("x-forwarded-for", "1.2.3.4")]) == ("200", b"v1")
        asked = await backend.visits[0].request_end()
        assert (asked.fields["x-forwarded-for"], asked.fields["via"]) == ("127.0.0.1", "2 edge")


@pytest.mark.parametrize("codec", BOTH_CODECS)
@on_loop
async def test_loop_is_508_over_http1_and_http2(codec: Codec) -> None:
    forwarding = Forwarding(via="edge")
    async with (
        Backend(h2_named("v1")) as backend,
        serving_h2(codec, over_h2(backend), forwarding=forwarding) as proxy,
    ):
        circling = ", ".join(["1.1 edge"] * MAX_PASSES)
        reply = await (await proxy.client()).get("/", f"via: {circling}")
        assert (reply.status, reply.fields["connection"]) == (508, "close")
        client = await h2_client(proxy)
        assert (await client.get([("via", circling)]))[0] == "508"
        assert await client.get() == ("200", b"v1")
        await proxy.counted()
        assert proxy.ledger.errors == {"loop": 2}
        assert len(backend.visits) == 1
