"""The Huffman code: both decoders against each other, against the `hpack` library and against the padding rules."""

import random
import zlib

import pytest
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from milliroute.proxy.codec import huffman
from milliroute.proxy.errors import HpackError
from tests.proxy.codec.blocks import huffman_of

# RFC 7541 Appendix C.4 and C.6.
EXAMPLES = [
    (b"www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
    (b"no-cache", "a8eb10649cbf"),
    (b"custom-value", "25a849e95bb8e8b4bf"),
    (b"Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
    (b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
     "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"),
]  # fmt: skip


def bits_of(text: str) -> bytes:
    return bytes(int(text[place : place + 8], 2) for place in range(0, len(text), 8))


def test_codes_are_those_of_appendix_b() -> None:
    codes = [f"{code:0{bits}b}" for code, bits in zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True)]
    assert list(huffman._bit_strings()) == codes


@pytest.mark.parametrize(("text", "coded"), EXAMPLES)
def test_examples_of_the_rfc_are_coded_as_printed(text: bytes, coded: str) -> None:
    assert huffman.encode(text).hex() == coded
    assert huffman.decode(bytes.fromhex(coded)) == text
    assert huffman.decode_plainly(bytes.fromhex(coded)) == text


@given(st.binary(max_size=200))
def test_every_text_comes_back_and_is_coded_as_the_library_codes_it(text: bytes) -> None:
    coded = huffman.encode(text)
    assert coded == huffman_of(text)
    assert huffman.decode(coded) == huffman.decode_plainly(coded) == text


def test_each_byte_value_comes_back_amid_others() -> None:
    for value in range(256):
        text = b"0123456789" + bytes((value,)) * 3 + b"abcdefgh"
        assert huffman.decode(huffman.encode(text)) == text


def decoded(decode: object, coded: bytes) -> bytes | None:
    assert callable(decode)
    try:
        text = decode(coded)
    except HpackError:
        return None
    assert isinstance(text, bytes)
    return text


@pytest.mark.slow
def test_both_decoders_agree_on_any_bytes() -> None:
    rng, counts = random.Random(7), {True: 0, False: 0}
    for _ in range(60_000):
        length = rng.choice((1, 2, 9, 10, 12, 30))
        coded = bytes(rng.choices(range(256), k=length))
        if rng.random() < 0.7:
            text = bytes(rng.choices(b"0123456789abcdef-/xyz!|{\\\x00\xe9", k=length))
            spoiled = bytearray(huffman.encode(text))
            spoiled[rng.randrange(len(spoiled))] ^= rng.choice((0, 0, 1, 3, 0x80, 0xFF))
            coded = bytes(spoiled)
        fast = decoded(huffman.decode, coded)
        assert fast == decoded(huffman.decode_plainly, coded), coded
        counts[fast is None] += 1
    assert min(counts.values()) > 5000


@pytest.mark.parametrize("text", [b"", b"0", b"0123456789", b"abcdefghijklmnopqrs", b"X" * 20])
def test_padding_of_up_to_seven_ones_is_taken_and_nothing_else(text: bytes) -> None:
    bits = "".join(huffman._bit_strings()[value] for value in text)
    wanted = -len(bits) % 8
    for length in range(wanted, 40, 8):
        for zero in [*range(length), None]:
            padding = "".join("0" if place == zero else "1" for place in range(length))
            found = decoded(huffman.decode, bits_of(bits + padding))
            if length == wanted and zero is None:
                assert found == text
            assert found == decoded(huffman.decode_plainly, bits_of(bits + padding))
            if length >= 8 and zero is None:
                assert found is None


@pytest.mark.parametrize("before", [b"", b"a", b"0123456789abc"])
@pytest.mark.parametrize("after", [b"", b"a", b"0123456789abc"])
def test_eos_in_a_string_is_refused(before: bytes, after: bytes) -> None:
    codes = huffman._bit_strings()
    bits = "".join(codes[symbol] for symbol in [*before, huffman.EOS, *after])
    with pytest.raises(HpackError):
        huffman.decode(bits_of(bits + "1" * (-len(bits) % 8)))


def test_what_the_fast_decoder_takes_does_not_reach_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huffman, "decode_plainly", lambda coded: pytest.fail("declined"))
    printable = bytes(value for value in range(0x20, 0x7F) if value != ord("\\"))
    for end in range(20, len(printable)):
        text = printable[end - 20 : end]
        assert huffman.decode(huffman.encode(text)) == text


def _after_sync(state: str) -> bytes | None:
    """What zlib writes for the bytes behind a string that left it in `state`, and None where it comes to its end."""
    symbols = {bits: bytes((symbol,)) for symbol, bits in enumerate(huffman._bit_strings()) if len(bits) <= 15}
    text = b""
    for byte in huffman._SYNC:
        for place in range(8):
            state += str(byte >> place & 1)
            if state == "1" * 15:
                return None
            if state in symbols:
                text, state = text + symbols[state], ""
    return text if not state else text + b"?"


def test_the_bytes_behind_a_string_tell_right_padding_from_all_other_places_in_the_code() -> None:
    codes = [bits[:15] for bits in huffman._bit_strings()]
    right = ["1" * ones for ones in range(8)]
    seen = [_after_sync(state) for state in right]
    assert set(seen) == huffman._IN_SYNC
    for state in {bits[:length] for bits in codes for length in range(len(bits))} - set(right):
        text = _after_sync(state)
        assert text is None or not any(text.endswith(end) or end.endswith(text) for end in huffman._IN_SYNC), state


def test_a_string_that_was_refused_leaves_nothing_behind() -> None:
    good, bad = huffman.encode(b"0123456789abc"), huffman.encode(b"0123456789abc") + b"\xff"
    unusual = huffman.encode(b"0123\\456789")
    for coded in (bad, unusual, b"\xff" * 20, b"\0" * 20, b"\xfe" * 20) * 2:
        before = decoded(huffman.decode_plainly, coded)
        assert decoded(huffman.decode, coded) == before
        assert huffman.decode(good) == b"0123456789abc"


def test_the_code_of_short_symbols_is_complete_for_zlib() -> None:
    inflater = zlib.decompressobj(-9)
    assert inflater.decompress(huffman._deflate_head()) == b""
    assert not inflater.eof
