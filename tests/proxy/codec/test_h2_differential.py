"""Fast codec against reference codec (h2 and hpack with our rules): the same events and the same messages to the peer.

Compared as messages: field blocks decoded, DATA of one stream joined, WINDOW_UPDATE summed up by stream, debug text
left out. The fast codec never tells of a message that the reference does not.
"""

from collections import defaultdict
from random import Random
from typing import get_args

import pytest

from milliroute.proxy.codec import h2_events as told
from milliroute.proxy.codec import h2_frames as fr
from milliroute.proxy.codec.h2_events import Event
from milliroute.proxy.codec.h2_settings import Role
from milliroute.proxy.codec.hpack_static import Field
from tests.proxy.codec.h2_peers import CODECS, GET, Codec, Frame, Pairs, Peer, plain
from tests.proxy.codec.h2_streams import Step, conversation
from tests.sizes import IS_LONG, cases

QUICK_CASES = 400  # of each role, in the first test
CASES = cases(6_500, 0.1)  # of each shard
SHARDS = range(4)

Told = tuple[object, ...]


def _normal(event: Event) -> Told:
    """A value that compares: fields without their wire form, verdicts by content, no text."""
    parts: list[object] = [type(event).__name__]
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if name == "fields":
            value = [(f.name, f.value, f.is_sensitive) for f in value]
        elif name == "verdict":
            value = [getattr(value, slot) for slot in type(value).__slots__]
        if name != "text":
            parts.append(value)
    return tuple(parts)


class Written:
    """What one codec has written, by stream."""

    def __init__(self) -> None:
        self.by_stream: dict[int, list[Told]] = defaultdict(list)
        self.windows: dict[int, int] = defaultdict(int)

    def take(self, peer: Peer, frames: list[Frame]) -> None:
        for frame in frames:
            self._take(peer, frame)

    def _take(self, peer: Peer, frame: Frame) -> None:
        log = self.by_stream[frame.stream_id]
        end = frame.flags & fr.END_STREAM
        if frame.kind == fr.WINDOW_UPDATE:
            self.windows[frame.stream_id] += int.from_bytes(frame.payload)
        elif frame.kind == fr.HEADERS:
            log.append(("fields", peer.decode(frame), end))
        elif frame.kind == fr.GOAWAY:
            log.append(("goaway", *fr.read_goaway(frame.payload)))
        elif frame.kind == fr.DATA:
            before = log.pop() if log and log[-1][0] == "data" else ("data", 0, 0)
            assert isinstance(before[1], int)
            log.append(("data", before[1] + len(frame.payload), end))
        else:
            log.append((frame.kind, frame.flags, frame.payload))


class Owner:
    """Does a conversation's steps as far as an owner may: one final response, and content only after it."""

    def __init__(self, codec: Codec, role: Role) -> None:
        self.peer = Peer(codec, role)
        self._asked: set[int] = set()
        self._answered: set[int] = set()

    def do(self, step: Step) -> list[Event]:
        events = self._do(step)
        self._asked |= {e.stream_id for e in events if isinstance(e, told.RequestReceived | told.RequestRejected)}
        return events

    def _do(self, step: Step) -> list[Event]:
        conn = self.peer.conn
        match step:
            case ("receive", bytes(wire)):
                return self.peer.send(wire)
            case ("request", list(fields), bool(end)):
                if conn.can_open():
                    self.peer.request(fields, end=end)
            case ("send_response", int(stream_id), list(fields), bool(end)):
                self._respond(stream_id, fields, end)
            case ("send_data", int(stream_id), bytes(content), bool(end)) if self._may_send(stream_id):
                conn.send_data(stream_id, content, end)
            case ("send_trailers", int(stream_id), list(fields)) if self._may_send(stream_id):
                conn.send_trailers(stream_id, fields)
            case ("reset", int(stream_id), int(code)):
                conn.reset(stream_id, code)
            case ("consumed", int(stream_id), int(size)):
                conn.consumed(stream_id, size)
            case ("backlog", int(size)):
                return conn.backlog(size)
            case ("goaway", int(code)):
                conn.goaway(code)
            case ("ping",):
                conn.ping()
        return []

    def _may_send(self, stream_id: int) -> bool:
        return self.peer.role == "client" or stream_id in self._answered

    def _respond(self, stream_id: int, fields: Pairs, end: bool) -> None:
        if stream_id in self._answered or stream_id not in self._asked:
            return
        if fields[0][1] >= b"200":
            self._answered.add(stream_id)
        self.peer.conn.send_response(stream_id, fields, end)


