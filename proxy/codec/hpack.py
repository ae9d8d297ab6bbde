"""HPACK for a proxy (RFC 7541): field blocks in, fields out, and fields in, blocks out.

A field is translated representation by representation: what the peer refers to by index we enter once in our own table
and refer to by index; what came as a literal goes out as a literal, the coded bytes of its value untouched. The rule
not to break: every block that arrives goes through `Decoder.decode`, also those of refused streams, and every block
that `Encoder` made is sent, in order; otherwise the tables fall out of step.

Measured, CPython 3.11, 12 fields of which 9 come by index and 3 are unique Huffman literals (108 bytes): decode 4.8 us,
encode 1.1 us, where the `hpack` library takes 100 us for both; Huffman is 2.0 us of it.
"""

from collections import deque
from collections.abc import Iterable

from milliroute.proxy.codec.hpack_static import ENTRY_OVERHEAD, STATIC_COUNT, UNUSED, Field, known, static_fields
from milliroute.proxy.codec.hpack_wire import (
    FORMS,
    HUFFMAN,
    INCREMENTAL,
    INDEXED,
    NAMES,
    NEVER_INDEXED,
    SIZE_UPDATE,
    entering,
    entry_bytes,
    indexed,
    never_indexed,
    own_wire,
    read_integer,
    read_string,
    sharing_key,
    size_update,
    string_literal,
)  # fmt: skip
from milliroute.proxy.codec.huffman import decode as huffman_decode
from milliroute.proxy.errors import HeadersTooLarge, HpackError

__all__ = ["MAX_FIELDS", "MAX_LIST_BYTES", "MAX_TABLE_BYTES", "Decoder", "Encoder", "Field", "known"]

# RFC 9113 section 6.5.2: SETTINGS_HEADER_TABLE_SIZE before any SETTINGS; nobody gains from more (facts, HPACK bomb).
MAX_TABLE_BYTES = 4096
# Design section 7: 431 above.
MAX_LIST_BYTES = 32 * 1024
MAX_FIELDS = 100
# A block of more fields than this many times the limit is not decoded to its end, which ends the connection (RFC 9113
# section 4.3), as in hyper: 64 KiB of table entries would hold up all other connections for 57 ms.
_FATAL_EXCESS = 4
# RFC 7541 section 4.2 has two at most, but `hpack` for Python sends one for each SETTINGS since the last block.
_MAX_SIZE_UPDATES = 16
# RFC 9113 section 7; what a stream over our limits is reset with where it gets no 431.
_ENHANCE_YOUR_CALM = 0xB
_FIRST_DYNAMIC = STATIC_COUNT + 1
_NEWEST = INDEXED + _FIRST_DYNAMIC
# Evicted entries that are remembered, 16 KiB at most.
_MAX_KEPT, _MAX_KEPT_BYTES = 32, 512


