"""Ends of connections that lose nothing: GOAWAY from a backend, restarts under load, and the proxy's own drain."""

import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from h2.events import RequestReceived, ResponseReceived, StreamEnded
from h2.settings import SettingCodes

from tests.e2e import traffic
from tests.e2e.h2_peer import Peer, backend, client, plain
from tests.e2e.h2_stand import LEAVES, requests_by_leaf, run
from tests.e2e.stand import Stand, eventually, get, stand
from tests.e2e.traffic import Record
from tests.sizes import CODEC

pytestmark = CODEC
LARGEST_ID = 2**31 - 1


def test_requests_above_a_goaways_last_id_go_over_another_connection(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here, backend() as origin:
        proxy = run(here, [origin.port, 1], codec, "1", "0")
        with client(proxy.port("proxy")) as peer:
            sids = [peer.request(method="POST", is_end=False) for _ in range(10)]
            for sid in sids:
                peer.h2.send_data(sid, b"body of %d" % sid, end_stream=True)
            peer.flush()
            old = origin.accept()
            old.until(StreamEnded, count=10)
            old.goaway(last_id=9)
            new = origin.accept()
            new.until(StreamEnded, count=5)
            bodies = _answer_all(new, b"new ") | _answer_all(old, b"old ", up_to=9)
            # Each in one place only, with its own body.
            assert bodies == {f"/{sid}": b"body of %d" % sid for sid in sids}
            answers = [peer.answer(sid) for sid in sids]
            assert sorted(answers) == sorted(
                [("200", b"old body of %d" % sid) for sid in sids[:5]]
                + [("200", b"new body of %d" % sid) for sid in sids[5:]]
            )


def _answer_all(server: Peer, prefix: bytes, up_to: int = LARGEST_ID) -> dict[str, bytes]:
    """Path to body of what it answered."""
    answered = {}
    for event in server.all(RequestReceived):
        assert event.stream_id is not None
        if event.stream_id <= up_to:
            body = answered[dict(plain(event.headers))[":path"]] = server.body(event.stream_id)
            server.respond(event.stream_id, prefix + body)
    return answered


def test_a_backend_that_only_announces_its_end_gets_no_new_stream_and_keeps_the_old(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here, backend() as origin:
        proxy = run(here, [origin.port, 1], codec, "1", "0")
        with client(proxy.port("proxy")) as peer:
            first = peer.request()
            old = origin.accept()
            old.until(RequestReceived)
            old.goaway(LARGEST_ID)
            old.h2.ping(b"is read?")
            old.flush()
            while b"is read?" not in [getattr(event, "ping_data", b"") for event in old.seen]:
                old.read()
            second = peer.request()
            new = origin.accept()
            new.until(RequestReceived)
            new.respond(1, b"new")
            assert peer.answer(second) == ("200", b"new")
            old.respond(1, b"old")
            assert peer.answer(first) == ("200", b"old")
            # With its last stream gone it is closed by the proxy.
            while old.read():
                pass


def test_a_drain_is_announced_and_what_is_open_comes_to_its_end(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here, backend() as origin:
        proxy = run(here, [origin.port, 1], codec, "1", "0")
        with client(proxy.port("proxy")) as peer:
            open_one = peer.request()
            server = origin.accept()
            server.until(RequestReceived)
            proxy.signal(signal.SIGTERM)
            _until(peer, lambda: len(peer.goaways) == 2)
            # RFC 9113 section 6.8: the first for requests on their way, the second once the client has seen it.
            assert peer.goaways == [(LARGEST_ID, 0), (open_one, 0)]
            server.respond(1, b"in time")
            assert peer.answer(open_one) == ("200", b"in time")
            while peer.read():
                pass
        assert proxy.wait() == 0


def test_a_drain_waits_for_a_client_that_has_not_taken_its_answer_yet(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here, backend() as origin:
        proxy = run(here, [origin.port, 1], codec, "1", "0")
        with client(proxy.port("proxy")) as peer:
            peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 100})
            slow = peer.request()
            server = origin.accept()
            server.until(RequestReceived)
            server.respond(1, b"x" * 5000)
            peer.until(ResponseReceived, slow)
            peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
            peer.flush()
            proxy.signal(signal.SIGTERM)
            _until(peer, lambda: len(peer.goaways) == 2)
            peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 65535})
            peer.flush()
            assert peer.answer(slow) == ("200", b"x" * 5000)
        assert proxy.wait() == 0


