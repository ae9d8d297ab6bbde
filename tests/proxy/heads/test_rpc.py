"""What gRPC says in fields: timeouts, statuses, messages."""

import pytest

from milliroute.proxy.codec.hpack_static import Field
from milliroute.proxy.heads import rpc


def timeout_of(value: bytes) -> float | None:
    return rpc.timeout_s([Field(b"te", b"trailers"), Field(b"grpc-timeout", value)])


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600),
        (b"2M", 120),
        (b"3S", 3),
        (b"4m", 0.004),
        (b"5u", 5e-6),
        (b"6n", 6e-9),
        (b"00000001S", 1),
        (b"0S", 0),
    ],
)
def test_timeout_is_digits_and_a_unit(value: bytes, seconds: float) -> None:
    assert timeout_of(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [b"", b"1", b"S", b"s1", b"1s", b"-1S", b"1.5S", b"123456789S", b"1S "])
def test_malformed_timeout_is_none(value: bytes) -> None:
    assert timeout_of(value) is None


def test_request_without_a_timeout_has_none() -> None:
    assert rpc.timeout_s([Field(b"te", b"trailers")]) is None


@pytest.mark.parametrize(
    ("content_type", "is_grpc"),
    [(b"application/grpc", True), (b"Application/gRPC+proto", True), (b"application/json", False), (b"", False)],
)
def test_call_is_known_by_its_content_type(content_type: bytes, is_grpc: bool) -> None:
    assert rpc.is_grpc([(b"te", b"trailers"), (b"content-type", content_type)]) is is_grpc


def test_status_is_the_number_as_text() -> None:
    assert rpc.status_of([(b"x", b"1"), (b"grpc-status", b"14")]) == "14"
    assert rpc.status_of([(b"x", b"1")]) == ""


def test_message_of_a_status_is_percent_encoded_but_for_spaces() -> None:
    fields = rpc.status_trailers(4, "50 % passed")
    assert [(field.name, field.value) for field in fields] == [
        (b"grpc-status", b"4"),
        (b"grpc-message", b"50 %25 passed"),
    ]
