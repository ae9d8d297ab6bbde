"""Lines of a watch: JSON objects divided by line feeds, cut into chunks anywhere.

In: bytes as they come. Out: whole lines. What follows the last line feed waits; when the stream ends there it was cut,
and nothing of it counts.
"""

# etcd takes objects up to 1.5 MiB; JSON with its escapes may be some times that.
MAX_LINE_BYTES = 16 * 1024 * 1024


class LineTooLongError(Exception):
    """More than MAX_LINE_BYTES without a line feed."""


class Lines:
    """The lines of one stream."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end in `data`, empty ones left out. Raises LineTooLongError."""
        *ended, rest = data.split(b"\n")
        if ended:
            ended[0] = b"".join((*self._parts, ended[0]))
            self._parts, self._size = [], 0
        if rest:
            self._parts.append(rest)
            self._size += len(rest)
            if self._size > MAX_LINE_BYTES:
                raise LineTooLongError(f"a line of over {MAX_LINE_BYTES} bytes")
        return [line for line in ended if line.strip()]
