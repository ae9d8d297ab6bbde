"""The admin listener: a small HTTP/1.1 server for pages that are read.

Pages come in as a table of path to function; requests get one answer each and the connection is closed, so there is no
framing of a second request to get wrong. GET and HEAD only: nothing here changes state.

The one rule: a peer's garbage costs at most MAX_HEAD_BYTES, HEAD_TIMEOUT_S and one of MAX_CONNECTIONS.
"""

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from milliroute.control import errors
from milliroute.control.config import Address

log = logging.getLogger(__name__)

# Bytes; what a browser sends with all its cookies for localhost stays below.
MAX_HEAD_BYTES = 16_384
# Seconds for the whole head, and again for the answer to be taken.
HEAD_TIMEOUT_S = 5.0
# More than scrapers and people need; each holds one socket and one task.
MAX_CONNECTIONS = 64

# RFC 9112 section 3: method SP request-target SP HTTP-version, origin-form or absolute-form.
REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (?:http://[^/ ]+)?(/[!-~]{0,2048}) HTTP/1\.[01]\r?\n")


@dataclass(frozen=True, slots=True)
class Page:
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK


class AdminServer:
    """Serves `pages` until it is closed."""

    def __init__(self, pages: Mapping[str, Callable[[], Page]]) -> None:
        self._pages = pages
        self._open = 0
        self._server: asyncio.Server | None = None

    async def start(self, address: Address, flag: str = "control-admin") -> Address:
        """Listen; returns the address with the port that was taken. Raises ControlError, which names the flag."""
        try:
            self._server = await asyncio.start_server(
                self._serve, address.host, address.port, limit=MAX_HEAD_BYTES, reuse_address=True
            )
        except OSError as error:
            # asyncio puts a sentence of its own into strerror.
            reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
            raise errors.ControlError(f"cannot listen on {address} ({flag}): {reason}") from error
        return Address(address.host, self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS:
                await asyncio.wait_for(self._answer(reader, writer), HEAD_TIMEOUT_S)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            # The peer was slow, or left; nobody is there to be told.
            pass
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # The first line alone, so that garbage is refused at once and not after a wait for its end.
            request = REQUEST_LINE.fullmatch(await reader.readuntil(b"\n"))
            size = 0
            while request and (line := await reader.readuntil(b"\n")) not in (b"\r\n", b"\n"):
                size += len(line)
                if size > MAX_HEAD_BYTES:
                    raise asyncio.LimitOverrunError("head too large", size)
        except asyncio.LimitOverrunError:
            writer.write(_response(_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), False))
        else:
            writer.write(self._respond(request))
        await writer.drain()

    def _respond(self, request: re.Match[bytes] | None) -> bytes:
        if request is None:
            return _response(_error(HTTPStatus.BAD_REQUEST), False)
        method, target = request.group(1), request.group(2).decode("ascii")
        if method not in (b"GET", b"HEAD"):
            return _response(_error(HTTPStatus.METHOD_NOT_ALLOWED), False)
        return _response(self._page(target.partition("?")[0]), method == b"HEAD")

    def _page(self, path: str) -> Page:
        make = self._pages.get(path)
        if make is None:
            return _error(HTTPStatus.NOT_FOUND)
        try:
            return make()
        except Exception:  # a bug in one page; the service and the other pages go on
            log.exception("admin page %s failed", path)
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR)


def _error(status: HTTPStatus) -> Page:
    return Page(f"{status.phrase.lower()}\n".encode(), status=status)


def _response(page: Page, is_head_only: bool) -> bytes:
    allow = "allow: GET, HEAD\r\n" if page.status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    head = (
        f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\ncontent-type: {page.content_type}\r\n"
        f"content-length: {len(page.body)}\r\ncache-control: no-store\r\n{allow}connection: close\r\n\r\n"
    )
    return head.encode("ascii") + (b"" if is_head_only else page.body)