class Decoder:
    """max_table_bytes: what our SETTINGS_HEADER_TABLE_SIZE says and the peer has acknowledged."""

    def __init__(
        self,
        max_table_bytes: int = MAX_TABLE_BYTES,
        *,
        max_list_bytes: int = MAX_LIST_BYTES,
        max_fields: int = MAX_FIELDS,
    ) -> None:
        self._max_list_bytes = max_list_bytes
        self._max_fields = max_fields
        self._fatal_fields = max_fields * _FATAL_EXCESS
        self._limit = max_table_bytes
        self._max_bytes = max_table_bytes
        # By the byte that an index is as a whole field (0x80 and the index): placeholders, the static table, then the
        # dynamic one, newest first (RFC 7541 section 2.3.3).
        self._entries = [static_fields()[0]] * INDEXED + list(static_fields())
        self._bytes = 0
        # By wire: what was in use and had to make way for fields that come once. nghttp2, Go and Java enter a request's
        # id, so that the stable fields come anew every few requests, and are not decoded and judged anew.
        self._evicted: dict[bytes, Field] = {}
        # No field of any table so far takes more in a list.
        self._largest = max(map(entry_bytes, self._entries))

    @property
    def table_bytes(self) -> int:
        return self._bytes

    def set_limit(self, max_table_bytes: int) -> None:
        """Our new SETTINGS_HEADER_TABLE_SIZE is acknowledged; a smaller one obliges the next block to say so."""
        self._limit = max_table_bytes

    def decode(self, block: bytes) -> list[Field]:
        """One whole field block (HEADERS and its CONTINUATIONS, without padding and priority).

        Raises HpackError (the connection ends) or HeadersTooLarge (this stream gets 431; the tables are in step).
        """
        fields: list[Field] = []
        try:
            self._read(block, fields)
        except IndexError:
            if block:
                raise HpackError("a field block that is cut short, or an index beyond the tables") from None
        if self._max_bytes > self._limit:
            raise HpackError(f"no table size update, wanted at most {self._limit} (RFC 9113 section 4.3.1)")
        # The cheap bound first; Huffman's shortest code is 5 bits, so no text is over 8/5 of its bytes.
        if len(fields) > self._max_fields or len(fields) * self._largest + 2 * len(block) > self._max_list_bytes:
            self._judge_size(fields)
        return fields

    def _read(self, block: bytes, fields: list[Field]) -> None:
        """Longer than is usual here: in one piece a literal takes 0.5 us besides Huffman's, in calls 0.9 us."""
        entries, add, place, end = self._entries, fields.append, 0, len(block)
        if SIZE_UPDATE <= block[0] < INCREMENTAL:
            place = self._read_size_updates(block)
        while place < end:
            if len(fields) > self._fatal_fields:
                raise HpackError(f"over {self._fatal_fields} fields in a block, wanted at most {self._max_fields}")
            # No field is shorter than a byte, so that the number of fields need not be looked at for each.
            stop = end if end <= self._fatal_fields else min(end, place + self._fatal_fields)
            while place < stop:
                first = block[place]
                place += 1
                if 0x80 < first < 0xFF:
                    add(entries[first])
                    continue
                if first >= INCREMENTAL:
                    if first >= INDEXED:
                        if first == INDEXED:
                            raise HpackError("index 0 (RFC 7541 section 6.1)")
                        index, place = read_integer(block, place, 0x7F)
                        add(entries[INDEXED + index])
                        continue
                    index, mask = first & 0x3F, 0x3F
                elif first < SIZE_UPDATE:
                    index, mask = first & 0x0F, 0x0F
                else:
                    raise HpackError("a table size update after a field (RFC 7541 section 4.2)")
                if index == mask:
                    if block[place] < 0x80:  # nearly always
                        index += block[place]
                        place += 1
                    else:
                        index, place = read_integer(block, place, mask)
                begin, length = place, block[place]
                if index:
                    name = entries[INDEXED + index].name
                else:
                    if length & 0x7F < 0x7F:
                        place += 1 + (length & 0x7F)
                        name = NAMES[block[begin:place]]
                    else:
                        coded, is_huffman, place = read_string(block, place)
                        name = huffman_decode(coded) if is_huffman else coded
                    begin, length = place, block[place]
                if length & 0x7F < 0x7F:
                    place += 1 + (length & 0x7F)
                    if place > end:
                        raise IndexError
                    literal = block[begin:place]
                    coded = literal[1:]
                else:
                    # Coded again, because the number may be padded.
                    coded, is_huffman, place = read_string(block, place)
                    literal = string_literal(coded, is_huffman)
                wire = FORMS[name] + literal
                if first >= INCREMENTAL and wire in self._evicted:
                    field = self._evicted.pop(wire)
                    self._enter(field)
                    add(field)
                    continue
                value = huffman_decode(coded) if length >= HUFFMAN else coded
                if first >= INCREMENTAL:
                    self._enter(Field(name, value, wire, UNUSED))
                    add(Field(name, value, wire))
                elif first < NEVER_INDEXED:
                    add(Field(name, value, wire))
                else:
                    add(Field(name, value, never_indexed(FORMS[name]) + literal, b"", True))

    def _enter(self, field: Field) -> None:
        """RFC 7541 section 4.4; an entry larger than the table empties it."""
        size = len(field.name) + len(field.value) + ENTRY_OVERHEAD
        self._entries.insert(_NEWEST, field)
        self._bytes += size
        if size > self._largest:
            self._largest = size
        if self._bytes > self._max_bytes:
            self._evict()

    def _evict(self) -> None:
        while self._bytes > self._max_bytes:
            oldest = self._entries.pop()
            self._bytes -= len(oldest.name) + len(oldest.value) + ENTRY_OVERHEAD
            if oldest.key and oldest.key is not UNUSED and len(oldest.wire) <= _MAX_KEPT_BYTES:
                self._keep(oldest)

    def _keep(self, evicted: Field) -> None:
        if len(self._evicted) >= _MAX_KEPT:
            del self._evicted[next(iter(self._evicted))]
        self._evicted[evicted.wire] = evicted

    def _read_size_updates(self, block: bytes) -> int:
        """Where the fields begin; updates stand nowhere but before them."""
        place = 0
        for _ in range(_MAX_SIZE_UPDATES):
            size, place = block[place] & 0x1F, place + 1
            if size == 0x1F:
                size, place = read_integer(block, place, 0x1F)
            if size > self._limit:
                raise HpackError(f"table size update to {size}, wanted at most {self._limit}")
            self._max_bytes = size
            self._evict()
            if place == len(block) or not SIZE_UPDATE <= block[place] < INCREMENTAL:
                return place
        raise HpackError(f"over {_MAX_SIZE_UPDATES} table size updates in a row (RFC 7541 section 4.2)")

    def _judge_size(self, fields: list[Field]) -> None:
        if len(fields) > self._max_fields:
            raise HeadersTooLarge(_ENHANCE_YOUR_CALM, f"{len(fields)} fields, wanted at most {self._max_fields}")
        size = sum(map(entry_bytes, fields))
        if size > self._max_list_bytes:
            raise HeadersTooLarge(_ENHANCE_YOUR_CALM, f"fields of {size} bytes, wanted {self._max_list_bytes}")


