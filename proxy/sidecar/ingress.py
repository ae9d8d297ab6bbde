"""l5d-dst-override: the one order that a client may give, and only where --ingress-mode says so.

In: a request's head as it came (HTTP/1), or its fields (HTTP/2). Out: the authority by which it is routed, b"" without
the field. It never goes on: the codecs drop all `l5d-*`. Pure.
"""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from milliroute.proxy.codec.rules import is_host
from milliroute.proxy.errors import RequestRefused

if TYPE_CHECKING:
    from milliroute.proxy.codec.hpack_static import Field

NAME = b"l5d-dst-override"
_find = re.compile(rb"\r?\n" + NAME + rb":[ \t]*([^\r\n]*)", re.IGNORECASE).findall


def of_head(head: bytes) -> bytes:
    """Raises RequestRefused."""
    return _one(_find(head))


def of_fields(fields: "Iterable[Field]") -> bytes:
    """Raises RequestRefused."""
    return _one([field.value for field in fields if field.name == NAME])


def _one(values: Sequence[bytes]) -> bytes:
    if not values:
        return b""
    if len(values) > 1:
        raise RequestRefused(f"{len(values)} l5d-dst-override fields, wanted 1")
    value = values[0].strip(b" \t").lower()
    if not is_host(value):
        raise RequestRefused("l5d-dst-override is not a host and port")
    return value
