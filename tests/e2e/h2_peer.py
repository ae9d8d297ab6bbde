"""The h2 library on a blocking socket, as a client of the proxy or as a backend behind it: a test says each frame.

Whatever the other side does against RFC 9113 raises in here, windows that are overrun above all. Windows are given back
as data comes, unless takes is False.
"""

import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TypeVar

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from hyperframe.frame import Frame, GoAwayFrame

from tests.e2e.stand import PATIENCE_S

PREAMBLE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
E = TypeVar("E", bound=Event)
Fields = Sequence[tuple[str, str]]


class Peer:
    """seen: every event so far, in order; goaways: (last id, code) of each GOAWAY. h2: to send by; what it has to say
    goes out with `flush`."""

    def __init__(self, sock: socket.socket, *, is_client: bool, takes: bool = True) -> None:
        self._sock = sock
        self._takes = takes
        sock.settimeout(PATIENCE_S)
        self.h2 = H2Connection(H2Configuration(client_side=is_client, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.seen: list[Event] = []
        self.goaways: list[tuple[int, int]] = []
        # A client's preface is no frame.
        self._skip_bytes = 0 if is_client else len(PREAMBLE)
        self._held = b""
        self.flush()

    def flush(self) -> None:
        self._sock.sendall(self.h2.data_to_send())

    def send_frame(self, *frames: Frame) -> None:
        """Past the library's own rules."""
        self.flush()
        self._sock.sendall(b"".join(frame.serialize() for frame in frames))

    def goaway(self, last_id: int, code: int = 0) -> None:
        """The library would take its own GOAWAY for the end of the connection."""
        self.send_frame(GoAwayFrame(0, last_stream_id=last_id, error_code=code))

    def read(self) -> bool:
        """One piece of what the other side sends; False at the end of the connection."""
        try:
            data = self._sock.recv(65536)
        except TimeoutError:
            raise AssertionError(f"nothing more came; seen: {self.seen}") from None
        for event in self.h2.receive_data(self._without_goaways(data)) if data else ():
            self.seen.append(event)
            if isinstance(event, DataReceived) and self._takes and event.flow_controlled_length:
                self.give_back(event)
        self.flush()
        return bool(data)

    def _without_goaways(self, data: bytes) -> bytes:
        """The library would take one for the end of all streams."""
        self._held += data
        kept = []
        while len(self._held) >= HEADER_BYTES:
            size = self._skip_bytes or HEADER_BYTES + int.from_bytes(self._held[:3], "big")
            if len(self._held) < size:
                break
            frame, self._held = self._held[:size], self._held[size:]
            if frame[3] == GoAwayFrame.type and not self._skip_bytes:
                self.goaways.append((int.from_bytes(frame[9:13], "big"), int.from_bytes(frame[13:17], "big")))
            else:
                kept.append(frame)
            self._skip_bytes = 0
        return b"".join(kept)

    def give_back(self, event: DataReceived) -> None:
        if event.flow_controlled_length and event.stream_id:
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def until(self, kind: type[E], stream_id: int | None = None, count: int = 1) -> E:
        """The last of so many such events (of that stream), seen before or to come."""
        while len(found := self.all(kind, stream_id)) < count:
            assert self.read(), f"closed before {kind.__name__}: {self.seen}"
        return found[count - 1]

    def all(self, kind: type[E], stream_id: int | None = None) -> list[E]:
        events = [event for event in self.seen if isinstance(event, kind)]
        return [e for e in events if stream_id is None or getattr(e, "stream_id", None) == stream_id]

    def body(self, stream_id: int) -> bytes:
        return b"".join(event.data or b"" for event in self.all(DataReceived, stream_id))

    def request(self, fields: Fields = (), *, method: str = "GET", is_end: bool = True) -> int:
        """Its stream id."""
        stream_id = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "http"), (":path", f"/{stream_id}"), (":authority", "reviews")]
        self.h2.send_headers(stream_id, [*pseudo, *fields], end_stream=is_end)
        self.flush()
        return stream_id

    def respond(self, stream_id: int, body: bytes = b"", fields: Fields = (), *, is_end: bool = True) -> None:
        """body: no more than the windows allow."""
        self.h2.send_headers(stream_id, [(":status", "200"), *fields], end_stream=is_end and not body)
        for start in range(0, len(body), 16384):
            piece = body[start : start + 16384]
            self.h2.send_data(stream_id, piece, end_stream=is_end and start + 16384 >= len(body))
        self.flush()

    def answer(self, stream_id: int) -> tuple[str, bytes]:
        """Status and body of a response that must come whole; a reset is said as such."""
        while not self.all(StreamEnded, stream_id):
            assert not self.all(StreamReset, stream_id), self.all(StreamReset, stream_id)
            assert self.read(), f"closed before the end of stream {stream_id}"
        (head,) = self.all(ResponseReceived, stream_id)
        return dict(plain(head.headers))[":status"], self.body(stream_id)

    def trailers(self, stream_id: int) -> list[tuple[str, str]]:
        return plain(self.until(TrailersReceived, stream_id).headers)


def plain(fields: object) -> list[tuple[str, str]]:
    """Fields of an event as pairs of text, as header_encoding makes them."""
    assert isinstance(fields, list)
    return [(str(name), str(value)) for name, value in fields]


@contextmanager
def client(port: int, *, takes: bool = True) -> Iterator[Peer]:
    with closing(socket.create_connection(("127.0.0.1", port), PATIENCE_S)) as sock:
        yield Peer(sock, is_client=True, takes=takes)


class Backend:
    """A listening socket whose connections the test accepts and answers on itself."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._accepted: list[socket.socket] = []
        sock.settimeout(PATIENCE_S)
        self.port: int = sock.getsockname()[1]

    def accept(self, *, takes: bool = True) -> Peer:
        sock, _ = self._sock.accept()
        self._accepted.append(sock)
        return Peer(sock, is_client=False, takes=takes)

    def close(self) -> None:
        for sock in (*self._accepted, self._sock):
            sock.close()


@contextmanager
def backend() -> Iterator[Backend]:
    with closing(Backend(socket.create_server(("127.0.0.1", 0)))) as made:
        yield made
