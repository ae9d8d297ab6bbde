"""JSON of an API server as the nodes that readers of manifests take.

In: bytes. Out: plain values, and back; nodes without positions (line 0). Numbers with a point or an exponent keep their
text, so that no weight goes through a float. What only an API server has use for is left out. An object may be nested
deeper than Python can follow: whoever wrote it must not take the objects beside it along.
"""

import re
from collections.abc import Mapping

import msgspec

from milliroute.control.manifest.nodes import Fields, Items, Node, Scalar

# As long as the objects themselves, and nobody reads them here.
_LEFT_OUT = ("managedFields", "status")

# As in files; Kubernetes objects are about 15 levels deep.
MAX_DEPTH = 64
# With the list around an object, and enough of it to see that it is too deep.
_CUT_DEPTH = 2 * MAX_DEPTH
_BRACKETS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


class TooDeepError(Exception):
    """Nested deeper than MAX_DEPTH."""


class Number(str):
    """A number as it was written."""

    __slots__ = ()


def _as_written(value: object) -> msgspec.Raw:
    assert isinstance(value, Number), type(value)
    return msgspec.Raw(str(value).encode())


_DECODER = msgspec.json.Decoder(float_hook=Number)
_ENCODER = msgspec.json.Encoder(enc_hook=_as_written, order="sorted")


def decoded(data: bytes) -> object:
    """Raises msgspec.DecodeError."""
    try:
        return _DECODER.decode(data)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError("not UTF-8") from error
    except RecursionError:
        return decoded(_shallow(data))


def encoded(value: object) -> bytes:
    """As JSON, fields in order of their names; numbers that were decoded as they were written."""
    return _ENCODER.encode(value)


def mapping(value: object) -> Mapping[str, object]:
    """What is no mapping is an empty one."""
    return value if isinstance(value, dict) else {}


def text(value: object) -> str:
    """What is no text is an empty one."""
    return value if isinstance(value, str) and not isinstance(value, Number) else ""


def node(value: object, depth: int = MAX_DEPTH) -> Node:
    """The node of a decoded value. Raises TooDeepError."""
    if depth < 0:
        raise TooDeepError
    if isinstance(value, str):
        return Scalar(value, 0, 0, isinstance(value, Number))
    if isinstance(value, dict):
        return Fields({key: node(child, depth - 1) for key, child in value.items() if key not in _LEFT_OUT}, 0, 0)
    if isinstance(value, list):
        return Items(tuple(node(child, depth - 1) for child in value), 0, 0)
    return Scalar("null" if value is None else str(value).lower(), 0, 0)


def _shallow(data: bytes) -> bytes:
    """With null for what is nested deeper than _CUT_DEPTH, which node() refuses as it would the whole. Raises
    msgspec.DecodeError for what does not end."""
    kept, depth, end = list[bytes](), 0, 0
    for found in _BRACKETS.finditer(data):
        bracket = found[0]
        if bracket in b"[{":
            depth += 1
            if depth == _CUT_DEPTH:
                kept.append(data[end : found.start()])
        elif bracket in b"]}":
            if depth == _CUT_DEPTH:
                kept.append(b"null")
                end = found.end()
            depth -= 1
    if depth >= _CUT_DEPTH:
        raise msgspec.DecodeError("truncated")
    return b"".join((*kept, data[end:]))
