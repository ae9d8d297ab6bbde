# mypy: disable-error-code="call-arg,no-untyped-call,call-overload"
"""gRPC at depth: grpcio on both sides of a real milliroute, with metadata, deadlines, cancellation and many streams."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from tests.e2e.h2_stand import LEAVES, run
from tests.e2e.stand import Stand, eventually, stand
from tests.sizes import CODEC

pytestmark = CODEC
MIB = 1024 * 1024
ANY_SIZE = (("grpc.max_receive_message_length", 16 * MIB),)


@contextmanager
def _echo(folder: Path, codec: str) -> Iterator[grpc.Channel]:
    with stand(folder) as here:
        servers = here.start(sys.executable, "-m", "tests.e2e.grpc_backend", *LEAVES)
        proxy = run(here, [servers.port(name) for name in LEAVES], codec)
        with grpc.insecure_channel(f"127.0.0.1:{proxy.port('proxy')}", options=ANY_SIZE) as channel:
            yield channel


@dataclass(frozen=True)
class Watched:
    """target: through the proxy; count: past it, (calls open now, the most at once, calls cancelled)."""

    target: str
    channel: grpc.Channel
    direct: grpc.Channel

    def count(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.direct.unary_unary("/test.Watch/Count")(b"", timeout=60).split())


@contextmanager
def _watched(folder: Path, codec: str) -> Iterator[Watched]:
    with stand(folder) as here, ExitStack() as stack:
        port, target = _watcher(here, codec)
        through, direct = grpc.insecure_channel(target), grpc.insecure_channel(f"127.0.0.1:{port}")
        yield Watched(target, stack.enter_context(through), stack.enter_context(direct))


def _watcher(here: Stand, codec: str) -> tuple[int, str]:
    port = here.start(sys.executable, "-m", "tests.e2e.grpc_watcher", "reviews-v1").port("reviews-v1")
    return port, f"127.0.0.1:{run(here, [port, 1], codec, '1', '0').port('proxy')}"


def test_metadata_passes_both_ways_whatever_is_in_it(tmp_path: Path, codec: str) -> None:
    ask = bytes(range(256))
    pairs = (("ask-bin", ask), ("x-text", 'a, b;c="d" ~'), ("x-twice", "1"), ("x-twice", "2"), ("x-long", "v" * 6000))
    with _echo(tmp_path, codec) as channel:
        _, unary = channel.unary_unary("/test.Echo/Unary").with_call(b"x", metadata=pairs, timeout=60)
        parts = channel.unary_stream("/test.Echo/ServerStream")(b"3", metadata=pairs, timeout=60)
        _, summed = channel.stream_unary("/test.Echo/ClientStream").with_call(iter([b"x"]), metadata=pairs, timeout=60)
        echoed = channel.stream_stream("/test.Echo/Bidi")(iter([b"x"]), metadata=pairs, timeout=60)
        assert (len(list(parts)), list(echoed)) == (3, [b"x"])
        for call in (unary, parts, summed, echoed):
            trailing = dict(call.trailing_metadata())
            assert trailing["seen-bin"] == ask
            assert trailing["leaf"] in LEAVES


def test_the_server_is_told_what_the_client_said_and_nothing_is_added_twice(tmp_path: Path, codec: str) -> None:
    with _watched(tmp_path, codec) as watched:
        pairs = (("x-twice", "1"), ("x-twice", "2"), ("some-bin", b"\x00\xff"))
        said = watched.channel.unary_unary("/test.Watch/Context")(b"", metadata=pairs, timeout=60).decode().split("\n")
        names = Counter(line.partition("=")[0] for line in said)
        assert names["x-twice"] == 2
        assert "some-bin=b'\\x00\\xff'" in said
        assert {name for name, count in names.items() if count > 1} == {"x-twice"}
        # The deadline is what is left of the client's.
        (left,) = [float(line.partition("=")[2]) for line in said if line.startswith("time_remaining=")]
        assert 1 < left <= 60


def test_four_mebibytes_pass_both_ways_in_a_stream_too(tmp_path: Path, codec: str) -> None:
    message = bytes(range(256)) * (4 * MIB // 256)
    with _echo(tmp_path, codec) as channel:
        assert channel.unary_unary("/test.Echo/Unary")(message, timeout=60) == message
        echoed = channel.stream_stream("/test.Echo/Bidi")(iter([message] * 3), timeout=60)
        assert all(part == message for part in echoed)


def test_an_expired_deadline_reaches_the_client_and_ends_the_call_at_the_server(tmp_path: Path, codec: str) -> None:
    with _watched(tmp_path, codec) as watched:
        with pytest.raises(grpc.RpcError) as caught:
            watched.channel.unary_unary("/test.Watch/Hold")(b"", timeout=2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        eventually(lambda: watched.count() == (0, 1, 1), "the cancelled call at the server")


def test_a_cancelled_call_is_cancelled_at_the_server_and_its_stream_is_free_again(tmp_path: Path, codec: str) -> None:
    with _watched(tmp_path, codec) as watched:
        hold = watched.channel.unary_unary("/test.Watch/Hold")
        # Three times the stream limit of one connection: slots that were not freed would let the second round wait.
        for round_number in range(1, 4):
            calls = [hold.future(b"", timeout=60) for _ in range(100)]
            eventually(lambda: watched.count()[0] == 100, "100 calls at the server")
            for call in calls:
                call.cancel()
            eventually(lambda n=round_number: watched.count() == (0, 100, 100 * n), "their end")  # type: ignore[misc]
        assert watched.channel.unary_unary("/test.Watch/Context")(b"", timeout=60)


def test_a_bidirectional_stream_is_message_by_message(tmp_path: Path, codec: str) -> None:
    with _watched(tmp_path, codec) as watched:
        turn = threading.Semaphore(1)

        def questions() -> Iterator[bytes]:
            for number in range(100):
                assert turn.acquire(timeout=60)
                yield b"%d" % number

        answers = []
        for answer in watched.channel.stream_stream("/test.Watch/Bidi")(questions(), timeout=60):
            answers.append(answer)
            turn.release()
        assert answers == [b"%d" % number for number in range(100)]


def test_1000_streams_are_open_at_once_and_all_come_to_their_end(tmp_path: Path, codec: str) -> None:
    with _watched(tmp_path, codec) as watched, ExitStack() as stack:
        options = (("grpc.use_local_subchannel_pool", 1),)
        channels = [grpc.insecure_channel(watched.target, options=options) for _ in range(10)]
        for channel in channels:
            stack.enter_context(channel)
        done = threading.Event()

        def messages(number: int) -> Iterator[bytes]:
            yield b"first %d" % number
            done.wait(60)
            yield b"last %d" % number

        streams = [
            channels[number % 10].stream_stream("/test.Watch/Bidi")(messages(number), timeout=90)
            for number in range(1000)
        ]
        assert [next(stream) for stream in streams] == [b"first %d" % number for number in range(1000)]
        assert watched.count()[0] == 1000
        done.set()
        assert [list(stream) for stream in streams] == [[b"last %d" % number] for number in range(1000)]
        assert watched.count() == (0, 1000, 0)


def test_calls_above_the_stream_limit_of_one_connection_wait_and_finish(tmp_path: Path, codec: str) -> None:
    with _watched(tmp_path, codec) as watched:
        options = (("grpc.use_local_subchannel_pool", 1),)
        with grpc.insecure_channel(watched.target, options=options) as channel:
            hold, context = channel.unary_unary("/test.Watch/Hold"), channel.unary_unary("/test.Watch/Context")
            held = [hold.future(b"", timeout=60) for _ in range(100)]
            eventually(lambda: watched.count()[0] == 100, "100 calls at the server")
            waiting = context.future(b"", timeout=60)
            assert not waiting.done()
            held[0].cancel()
            assert b"time_remaining" in waiting.result()
