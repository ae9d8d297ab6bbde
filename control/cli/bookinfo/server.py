"""A small HTTP/1.1 server: a handler per process, keep-alive, correct framing.

In: connections. Out: one `Answer` of the handler per request, always with a content-length. A request body is read and
dropped, so that the next request of the connection starts where it should. A handler must not raise for what a peer
sends; if it does, the answer is a plain 500 and the log has the traceback.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import h11

# Read size in bytes; any request of this application fits into one read.
READ_BYTES = 65536

log = logging.getLogger("bookinfo")


@dataclass(frozen=True, slots=True)
class Request:
    """One request without its body; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """One response; a HEAD request gets the same headers without the body."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Awaitable[Answer]]


def plain(status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """Make a text answer of one line."""
    return Answer(status, "text/plain; charset=utf-8", f"{text}\n".encode(), headers)


def json(body: bytes) -> Answer:
    """Make a 200 of encoded JSON."""
    return Answer(200, "application/json", body)


class Server:
    """Listens and answers until `stop`."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._listener: asyncio.Server | None = None
        self._conversations: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def start(self, host: str, port: int) -> int:
        """Listen, port 0 takes a free one; return the port. Raises OSError when it is taken."""
        self._listener = await asyncio.start_server(self._serve, host, port, backlog=512)
        return int(self._listener.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        if self._listener is not None:
            self._listener.close()
        for writer in self._conversations.values():
            writer.close()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.current_task()
        assert conversation is not None
        self._conversations[conversation] = writer
        try:
            await _converse(self._handler, reader, writer)
        except ConnectionError:
            pass  # the peer went away: there is nobody left to tell
        finally:
            writer.close()
            del self._conversations[conversation]


async def _converse(handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = h11.Connection(h11.SERVER)
    while True:
        try:
            request = await _next_request(connection, reader, writer)
        except h11.RemoteProtocolError as error:
            if connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                _send(connection, writer, plain(error.error_status_hint, f"bad request: {error}"), is_last=True)
            return
        if request is None:
            return
        _send(connection, writer, await _answer(handler, request), is_head=request.method == "HEAD")
        await writer.drain()
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return
        connection.start_next_cycle()


async def _next_request(
    connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Request | None:
    """Read one whole request; None when the peer closed between two. Raises h11.RemoteProtocolError."""
    request: Request | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                writer.write(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            connection.receive_data(await reader.read(READ_BYTES))
        elif isinstance(event, h11.Request):
            request = _request(event)
        elif isinstance(event, h11.EndOfMessage):
            return request
        elif isinstance(event, h11.ConnectionClosed):
            return None


def _request(event: h11.Request) -> Request:
    path = event.target.decode("ascii").partition("?")[0]
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers}
    return Request(event.method.decode("ascii"), path, headers)


async def _answer(handler: Handler, request: Request) -> Answer:
    if request.method not in {"GET", "HEAD"}:
        return plain(405, f"{request.method} is not allowed here, GET and HEAD are", (("allow", "GET, HEAD"),))
    try:
        return await handler(request)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return plain(500, "internal error, see the log of this service")


def _send(
    connection: h11.Connection,
    writer: asyncio.StreamWriter,
    answer: Answer,
    *,
    is_head: bool = False,
    is_last: bool = False,
) -> None:
    headers = [
        ("content-type", answer.content_type),
        ("content-length", str(len(answer.body))),
        *answer.headers,
        *((("connection", "close"),) if is_last else ()),
    ]
    reason = HTTPStatus(answer.status).phrase
    parts = [connection.send(h11.Response(status_code=answer.status, headers=headers, reason=reason))]
    if not is_head:
        parts.append(connection.send(h11.Data(data=answer.body)))
    parts.append(connection.send(h11.EndOfMessage()))
    writer.write(b"".join(part for part in parts if part))
