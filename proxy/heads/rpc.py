"""What gRPC says in HTTP/2 fields (gRPC over HTTP/2, "Requests" and "Responses"): deadlines and statuses. Pure."""

import re
from collections.abc import Iterable

from milliroute.proxy.codec.hpack_static import Field
from milliroute.proxy.message import Fields

_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


def is_grpc(fields: Fields) -> bool:
    """By its content-type; application/grpc-web is not gRPC, but its answers say their status the same way."""
    return any(name == b"content-type" and value.lower().startswith(b"application/grpc") for name, value in fields)


def timeout_s(fields: Iterable[Field]) -> float | None:
    """Of a grpc-timeout among the fields; None without one, or where it is malformed, which its server has to judge."""
    for field in fields:
        if field.name == b"grpc-timeout":
            found = _TIMEOUT.fullmatch(field.value)
            return int(found[1]) * _UNITS_S[found[2]] if found else None
    return None


def status_of(fields: Fields) -> str:
    """The number as text, "" where it is not said."""
    return next((value.decode("latin-1") for name, value in fields if name == b"grpc-status"), "")


def status_trailers(status: int, text: str) -> list[Field]:
    """The end of a response of which a part has gone out; text: printable ASCII."""
    # Here, because only an error needs it: 0.4 MiB in each worker (measured).
    from urllib.parse import quote

    return [Field(b"grpc-status", b"%d" % status), Field(b"grpc-message", quote(text, safe=" ").encode())]
