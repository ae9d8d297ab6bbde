"""HTTP/2: whole connections, either role, and field blocks. A connection must read its bytes the same however they are
cut, say nothing after its end, and write whole frames only.
"""

import random

import hpack

from milliroute.proxy.codec import h2_codec
from milliroute.proxy.codec import h2_frames as fr
from milliroute.proxy.codec.h2_events import ConnectionFailed, DataReceived, Event
from milliroute.proxy.codec.h2_limits import H2Limits
from milliroute.proxy.codec.h2_settings import Role
from milliroute.proxy.codec.hpack import Decoder
from milliroute.proxy.codec.hpack_wire import MAX_CONTINUATION_BYTES
from milliroute.proxy.errors import HpackError
from tests.conformance.h2_text import H2Case
from tests.conformance.h2_text import cases as h2_cases
from tests.fuzz.target import Target
from tests.proxy.codec.blocks import bent_block
from tests.proxy.codec.h2_cases import CASES
from tests.proxy.codec.h2_peers import CODECS, GET, POST, Codec, goaways, resets, split
from tests.proxy.codec.h2_streams import conversation

Told = tuple[object, ...]
_LIMITS = H2Limits()
_GREETING = fr.settings([]) + fr.SETTINGS_ACK
# Where we refuse on purpose what the library takes.
_STRICTER = (
    f"integer of more than {MAX_CONTINUATION_BYTES + 1} bytes",
    "table size updates in a row (RFC 7541 section 4.2)",
)
_FRAMES = (
    fr.rst_stream(1, 8), fr.window_update(1, 1), fr.window_update(0, 2**31 - 1), fr.ping(bytes(8)), fr.goaway(0, 0),
    fr.settings([(fr.INITIAL_WINDOW_SIZE, 0)]), fr.frame(fr.DATA, 1, 1, b"x"), fr.frame(fr.CONTINUATION, 4, 1),
    fr.frame(fr.HEADERS, 5, 3, b"\x82\x86\x84\x41\x01a"), fr.frame(fr.HEADERS, 4, 1, b"\x88"),
)  # fmt: skip


def _connection(role: Role, data: bytes) -> None:
    for codec in CODECS:
        whole = _read(codec, role, [data])
        pieces = [data[at : at + 7] for at in range(0, len(data), 7)]
        assert whole == _read(codec, role, pieces), codec


def _read(codec: Codec, role: Role, pieces: list[bytes]) -> tuple[object, ...]:
    """What its owner and the peer are told. Nobody takes any DATA, so that no window depends on the cut."""
    connection = h2_codec.connect(codec, role, _LIMITS)
    if role == "client":
        for fields in (GET, POST, POST):
            connection.send_request(connection.open_stream(), fields, fields is GET)
    told: list[Told] = []
    for piece in [(fr.PREFACE if role == "server" else b"") + _GREETING, *pieces]:
        for event in connection.receive(piece, 1000.0):
            assert not told or told[-1][0] != "ConnectionFailed"
            _tell(told, event)
    frames = split(b"".join(connection.take_output()))
    assert [code for _, code in goaways(frames)] == [event[1] for event in told if event[0] == "ConnectionFailed"]
    return tuple(told), tuple(resets(frames)), tuple(goaways(frames))


def _tell(told: list[Told], event: Event) -> None:
    """DATA of one stream is one event, however it came."""
    if isinstance(event, ConnectionFailed):
        told.append(("ConnectionFailed", event.code))
    elif not isinstance(event, DataReceived):
        told.append((repr(event),))
    elif told and told[-1][:2] == ("DATA", event.stream_id):
        _, _, data, size, _ = told.pop()
        assert isinstance(data, bytes)
        assert isinstance(size, int)
        told.append(("DATA", event.stream_id, data + event.data, size + event.flow_bytes, event.end_stream))
    else:
        told.append(("DATA", event.stream_id, event.data, event.flow_bytes, event.end_stream))


def _blocks(data: bytes) -> None:
    """Blocks in a row on one table, each behind its length; the library is asked too."""
    mine, theirs = Decoder(max_list_bytes=1 << 20, max_fields=1 << 20), hpack.Decoder(1 << 20)
    while data:
        size, data = data[0], data[1:]
        block, data = data[:size], data[size:]
        try:
            found = [(field.name, field.value, field.is_sensitive) for field in mine.decode(block)]
        except HpackError as exc:
            refused = exc.text
        else:
            refused = ""
        library = _by_library(theirs, block)
        if refused:
            assert library is None or refused.endswith(_STRICTER)
            return
        assert found == library


def _by_library(decoder: hpack.Decoder, block: bytes) -> list[tuple[bytes, bytes, bool]] | None:
    try:
        found = list(decoder.decode(block, raw=True))
    except hpack.HPACKError:
        return None
    return [(bytes(field[0]), bytes(field[1]), not field.indexable) for field in found]


def _sent(role: Role) -> list[bytes]:
    rng = random.Random(1)
    found = [case.wire for case in CASES if case.role == role and len(case.wire) < 2000]
    for _ in range(60):
        steps = conversation(rng, role)
        found.append(b"".join(step[1] for step in steps if step[0] == "receive" and isinstance(step[1], bytes)))
    corpus: list[H2Case] = h2_cases("responses") if role == "client" else h2_cases("requests") + h2_cases("framing")
    found += [b"".join(step for step in case.steps if isinstance(step, bytes)) for case in corpus if case.has_opening]
    return [data for data in found if len(data) < 2000]


def _block_seeds() -> list[bytes]:
    rng = random.Random(2)
    blocks = [block for _ in range(300) if len(block := bent_block(rng)) < 128]
    return [b"".join(bytes((len(b),)) + b for b in blocks[at : at + 3]) for at in range(0, len(blocks), 3)]


TARGETS = (
    Target("h2-server", lambda: _sent("server"), lambda data: _connection("server", data), _FRAMES),
    Target("h2-client", lambda: _sent("client"), lambda data: _connection("client", data), _FRAMES),
    Target("hpack", _block_seeds, _blocks, (b"\x20", b"\x3f\xe1\x1f", b"\xbe", b"\x40\x01a\x01b")),
)
