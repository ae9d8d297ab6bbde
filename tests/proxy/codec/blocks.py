"""Seeded generation of HPACK field blocks: every representation of RFC 7541 section 6, then bent as attackers do."""

import random

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from milliroute.proxy.codec.hpack_wire import write_integer
from tests.proxy.codec.heads import bent

# The other library's, so that a mistake in our code table can't hide.
huffman_of = HuffmanEncoder(list(REQUEST_CODES), list(REQUEST_CODES_LENGTH)).encode

_NAMES = (b"x-a", b":path", b"cookie", b"traceparent", b"authorization", b"grpc-timeout", b"", b"x" * 126, b"y" * 127)
_VALUES = (
    b"", b"GET", b"/v1/items/12", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", b"caf\xc3\xa9",
    b"back\\slash", b"\r\n\0", b"z" * 126, b"z" * 127, b"w" * 300, b"v" * 1500, b"u" * 4200, b"~}{|^",
    bytes(range(256)),
)  # fmt: skip


def block(rng: random.Random) -> bytes:
    """Well-formed but for indexes that the tables may not hold; seldom empty."""
    parts = [write_integer(_size(rng), 0x1F, 0x20) for _ in range(rng.choice((0,) * 12 + (1, 2)))]
    parts += [_representation(rng) for _ in range(rng.randrange(12))]
    return b"".join(parts)


def bent_block(rng: random.Random) -> bytes:
    made = block(rng)
    if rng.random() < 0.25:
        made = bent(rng, made)
    if rng.random() < 0.1:
        made = made[: rng.randrange(len(made) + 1)]
    if rng.random() < 0.05:
        place = rng.randrange(len(made) + 1)
        made = made[:place] + rng.choice(_ODD) + made[place:]
    return made


# A size update in the middle, index 0, and integers that are padded, long or unfinished.
_ODD = (
    b"\x20", b"\x3f\xe1\x1f", b"\x3f\xff\xff\xff\x7f", b"\x80", b"\xff\x80\x00", b"\xff\x80\x80\x80\x00", b"\xff" * 10,
    b"\x7f\x80\x80\x80\x80\x80\x80\x80\x80\x00", b"\x00\x7f\x80\x80\x80\x80\x10", b"\x40\x01a\x82\xff\xff", b"\x0f",
)  # fmt: skip


def string(rng: random.Random, text: bytes) -> bytes:
    if rng.random() < 0.5:
        coded = huffman_of(text)
        return write_integer(len(coded), 0x7F, 0x80) + coded
    return write_integer(len(text), 0x7F, 0) + text


def _representation(rng: random.Random) -> bytes:
    if rng.random() < 0.45:
        return write_integer(_index(rng), 0x7F, 0x80)
    mask, pattern = rng.choice(((0x3F, 0x40), (0x0F, 0x00), (0x0F, 0x10)))
    if rng.random() < 0.5:
        start = write_integer(_index(rng), mask, pattern)
    else:
        start = bytes((pattern,)) + string(rng, rng.choice(_NAMES))
    return start + string(rng, _value(rng))


def _value(rng: random.Random) -> bytes:
    if rng.random() < 0.4:
        return rng.choice(_VALUES)
    alphabet = rng.choice((b"0123456789abcdef-", b"abcXYZ/?=&;, ~", bytes(range(256))))
    return bytes(rng.choices(alphabet, k=rng.randrange(40)))


def _index(rng: random.Random) -> int:
    return rng.randrange(1, 62) if rng.random() < 0.7 else rng.randrange(62, 64)


def _size(rng: random.Random) -> int:
    return rng.choice((0, 31, 100, 2000, 4097) if rng.random() < 0.1 else (4096, 1000))
