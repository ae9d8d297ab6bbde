"""Reads the HTTP/2 corpus: text that people can read in, cases with the frames as bytes out; README.md here has the
grammar.

Nothing is checked but the grammar itself: what a case sends may be as wrong as its author likes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from milliroute.proxy.codec import h2_frames as fr
from tests.conformance.corpus import text as with_runs
from tests.proxy.codec.h2_peers import plain

FOLDER = Path(__file__).parent / "http2"
_KINDS = ("DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE",
          "CONTINUATION")  # fmt: skip
_FLAGS = {"end_stream": 1, "ack": 1, "end_headers": 4, "priority": 0x20}
CODES = ("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
         "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
         "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED")  # fmt: skip
_SETTINGS = ("HEADER_TABLE_SIZE", "ENABLE_PUSH", "MAX_CONCURRENT_STREAMS", "INITIAL_WINDOW_SIZE", "MAX_FRAME_SIZE",
             "MAX_HEADER_LIST_SIZE", "", "ENABLE_CONNECT_PROTOCOL")  # fmt: skip
_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|[rnt0\\])")
_ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
_SHOWN = {value[0]: f"\\{name.decode()}" for name, value in _ESCAPES.items()}
_SHORT = re.compile(r"([A-Z]+) ([/*]\S*)")


@dataclass(frozen=True, slots=True)
class Wait:
    """Until the head of the answer on this stream has come."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class End:
    """Of the connection, by whoever sends the case."""

    is_reset: bool


Step = bytes | Wait | End


@dataclass(slots=True)
class H2Case:
    """expect: the outcomes, by "" (always), the version of HTTP that the proxy's other side speaks, or codec."""

    name: str
    rows: list[str] = field(default_factory=list)
    has_opening: bool = True
    steps: list[Step] = field(default_factory=list)
    expect: dict[str, list[str]] = field(default_factory=lambda: {"": []})

    def outcomes(self, version: str, codec: str) -> list[str]:
        return sorted(self.expect[""] + self.expect.get(version, []) + self.expect.get(codec, []))


@dataclass(slots=True)
class _Frame:
    words: list[str]
    lines: list[str]


def cases(name: str) -> list[H2Case]:
    found: list[H2Case] = []
    pending: list[_Frame] = []
    for line in (FOLDER / f"{name}.txt").read_text("utf-8").splitlines():
        if line.startswith("== "):
            _finish(found, pending)
            found.append(H2Case(line[3:]))
        elif line.startswith("    "):
            pending[-1].lines.append(line[4:])
        elif line and not line.startswith("#"):
            _take(found[-1], pending, line)
    _finish(found, pending)
    assert len({case.name for case in found}) == len(found), name
    return found


def _take(case: H2Case, pending: list[_Frame], line: str) -> None:
    if line.startswith("rows: "):
        case.rows = line[6:].split(" ")
    elif line == "opening: none":
        case.has_opening = False
    elif line.startswith("->"):
        version, _, outcome = line[2:].partition(" ")
        case.expect.setdefault(version, []).append(outcome)
    else:
        pending.append(_Frame(line.split(" "), []))


def _finish(found: list[H2Case], pending: list[_Frame]) -> None:
    if found:
        frames = iter(pending)
        found[-1].steps = _joined(_steps(frames, None))
        assert next(frames, None) is None, f"{found[-1].name}: 'done' without 'repeat'"
        pending.clear()


def _joined(steps: Iterator[Step]) -> list[Step]:
    """Neighbouring frames are sent as one piece."""
    out: list[Step] = []
    for step in steps:
        if isinstance(step, bytes) and out and isinstance(last := out[-1], bytes):
            out[-1] = last + step
        else:
            out.append(step)
    return out


def _steps(frames: Iterator[_Frame], each: int | None) -> Iterator[Step]:
    for frame in frames:
        match frame.words:
            case ["repeat", count, *first]:
                block = _until_done(frames)
                start = int(first[0].removeprefix("from=")) if first else 1
                for number in range(int(count)):
                    yield from _steps(iter(block), start + 2 * number)
            case ["wait", stream_id]:
                yield Wait(int(stream_id))
            case ["CLOSE"]:
                yield End(is_reset=False)
            case ["ABORT"]:
                yield End(is_reset=True)
            case _:
                yield _frame(frame, each)


def _until_done(frames: Iterator[_Frame]) -> list[_Frame]:
    block: list[_Frame] = []
    for frame in frames:
        if frame.words == ["done"]:
            return block
        block.append(frame)
    raise AssertionError("'repeat' without 'done'")


def _frame(frame: _Frame, each: int | None) -> bytes:
    kind, *words = frame.words
    options = dict(word.split("=", 1) for word in words if "=" in word)
    if kind == "raw":
        return b"".join(_content(line) for line in frame.lines)
    flags = sum(_FLAGS[word] for word in words if "=" not in word)
    stream_id = each if options.get("stream") == "each" else int(options.get("stream", "0"), 0)
    assert stream_id is not None
    payload = _numbers(kind, options) + b"".join(_line(kind, line) for line in frame.lines)
    if "padded" in options:
        size = int(options["padded"])
        payload, flags = bytes((size,)) + payload + bytes(size), flags | fr.PADDED
    number = _KINDS.index(kind) if kind in _KINDS else int(options["type"], 0)
    flags = int(options.get("flags", str(flags)), 0)
    length = int(options.get("length", str(len(payload))), 0)
    return fr.HEADER.pack(length << 8 | number, flags, stream_id) + payload


def _numbers(kind: str, options: dict[str, str]) -> bytes:
    if kind == "WINDOW_UPDATE" and "by" in options:
        return fr.U32.pack(int(options["by"], 0))
    if kind == "RST_STREAM" and "code" in options:
        return fr.U32.pack(CODES.index(options["code"]))
    if kind == "GOAWAY" and "code" in options:
        return fr.U32.pack(int(options["last"])) + fr.U32.pack(CODES.index(options["code"]))
    if kind == "PUSH_PROMISE":
        return fr.U32.pack(int(options["promised"]))
    return b""


def _line(kind: str, line: str) -> bytes:
    if kind == "SETTINGS" and " = " in line:
        name, _, value = line.partition(" = ")
        return fr.SETTING.pack(_SETTINGS.index(name) + 1 if name in _SETTINGS else int(name, 0), int(value, 0))
    if line.startswith(("hex ", "text ")):
        return _content(line)
    if short := _SHORT.fullmatch(line):
        method, path = short[1].encode(), short[2].encode()
        pseudo = [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"reviews")]
        return plain(pseudo)
    name, _, value = line[1:].partition(":")
    return plain([(_bytes(line[0] + name), _bytes(value.removeprefix(" ")))])


def _content(line: str) -> bytes:
    word, _, rest = line.partition(" ")
    return bytes.fromhex(rest) if word == "hex" else _bytes(rest)


def escaped(value: bytes) -> str:
    """As outcomes are written."""
    return "".join(_SHOWN.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}") for byte in value)


def _bytes(value: str) -> bytes:
    def byte(found: re.Match[bytes]) -> bytes:
        code = found[1]
        return _ESCAPES[code] if code in _ESCAPES else bytes.fromhex(code[1:].decode())

    return _ESCAPE.sub(byte, with_runs(value))
