"""HPACK: the examples of RFC 7541 Appendix C, what is translated how, and what hostile blocks end in."""

import hpack
import pytest

from milliroute.proxy.codec.hpack import MAX_FIELDS, Decoder, Encoder, Field, known
from milliroute.proxy.codec.hpack_wire import Names, read_integer, write_integer
from milliroute.proxy.errors import HeadersTooLarge, HpackError

REQUEST = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")]
SECURE = [
    (b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/index.html"), (b":authority", b"www.example.com"),
]  # fmt: skip
REQUESTS = [REQUEST, [*REQUEST, (b"cache-control", b"no-cache")], [*SECURE, (b"custom-key", b"custom-value")]]
DATE = b"Mon, 21 Oct 2013 20:13:21 GMT"
REPLY = [
    (b":status", b"302"), (b"cache-control", b"private"), (b"date", DATE), (b"location", b"https://www.example.com"),
]  # fmt: skip
OTHER = [
    (b":status", b"200"), (b"cache-control", b"private"), (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT"),
    (b"location", b"https://www.example.com"), (b"content-encoding", b"gzip"),
    (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
]  # fmt: skip
REPLIES = [REPLY, [(b":status", b"307"), *REPLY[1:]], OTHER]

# Appendix C.3 to C.6: (table size, blocks, field lists, size of the table after the last).
SEQUENCES = [
    (4096, ["828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565"], REQUESTS, 164),
    (4096, ["828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"], REQUESTS, 164),
    (256, ["4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a"
           "2f2f7777772e6578616d706c652e636f6d", "4803333037c1c0bf",
           "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b"
           "425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31"], REPLIES, 215),
    (256, ["488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43"
           "d3", "4883640effc1c0bf", "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2"
           "e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"], REPLIES, 215),
]  # fmt: skip


def pairs(fields: list[Field]) -> list[tuple[bytes, bytes]]:
    return [(field.name, field.value) for field in fields]


def decode(text: str) -> list[Field]:
    return Decoder().decode(bytes.fromhex(text))


@pytest.mark.parametrize(("max_table_bytes", "blocks", "wanted", "table_bytes"), SEQUENCES)
def test_sequences_of_appendix_c_decode_as_printed(
    max_table_bytes: int, blocks: list[str], wanted: list[list[tuple[bytes, bytes]]], table_bytes: int
) -> None:
    decoder = Decoder(max_table_bytes)
    assert [pairs(decoder.decode(bytes.fromhex(block))) for block in blocks] == wanted
    assert decoder.table_bytes == table_bytes


@pytest.mark.parametrize(
    ("block", "name", "value", "is_indexed", "is_sensitive"),
    [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", b"custom-key", b"custom-header", False, False),
        ("040c2f73616d706c652f70617468", b":path", b"/sample/path", False, False),
        ("100870617373776f726406736563726574", b"password", b"secret", False, True),
        ("82", b":method", b"GET", True, False),
    ],
)
def test_single_fields_of_appendix_c2_decode_as_printed(
    block: str, name: bytes, value: bytes, is_indexed: bool, is_sensitive: bool
) -> None:
    field = decode(block)[0]
    assert (field.name, field.value) == (name, value)
    assert (field.is_indexed, field.is_sensitive) == (is_indexed, is_sensitive)


@pytest.mark.parametrize(("value", "mask", "coded"), [(10, 31, "0a"), (1337, 31, "1f9a0a"), (42, 255, "2a")])
def test_integers_of_appendix_c1_are_coded_as_printed(value: int, mask: int, coded: str) -> None:
    assert write_integer(value, mask, 0).hex() == coded
    if value >= mask:
        assert read_integer(bytes.fromhex(coded), 1, mask) == (value, len(coded) // 2)


@pytest.mark.parametrize(
    "block",
    [
        "80",  # index 0
        "be", "ff00", "ffffffff7f",  # beyond the tables
        "7e0161", "0fff7f0161",  # a name beyond the tables
        "41", "4101", "400261", "4003", "00", "0001", "000161", "00016102ff", "ff", "ff80", "3f", "5fff",  # cut short
        "ff80808080808080808000", "0f80808080808080808000", "3fffffffffffffffffff01",  # integers of ten bytes
        "007f8080808010", "00017f61ffffffffffffffff7f",  # lengths over 2**32
        "8220", "823fe11f", "400161016120",  # a size update after a field
        "3fe21f", "3fffffff7f",  # over the limit
        "0082ffff0161", "00016184ffffffff",  # Huffman padding of a byte and more, EOS
    ],
)  # fmt: skip
def test_a_malformed_block_is_refused(block: str) -> None:
    with pytest.raises(HpackError):
        decode(block)


@pytest.mark.parametrize("block", ["20" * 3 + "82", "3fe11f82", "203fe11f82", "3f80800082"])
def test_size_updates_within_the_limit_are_taken_at_the_start(block: str) -> None:
    assert pairs(decode(block)) == [(b":method", b"GET")]


def test_a_lowered_limit_must_be_answered_by_a_size_update() -> None:
    decoder = Decoder()
    decoder.decode(b"\x40\x01a\x01b")
    decoder.set_limit(100)
    with pytest.raises(HpackError):
        decoder.decode(b"\x82")
    decoder = Decoder()
    decoder.set_limit(100)
    assert pairs(decoder.decode(b"\x3f\x45\x82")) == [(b":method", b"GET")]


def test_a_raised_limit_is_used_only_after_a_size_update() -> None:
    decoder = Decoder(64)
    decoder.set_limit(4096)
    decoder.decode(b"\x40\x01a\x01b" * 4)
    assert decoder.table_bytes == 34
    decoder.decode(b"\x3f\xe1\x1f" + b"\x40\x01a\x01b" * 4)
    assert decoder.table_bytes == 34 * 5


def test_an_entry_larger_than_the_table_empties_it_and_is_still_a_field() -> None:
    decoder = Decoder(64)
    decoder.decode(b"\x40\x01a\x01b")
    assert pairs(decoder.decode(b"\x40\x01a\x28" + b"c" * 40)) == [(b"a", b"c" * 40)]
    assert decoder.table_bytes == 0


def test_a_name_may_be_that_of_the_entry_it_evicts() -> None:
    decoder = Decoder(40)
    decoder.decode(b"\x40\x01a\x01b")
    assert pairs(decoder.decode(b"\x7e\x01c\xbe")) == [(b"a", b"c"), (b"a", b"c")]


def test_a_list_over_the_limits_is_reported_and_leaves_the_tables_in_step() -> None:
    bomb = b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000
    many = b"\x40\x01b\x01c" + b"\x82" * MAX_FIELDS
    for block, first in ((bomb + b"\xbe" * 300, b"a"), (many, b"b")):
        decoder = Decoder()
        with pytest.raises(HeadersTooLarge) as caught:
            decoder.decode(block)
        assert caught.value.status == 431
        assert decoder.decode(b"\xbe")[0].name == first


@pytest.mark.parametrize("part", ["82", "0400", "4400", "400000", "20"])
def test_a_block_of_far_too_many_representations_is_not_decoded_to_its_end(part: str) -> None:
    with pytest.raises(HpackError):
        Decoder().decode(bytes.fromhex(part) * 10_000)


def test_limits_are_of_the_decoded_list_and_exact() -> None:
    field = b"\x00\x01a\x01b"
    assert len(Decoder(max_fields=3).decode(field * 3)) == 3
    with pytest.raises(HeadersTooLarge):
        Decoder(max_fields=3).decode(field * 4)
    assert len(Decoder(max_list_bytes=34 * 3).decode(field * 3)) == 3
    with pytest.raises(HeadersTooLarge):
        Decoder(max_list_bytes=34 * 3 - 1).decode(field * 3)


def test_a_field_that_came_by_index_is_entered_once_and_then_sent_by_index() -> None:
    decoder, encoder = Decoder(), Encoder()
    offered = encoder.encode(decoder.decode(b"\x40\x01a\x01b"))
    assert offered == b"\x00\x01a\x01b"
    assert [encoder.encode(decoder.decode(b"\xbe")) for _ in range(2)] == [b"\x40\x01a\x01b", b"\xbe"]


def test_clients_with_the_same_field_share_one_entry() -> None:
    encoder = Encoder()
    for wanted in (b"\x40\x01a\x01b", b"\xbe"):
        decoder = Decoder()
        decoder.decode(b"\x40\x01a\x01b")
        assert encoder.encode(decoder.decode(b"\xbe")) == wanted


@pytest.mark.parametrize("block", ["0486a8eb10649cbf", "0001618107", "0f2b0162", "100178017a", "1f088107", "8286"])
def test_a_literal_without_indexing_goes_out_in_the_bytes_it_came_in(block: str) -> None:
    assert Encoder().encode(decode(block)).hex() == block


def test_a_name_from_the_dynamic_table_becomes_a_literal_one() -> None:
    decoder = Decoder()
    decoder.decode(b"\x40\x01a\x01b")
    assert Encoder().encode(decoder.decode(b"\x0f\x2f\x01c")) == b"\0\x01a\x01c"
    assert Encoder().encode(decoder.decode(b"\x1f\x2f\x01c")) == b"\x10\x01a\x01c"


def test_padded_integers_are_not_passed_on() -> None:
    value = b"v" * 127
    block = b"\x0f\x80\x80\x00" + b"\x7f\x80\x80\x00" + value
    assert Encoder().encode(Decoder().decode(block)) == b"\x0f\x00\x7f\x00" + value


@pytest.mark.parametrize(("name", "value"), [(b"authorization", b"Bearer x"), (b"cookie", b"id=1")])
def test_a_secret_does_not_enter_the_table_that_clients_share(name: bytes, value: bytes) -> None:
    decoder, encoder = Decoder(), Encoder()
    decoder.decode(hpack.Encoder().encode([(name, value)]))
    for _ in range(3):
        assert pairs(Decoder().decode(encoder.encode(decoder.decode(b"\xbe")))) == [(name, value)]
    assert encoder.table_bytes == 0


@pytest.mark.parametrize(
    ("field", "wire"),
    [
        ((b":status", b"200"), b"\x88"),
        ((b":status", b"429"), b"\x08\x03429"),
        ((b"server", b"x"), b"\x0f\x27\x01x"),
        ((b"authorization", b"x"), b"\x1f\x08\x01x"),
        (Field(b"a", b"b"), b"\0\x01a\x01b"),
        (Field(b"a", b"b", is_sensitive=True), b"\x10\x01a\x01b"),
        (known(b"a", b"b"), b"\x40\x01a\x01b"),
        (known(b"via", b"x"), b"\x7c\x01x"),
    ],
)
def test_fields_of_our_own_are_static_or_literals(field: Field | tuple[bytes, bytes], wire: bytes) -> None:
    assert Encoder().encode([field]) == wire


def test_a_known_field_is_sent_by_index_from_the_second_time_on() -> None:
    encoder, field = Encoder(), known(b"via", b"2 milliroute")
    assert len(encoder.encode([field])) > 1
    assert encoder.encode([field, field]) == b"\xbe\xbe"


def test_size_updates_say_the_smallest_size_in_between_and_the_last() -> None:
    encoder = Encoder()
    encoder.encode([known(b"a", b"b")])
    for size in (4096, 100, 0, 65536):
        encoder.set_peer_limit(size)
    assert encoder.encode([]) == b"\x20\x3f\xe1\x1f"
    assert encoder.encode([]) == b""
    assert encoder.encode([known(b"a", b"b")]) == b"\x40\x01a\x01b"


def test_a_table_of_a_peer_that_wants_none_is_not_used() -> None:
    encoder = Encoder()
    encoder.set_peer_limit(0)
    assert [encoder.encode([known(b"a", b"b")]) for _ in range(2)] == [b"\x20\0\x01a\x01b", b"\0\x01a\x01b"]


def test_our_own_smaller_table_is_announced_in_the_first_block() -> None:
    assert Encoder(0).encode([(b":method", b"GET")]) == b"\x20\x82"


def test_no_more_than_4096_bytes_are_used_whatever_the_peer_allows() -> None:
    encoder = Encoder(1 << 20)
    encoder.set_peer_limit(1 << 20)
    encoder.encode(known(b"x-%d" % number, b"v" * 50) for number in range(200))
    assert 3900 < encoder.table_bytes <= 4096


def test_remembered_names_are_short_and_few() -> None:
    names = Names()
    for number in range(3000):
        assert names[b"\x0a%010d" % number] == b"%010d" % number
        assert names[b"\x50%080d" % number] == b"%080d" % number
    assert len(names) <= 1024
    assert all(len(name) < 80 for name in names)
