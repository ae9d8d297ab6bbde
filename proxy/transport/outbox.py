"""Connections with frames to write: each is flushed once per turn of the loop, however many streams had something.

One loop handle a turn and not one per frame; many small writes to one HTTP/2 connection become one.
"""

import asyncio
from typing import Protocol


class Flushable(Protocol):
    is_dirty: bool

    def flush(self) -> None: ...


class Outbox:
    __slots__ = ("_dirty", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._dirty: list[Flushable] = []

    def mark(self, connection: Flushable) -> None:
        if connection.is_dirty:
            return
        connection.is_dirty = True
        if not self._dirty:
            self._loop.call_soon(self.flush)
        self._dirty.append(connection)

    def flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.is_dirty = False
            try:
                connection.flush()
            except Exception as exc:  # of one connection; the others, which nobody would mark again, have their turn
                self._loop.call_exception_handler({"message": "a flush failed", "exception": exc})
