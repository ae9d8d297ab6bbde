"""Reads the few fields that matter out of a field block, leaving the others and all Huffman coding alone. Pure.

A wanted field comes out as (name, value), the value still coded as a string literal: there are few different ones of
them, so what they mean is remembered by whoever asks. Entries are never evicted: a right encoder does not refer to what
it has pushed out, and indices count from the newest. The rule not to break: every block of a connection is read, in
order.
"""

from collections.abc import Iterable

from milliroute.proxy.codec.hpack_static import STATIC_COUNT, static_fields
from milliroute.proxy.codec.hpack_wire import read_integer, read_string, string_literal
from milliroute.proxy.codec.huffman import decode, encode

Item = tuple[bytes, bytes]

# More entries of 32 bytes and above than a table of 4 KiB can hold; above twice as many the oldest half is dropped.
_KEPT_ENTRIES = 1024


class BadBlock(ValueError):
    """Not a field block; the message says why."""


class ItemReader:
    """The dynamic table of one direction of one connection."""

    __slots__ = ("_entries", "_static", "_wanted")

    def __init__(self, wanted: Iterable[bytes]) -> None:
        # A name as it may come, by Huffman or not -> the name.
        self._wanted = {coded: name for name in wanted for coded in (string_literal(name), _huffman(name))}
        names = set(self._wanted.values())
        self._static: list[Item | None] = [
            (field.name, string_literal(field.value)) if field.name in names else None for field in static_fields()
        ]
        # Oldest first; None for those not wanted.
        self._entries: list[Item | None] = []

    def read(self, block: bytes) -> tuple[Item, ...]:
        """The wanted fields in their order; raises BadBlock."""
        try:
            return self._read(block)
        except (IndexError, ValueError) as error:
            raise BadBlock(f"field block {block.hex()}: {error}") from None

    def _read(self, block: bytes) -> tuple[Item, ...]:
        found, entries, at, end = [], self._entries, 0, len(block)
        while at < end:
            first = block[at]
            at += 1
            if first >= 0x80:
                index = first & 0x7F
                if index == 0x7F:
                    index, at = read_integer(block, at, 0x7F)
                item = entries[STATIC_COUNT - index] if index > STATIC_COUNT else self._static[index]
                if item is not None:
                    found.append(item)
                continue
            if first & 0xE0 == 0x20:
                if first & 0x1F == 0x1F:
                    _, at = read_integer(block, at, 0x1F)
                continue
            mask = 0x3F if first & 0x40 else 0x0F
            index = first & mask
            if index == mask:
                index, at = read_integer(block, at, mask)
            if not index:
                start = at
                _, _, at = read_string(block, at)
                name = self._wanted.get(block[start:at])
            else:
                named = entries[STATIC_COUNT - index] if index > STATIC_COUNT else self._static[index]
                name = None if named is None else named[0]
            # The value: nearly always shorter than 127 bytes as coded.
            start, length = at, block[at] & 0x7F
            at = at + 1 + length if length < 0x7F else read_string(block, at)[2]
            item = None if name is None else (name, block[start:at])
            if item is not None:
                found.append(item)
            if first & 0x40:
                entries.append(item)
        if at != end:
            raise BadBlock("a string is longer than its block")
        if len(entries) > 2 * _KEPT_ENTRIES:
            del entries[:-_KEPT_ENTRIES]
        return tuple(found)


def text(coded: bytes) -> bytes:
    """What a string literal says."""
    value, is_huffman, _ = read_string(coded, 0)
    return decode(value) if is_huffman else value


def _huffman(name: bytes) -> bytes:
    return string_literal(encode(name), True)
