"""Our HPACK against the `hpack` library: the same fields or both refuse, and what we encode it decodes."""

import random

import hpack
import pytest

from milliroute.proxy.codec.hpack import Decoder, Encoder, Field
from milliroute.proxy.codec.hpack_wire import MAX_CONTINUATION_BYTES
from milliroute.proxy.errors import HpackError
from tests.proxy.codec.blocks import bent_block, block
from tests.sizes import cases

Pairs = list[tuple[bytes, bytes, bool]]

# The library has no limit on the number of fields, and stops at integers longer than ours may be.
_UNLIMITED = {"max_list_bytes": 1 << 20, "max_fields": 1 << 20}
_TOO_LONG = f"integer of more than {MAX_CONTINUATION_BYTES + 1} bytes"


def theirs(decoder: hpack.Decoder, data: bytes) -> Pairs | None:
    try:
        found = list(decoder.decode(data, raw=True))
    except hpack.HPACKError:
        return None
    return [(bytes(field[0]), bytes(field[1]), not field.indexable) for field in found]


def ours(decoder: Decoder, data: bytes) -> Pairs | str:
    try:
        return triples(decoder.decode(data))
    except HpackError as exc:
        return exc.text


def triples(fields: list[Field]) -> Pairs:
    return [(field.name, field.value, field.is_sensitive) for field in fields]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_both_decode_a_block_to_the_same_fields_or_both_refuse_it(seed: int) -> None:
    rng = random.Random(seed)
    mine, other, accepted, refused = Decoder(**_UNLIMITED), hpack.Decoder(1 << 20), 0, 0
    for _ in range(cases(6000)):
        data = bent_block(rng)
        a, b = ours(mine, data), theirs(other, data)
        if isinstance(a, str):
            assert b is None or a == _TOO_LONG, (a, data)
            mine, other, refused = Decoder(**_UNLIMITED), hpack.Decoder(1 << 20), refused + 1
        else:
            assert a == b, data
            accepted += 1
    assert accepted > cases(2000)
    assert refused > cases(1000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_chain_of_translations_ends_in_the_same_fields_with_never_indexed_ones_kept(seed: int) -> None:
    rng = random.Random(seed)
    first = Decoder(**_UNLIMITED)
    hops = [(Encoder(), Decoder(**_UNLIMITED)) for _ in range(2)]
    last, stranger = Encoder(), hpack.Decoder(1 << 20)
    for _ in range(cases(2000)):
        if rng.random() < 0.05:
            # What the decoder behind allows, and is told by the block itself.
            rng.choice([hop[0] for hop in hops] + [last]).set_peer_limit(rng.choice((0, 100, 1000, 4096, 9000)))
        try:
            fields = first.decode(block(rng))
        except HpackError:
            first = Decoder(**_UNLIMITED)
            continue
        wanted = triples(fields)
        for encoder, decoder in hops:
            fields = decoder.decode(encoder.encode(fields))
            assert encoder.table_bytes == decoder.table_bytes
        assert theirs(stranger, last.encode(fields)) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("max_table_bytes", [0, 64, 200, 1000, 4096])
def test_tables_stay_in_step_over_long_sequences_with_evictions_and_size_updates(max_table_bytes: int) -> None:
    rng = random.Random(max_table_bytes)
    sender, receiver = hpack.Encoder(), Decoder(max_fields=1000)
    forwarder, stranger = Encoder(max_table_bytes), hpack.Decoder()
    pool = [(b"x-%d" % rng.randrange(40), b"v" * rng.randrange(120)) for _ in range(80)]
    for _ in range(2000):
        wanted = rng.choices(pool, k=rng.randrange(15))
        if rng.random() < 0.05:
            sender.header_table_size = rng.choice((0, 50, 500, 4096))
        if rng.random() < 0.05:
            forwarder.set_peer_limit(rng.choice((0, 60, 500, 4096, 65536)))
        fields = receiver.decode(sender.encode(wanted, huffman=rng.random() < 0.5))
        assert [(field.name, field.value) for field in fields] == wanted
        assert receiver.table_bytes == sender.header_table._current_size
        assert [pair[:2] for pair in theirs(stranger, forwarder.encode(fields)) or []] == wanted
        assert forwarder.table_bytes == stranger.header_table._current_size
        assert forwarder.table_bytes <= max_table_bytes
