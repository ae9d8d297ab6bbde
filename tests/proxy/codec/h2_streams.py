"""Random conversations for the differential test: what a peer sends, right and wrong, and what the owner does.

A step is a plain value made before any codec sees it, so both get the same. The generator keeps to a few streams, so
that frames meet streams in every state; how often it does wrong is drawn for each conversation, or few would last.
"""

from collections.abc import Callable, Sequence
from random import Random

from milliroute.proxy.codec import h2_frames as fr
from milliroute.proxy.codec.h2_settings import Role
from tests.proxy.codec.h2_peers import CONNECT, GET, OK, POST, Pairs, plain

# ("receive", wire) or the name of a method and its arguments.
Step = tuple[object, ...]

_IDS = {"server": (1, 1, 1, 3, 3, 5, 7, 2, 0), "client": (1, 1, 1, 3, 3, 5, 2, 0)}
_SIZES = (0, 1, 5, 5, 100, 5000, 16_384)
_FIELDS: tuple[tuple[bytes, bytes], ...] = (
    (b"a", b"b"), (b"cookie", b"x=1"), (b"te", b"trailers"), (b"grpc-status", b"0"), (b"x-long", b"v" * 300),
    (b"A", b"b"), (b"connection", b"close"), (b"x", b" y"), (b"x", b"y\n"), (b"", b"y"), (b":path", b"/"),
    (b"te", b"gzip"), (b":status", b"200"), (b"host", b"a.example"), (b"host", b"other"), (b"content-length", b"0"),
    (b"content-length", b"5"), (b"content-length", b"+5"), (b"content-length", b"100"), (b"l5d-dst", b"x"),
    (b"x-huge", b"h" * 9000), (b"transfer-encoding", b"chunked"), (b"date", b"today"),
)  # fmt: skip
_HEADS: dict[Role, tuple[Pairs, ...]] = {
    "server": (
        GET, GET, GET, POST, POST, CONNECT, [(b":method", b"HEAD"), *GET[1:]], [*GET[:2], (b":path", b"x"), GET[3]],
        [*GET[:3], (b":authority", b"a b")], [(b":method", b"CONNECT"), GET[3]], GET[:3], [*GET, GET[2]],
        [*GET, (b":protocol", b"websocket")], [*CONNECT, (b"content-length", b"0")],
        [(b":scheme", b"ftp"), GET[0], *GET[2:]], [*GET[:2], (b":path", b"/" + b"p" * 8200), GET[3]],
        [GET[1], GET[0], *GET[2:]],
    ),
    "client": (
        OK, OK, OK, OK, [(b":status", b"103")], [(b":status", b"100")], [(b":status", b"204")], [(b":status", b"304")],
        [(b":status", b"101")], [(b":status", b"600")], [(b":status", b"20")], [*OK, *OK], [(b":status", b"404")],
    ),
}  # fmt: skip


