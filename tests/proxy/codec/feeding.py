"""How the tests give bytes to a codec: whole, byte by byte and in cuts; and how h11 alone reads them.

An outcome is a value that compares: a head, the status of a refusal, or None for a head that is not complete.
"""

import random
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

import h11

from milliroute.proxy.codec.h1 import H1Codec
from milliroute.proxy.codec.h1_body import Body
from milliroute.proxy.errors import ProtocolError
from milliroute.proxy.message import CHUNKED, UNTIL_CLOSE, Fields, RequestHead, ResponseHead, parse_fields

Head = RequestHead | ResponseHead


class Refused(NamedTuple):
    status: int


class Accepted(NamedTuple):
    """A head, and by `meaning` all that two codecs must agree on: everything but the spelling of the fields."""

    head: Head
    end: int

    def meaning(self) -> tuple[object, ...]:
        head = self.head
        # bare is not a codec's: filters set it.
        slots = tuple(
            (name, getattr(head, name)) for name in type(head).__slots__ if name not in ("wire", "bare", "said")
        )
        return head.wire.split(b"\r\n")[0], head.fields(), slots, self.end


Outcome = Accepted | Refused | None


def outcome(read: Callable[[], tuple[Head, int] | None]) -> Outcome:
    try:
        found = read()
    except ProtocolError as exc:
        return Refused(exc.status)
    return None if found is None else Accepted(*found)


def meaning(outcome: Outcome) -> object:
    return outcome.meaning() if isinstance(outcome, Accepted) else outcome


def read_request(codec: H1Codec, data: bytes) -> Outcome:
    return outcome(lambda: codec.request(data))


def read_response(codec: H1Codec, data: bytes, method: bytes = b"GET", may_upgrade: bool = False) -> Outcome:
    return outcome(lambda: codec.response(data, method, may_upgrade))


class Reading(NamedTuple):
    """is_done: the message ended; None: it was refused. rest: what came after its end."""

    is_done: bool | None
    forwarded: bytes = b""
    rest: bytes = b""


def read_body(body: Body, pieces: Iterable[bytes]) -> Reading:
    out: list[bytes] = []
    rest: list[bytes] = []
    for piece in pieces:
        if body.is_done:
            rest.append(piece)
            continue
        try:
            forwarded, left = body.feed(piece)
        except ProtocolError:
            return Reading(None)
        out.append(forwarded)
        rest.append(left)
    return Reading(body.is_done, b"".join(out), b"".join(rest))


def cuttings(rng: random.Random, data: bytes) -> list[list[bytes]]:
    """The same bytes whole, byte by byte and at random places."""
    places = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    ends = [0, *places, len(data)]
    pieces = [data[a:b] for a, b in pairwise(ends)]
    return [[data], [data[i : i + 1] for i in range(len(data))], pieces]


class H11Message(NamedTuple):
    start: tuple[object, ...]
    fields: Fields
    length: int


def h11_request(data: bytes) -> H11Message | None:
    """As h11 alone reads it; None where it raises or wants more."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
    event = _first_event(connection, data)
    if not isinstance(event, h11.Request):
        return None
    fields = list(event.headers)
    is_over = isinstance(_next_event(connection), h11.EndOfMessage)
    return H11Message((event.method, event.target), fields, 0 if is_over else _length(fields, 0))


def h11_response(data: bytes, method: bytes) -> H11Message | None:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=65536)
    connection.send(h11.Request(method=method, target="/", headers=[("host", "h")]))
    connection.send(h11.EndOfMessage())
    event = _first_event(connection, data)
    if not isinstance(event, h11.Response):
        return None
    fields = list(event.headers)
    is_over = isinstance(_next_event(connection), h11.EndOfMessage)
    length = 0 if is_over else _length(fields, UNTIL_CLOSE)
    return H11Message((event.status_code, event.reason), fields, length)


def h11_chunks(data: bytes) -> tuple[bytes, Fields, bytes] | None:
    """(payload, trailers, rest) of a chunked body by h11 alone; None where it raises or wants more."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
    connection.receive_data(b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n" + data)
    payload: list[bytes] = []
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.EndOfMessage):
                return b"".join(payload), list(event.headers), bytes(connection.trailing_data[0])
            if isinstance(event, h11.Data):
                payload.append(bytes(event.data))
            elif event is h11.NEED_DATA:
                return None
    except h11.RemoteProtocolError:
        return None


def fields_of(data: bytes) -> Fields:
    """The fields as sent; for a head that a codec accepted."""
    begin = len(data) - len(data.lstrip(b"\r\n"))
    return parse_fields(data[begin : data.index(b"\r\n\r\n", begin) + 4])


def _first_event(connection: h11.Connection, data: bytes) -> object:
    """data: cut at the end of the head, so that what comes next cannot matter."""
    try:
        connection.receive_data(data[: data.index(b"\r\n\r\n") + 4])
    except (h11.RemoteProtocolError, ValueError):
        return None
    return _next_event(connection)


def _next_event(connection: h11.Connection) -> object:
    try:
        return connection.next_event()
    except h11.RemoteProtocolError:
        return None


def _length(fields: Fields, otherwise: int) -> int:
    values = dict(fields)
    return CHUNKED if b"transfer-encoding" in values else int(values.get(b"content-length", otherwise))
