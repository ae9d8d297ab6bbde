"""Protobuf in, values out."""

from collections.abc import Callable

import pytest

from milliroute.control.api import destination_pb2 as pb
from milliroute.proxy.agent.catalog import Accepted, Refused
from milliroute.proxy.agent.destination import (
    GarbledError,
    Hello,
    Resolved,
    StateError,
    decode_kept,
    decode_response,
    hello_request,
    subscribe_request,
    verdict_request,
)
from milliroute.proxy.state import (
    AuthorityState,
    BackendState,
    EndpointState,
    HeaderMatchState,
    MatchState,
    RampState,
    RouteState,
    SplitState,
    StickyState,
    WeightState,
)


def full_state() -> pb.State:
    split = pb.Split(
        name="default/reviews",
        weights=[pb.Weight(backend=0, micro=900_000, text="900m"), pb.Weight(backend=1, micro=100_000)],
        ramp=pb.Ramp(from_micro=[1, 2], start_unix_ms=5, duration_ms=6),
        sticky=pb.Sticky(header="x-user"),
        source="a.yaml:1",
        apex="reviews",
    )
    match = pb.Match(path_regex="/x", methods=["GET"], headers=[pb.HeaderMatch(name="h", regex="v")])
    backends = [
        pb.Backend(
            name="v1", namespace="default", endpoints=[pb.Endpoint(host="10.0.0.1", port=80, labels={"zone": "a"})]
        ),
        pb.Backend(name="v2", namespace="default", is_missing=True),
    ]
    plain = pb.Split(weights=[pb.Weight(backend=0, micro=1)])
    routes = [pb.Route(matches=[match], split=split), pb.Route(split=plain)]
    body = pb.Authority(name="reviews", namespace="default", backends=backends, routes=routes, warnings=["w"])
    return pb.State(key="reviews.default", epoch="e", version=3, published_unix_ns=4, authority=body)


def response(state: pb.State) -> bytes:
    return pb.WatchResponse(state=state).SerializeToString()


def test_a_whole_state_is_decoded_field_by_field() -> None:
    offer, state_bytes = decode_response(response(full_state()), 99)
    assert not isinstance(offer, Resolved)
    assert offer is not None
    split = SplitState(
        "default/reviews",
        [WeightState(0, 900_000, "900m"), WeightState(1, 100_000)],
        RampState([1, 2], 5, 6),
        StickyState(header="x-user"),
        source="a.yaml:1",
        apex="reviews",
    )
    match = MatchState("/x", ["GET"], [HeaderMatchState("h", "v")])
    backends = [
        BackendState("v1", "default", endpoints=[EndpointState("10.0.0.1", 80, {"zone": "a"})]),
        BackendState("v2", "default", is_missing=True),
    ]
    routes = [RouteState(split, [match]), RouteState(SplitState("", [WeightState(0, 1)]))]
    assert offer.update.state == AuthorityState("reviews", "default", backends, routes, ["w"])
    assert (offer.update.key, offer.update.epoch, offer.update.version) == ("reviews.default", "e", 3)
    assert (offer.published_unix_ns, offer.received_unix_ns, offer.is_from_disk) == (4, 99, False)
    assert decode_kept(state_bytes, 99).update == offer.update


def test_an_unknown_name_has_no_state() -> None:
    offer, _ = decode_response(response(pb.State(key="k", epoch="e", version=1, unknown=pb.Unknown())), 0)
    assert not isinstance(offer, Resolved)
    assert offer is not None
    assert offer.update.state is None


def test_resolved_names_the_key_of_an_authority() -> None:
    data = pb.WatchResponse(resolved=pb.Resolved(authority="reviews", key="reviews.default")).SerializeToString()
    assert decode_response(data, 0)[0] == Resolved("reviews", "reviews.default")


def test_a_kind_from_the_future_is_ignored() -> None:
    assert decode_response(b"", 0) == (None, b"")


def test_bytes_that_are_no_message_are_garbled() -> None:
    with pytest.raises(GarbledError):
        decode_response(b"\xff\xff\xff", 0)
    with pytest.raises(GarbledError):
        decode_kept(b"\xff\xff\xff", 0)


def no_body(state: pb.State) -> None:
    state.ClearField("authority")


def no_route(state: pb.State) -> None:
    del state.authority.routes[:]


def only_matching_routes(state: pb.State) -> None:
    del state.authority.routes[1]


def backend_out_of_range(state: pb.State) -> None:
    state.authority.routes[1].split.weights[0].backend = 2


def port_out_of_range(state: pb.State) -> None:
    state.authority.backends[0].endpoints[0].port = 65536


def port_zero(state: pb.State) -> None:
    state.authority.backends[0].endpoints[0].port = 0


def short_ramp(state: pb.State) -> None:
    del state.authority.routes[0].split.ramp.from_micro[1]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (no_body, "saw a state without a body"),
        (no_route, "saw 0 routes"),
        (only_matching_routes, "wanted a last one that always matches"),
        (backend_out_of_range, "saw backend 2 in split ''"),
        (port_out_of_range, "saw port 65536 in backend 'v1'"),
        (port_zero, "saw port 0 in backend 'v1'"),
        (short_ramp, "saw 1 ramp weights in split 'default/reviews', wanted 2 or none"),
    ],
)
def test_a_state_that_makes_no_sense_is_refused_with_its_version_and_the_reason(
    spoil: Callable[[pb.State], None], reason: str
) -> None:
    state = full_state()
    spoil(state)
    with pytest.raises(StateError) as caught:
        decode_response(response(state), 0)
    nack = caught.value.nack
    assert (nack.key, nack.epoch, nack.version) == ("reviews.default", "e", 3)
    assert reason in nack.reason


def test_requests_are_what_the_proto_says() -> None:
    hello = pb.WatchRequest.FromString(hello_request(Hello("p", "ns", "127.0.0.1:4191"))).hello
    assert (hello.proxy_id, hello.namespace, hello.admin_address) == ("p", "ns", "127.0.0.1:4191")
    assert pb.WatchRequest.FromString(subscribe_request("a")).subscribe.authority == "a"
    ack = pb.WatchRequest.FromString(verdict_request(Accepted("k", "e", 3, 9))).ack
    assert (ack.key, ack.epoch, ack.version, ack.applied_unix_ns) == ("k", "e", 3, 9)
    nack = pb.WatchRequest.FromString(verdict_request(Refused("k", "e", 3, "why"))).nack
    assert (nack.key, nack.epoch, nack.version, nack.reason) == ("k", "e", 3, "why")
