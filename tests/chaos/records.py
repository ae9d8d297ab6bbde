"""What a client saw of one request, and the file that a load's process leaves them in."""

from collections.abc import Sequence
from pathlib import Path

import msgspec


class Record(msgspec.Struct, frozen=True, array_like=True):
    """protocol: h1, h1-fresh (a connection for each request) or h2. status 0: broken off, `error` says how. Times are
    Unix nanoseconds. is_begun: a part of the response had come."""

    protocol: str
    method: str
    path: str
    sent_ns: int
    done_ns: int
    status: int
    body: str
    error: str
    is_begun: bool = False

    @property
    def is_safe(self) -> bool:
        """Replay-safe: the proxy may send it again."""
        return self.method == "GET"

    @property
    def is_right(self) -> bool:
        """A whole answer to this very request."""
        return self.status == 200 and self.body.partition(" ")[2] == self.path

    @property
    def reason(self) -> str:
        return f"{self.status} {self.error}" if self.status else self.error

    @property
    def latency_ms(self) -> float:
        return (self.done_ns - self.sent_ns) / 1e6


def write(path: Path, records: Sequence[Record]) -> None:
    path.write_bytes(msgspec.msgpack.encode(records))


def read(path: Path) -> list[Record]:
    return msgspec.msgpack.decode(path.read_bytes(), type=list[Record])