class Writer:
    """A peer's frames. role: of the codec under test.

    `table` is the peer's HPACK dynamic table, of which it sends each field once in full, then by index.
    """

    def __init__(self, rng: Random, role: Role) -> None:
        self._rng = rng
        self._role: Role = role
        self._table: list[tuple[bytes, bytes]] = []
        self._malice = rng.choice((0.0, 0.0, 0.01, 0.05, 0.5))
        # Streams on which the peer may still send, as far as it knows; ids it has opened or been asked on.
        self.open: list[int] = []
        self.next_id = 1
        self._headed: set[int] = set()
        self._kinds: tuple[tuple[Callable[[], bytes], float], ...] = (
            (self._headers, 12), (self._data, 10), (self._rst, 3), (self._window, 4), (self._settings, 2),
            (self._priority, 1), (self._ping, 1), (self._goaway, 0.3), (self._continued, 3), (self._odd, 1),
        )  # fmt: skip

    def _is_wrong(self) -> bool:
        return self._rng.random() < self._malice

    def frame(self) -> bytes:
        makers, weights = zip(*self._kinds, strict=True)
        wire: bytes = self._rng.choices(makers, weights)[0]()
        return wire

    def _id(self) -> int:
        """A stream to send on, most often."""
        if self._is_wrong() or not self.open:
            return self._rng.choice(_IDS[self._role]) if self._is_wrong() else 0
        return self._rng.choice(self.open)

    def _head(self) -> tuple[int, Pairs, bool]:
        """(stream, its next message, END_STREAM)"""
        rng = self._rng
        if self._is_wrong():
            return self._id(), self._fields(), rng.random() < 0.4
        if self._role == "server" and (not self.open or rng.random() < 0.8):
            stream_id, self.next_id = self.next_id, self.next_id + 2
            if not (end := rng.random() < 0.4):
                self.open.append(stream_id)
            return stream_id, self._fields(_HEADS["server"][:8]), end
        if not self.open:
            return 0, [], True
        stream_id = rng.choice(self.open)
        if self._role == "server":
            self.open.remove(stream_id)
            return stream_id, rng.sample(_FIELDS[:3], rng.choice((0, 1, 2))), True
        if stream_id in self._headed:
            self.open.remove(stream_id)
            return stream_id, rng.sample(_FIELDS[:3], rng.choice((0, 1, 2))), True
        head = self._fields(_HEADS["client"][:8])
        if head and head[0][1] >= b"200":
            self._headed.add(stream_id)
        end = bool(head) and head[0][1] >= b"200" and rng.random() < 0.4
        if end:
            self.open.remove(stream_id)
        return stream_id, head, end

    def _fields(self, heads: Sequence[Pairs] = ()) -> Pairs:
        rng = self._rng
        if heads and not self._is_wrong():
            return [*rng.choice(heads), *rng.sample(_FIELDS[:5], rng.choice((0, 1, 2)))]
        head = rng.choice(_HEADS[self._role]) if rng.random() < 0.8 else []
        extra = rng.sample(_FIELDS, rng.choice((0, 0, 1, 1, 2)))
        if rng.random() < 0.02:
            extra = [(b"x-many", b"%d" % n) for n in range(rng.choice((90, 101, 120)))]
        if rng.random() < 0.02:
            extra = [(b"x-huge", b"h" * 9000)] * rng.choice((3, 4, 5))
        return [*head, *extra]

    def _block(self, fields: Pairs) -> bytes:
        """Literals, incremental ones and indexes into what those have entered."""
        rng, out = self._rng, b""
        for name, value in fields:
            if (name, value) in self._table and rng.random() < 0.9:
                out += bytes((0x80 | 62 + self._table.index((name, value)),))
            elif len(name) + len(value) < 60 and len(self._table) < 20 and rng.random() < 0.3:
                out += b"\x40" + plain([(name, value)])[1:]
                self._table.insert(0, (name, value))
            else:
                out += (b"\x10" if rng.random() < 0.1 else b"\0") + plain([(name, value)])[1:]
        return (
            out
            if rng.random() > self._malice / 10
            else out + rng.choice((b"\xff\xff\xff\xff\xff\xff", b"\xfe", b"\x20", b"\0"))
        )

    def _headers(self) -> bytes:
        rng, flags, extra, tail = self._rng, fr.END_HEADERS, b"", b""
        stream_id, fields, end = self._head()
        if not stream_id and not self._is_wrong():
            return b""
        if rng.random() < 0.1:
            flags, tail = flags | fr.PADDED, bytes(rng.choice((0, 3, 255)))
            extra = bytes((len(tail),))
        if rng.random() < 0.1:
            flags, extra = flags | fr.HAS_PRIORITY, extra + bytes(rng.choice((5, 5, 5, 5)))
        block = self._block(fields)
        if len(extra + block + tail) > 16_384:
            return self._split(block, stream_id, end)
        return fr.frame(fr.HEADERS, flags | end, stream_id, extra + block + tail)

    def _continued(self) -> bytes:
        stream_id, fields, end = self._head()
        return self._split(self._block(fields), stream_id, end) if stream_id else b""

    def _split(self, block: bytes, stream_id: int, end: bool) -> bytes:
        rng = self._rng
        cuts = sorted(rng.randrange(len(block) + 1) for _ in range(rng.choice((0, 1, 2))))
        pieces = [block[a:b] for a, b in zip([0, *cuts], [*cuts, len(block)], strict=True)]
        pieces = [piece[at : at + 16_000] for piece in pieces for at in range(0, len(piece) or 1, 16_000)]
        out = fr.frame(fr.HEADERS, end, stream_id, pieces[0])
        for index, piece in enumerate([*pieces[1:], b""]):
            if self._is_wrong() and self._is_wrong():
                out += self._ping()
            is_last = index == len(pieces) - 1
            other = self._id() if self._is_wrong() and self._is_wrong() else stream_id
            out += fr.frame(fr.CONTINUATION, fr.END_HEADERS if is_last else 0, other, piece)
        return out

    def _data(self) -> bytes:
        rng = self._rng
        content, flags, pad = b"d" * rng.choice(_SIZES), int(rng.random() < 0.3), b""
        stream_id = self._id()
        is_early = self._role == "client" and stream_id not in self._headed
        if (not stream_id or is_early) and not self._is_wrong():
            return b""
        if flags and stream_id in self.open and rng.random() < 0.9:
            self.open.remove(stream_id)
        if rng.random() < 0.1:
            pad = bytes(rng.choice((0, 4, 255)))
            flags, content = flags | fr.PADDED, bytes((len(pad),)) + content[:16_000]
        return fr.frame(fr.DATA, flags, stream_id, content + pad)

    def _rst(self) -> bytes:
        stream_id = self._id()
        if stream_id in self.open:
            self.open.remove(stream_id)
        return fr.rst_stream(stream_id, self._rng.choice((0, 7, 8, 8, 99))) if stream_id or self._is_wrong() else b""

    def _window(self) -> bytes:
        sizes = (2**31 - 1, 0, 2**30) if self._is_wrong() else (1, 10, 1000, 50_000, 50_000)
        return fr.window_update(self._id(), self._rng.choice(sizes))

    def _settings(self) -> bytes:
        rng = self._rng
        if rng.random() < 0.2:
            return fr.SETTINGS_ACK
        choices = (
            (1, 0), (1, 100), (1, 4096), (1, 9000), (2, 0), (3, 1), (3, 100), (4, 0), (4, 10), (4, 9000), (4, 70_000),
            (4, 65_535), (5, 16_384), (5, 20_000), (6, 100), (8, 1), (99, 9),
            (2, 1), (4, 2**31 - 1), (4, 2**31), (5, 100), (8, 0),
        )[: None if self._is_wrong() else -5]  # fmt: skip
        return fr.settings(rng.sample(choices, rng.choice((0, 1, 1, 2, 3))))

    def _priority(self) -> bytes:
        return fr.frame(fr.PRIORITY, 0, self._id() or 9, bytes(4 if self._is_wrong() else 5))

    def _ping(self) -> bytes:
        return fr.ping(self._rng.choice((b"12345678", fr.PING_ALIVE, fr.PING_DRAIN)), is_ack=self._rng.random() < 0.5)

    def _goaway(self) -> bytes:
        return fr.goaway(self._rng.choice((0, 1, 3, 2**31 - 1)), 0, "bye")

    def _odd(self) -> bytes:
        """Any type, flags and a size that is often wrong."""
        rng = self._rng
        if not self._is_wrong():
            return fr.frame(rng.randrange(10, 256), 0, self._id(), rng.randbytes(rng.randrange(20)))
        size = rng.choice((0, 1, 3, 4, 5, 6, 7, 8, 9, 12, 16_385))
        return fr.frame(rng.randrange(12), rng.choice((0, 1, 4, 5, 8, 0x2D, 0xFF)), self._id(), rng.randbytes(size))