def _run(codec: Codec, role: Role, steps: list[Step]) -> tuple[list[list[Told]], Written, list[int]]:
    owner, written, told_by_step, queued = Owner(codec, role), Written(), [], []
    peer = owner.peer
    for step in steps:
        told_by_step.append([_normal(event) for event in owner.do(step)])
        written.take(peer, peer.wrote())
        queued.append(sum(peer.conn.queued(stream_id) for stream_id in (1, 3, 5, 7)) + peer.conn.open_streams)
    return told_by_step, written, queued


def _compare(role: Role, seed: int) -> int:
    steps = conversation(Random(f"{role} {seed}"), role)
    (fast, fast_out, fast_queued), (slow, slow_out, slow_queued) = (_run(codec, role, steps) for codec in CODECS)
    assert fast == slow, f"{role} {seed}"
    assert fast_out.by_stream == slow_out.by_stream, f"{role} {seed}"
    assert fast_queued == slow_queued, f"{role} {seed}"
    for stream_id in fast_out.windows.keys() | slow_out.windows.keys() if role == "server" else ():
        if stream_id:  # h2 gives the connection's window back in its own portions for streams that are gone
            assert fast_out.windows[stream_id] == slow_out.windows[stream_id], f"{role} {seed}"
    return sum(len(events) for events in fast)


ROLES: tuple[Role, ...] = ("server", "client")


def test_there_are_over_50_000_cases_in_the_long_form() -> None:
    assert CASES * len(SHARDS) * len(ROLES) > (50_000 if IS_LONG else 5_000)


@pytest.mark.parametrize("role", ROLES)
def test_both_codecs_say_the_same(role: Role) -> None:
    assert sum(_compare(role, seed) for seed in range(QUICK_CASES)) > QUICK_CASES


@pytest.mark.slow
@pytest.mark.parametrize("shard", SHARDS)
@pytest.mark.parametrize("role", ROLES)
def test_both_codecs_say_the_same_at_length(role: Role, shard: int) -> None:
    assert sum(_compare(role, seed) for seed in range(shard * CASES, (shard + 1) * CASES)) > CASES


def test_the_conversations_reach_every_event() -> None:
    seen: set[object] = set()
    for role in ROLES:
        for seed in range(QUICK_CASES):
            told_by_step, _, _ = _run("fast", role, conversation(Random(f"{role} {seed}"), role))
            seen |= {event[0] for events in told_by_step for event in events}
    assert {kind.__name__ for kind in get_args(told.Event)} - seen == set()


@pytest.mark.parametrize("codec", CODECS)
def test_fields_keep_their_order_and_bytes(codec: Codec) -> None:
    peer = Peer(codec)
    fields = [*GET[:2], (b":path", b"/?a"), GET[3], (b"x", b"\x80"), (b"a", b"1"), (b"x", b"2")]
    (event,) = peer.send(fr.frame(fr.HEADERS, 5, 1, plain(fields)))
    assert isinstance(event, told.RequestReceived)
    assert [(f.name, f.value) for f in event.fields] == fields
    peer.conn.send_response(1, [(b":status", b"200"), Field(b"x", b"\x80")], True)
    assert peer.decode(peer.wrote()[0]) == [(b":status", b"200"), (b"x", b"\x80")]
