"""Field blocks as real HTTP/2 clients and servers write them, at the price of one formatting each. Pure.

A `Plan` is a list of fields with places for values that are new each time. The dynamic table is simulated as nghttp2
keeps it: a stable field is entered once and sent by index, and entered again after newer entries have pushed it out.
Lengths are fixed, so the table soon repeats itself and every step from one state to the next is computed once. The rule
not to break: blocks are sent in the order they were made, and a unique value has the length its plan says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from milliroute.proxy.codec.hpack_static import ENTRY_OVERHEAD, STATIC_COUNT, static_names, static_pairs
from milliroute.proxy.codec.hpack_wire import INCREMENTAL, INDEXED, string_literal, write_integer
from milliroute.proxy.codec.huffman import encode

# RFC 9113 section 6.5.2: what a peer has that says nothing.
TABLE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """A field as the table holds it; `value` is empty for one whose value is never sent again."""

    name: bytes
    value: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Unique:
    """A place for a value that is new each time; `size` is its length where it is entered in the table, else 0.

    nghttp2 enters every field but :path, etag, content-length, age, location, set-cookie and the conditional ones.
    """

    name: bytes
    size: int = 0


Plan = tuple[tuple[bytes, bytes] | Unique, ...]


class Table:
    """One state of the dynamic table, newest entry first. `steps`: by plan, what is sent and the state after it."""

    __slots__ = ("entries", "steps")

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self.entries = entries
        self.steps: dict[Plan, tuple[bytes, Table]] = {}


class Compression:
    """The states that any number of connections go through, each for itself, from `start` on."""

    def __init__(self) -> None:
        self.start = Table(())
        self._tables: dict[tuple[Entry, ...], Table] = {(): self.start}

    def step(self, table: Table, plan: Plan) -> tuple[bytes, Table]:
        """(the block, with one `%b` for each unique value as `literal` makes it; the table after it)."""
        found = table.steps.get(plan)
        if found is None:
            block, entries = _encoded(list(table.entries), plan)
            found = table.steps[plan] = block, self._tables.setdefault(entries, Table(entries))
        return found


def literal(value: bytes) -> bytes:
    """A string literal, by Huffman where that is shorter."""
    coded = encode(value)
    return string_literal(coded, True) if len(coded) < len(value) else string_literal(value)


def _encoded(entries: list[Entry], plan: Plan) -> tuple[bytes, tuple[Entry, ...]]:
    parts = []
    for field in plan:
        if isinstance(field, Unique):
            is_entered, value, size = field.size > 0, b"", len(field.name) + field.size + ENTRY_OVERHEAD
            name = field.name
        else:
            (name, value), is_entered, size = field, True, sum(map(len, field)) + ENTRY_OVERHEAD
        whole = _whole(entries, name, value) if value else b""
        if whole:
            parts.append(whole.replace(b"%", b"%%"))
            continue
        head = _head(entries, name, INCREMENTAL if is_entered else 0)
        parts.append((head + literal(value)).replace(b"%", b"%%") if value else head.replace(b"%", b"%%") + b"%b")
        if is_entered:
            _enter(entries, Entry(name, value, size))
    return b"".join(parts), tuple(entries)


def _whole(entries: Sequence[Entry], name: bytes, value: bytes) -> bytes:
    for index, entry in enumerate(entries, STATIC_COUNT + 1):
        if (entry.name, entry.value) == (name, value):
            return write_integer(index, 0x7F, INDEXED)
    return static_pairs().get((name, value), b"")


def _head(entries: Sequence[Entry], name: bytes, pattern: int) -> bytes:
    """A literal up to its value; the name by index where it has one."""
    mask = 0x3F if pattern else 0x0F
    index = static_names().get(name, 0)
    if not index:
        index = next((at for at, entry in enumerate(entries, STATIC_COUNT + 1) if entry.name == name), 0)
    return write_integer(index, mask, pattern) + (b"" if index else literal(name))


def _enter(entries: list[Entry], entry: Entry) -> None:
    # No field of a plan is larger than the table.
    while sum(one.size for one in entries) + entry.size > TABLE_BYTES:
        entries.pop()
    entries.insert(0, entry)