def conversation(rng: Random, role: Role) -> list[Step]:
    writer = Writer(rng, role)
    steps: list[Step] = []
    for _ in range(rng.randint(2, 18)):
        if rng.random() < 0.6:
            steps.append(("receive", b"".join(writer.frame() for _ in range(rng.choice((1, 1, 2, 3))))))
            continue
        steps.append(own := _own(rng, role, writer.next_id))
        stream_id = own[1] if own[0] == "send_response" else writer.next_id
        if own[0] == "request":
            writer.open.append(writer.next_id)
            writer.next_id += 2
        if own[0] in ("request", "send_response") and rng.random() < 0.5:
            steps.append(("send_data", stream_id, b"o" * rng.choice((100, 30_000, 100_000)), rng.random() < 0.5))
    return steps


def _own(rng: Random, role: Role, next_id: int) -> Step:
    """Something the owner does, most often on a stream that there is."""
    stream_id, end = rng.choice([*range(1, next_id, 2), 1]), rng.random() < 0.3
    trailers = [(b"grpc-status", b"0"), (b"x-t", b"1")]
    heads: Pairs = [*rng.choice((OK, [(b":status", b"404")])), *rng.sample(_FIELDS[:5], 2)]
    own: list[tuple[Step, float]] = [
        (("send_data", stream_id, b"o" * rng.choice((0, 3, 1000, 20_000, 70_000)), end), 12),
        (("send_trailers", stream_id, rng.choice((trailers, []))), 2),
        (("reset", stream_id, rng.choice((0, 8, 2))), 2),
        (("consumed", stream_id, rng.choice((1, 5000, 40_000, 70_000))), 4),
        (("backlog", rng.choice((0, 70_000, 0, 40_000))), 1),
        (("goaway", rng.choice((0, 0, 2))), 0.3),
        (("ping",), 1),
    ]
    if role == "server":
        interim = [(b":status", b"103"), (b"link", b"x")]
        own += [(("send_response", stream_id, heads, end), 12), (("send_response", stream_id, interim, False), 1)]
    else:
        own.append((("request", [*rng.choice((GET, POST, CONNECT, [(b":method", b"HEAD"), *GET[1:]]))], end), 10))
    steps, weights = zip(*own, strict=True)
    step: Step = rng.choices(steps, weights)[0]
    return step
