"""The rows over HTTP/2, and what is new in each of their requests."""

from benchmarks.hpack_items import text
from benchmarks.hpack_plan import Unique
from benchmarks.scenario_h2 import EXCHANGES, H2_SCENARIOS, STREAM, UNARY, UPLOAD, fields, grain, unique_maker


def test_rows_are_those_of_the_issue() -> None:
    rows = {one.name: (one.connections, one.streams, one.protocol) for one in H2_SCENARIOS}
    assert rows == {
        "h2-16": (4, 16, "h2"),
        "h2-1": (8, 1, "h2"),
        "grpc-unary": (4, 16, "grpc"),
        "grpc-stream": (4, 4, "grpc"),
        "h2-upload": (4, 1, "h2"),
        "h2-download": (4, 1, "h2"),
    }


def test_each_request_has_ten_fields_or_eleven_with_a_content_length() -> None:
    for exchange in EXCHANGES:
        names = [field.name if isinstance(field, Unique) else field[0] for field in fields(exchange)]
        assert len(names) == 3 + 10 + (b"content-length" in names)
        assert names[:4] == [b":method", b":scheme", b":path", b":authority"]


def test_path_request_id_and_traceparent_never_repeat_and_keep_their_length() -> None:
    for exchange in EXCHANGES:
        make = unique_maker(exchange, 5)
        values = [tuple(map(text, make(number))) for number in range(1, 301)]
        assert len({value for one in values for value in one}) == 900
        assert {tuple(map(len, one[1:])) for one in values} == {(32, 55)}
        assert all(path.startswith(b"/%b/" % exchange.kind.encode()) for path, _, _ in values)


def test_grain_of_grpc_is_one_message_of_100_bytes_and_of_bodies_16_kib() -> None:
    assert grain(UNARY, UNARY.upload_bytes) == b"\0\0\0\0\x64" + b"m" * 100
    assert STREAM.answer_bytes == 1000 * len(grain(STREAM, STREAM.answer_bytes))
    assert len(grain(UPLOAD, UPLOAD.upload_bytes)) == 16384