def test_sigterm_under_grpc_load_fails_no_call_that_was_accepted(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here:
        proxy = run(here, here.backends(*LEAVES, kind="grpc_backend"), codec)
        with here.load(proxy.port("proxy"), 50, "grpc_traffic") as load:
            eventually(lambda: sum(requests_by_leaf(proxy.port("admin")).values()) > 200, "load")
            proxy.signal(signal.SIGTERM)
            assert proxy.wait() == 0
        records = traffic.read(load.file)
        # Once it is gone it cannot be connected to, and grpcio says so.
        failed = [r for r in records if r.status != 200 and "failed to connect" not in r.body]
        assert failed == []
        assert sum(record.status == 200 for record in records) > 200


def _until(peer: Peer, is_so: Callable[[], bool]) -> None:
    while not is_so():
        assert peer.read(), f"closed after {peer.goaways} and {peer.seen}"


def test_backends_that_restart_with_goaway_lose_no_request_and_see_none_twice(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here:
        servers = here.start(sys.executable, "-m", "tests.e2e.h2_restarting", *LEAVES)
        proxy = run(here, [servers.port(name) for name in LEAVES], codec, "500m", "500m")
        with here.load(proxy.port("proxy"), 100, "grpc_traffic") as load:
            # Each restart makes some tens of them: for streams that were left, and connections that were refused.
            eventually(lambda: _retries(proxy.port("admin")) > 500, "retries in /metrics")
        servers.close_stdin()
        assert servers.wait() == 0
        said = eventually(lambda: next((line for line in servers.lines if line.startswith("restarts ")), ""), "counts")
        restarts, refused, twice = (int(number) for number in re.findall(r"\d+", said))
        records = traffic.read(load.file)
        assert [record for record in records if record.status != 200] == []
        assert len(records) > 1000
        assert min(restarts, refused) > 3
        assert twice == 0


def _retries(admin: int) -> float:
    found = re.findall(r"^milliroute_retries_total\{.*\} (\S+)$", get(admin, "/metrics")[1], re.MULTILINE)
    return sum(float(value) for value in found)


def test_grpcio_servers_that_restart_gracefully_lose_no_replay_safe_call(tmp_path: Path, codec: str) -> None:
    """A grpcio server answers calls that it has accepted and not yet begun with CANCELLED when it stops; they are below
    its GOAWAY's last id and have an answer, so nobody may send them again. Its own clients get the same. Everything
    else must succeed."""
    with stand(tmp_path) as here:
        records = _restart_grpcio(here, codec, times=3)
        own_doing = [record for record in records if (record.status, record.body) == (1, "CANCELLED")]
        failed = [record for record in records if record.status != 200]
        assert failed == own_doing
        # Of what it had in flight.
        assert len(own_doing) <= 6 * 32
        assert len(records) > 1000


def _restart_grpcio(here: Stand, codec: str, times: int) -> list[Record]:
    """Both leaves in turn, under 32 calls at once."""
    servers = {name: here.start(sys.executable, "-m", "tests.e2e.grpc_restarting", name) for name in LEAVES}
    proxy = run(here, [servers[name].port(name) for name in LEAVES], codec, "500m", "500m")
    admin = proxy.port("admin")
    with here.load(proxy.port("proxy"), 32, "grpc_traffic") as load:
        for number in range(1, times + 1):
            for name, server in servers.items():
                before = sum(requests_by_leaf(admin).values())
                eventually(lambda n=before: sum(requests_by_leaf(admin).values()) > n + 200, "load")  # type: ignore[misc]
                server.signal(signal.SIGHUP)
                server.address(f"{name}-{number}")
    return list(traffic.read(load.file))