class Encoder:
    """max_table_bytes: what we are willing to keep, whatever the peer allows; at most 4096."""

    def __init__(self, max_table_bytes: int = MAX_TABLE_BYTES) -> None:
        self._own_limit = min(max_table_bytes, MAX_TABLE_BYTES)
        self._max_bytes = self._own_limit
        # Size updates to begin the next block with: the smallest since the last block, and the one that holds.
        self._lowest = self._own_limit
        self._has_update = self._own_limit != MAX_TABLE_BYTES
        # Key -> number in the order of entering; what stands in the queue stands here.
        self._known: dict[bytes, int] = {}
        self._queue: deque[tuple[bytes, int]] = deque()
        self._bytes = 0
        # Index and number of an entry add up to this.
        self._sum = STATIC_COUNT
        self._indexed = [indexed(index) for index in range(_FIRST_DYNAMIC + MAX_TABLE_BYTES // ENTRY_OVERHEAD)]

    @property
    def table_bytes(self) -> int:
        return self._bytes

    def set_peer_limit(self, max_table_bytes: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE; the next block begins with the size updates this asks for."""
        size = min(max_table_bytes, self._own_limit)
        if size == self._max_bytes:
            return
        self._lowest = min(self._lowest, size) if self._has_update else size
        self._max_bytes = size
        self._has_update = True

    def encode(self, fields: Iterable[Field | tuple[bytes, bytes]]) -> bytes:
        """A field block for the peer; pseudo-fields are the caller's to put first. Never raises."""
        parts = self._size_updates() if self._has_update else []
        known, table, add, total = self._known, self._indexed, parts.append, self._sum
        for field in fields:
            if not isinstance(field, Field):
                add(own_wire(*field))
            elif not (key := field.key):
                add(field.wire or own_wire(field.name, field.value, field.is_sensitive))
            elif key in known:
                add(table[total - known[key]])
            else:
                add(self._enter(field))
                total = self._sum
        return b"".join(parts)

    def _enter(self, field: Field) -> bytes:
        wire = field.wire or own_wire(field.name, field.value)
        if field.key is UNUSED:
            field.key = sharing_key(field)
            if field.key in self._known:
                return self._indexed[self._sum - self._known[field.key]]
        size = entry_bytes(field)
        # As nghttp2: an entry of over three quarters of the table would cost more than it saves.
        if not field.key or wire[0] >= NEVER_INDEXED or size * 4 > self._max_bytes * 3:
            return wire
        self._evict(self._max_bytes - size)
        self._sum += 1
        self._known[field.key] = self._sum - _FIRST_DYNAMIC
        self._queue.append((field.key, size))
        self._bytes += size
        return entering(field.name, wire)

    def _evict(self, wanted_bytes: int) -> None:
        while self._bytes > wanted_bytes:
            key, size = self._queue.popleft()
            del self._known[key]
            self._bytes -= size

    def _size_updates(self) -> list[bytes]:
        """RFC 7541 section 4.2: the smallest in between is said too, since the peer evicts by it."""
        parts = [size_update(self._max_bytes)]
        if self._lowest < self._max_bytes:
            parts.insert(0, size_update(self._lowest))
        self._evict(self._lowest)
        self._has_update = False
        self._lowest = self._max_bytes
        return parts
