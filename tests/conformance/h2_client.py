"""An HTTP/2 client that sends what a case says and writes down what comes back. It keeps no rule itself."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import hpack

from milliroute.proxy.codec import h2_frames as fr
from tests.conformance.h2_text import CODES, End, Step, Wait
from tests.conformance.recorders import Fields
from tests.proxy.backends import reset

_MARK = b"the end."
OPENING = fr.PREFACE + fr.settings([]) + fr.SETTINGS_ACK


@dataclass(slots=True)
class Answer:
    status: int
    fields: Fields
    interims: int
    body: bytes = b""
    is_whole: bool = False


class H2CaseClient:
    """goaway, resets: names of codes; answers: by stream. is_marked: the PING behind all that was sent is answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._decoder = hpack.Decoder()
        # The hpack library, our reference, announces each size a case's SETTINGS have named, also those taken back.
        self._decoder.max_allowed_table_size = 2**32
        self._held = b""
        self._block = b""
        self._interims = 0
        self.answers: dict[int, Answer] = {}
        self.resets: dict[int, str] = {}
        self.goaway = ""
        self.is_closed = False
        self.is_marked = False

    async def play(self, steps: list[Step], *, has_opening: bool) -> None:
        if has_opening:
            self._writer.write(OPENING)
        for step in steps:
            match step:
                case Wait(stream_id):
                    await self.until(partial(self._has_heard, stream_id))
                case End(is_reset):
                    reset(self._writer) if is_reset else self._writer.write_eof()
                case bytes():
                    self._writer.write(step)

    def _has_heard(self, stream_id: int) -> bool:
        return stream_id in self.answers or stream_id in self.resets

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition() and not self.is_closed:
            try:
                data = await self._reader.read(65536)
            except ConnectionResetError:
                data = b""
            self.is_closed = not data
            self._read(data)

    async def mark(self) -> None:
        """Until all that was sent has been read: a PING behind it is answered, or the connection is over."""
        if not self.is_closed:
            self._writer.write(fr.ping(_MARK))
        await self.until(lambda: self.is_marked)

    def _read(self, data: bytes) -> None:
        self._held += data
        while len(self._held) >= fr.HEADER_BYTES:
            length_and_kind, flags, stream_id = fr.HEADER.unpack_from(self._held)
            end = fr.HEADER_BYTES + (length_and_kind >> 8)
            if len(self._held) < end:
                return
            payload, self._held = self._held[fr.HEADER_BYTES : end], self._held[end:]
            self._take(length_and_kind & 0xFF, flags, stream_id, payload)

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        match kind:
            case fr.HEADERS | fr.CONTINUATION:
                self._block += payload
                if flags & fr.END_HEADERS:
                    self._fields(stream_id)
            case fr.DATA:
                self.answers[stream_id].body += payload
            case fr.RST_STREAM:
                self.resets[stream_id] = CODES[int.from_bytes(payload)]
            case fr.GOAWAY:
                self.goaway = CODES[fr.read_goaway(payload)[1]]
            case fr.PING if flags & fr.ACK and payload == _MARK:
                self.is_marked = True
        if kind in (fr.HEADERS, fr.DATA) and flags & fr.END_STREAM:
            self.answers[stream_id].is_whole = True

    def _fields(self, stream_id: int) -> None:
        decoded = self._decoder.decode(self._block, raw=True)
        fields = [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in decoded]
        self._block = b""
        status = int(dict(fields).get(":status", "0"))
        if 100 <= status < 200:
            self._interims += 1
        elif status:
            assert stream_id not in self.answers, f"two answers on stream {stream_id}"
            self.answers[stream_id] = Answer(status, fields, self._interims)
        else:
            self.answers[stream_id].fields += fields  # trailers
