"""What the decoder remembers of entries that were in use and had to make way: one that comes back is the same field."""

import random

import hpack

from milliroute.proxy.codec.hpack import Decoder, Encoder

A, B = b"\x40\x01a\x01b", b"\x40\x01c\x01d"  # literals that are entered
NEWEST = b"\xbe"


def test_an_entry_that_was_in_use_comes_back_as_the_same_field() -> None:
    decoder, encoder = Decoder(64), Encoder()
    (used,) = decoder.decode(A + NEWEST)[1:]
    encoder.encode([used])
    decoder.decode(B)
    (back,) = decoder.decode(A)
    assert back is used
    assert decoder.decode(NEWEST) == [used]
    assert encoder.encode([back]) == NEWEST


def test_an_entry_that_nobody_referred_to_is_not_remembered() -> None:
    decoder = Decoder(64)
    (first,) = decoder.decode(A)
    decoder.decode(B)
    (again,) = decoder.decode(A)
    assert again is not first
    assert not again.key


def test_a_literal_that_is_not_entered_stays_one() -> None:
    decoder, encoder = Decoder(64), Encoder()
    encoder.encode(decoder.decode(A + NEWEST))
    decoder.decode(B)
    for pattern in (b"\x00", b"\x10"):
        (field,) = decoder.decode(pattern + A[1:])
        assert encoder.encode([field]) == field.wire
        assert field.is_sensitive == (pattern == b"\x10")


def test_few_and_small_evicted_entries_are_remembered() -> None:
    decoder, encoder = Decoder(), Encoder()
    for number in range(500):
        value = b"%04d" % number + b"v" * 70 * (number % 9)
        encoder.encode(decoder.decode(b"\x40\x01a" + _string(value) + NEWEST))
    assert 0 < len(decoder._evicted) <= 32
    assert all(len(wire) <= 512 for wire in decoder._evicted)


def test_fields_that_go_and_come_back_stay_what_they_are() -> None:
    rng = random.Random(5)
    for max_table_bytes in (64, 200, 1000):
        sender, receiver, forwarder, stranger = hpack.Encoder(), Decoder(), Encoder(), hpack.Decoder()
        sender.header_table_size = max_table_bytes
        pool = [(b"x-%d" % rng.randrange(40), b"v" * rng.randrange(60)) for _ in range(80)]
        for _ in range(400):
            wanted = rng.choices(pool, k=rng.randrange(15))
            fields = receiver.decode(sender.encode(wanted))
            assert [(field.name, field.value) for field in fields] == wanted
            assert [tuple(pair) for pair in stranger.decode(forwarder.encode(fields), raw=True)] == wanted


def _string(text: bytes) -> bytes:
    size = len(text)
    return (bytes((size,)) if size < 127 else bytes((127, (size - 127) & 127 | 128, (size - 127) >> 7))) + text
