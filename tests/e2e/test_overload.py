"""Slow clients and too many clients, with real processes: they are cut off or refused, and the others are served."""

import re
import resource
import socket
import warnings
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e import slowness
from tests.e2e.slowness import children, proxy_of
from tests.e2e.stand import eventually, get, is_ready, stand, write_split

# Of the worker: a connection each, one to a backend for two of three, and what it needs for itself.
NEEDED_DESCRIPTORS = 2048
# Slow clients. 2,000 of each kind are for `python -m tests.chaos.slow_clients`: they take a machine of their own.
MANY = 600
# Of the worker then: 27 MiB without them, and 13 MiB for 200 slow readers.
MOST_MIB = 64
REVIEWS = {"host": "reviews"}


def _has_room() -> bool:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    has_room = hard >= NEEDED_DESCRIPTORS or hard == resource.RLIM_INFINITY
    if not has_room:
        warnings.warn(f"{MANY} slow clients not tried: RLIMIT_NOFILE is {hard}", stacklevel=1)
    return has_room


def check(outcome: slowness.Outcome, least: int) -> None:
    assert outcome.failed() == []
    assert min(len(outcome.before), len(outcome.during)) > 100
    for kind, (_, cut) in outcome.slow.items():
        assert cut >= least, (kind, outcome.slow)


def test_slow_clients_are_cut_off_and_no_ordinary_request_fails(tmp_path: Path) -> None:
    check(slowness.measure(tmp_path, 60, seconds=3), least=10)


@pytest.mark.slow
@pytest.mark.skipif(not _has_room(), reason=f"the hard limit of descriptors is too low for {MANY} connections")
def test_many_slow_clients_fail_no_ordinary_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = slowness.measure(tmp_path, MANY, seconds=4)
    check(outcome, least=100)
    assert outcome.memory_mib < MOST_MIB
    with capsys.disabled():
        print(f"\n{MANY} slow clients: p99 x {outcome.p99_ratio():.2f}, {outcome.slow}, {outcome.memory_mib:.0f} MiB")


def _connect(stack: ExitStack, port: int, count: int) -> list[socket.socket]:
    return [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(count)]


def _open_connections(admin: int) -> int:
    for line in get(admin, "/metrics")[1].splitlines():
        if line.startswith("tcp_open_connections{") and 'peer="src"' in line:
            return int(float(line.rpartition(" ")[2]))
    return 0


def test_full_proxy_answers_its_admin_port_and_follows_its_control_service(tmp_path: Path) -> None:
    with stand(tmp_path) as here, ExitStack() as stack:
        proxy = proxy_of(here, "--max-connections", "50")
        port, admin = proxy.port("proxy"), proxy.port("admin")
        assert get(port, "/", REVIEWS)[0] == 200  # from here on its table is watched
        eventually(lambda: _open_connections(admin) == 0, "that it is empty")
        held = _connect(stack, port, 50)
        eventually(lambda: _open_connections(admin) == 50, "that it is full")
        assert get(port, "/", REVIEWS)[0] == 503
        assert is_ready(admin)
        write_split(tmp_path, "0", "1")
        eventually(lambda: _weights(admin) == ["0", "1"], "the new weights")
        eventually(lambda: 'error="connection limit"' in get(admin, "/metrics")[1], "the count")
        held.pop().close()
        eventually(lambda: _open_connections(admin) == 49, "a free place")
        assert get(port, "/", REVIEWS) == (200, "reviews-v2")


def _weights(admin: int) -> list[str]:
    return re.findall(r'"weight":"([^"]*)"', get(admin, "/splits")[1])


def test_worker_without_descriptors_makes_connections_wait_and_loses_none(tmp_path: Path) -> None:
    with stand(tmp_path) as here, ExitStack() as stack:
        limited = ("sh", "-c", 'ulimit -n 264; exec "$0" "$@"')
        proxy = proxy_of(here, wrapper=limited)
        port, admin = proxy.port("proxy"), proxy.port("admin")
        (worker,) = children(proxy.pid)
        idle = _connect(stack, port, 120)
        eventually(lambda: "new ones wait" in "\n".join(proxy.lines), "that it says so")
        sockets = _connect(stack, port, 300)
        for number, sock in enumerate(sockets):
            sock.sendall(b"GET /%d HTTP/1.1\r\nhost: reviews\r\nconnection: close\r\n\r\n" % number)
        assert is_ready(admin)
        answers = [_until_closed(sock) for sock in sockets]
        assert sum(answer.startswith(b"HTTP/1.1 200 ") for answer in answers) == 300
        assert {_until_closed(sock) for sock in idle[:90]} == {b""}
        assert get(port, "/", REVIEWS)[0] == 200
        assert children(proxy.pid) == [worker]


def _until_closed(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))
