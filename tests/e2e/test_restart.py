"""SIGHUP: new workers on the same sockets, and not one request lost."""

import os
import shutil
import signal
import socket
import ssl
from pathlib import Path

import pytest

from milliroute.proxy.config import TlsFiles
from tests.certificates import Authority, authority
from tests.e2e import traffic
from tests.e2e.stand import Process, Stand, backend_flags, eventually, get, is_ready, stand, write_split


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def proxy_of(here: Stand, *more: str) -> Process:
    """Before two backends, its control service apart."""
    control = here.milliroute(
        "control", "-f", str(write_split(here.folder)), *backend_flags(here.backends("reviews-v1", "reviews-v2")),
        "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
    )  # fmt: skip
    proxy = here.milliroute(
        "proxy", "--destination", control.address("grpc"), "--listen", "127.0.0.1:0=reviews", "--admin", "127.0.0.1:0",
        *more,
    )  # fmt: skip
    eventually(lambda: is_ready(proxy.port("admin")), "readiness")
    return proxy


def are_replaced(proxy: Process, olds: list[int]) -> bool:
    now = children(proxy.pid)
    return len(now) == len(olds) and not set(now) & set(olds)


@pytest.mark.parametrize("workers", [1, 2])
def test_no_request_fails_while_workers_are_replaced_under_load(tmp_path: Path, workers: int) -> None:
    with stand(tmp_path) as here:
        proxy = proxy_of(here, "--workers", str(workers))
        with here.load(proxy.port("proxy"), 8) as load:
            for _ in range(3):
                olds = children(proxy.pid)
                proxy.signal(signal.SIGHUP)
                eventually(lambda olds=olds: are_replaced(proxy, olds), "new workers")  # type: ignore[misc]  # bound early
        records = traffic.read(load.file)
        failed = [record for record in records if record.status != 200]
        assert (failed, len(records) > 100) == ([], True)
        assert "milliroute_worker_restarts_total 0.0" in get(proxy.port("admin"), "/metrics")[1]


def test_new_connections_are_never_refused_while_workers_are_replaced(tmp_path: Path) -> None:
    with stand(tmp_path) as here:
        proxy = proxy_of(here)
        olds = children(proxy.pid)
        proxy.signal(signal.SIGHUP)
        answers = []
        while not are_replaced(proxy, olds):
            answers.append(get(proxy.port("proxy"), "/")[0])
        answers.append(get(proxy.port("proxy"), "/")[0])
        assert set(answers) == {200}


def test_a_request_under_way_is_finished_by_the_worker_it_came_to(tmp_path: Path) -> None:
    with stand(tmp_path) as here:
        proxy = proxy_of(here)
        (old,) = children(proxy.pid)
        with socket.create_connection(("127.0.0.1", proxy.port("proxy")), 10) as client:
            client.sendall(b"POST / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 2\r\n\r\n1")
            proxy.signal(signal.SIGHUP)
            eventually(lambda: len(children(proxy.pid)) == 2, "the successor")
            eventually(lambda: "replaced 1 workers" in "\n".join(proxy.lines), "that it is said")
            assert get(proxy.port("proxy"), "/")[0] == 200
            assert old in children(proxy.pid)
            client.sendall(b"2")
            answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nconnection: close\r\n" in answer
        eventually(lambda: old not in children(proxy.pid), "its end")


def test_what_hangs_up_the_whole_group_ends_no_worker(tmp_path: Path) -> None:
    with stand(tmp_path) as here:
        proxy = proxy_of(here)
        (worker,) = children(proxy.pid)
        os.kill(worker, signal.SIGHUP)
        assert get(proxy.port("proxy"), "/")[0] == 200
        assert children(proxy.pid) == [worker]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("restart"))


def _secured(port: int, ours: Authority) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", port), 10)
    return ours.client_context().wrap_socket(raw, server_hostname="reviews")


def _serial(port: int, ours: Authority) -> object:
    with _secured(port, ours) as connection:
        found = connection.getpeercert()
        assert found is not None
        return found["serialNumber"]


def _tls_flags(folder: Path, files: TlsFiles) -> list[str]:
    shutil.copy(files.cert, folder / "shown.pem")
    shutil.copy(files.key, folder / "shown.key")
    return ["--tls-cert", str(folder / "shown.pem"), "--tls-key", str(folder / "shown.key")]


def _ask(connection: ssl.SSLSocket) -> bytes:
    connection.sendall(b"GET / HTTP/1.1\r\nhost: reviews\r\n\r\n")
    return connection.recv(65536)


def test_a_new_certificate_is_shown_without_a_signal_and_open_connections_stay(tmp_path: Path, ours: Authority) -> None:
    with stand(tmp_path) as here:
        proxy = proxy_of(here, *_tls_flags(tmp_path, ours.server("reviews")))
        port, olds = proxy.port("proxy"), children(proxy.pid)
        before = _serial(port, ours)
        with _secured(port, ours) as kept:
            assert _ask(kept).startswith(b"HTTP/1.1 200 ")
            _tls_flags(tmp_path, ours.server("reviews", "other"))
            eventually(lambda: _serial(port, ours) != before, "the new certificate")
            assert _ask(kept).startswith(b"HTTP/1.1 200 ")
        assert children(proxy.pid) == olds


def test_a_certificate_that_is_none_changes_nothing(tmp_path: Path, ours: Authority) -> None:
    with stand(tmp_path) as here:
        proxy = proxy_of(here, *_tls_flags(tmp_path, ours.server("reviews")))
        port, olds = proxy.port("proxy"), children(proxy.pid)
        before = _serial(port, ours)
        (tmp_path / "shown.pem").write_text("garbage")
        eventually(lambda: "the old certificate stays" in "\n".join(proxy.lines), "that the worker says so")
        proxy.signal(signal.SIGHUP)
        eventually(lambda: "nothing is replaced" in "\n".join(proxy.lines), "that the agent says so")
        assert (_serial(port, ours), children(proxy.pid)) == (before, olds)
