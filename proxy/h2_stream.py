"""One request on an HTTP/2 connection to a backend, with the face that an exchange knows (dialer.Carrier).

What its client does not take stays in this stream's window; the others go on.
"""

from collections.abc import Sequence
from typing import Protocol

from milliroute.proxy.codec.h1_body import ChunkedBody
from milliroute.proxy.codec.h2_codec import Connection
from milliroute.proxy.codec.h2_frames import CANCEL
from milliroute.proxy.codec.hpack_static import Field
from milliroute.proxy.dialer import Receiver
from milliroute.proxy.errors import BadResponse
from milliroute.proxy.message import CHUNKED, RequestHead, ResponseHead
from milliroute.proxy.message_h2 import H2ResponseHead, length_of, request_to_h2

# Request bytes that wait for the backend's window before the client is paused: nginx's and Envoy's order of size.
HIGH_WATER_BYTES = 64 * 1024


class Streams(Protocol):
    """The connection, as far as a stream needs it."""

    h2: Connection

    def mark(self) -> None: ...
    def begin(self, stream: "H2Stream") -> int: ...
    def drop(self, stream_id: int) -> None: ...


class H2Stream:
    """Implements dialer.Carrier. is_reused: its connection has served others, so its end may cross a request. is_sent:
    to its end."""

    is_h2 = True
    __slots__ = ("_connection", "_decoder", "_head", "_held_flow", "_is_full", "_stream_id", "is_paused",
                 "is_reused", "is_sent", "is_touched", "receiver")  # fmt: skip
    receiver: Receiver

    def __init__(self, connection: Streams, is_reused: bool) -> None:
        self._connection = connection
        self._decoder: ChunkedBody | None = None
        self._held_flow = 0
        self._is_full = False
        self._stream_id = 0
        self.is_paused = False
        self.is_reused = is_reused
        self.is_sent = False
        self.is_touched = False

    def send(self, receiver: Receiver, head: RequestHead, body: bytes, is_request_done: bool) -> None:
        connection = self._connection
        self.receiver, self._head = receiver, head
        if head.upgrade:
            self._ask_for_tunnel(head)
            return
        if head.length == CHUNKED and not head.is_h2:
            self._decoder = ChunkedBody(decode=True)
        self._stream_id = connection.begin(self)
        self.is_sent = is_alone = is_request_done and not body
        connection.h2.send_request(self._stream_id, request_to_h2(head), is_alone)
        if not is_alone:
            self.write(body, is_request_done)
        connection.mark()

    def _ask_for_tunnel(self, head: RequestHead) -> None:
        """RFC 8441 section 4; its request has no body, and what passes through the tunnel comes by `write`."""
        connection = self._connection
        if not connection.h2.peer_settings.may_extended_connect:
            error = BadResponse("the backend takes no extended CONNECT (RFC 8441)", status=501)
            self.receiver.failed(error, is_untouched=False)
            return
        self._stream_id = connection.begin(self)
        connection.h2.send_request(self._stream_id, request_to_h2(head), False)
        connection.mark()

    def write(self, data: bytes, is_request_done: bool) -> None:
        trailers: Sequence[Field] = ()
        if self._decoder is not None:
            data, _ = self._decoder.feed(data)
            trailers = [Field(name, value) for name, value in self._decoder.trailers]
        connection = self._connection
        self.is_sent = is_request_done
        if data or is_request_done:
            connection.h2.send_data(self._stream_id, data, is_request_done and not trailers)
            connection.mark()
        if trailers:
            connection.h2.send_trailers(self._stream_id, trailers)
        if not is_request_done and connection.h2.queued(self._stream_id) > HIGH_WATER_BYTES:
            self._is_full = True
            self.receiver.pause_request()

    def write_trailers(self, fields: Sequence[Field]) -> None:
        self.is_sent = True
        self._connection.h2.send_trailers(self._stream_id, fields)
        self._connection.mark()

    def write_eof(self) -> None:
        """Of a tunnel."""
        self.is_sent = True
        self._connection.h2.send_data(self._stream_id, b"", True)
        self._connection.mark()

    def return_unused(self) -> None:
        """Made for a client that has left: nothing was sent on it."""

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False
        held, self._held_flow = self._held_flow, 0
        if held:
            self._connection.h2.consumed(self._stream_id, held)
            self._connection.mark()

    def abort(self) -> None:
        """RFC 9113 section 8.1: the backend need not finish what nobody waits for."""
        if self._stream_id:
            self._connection.h2.reset(self._stream_id, CANCEL)
            self._connection.drop(self._stream_id)

    # From the connection

    def response(self, status: int, fields: Sequence[Field], is_end: bool) -> None:
        self.is_touched = True
        head, receiver = self._head, self.receiver
        if head.upgrade and 200 <= status < 300:
            receiver.upgraded(self._tunnel_head(status, fields))
            if is_end:
                receiver.response_body(b"", True)
            return
        length = 0
        if not (head.is_h2 or head.method == b"HEAD" or status in (204, 304)):
            length = length_of(fields)
            if is_end and length == CHUNKED:
                # RFC 9112 section 6.3: without it an HTTP/1.1 client would read until the connection closes.
                length, fields = 0, [*fields, Field(b"content-length", b"0")]
        receiver.response(H2ResponseHead(status, fields, length), b"", is_end)

    def _tunnel_head(self, status: int, fields: Sequence[Field]) -> ResponseHead:
        answer = H2ResponseHead(status, fields)
        if self._head.is_h2:
            return answer
        # Here, because a worker that never sees a tunnel need not carry it.
        from milliroute.proxy import websocket

        return websocket.switching(self._head, answer.fields())

    def interim(self, status: int, fields: Sequence[Field]) -> None:
        self.is_touched = True
        self.receiver.interim(H2ResponseHead(status, fields))

    def trailers(self, fields: Sequence[Field]) -> None:
        self.receiver.response_trailers(fields)

    def took(self, flow_bytes: int) -> None:
        if self.is_paused:
            self._held_flow += flow_bytes
        else:
            self._connection.h2.consumed(self._stream_id, flow_bytes)

    def opened(self) -> None:
        if self._is_full:
            self._is_full = False
            self.receiver.resume_request()
