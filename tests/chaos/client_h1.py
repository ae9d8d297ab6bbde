"""A strict HTTP/1.1 client by h11: what h11 does not take, or comes unasked, breaks the request."""

import asyncio

import h11

from tests.chaos.exchange import Answer, Broken

AUTHORITY = "reviews"


class H1Client:
    """One connection, opened by `connect` where there is none. is_kept False: each request has its own."""

    def __init__(self, port: int, *, is_kept: bool = True) -> None:
        self._port = port
        self._is_kept = is_kept
        self._writer: asyncio.StreamWriter | None = None

    async def connect(self) -> None:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._h11 = h11.Connection(h11.CLIENT)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def ask(self, method: str, path: str, body: bytes) -> Answer:
        is_begun = False
        try:
            self._send(method, path, body)
            head = await self._next()
            assert isinstance(head, h11.Response), head
            is_begun, parts = True, []
            while isinstance(event := await self._next(), h11.Data):
                parts.append(bytes(event.data))
        except BaseException as exc:
            self.close()
            if isinstance(exc, OSError | EOFError | h11.RemoteProtocolError):
                raise Broken(_said(exc), is_begun=is_begun) from exc
            raise
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE and self._is_kept:
            self._h11.start_next_cycle()
        else:
            self.close()
        fields = {bytes(name): bytes(value).decode("latin-1") for name, value in head.headers}
        return Answer(head.status_code, b"".join(parts), fields.get(b"l5d-proxy-error", ""))

    def _send(self, method: str, path: str, body: bytes) -> None:
        assert self._writer is not None
        fields = [("host", AUTHORITY), ("user-agent", "chaos")]
        if body:
            fields.append(("content-length", str(len(body))))
        if not self._is_kept:
            fields.append(("connection", "close"))
        events: list[h11.Event] = [h11.Request(method=method, target=path, headers=fields)]
        events += [h11.Data(data=body)] if body else []
        self._writer.write(b"".join(self._h11.send(event) or b"" for event in [*events, h11.EndOfMessage()]))

    async def _next(self) -> h11.Event | type[h11.PAUSED]:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            data = await self._reader.read(65536)
            if not data and self._h11.their_state is h11.SEND_RESPONSE:
                raise EOFError
            self._h11.receive_data(data)
        if isinstance(event, h11.InformationalResponse):
            return await self._next()
        assert not isinstance(event, type) or event is h11.PAUSED, event
        return event


def _said(exc: Exception) -> str:
    if isinstance(exc, EOFError):
        return "h1: closed"
    return "h1: reset" if isinstance(exc, OSError) else f"h1: {exc}"
