"""Field blocks as they are written, read by the hpack library."""

from itertools import pairwise

import hpack
import pytest

from benchmarks.hpack_plan import TABLE_BYTES, Compression, Plan, Table, Unique, literal
from benchmarks.scenario_h2 import EXCHANGES, Exchange, fields, unique_maker

STABLE = (b"x-stable", b"100% the same")


def block(compression: Compression, table: Table, plan: Plan, *values: bytes) -> tuple[bytes, Table]:
    """The block with these values, and the next state."""
    template, after = compression.step(table, plan)
    return template % tuple(map(literal, values)), after


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.kind)
def test_hundred_requests_of_one_connection_say_what_their_plan_says(exchange: Exchange) -> None:
    compression, decoder, plan = Compression(), hpack.Decoder(), fields(exchange)
    table, make = compression.start, unique_maker(exchange, 7)
    stable = [field for field in plan if not isinstance(field, Unique)]
    for number in range(1, 101):
        template, table = compression.step(table, plan)
        read = [(bytes(name), bytes(value)) for name, value in decoder.decode(template % make(number), raw=True)]
        assert [name for name, _ in read] == [f.name if isinstance(f, Unique) else f[0] for f in plan]
        assert [field for field in read if field in stable] == stable
        assert dict(read)[b"x-request-id"] == b"%032x" % ((7 + number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128)


def test_two_plans_share_one_table() -> None:
    compression, decoder = Compression(), hpack.Decoder()
    first, table = block(compression, compression.start, ((b":status", b"200"), STABLE))
    trailers, table = block(compression, table, ((b"grpc-status", b"0"),))
    again, _ = block(compression, table, ((b":status", b"200"), STABLE))
    read = [[(bytes(n), bytes(v)) for n, v in decoder.decode(one, raw=True)] for one in (first, trailers, again)]
    assert read == [[(b":status", b"200"), STABLE], [(b"grpc-status", b"0")], [(b":status", b"200"), STABLE]]
    assert len(again) == 2


def test_stable_field_is_entered_again_once_newer_entries_have_pushed_it_out() -> None:
    compression, decoder = Compression(), hpack.Decoder()
    plan, table, sizes = (STABLE, Unique(b"x-new", 64)), compression.start, []
    for number in range(200):
        made, table = block(compression, table, plan, b"%064x" % number)
        read = {bytes(name): bytes(value) for name, value in decoder.decode(made, raw=True)}
        assert read == {STABLE[0]: STABLE[1], b"x-new": b"%064x" % number}
        sizes.append(len(compression.step(table, plan)[0]))
    # Beside its own 53 bytes the table holds forty of the others' 101: the 41st pushes it out.
    entered = [number for number, size in enumerate(sizes) if size > 10]
    assert {later - sooner for sooner, later in pairwise(entered)} == {(TABLE_BYTES - 53) // 101 + 1}


def test_states_repeat_so_that_each_step_is_computed_once() -> None:
    compression, seen = Compression(), set()
    table, plan = compression.start, fields(EXCHANGES[0])
    for _ in range(1000):
        _, table = compression.step(table, plan)
        seen.add(id(table))
    assert len(seen) < 200


def test_literal_is_coded_by_huffman_only_where_that_is_shorter() -> None:
    assert literal(b"0" * 32)[0] == 0x80 | 20
    assert literal(b"\x00\xff") == b"\x02\x00\xff"
