"""The admin listener: one small request per connection, HTTP/1.1, out of the data path.

In: a table of routes, path -> method -> action. Out: answers. It is our own because http.server and its imports cost
memory in every proxy, and because an open port must be strict: whatever is not plainly a small request is refused.
"""

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

log = logging.getLogger(__name__)

# Prometheus, kubelet and curl send some 300 bytes.
MAX_HEAD_BYTES = 8 * 1024
MAX_BODY_BYTES = 1024
# A request must be here, and its answer taken, within this many seconds.
REQUEST_TIMEOUT_S = 10.0
# More at once are somebody's mistake or attack; they are closed unanswered.
MAX_CONNECTIONS = 64
_GZIP_LEVEL = 1

_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*?)[ \t]*")


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    is_loopback: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


Action = Callable[[Request], Response]
Routes = Mapping[str, Mapping[str, Action]]


class RefusedRequestError(Exception):
    """A request that is not understood: answered with status and the text as body."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def text(status: int, line: str) -> Response:
    return Response(status, f"{line}\n".encode())


def json(body: bytes) -> Response:
    return Response(200, body + b"\n", "application/json")


def answer(routes: Routes, request: Request) -> Response:
    """GET serves HEAD too. The rest changes something: from this machine only, and never on a browser's behalf."""
    actions = routes.get(request.path)
    if actions is None:
        return text(404, "not found")
    action = actions.get("GET" if request.method == "HEAD" else request.method)
    if action is None:
        return Response(405, b"method not allowed\n", headers={"allow": ", ".join(sorted(actions))})
    if request.method not in ("GET", "HEAD"):
        if not request.is_loopback:
            return text(403, "from loopback only")
        # Any web page can make its reader's browser POST to 127.0.0.1 (CSRF); a browser then says where from.
        if "origin" in request.headers or "sec-fetch-site" in request.headers:
            return text(403, "not from a browser")
    return action(request)


def parse_head(head: bytes) -> Request:
    """A request without its body. Raises RefusedRequestError."""
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    start = _REQUEST_LINE.fullmatch(first)
    if start is None:
        raise RefusedRequestError(400, "bad request line")
    headers: dict[str, str] = {}
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise RefusedRequestError(400, "bad header field")
        name = match[1].decode().lower()
        if name == "content-length" and name in headers:
            raise RefusedRequestError(400, "two content-lengths")
        headers[name] = match[2].decode("latin-1")
    return Request(start[1].decode(), start[2].decode().partition("?")[0], headers)


def body_length(request: Request) -> int:
    """Raises RefusedRequestError for what this server does not take."""
    if "transfer-encoding" in request.headers:
        raise RefusedRequestError(501, "transfer-encoding is not taken here")
    length = request.headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        raise RefusedRequestError(400, "bad content-length")
    if len(length) > 9 or int(length) > MAX_BODY_BYTES:
        raise RefusedRequestError(413, f"at most {MAX_BODY_BYTES} bytes")
    return int(length)


def encode(response: Response, request: Request | None) -> bytes:
    body, headers = response.body, dict(response.headers)
    if request is not None and "gzip" in request.headers.get("accept-encoding", "") and len(body) > 1024:
        import gzip

        body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        headers |= {"content-encoding": "gzip", "vary": "accept-encoding"}
    headers |= {"content-type": response.content_type, "content-length": str(len(body)), "connection": "close"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}\r\n{lines}\r\n".encode()
    return head if request is not None and request.method == "HEAD" else head + body


class AdminServer:
    """sock is listening already: the agent opened it, so that a taken port is known before anything starts."""

    def __init__(self, sock: socket.socket, routes: Routes) -> None:
        self._sock = sock
        self._routes = routes
        self._open = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, sock=self._sock, limit=MAX_HEAD_BYTES)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            # OSError: the client went away; TimeoutError (one of them): it is too slow. Neither is news.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                if self._open <= MAX_CONNECTIONS:
                    async with asyncio.timeout(REQUEST_TIMEOUT_S):
                        writer.write(await self._answer(reader, writer))
                        await writer.drain()
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        request: Request | None = None
        try:
            request = parse_head(await reader.readuntil(b"\r\n\r\n"))
            body = await reader.readexactly(body_length(request))
            peer = writer.get_extra_info("peername")
            request = Request(request.method, request.path, request.headers, body, is_loopback(peer))
            response = answer(self._routes, request)
        except asyncio.LimitOverrunError:
            response = text(431, f"at most {MAX_HEAD_BYTES} bytes of head")
        except RefusedRequestError as error:
            response = text(error.status, str(error))
        except (OSError, asyncio.IncompleteReadError):
            raise
        except Exception:
            log.exception("admin request failed")
            response = text(500, "internal error")
        return encode(response, request)


def is_loopback(peername: tuple[str, int] | tuple[str, int, int, int] | None) -> bool:
    """127.0.0.0/8 or ::1; an IPv4 address inside IPv6 (a dual-stack listener) counts as what it holds."""
    if not peername:
        return False
    host = peername[0].removeprefix("::ffff:")
    return host == "::1" or host.startswith("127.")
