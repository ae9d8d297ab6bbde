"""Representations of HPACK (RFC 7541 sections 5 and 6) one by one: integers, indexed fields, literals, size updates.

The rule not to break: what is written here is canonical and refers to the static table only, because a decoder
behind us that refuses an odd coding would end a connection that other clients share.
"""

from milliroute.proxy.codec import huffman
from milliroute.proxy.codec.hpack_static import ENTRY_OVERHEAD, Field, key_of, static_names, static_pairs
from milliroute.proxy.errors import HpackError

# First bytes (RFC 7541 section 6): the pattern above the prefix bits of the number.
INDEXED, INCREMENTAL, SIZE_UPDATE, NEVER_INDEXED, HUFFMAN = 0x80, 0x40, 0x20, 0x10, 0x80
# Five bytes in all: nghttp2 and Go stop there too, and it is 64,000 times what any length of ours may be.
MAX_CONTINUATION_BYTES = 4
# Names worth remembering are short; one connection may not fill the memory of the process with others.
_MAX_KEPT_NAME_BYTES = 64
_KEPT_NAMES = 1024
# Secrets that a table shared by clients could be probed for (RFC 7541 section 7.1.3); as nghttp2, with its 20 bytes.
_SECRET_NAMES = frozenset((b"authorization", b"proxy-authorization"))
_MIN_SHARED_COOKIE_BYTES = 20


def write_integer(value: int, mask: int, pattern: int) -> bytes:
    """mask: the prefix bits, all ones."""
    if value < mask:
        return bytes((pattern | value,))
    out = bytearray((pattern | mask,))
    value -= mask
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_integer(block: bytes, place: int, mask: int) -> tuple[int, int]:
    """(value, where it ends) of an integer whose prefix bits were all ones; place: of the byte after the prefix.

    Raises HpackError, and IndexError where the block is cut short.
    """
    value, shift = mask, 0
    for position in range(place, place + MAX_CONTINUATION_BYTES):
        byte = block[position]
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + 1
        shift += 7
    raise HpackError(f"integer of more than {MAX_CONTINUATION_BYTES + 1} bytes")


def read_string(block: bytes, place: int) -> tuple[bytes, bool, int]:
    """(string as coded, whether by Huffman, where it ends); raises as `read_integer` does."""
    first = block[place]
    length, place = first & 0x7F, place + 1
    if length == 0x7F:
        length, place = read_integer(block, place, 0x7F)
    coded = block[place : place + length]
    if len(coded) != length:
        raise HpackError(f"string of {length} bytes, but {len(coded)} are left")
    return coded, first >= HUFFMAN, place + length


def string_literal(coded: bytes, is_huffman: bool = False) -> bytes:
    return write_integer(len(coded), 0x7F, HUFFMAN if is_huffman else 0) + coded


class Forms(dict[bytes, bytes]):
    """name -> how a literal without indexing begins that has this name: all of it but the value.

    A dictionary that fills itself, for 35 ns against the 100 ns of an lru_cache; bounded like one.
    """

    def __missing__(self, name: bytes) -> bytes:
        index = static_names().get(name)
        if index is not None:
            return self._kept(name, write_integer(index, 0x0F, 0))
        coded = huffman.encode(name)
        return self._kept(
            name, b"\0" + (string_literal(coded, True) if len(coded) < len(name) else string_literal(name))
        )

    def _kept(self, name: bytes, made: bytes) -> bytes:
        if len(name) <= _MAX_KEPT_NAME_BYTES:
            if len(self) >= _KEPT_NAMES:
                self.clear()
            self[name] = made
        return made


class Names(Forms):
    """A name as a string literal -> the name; raises HpackError, and IndexError where the literal is cut short."""

    def __missing__(self, literal: bytes) -> bytes:
        coded, is_huffman, _ = read_string(literal, 0)
        return self._kept(literal, huffman.decode(coded) if is_huffman else coded)


# Of the process: the same few names come on every connection.
FORMS, NAMES = Forms(), Names()


def never_indexed(form: bytes) -> bytes:
    return bytes((form[0] | NEVER_INDEXED,)) + form[1:]


def entering(name: bytes, wire: bytes) -> bytes:
    """The literal with incremental indexing of a field that `wire` has without."""
    index = static_names().get(name, 0)
    return bytes((INCREMENTAL | index,)) + wire[len(FORMS[name]) if index else 1 :]


def own_wire(name: bytes, value: bytes, is_sensitive: bool = False) -> bytes:
    """Of a field of our own or from HTTP/1: static, or a literal without indexing; the value not Huffman-coded, which
    would cost more CPU than the bytes it saves on a local link.
    """
    if not is_sensitive:
        found = static_pairs().get((name, value))
        if found is not None:
            return found
    form = FORMS[name]
    if is_sensitive or name in _SECRET_NAMES:
        form = never_indexed(form)
    return form + string_literal(value)


def sharing_key(field: Field) -> bytes:
    """b"" where the field may not enter a table that other clients' fields are in."""
    name = field.name
    if name in _SECRET_NAMES or (name == b"cookie" and len(field.value) < _MIN_SHARED_COOKIE_BYTES):
        return b""
    return key_of(name, field.value)


def entry_bytes(field: Field) -> int:
    return len(field.name) + len(field.value) + ENTRY_OVERHEAD


def indexed(index: int) -> bytes:
    return write_integer(index, 0x7F, INDEXED)


def size_update(max_table_bytes: int) -> bytes:
    return write_integer(max_table_bytes, 0x1F, SIZE_UPDATE)
