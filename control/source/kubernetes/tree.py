"""JSON of an API server as the nodes that readers of manifests take.

In: bytes. Out: plain values, and nodes without positions (line 0). Numbers with a point or an exponent keep their
text, so that no weight goes through a float. What only an API server has use for is left out.
"""

from collections.abc import Mapping

import msgspec

from milliroute.control.manifest.nodes import Fields, Items, Node, Scalar

# As long as the objects themselves, and nobody reads them here.
_LEFT_OUT = ("managedFields", "status")


class Number(str):
    """A number as it was written."""

    __slots__ = ()


_DECODER = msgspec.json.Decoder(float_hook=Number)


def decoded(data: bytes) -> object:
    """Raises msgspec.DecodeError."""
    return _DECODER.decode(data)


def mapping(value: object) -> Mapping[str, object]:
    """What is no mapping is an empty one."""
    return value if isinstance(value, dict) else {}


def text(value: object) -> str:
    """What is no text is an empty one."""
    return value if isinstance(value, str) else ""


def node(value: object) -> Node:
    """The node of a decoded value."""
    if isinstance(value, str):
        return Scalar(value, 0, 0, isinstance(value, Number))
    if isinstance(value, dict):
        return Fields({key: node(child) for key, child in value.items() if key not in _LEFT_OUT}, 0, 0)
    if isinstance(value, list):
        return Items(tuple(node(child) for child in value), 0, 0)
    return Scalar("null" if value is None else str(value).lower(), 0, 0)
