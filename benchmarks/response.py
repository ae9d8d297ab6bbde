"""Reads one HTTP/1.1 response after another off a connection and checks each: status, framing, body length. Pure.

Only what the backends send and proxies may make of it; anything else is a `BadResponse`, never a guess.
"""

import re

_FIELDS = re.compile(rb"(?i)\r\n(content-length|transfer-encoding|x-backend):[ \t]*([^\r]*?)[ \t]*(?=\r\n)")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[^\r]*)?\r\n")
_LAST_CHUNK = b"\r\n0\r\n\r\n"


class BadResponse(ValueError):
    """Not the expected answer; the message says what came instead."""


class ResponseReader:
    """Feed it what arrives; it gives the name of the backend as soon as a response is complete."""

    __slots__ = ("_backend", "_expected", "_left", "_pending", "is_idle")

    def __init__(self, expected_bytes: int) -> None:
        self._expected = expected_bytes
        self._pending = b""
        self._backend = b""
        self._left: int | None = None
        self.is_idle = True

    def feed(self, data: bytes) -> str | None:
        """The backend's name when `data` completes a response, else None; raises BadResponse."""
        if self.is_idle:
            data = self._pending + data if self._pending else data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._pending = data
                return None
            self._pending = b""
            self._read_head(data[: end + 2])
            data = data[end + 4 :]
        return self._feed_chunks(data) if self._left is None else self._feed_length(data, self._left)

    def _read_head(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 200 "):
            raise BadResponse(f"wanted status 200, got {head.splitlines()[0]!r}")
        fields = {name.lower(): value for name, value in _FIELDS.findall(head)}
        length = fields.get(b"content-length")
        if length is not None and int(length) != self._expected:
            raise BadResponse(f"wanted content-length {self._expected}, got {int(length)}")
        if length is None and fields.get(b"transfer-encoding", b"").lower() != b"chunked":
            raise BadResponse("neither content-length nor chunked")
        self._backend = fields.get(b"x-backend", b"")
        self._left = None if length is None else self._expected
        self.is_idle = False

    def _feed_length(self, data: bytes, left: int) -> str | None:
        left -= len(data)
        if left < 0:
            raise BadResponse(f"{-left} bytes more than the content-length")
        self._left = left
        return None if left else self._finish()

    def _feed_chunks(self, data: bytes) -> str | None:
        # The backends' bodies hold no line ends, so this tail is only ever the last chunk.
        self._pending += data
        if not self._pending.endswith(_LAST_CHUNK):
            return None
        length = chunked_bytes(self._pending)
        if length != self._expected:
            raise BadResponse(f"wanted {self._expected} bytes in chunks, got {length}")
        self._pending = b""
        return self._finish()

    def _finish(self) -> str:
        self.is_idle = True
        return self._backend.decode()


def chunked_bytes(raw: bytes) -> int:
    """The body length of a whole chunked body without trailers; raises BadResponse when it is not exactly one."""
    total = position = 0
    while match := _CHUNK_SIZE.match(raw, position):
        size = int(match[1], 16)
        position = match.end() + size + 2
        if raw[position - 2 : position] != b"\r\n":
            raise BadResponse("a chunk does not end where its size says")
        if not size:
            break
        total += size
    else:
        raise BadResponse(f"no chunk size at byte {position} of {len(raw)}")
    if position != len(raw):
        raise BadResponse(f"{len(raw) - position} bytes after the last chunk")
    return total
