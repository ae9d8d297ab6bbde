"""HTTP/2 of the misbehaving endpoint, by the h2 library: one answer or fault for each stream."""

from functools import partial

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from hyperframe.frame import DataFrame, HeadersFrame

from tests.chaos.faulty import CUT_S, GARBAGE, SLOW_S, Endpoint, Wire


class Speaker:
    def __init__(self, endpoint: Endpoint, wire: Wire) -> None:
        self._endpoint = endpoint
        self._wire = wire
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._asked: dict[int, tuple[str, str]] = {}

    def take(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
        except ProtocolError:
            self._flush()
            self._wire.cut_soon()
            return
        for event in events:
            match event:
                case RequestReceived(stream_id=int(stream_id), headers=headers):
                    fields = {str(name): str(value) for name, value in headers or ()}
                    self._asked[stream_id] = fields[":method"], fields[":path"]
                case DataReceived(stream_id=int(stream_id), flow_controlled_length=int(size)) if size:
                    self._h2.acknowledge_received_data(size, stream_id)
                case StreamEnded(stream_id=int(stream_id)) if stream_id in self._asked:
                    self._obey(stream_id, *self._asked.pop(stream_id))
                case StreamReset(stream_id=int(stream_id)):
                    self._asked.pop(stream_id, None)
        self._flush()

    def _obey(self, stream_id: int, method: str, path: str) -> None:
        wire = self._wire
        mode = self._endpoint.mode
        body = self._endpoint.answer(method, path) if mode != "refuse" else b""
        match mode:
            case "slow":
                wire.later(SLOW_S, partial(self._answer, stream_id, body))
            case "silent":
                pass
            case "reset":
                wire.cut()
            case "reset-head":
                self._raw(HeadersFrame(stream_id, b"\x88" + b"\x00" * 40).serialize()[:20])
                wire.cut_soon()
            case "reset-body":
                self._h2.send_headers(stream_id, [(":status", "200"), ("content-length", str(len(body)))])
                self._h2.send_data(stream_id, body[:-3])
                wire.cut_soon()
            case "close":
                self._flush()
                wire.end_half()
            case "close-after":
                self._answer(stream_id, body)
                wire.end_half()
            case "garbage":
                self._raw(GARBAGE)
            case "twice":
                self._answer(stream_id, body)
                self._raw(DataFrame(stream_id, body, flags=["END_STREAM"]).serialize())
            case "late-twice":
                self._answer(stream_id, body)
                wire.later(CUT_S, partial(self._raw, DataFrame(stream_id, body, flags=["END_STREAM"]).serialize()))
            case "refuse":
                self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            case _:
                self._answer(stream_id, body, "503" if mode == "error" else "200")

    def _answer(self, stream_id: int, body: bytes, status: str = "200") -> None:
        try:
            self._h2.send_headers(stream_id, [(":status", status), ("content-length", str(len(body)))])
            self._h2.send_data(stream_id, body, end_stream=True)
        except ProtocolError:
            return  # reset by its client meanwhile
        self._flush()

    def _raw(self, data: bytes) -> None:
        self._flush()
        self._wire.write(data)

    def _flush(self) -> None:
        self._wire.write(self._h2.data_to_send())
