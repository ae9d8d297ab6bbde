"""One watch on a connection: writes its events as lines until it times out, is cut, or falls out of the history.

The rim around `watching`: it waits and writes, and does to the connection what `faults` asks for.
"""

import asyncio
import json
from datetime import UTC, datetime

from aiohttp import web

from tests.kube.errors import ApiError, Object
from tests.kube.faults import Faults
from tests.kube.kinds import Kind
from tests.kube.store import Store
from tests.kube.tables import table
from tests.kube.watching import Watch, error_event


class Cut(Exception):
    """The connection was closed under the watch on purpose."""


class Stream:
    def __init__(self, watch: Watch, kind: Kind, faults: Faults, is_table: bool) -> None:
        self._watch, self._kind, self._faults, self._is_table = watch, kind, faults, is_table
        self._left = faults.cuts.popleft() if faults.cuts else None
        self._wake = asyncio.Event()
        self._orders: list[Object | ApiError | bytes] = []
        self._response = web.StreamResponse(headers={"Content-Type": "application/json"})
        self._request: web.BaseRequest | None = None

    async def run(self, request: web.BaseRequest, store: Store) -> web.StreamResponse:
        self._request = request
        first = self._watch.first()
        self._response.enable_chunked_encoding()
        await self._response.prepare(request)
        store.listeners.add(self._wake.set)
        try:
            await self._tell(first)
            await self._follow()
        except Cut:
            pass
        except ApiError as error:
            await self._tell([error_event(error)])
        except ConnectionError:
            pass  # the client went away
        finally:
            store.listeners.discard(self._wake.set)
        return self._response

    def cut(self, partial: bytes) -> None:
        """Closes the connection after these bytes."""
        self._orders.append(partial)
        self._wake.set()

    def bookmark(self) -> None:
        """Says how far the watch is, if it was asked to."""
        if self._watch.has_bookmarks:
            self._orders.append({})
            self._wake.set()

    def fail(self, error: ApiError) -> None:
        """Ends the watch with an ERROR event."""
        self._orders.append(error)
        self._wake.set()

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._watch.timeout_s if self._watch.timeout_s else None
        while True:
            await self._faults.awake.wait()
            self._wake.clear()
            await self._tell(self._watch.next())
            for order in [self._orders.pop(0) for _ in list(self._orders)]:
                await self._obey(order)
            try:
                async with asyncio.timeout_at(end):
                    await self._wake.wait()
            except TimeoutError:
                # The real server says it a little earlier; a client cannot tell the difference.
                if self._watch.has_bookmarks:
                    await self._tell([self._watch.bookmark()])
                return

    async def _obey(self, order: Object | ApiError | bytes) -> None:
        if isinstance(order, ApiError):
            raise order
        if isinstance(order, bytes):
            if order:
                await self._response.write(order)
            self._close()
        await self._tell([self._watch.bookmark()])

    async def _tell(self, events: list[Object]) -> None:
        for event in events:
            if self._is_table and event["type"] != "ERROR":
                event = {**event, "object": table(self._kind, [event["object"]], {}, datetime.now(UTC))}
            await self._write(json.dumps(event).encode() + b"\n")

    async def _write(self, line: bytes) -> None:
        is_last = self._left is not None and self._left <= len(line)
        if self._left is not None:
            line = line[: self._left]
            self._left -= len(line)
        step, pause_s = self._faults.dribble or (len(line), 0.0)
        for start in range(0, len(line), max(step, 1)):
            await self._response.write(line[start : start + step])
            if pause_s:
                await asyncio.sleep(pause_s)
        if is_last:
            self._close()

    def _close(self) -> None:
        """Without the last chunk: what was written arrives, and the client sees a body that broke off."""
        if self._request is not None and self._request.transport is not None:
            self._request.transport.close()
        raise Cut
