"""The reader of what matters, on blocks of the hpack library and of milliroute's own encoder."""

import random

import hpack
import pytest

from benchmarks.hpack_items import BadBlock, ItemReader, text
from milliroute.proxy.codec.hpack import Encoder, Field

WANTED = (b":status", b"x-backend", b"grpc-status")
ANSWER = [(b":status", b"200"), (b"server", b"bench"), (b"x-backend", b"stable"), (b"etag", b"e" * 200)]


def said(reader: ItemReader, block: bytes) -> list[tuple[bytes, bytes]]:
    """What the wanted items say."""
    return [(name, text(coded)) for name, coded in reader.read(block)]


@pytest.mark.parametrize("huffman", [True, False])
def test_wanted_fields_come_out_however_the_peer_codes_them(huffman: bool) -> None:
    rng, encoder, reader = random.Random(3), hpack.Encoder(), ItemReader(WANTED)
    for _ in range(300):
        sent = [(b":status", rng.choice([b"200", b"503"])), (b"x-%d" % rng.randrange(60), b"v" * rng.randrange(300))]
        sent += [(b"x-backend", rng.choice([b"stable", b"canary"])), (b"grpc-status", b"%d" % rng.randrange(17))]
        rng.shuffle(sent)
        wanted = [field for field in sent if field[0] in WANTED]
        assert said(reader, encoder.encode(sent, huffman=huffman)) == wanted


def test_blocks_of_our_own_encoder_are_read_too() -> None:
    encoder, reader = Encoder(), ItemReader(WANTED)
    for _ in range(3):
        block = encoder.encode([Field(name, value) for name, value in ANSWER])
        assert said(reader, block) == [(b":status", b"200"), (b"x-backend", b"stable")]


def test_table_size_updates_are_skipped() -> None:
    encoder, reader = hpack.Encoder(), ItemReader(WANTED)
    assert said(reader, encoder.encode(ANSWER)) == [ANSWER[0], ANSWER[2]]
    encoder.header_table_size = 100
    assert said(reader, encoder.encode(ANSWER)) == [ANSWER[0], ANSWER[2]]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_block_that_is_cut_short_is_refused(cut: int) -> None:
    block = hpack.Encoder().encode(ANSWER)
    with pytest.raises(BadBlock):
        ItemReader(WANTED).read(block[:-cut])


def test_index_beyond_the_table_is_refused() -> None:
    with pytest.raises(BadBlock):
        ItemReader(WANTED).read(b"\xff\x20")
