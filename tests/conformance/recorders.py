"""Backends that write down each whole request, read by a parser that is not ours: h11, or the h2 library.

They answer 200 `ok`, and take WebSockets as echoes. The rule not to break: a request that did not come to its end is
in no list, and a message that the parser refuses is in `refused`.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import h11
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError, StreamClosedError, StreamIDTooLowError
from h2.settings import SettingCodes

from milliroute.proxy.heads import websocket

Fields = list[tuple[str, str]]


@dataclass(slots=True)
class Seen:
    method: str
    target: str
    fields: Fields = field(default_factory=list)
    body: bytes = b""
    trailers: Fields = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]


class Record:
    """Of one backend: whole requests in the order of their ends; open_count: requests that have begun and not ended."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.refused: list[str] = []
        self.open_count = 0
        self.connections: set[asyncio.Transport] = set()

    def clear(self) -> None:
        self.seen.clear()
        self.refused.clear()


class H1Recorder(asyncio.Protocol):
    def __init__(self, record: Record) -> None:
        self._record = record
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=256 * 1024)
        self._now: Seen | None = None
        self._is_tunnel = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio.Transport by behaviour only.
        self._transport = cast("asyncio.Transport", transport)
        self._record.connections.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._record.connections.discard(self._transport)
        self._begin(None)

    def data_received(self, data: bytes) -> None:
        if self._is_tunnel:
            self._transport.write(data)
            return
        try:
            self._h11.receive_data(data)
            while not self._is_tunnel and self._next():
                pass
        except h11.RemoteProtocolError as exc:
            self._record.refused.append(str(exc))
            self._transport.close()

    def _next(self) -> bool:
        event = self._h11.next_event()
        match event:
            case h11.Request():
                fields = _texts(list(event.headers))
                self._begin(Seen(event.method.decode(), event.target.decode(), fields))
            case h11.Data() if self._now is not None:
                self._now.body += bytes(event.data)
            case h11.EndOfMessage() if self._now is not None:
                self._now.trailers = _texts(list(event.headers))
                self._answer(self._now)
            case h11.PAUSED:
                pass
            case _:
                return False
        return True

    def _begin(self, seen: Seen | None) -> None:
        self._record.open_count += (seen is not None) - (self._now is not None)
        self._now = seen

    def _answer(self, seen: Seen) -> None:
        self._record.seen.append(seen)
        self._begin(None)
        if seen.values("upgrade"):
            self._is_tunnel = True
            accept = websocket.accept_of(seen.values("sec-websocket-key")[0].encode())
            head = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            self._transport.write(head + b"sec-websocket-accept: " + accept + b"\r\n\r\n")
            rest, _ = self._h11.trailing_data
            self._transport.write(bytes(rest))
            return
        body = b"" if seen.method == "HEAD" else b"ok"
        response = h11.Response(status_code=200, headers=[("content-length", "2")])
        out = [self._h11.send(response), self._h11.send(h11.Data(data=body)), self._h11.send(h11.EndOfMessage())]
        self._transport.write(b"".join(part for part in out if part))
        if self._h11.our_state is h11.MUST_CLOSE:
            self._transport.close()
        else:
            self._h11.start_next_cycle()


class H2Recorder(asyncio.Protocol):
    def __init__(self, record: Record) -> None:
        self._record = record
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="latin-1"))
        self._streams: dict[int, Seen] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._record.connections.add(self._transport)
        self._h2.initiate_connection()
        self._h2.update_settings({SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
        self._transport.write(self._h2.data_to_send())

    def connection_lost(self, exc: Exception | None) -> None:
        self._record.connections.discard(self._transport)
        for stream_id in list(self._streams):
            self._forget(stream_id)

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._h2.receive_data(data):
                self._take(event)
        except ProtocolError as exc:
            self._record.refused.append(str(exc))
        self._transport.write(self._h2.data_to_send())

    def _take(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=int(stream_id)):
                fields = _texts(event.headers)
                pseudo = dict(fields)
                seen = Seen(pseudo[":method"], pseudo[":path"], fields)
                self._streams[stream_id] = seen
                self._record.open_count += 1
                if seen.values(":protocol"):
                    self._h2.send_headers(stream_id, [(":status", "200")])
                    self._record.seen.append(seen)
            case DataReceived(stream_id=int(stream_id), data=bytes(body), flow_controlled_length=int(size)):
                seen = self._streams[stream_id]
                seen.body += body
                self._h2.acknowledge_received_data(size, stream_id)
                if seen.values(":protocol"):
                    self._h2.send_data(stream_id, body)
            case TrailersReceived(stream_id=int(stream_id)):
                self._streams[stream_id].trailers = _texts(event.headers)
            case StreamEnded(stream_id=int(stream_id)):
                self._end(stream_id)
            case StreamReset(stream_id=int(stream_id)):
                self._forget(stream_id)

    def _end(self, stream_id: int) -> None:
        seen = self._forget(stream_id)
        if seen is None:
            return
        if seen.values(":protocol"):
            self._h2.end_stream(stream_id)
            return
        self._record.seen.append(seen)
        with suppress(
            StreamClosedError, StreamIDTooLowError
        ):  # it was reset behind its end, and the library knows that already
            self._h2.send_headers(stream_id, [(":status", "200"), ("content-length", "2")], seen.method == "HEAD")
            if seen.method != "HEAD":
                self._h2.send_data(stream_id, b"ok", end_stream=True)

    def _forget(self, stream_id: int) -> Seen | None:
        seen = self._streams.pop(stream_id, None)
        self._record.open_count -= seen is not None
        return seen


RECORDERS: dict[str, Callable[[Record], asyncio.Protocol]] = {"h1": H1Recorder, "h2": H2Recorder}


def _texts(fields: object) -> Fields:
    assert isinstance(fields, list)
    return [(_text(name), _text(value)) for name, value in fields]


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
