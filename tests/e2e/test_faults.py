"""Kills and ends: what is *not* lost when the control service, a worker or the proxy goes away."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.e2e import traffic
from tests.e2e.stand import (
    Process,
    Stand,
    backend_flags,
    eventually,
    get,
    get_json,
    is_ready,
    sequence,
    stand,
    write_split,
)


def _control(here: Stand, ports: list[int], listen: str = "127.0.0.1:0") -> Process:
    path = here.folder / "split.yaml"
    return here.milliroute(
        "control", "-f", str(path), *backend_flags(ports), "--listen", listen, "--admin", "127.0.0.1:0"
    )


def _proxy(here: Stand, destination: str, *more: str) -> Process:
    proxy = here.milliroute(
        "proxy", "--destination", destination, "--listen", "127.0.0.1:0=reviews", "--admin", "127.0.0.1:0", *more
    )
    admin = proxy.port("admin")
    eventually(lambda: is_ready(admin), "readiness of the proxy")
    return proxy


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _cmdline(pid: int) -> bytes:
    """Empty for a process that has ended and was not reaped."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _is_connected(admin: int) -> bool:
    control = get_json(admin, "/splits")["control"]
    assert isinstance(control, dict)
    return bool(control["state"] == "connected")


def test_traffic_goes_on_without_the_control_service_and_catches_up_when_it_returns(tmp_path: Path) -> None:
    with stand(tmp_path) as here:
        ports = here.backends("reviews-v1", "reviews-v2")
        write_split(tmp_path)
        control = _control(here, ports)
        address = control.address("grpc")
        proxy = _proxy(here, address)
        admin, port = proxy.port("admin"), proxy.port("proxy")
        control.signal(signal.SIGKILL)
        control.wait()
        eventually(lambda: not _is_connected(admin), "the lost stream in /splits")
        assert "milliroute_control_connected 0.0" in get(admin, "/metrics")[1]
        bodies = sequence(port, 200)
        assert bodies.count("reviews-v2") == 20
        write_split(tmp_path, "0", "1")
        _control(here, ports, address)
        eventually(lambda: set(sequence(port, 11)) == {"reviews-v2"}, "the change made while it was down")
        assert "milliroute_control_connected 1.0" in get(admin, "/metrics")[1]


def test_a_killed_worker_is_replaced_and_nothing_is_refused_meanwhile(tmp_path: Path) -> None:
    with stand(tmp_path) as here:
        ports = here.backends("reviews-v1", "reviews-v2")
        write_split(tmp_path)
        proxy = _proxy(here, _control(here, ports).address("grpc"))
        admin, port = proxy.port("admin"), proxy.port("proxy")
        (worker,) = _children(proxy.pid)
        os.kill(worker, signal.SIGKILL)
        # New connections wait in the backlog for the successor: not one is refused.
        assert len(sequence(port, 100)) == 100
        eventually(lambda: "milliroute_worker_restarts_total 1.0" in get(admin, "/metrics")[1], "the count")
        assert _children(proxy.pid) != [worker]
        assert sequence(port, 100).count("reviews-v2") == 10


def test_the_other_worker_serves_on_while_a_killed_one_is_replaced(tmp_path: Path) -> None:
    with stand(tmp_path) as here:
        ports = here.backends("reviews-v1", "reviews-v2")
        write_split(tmp_path)
        proxy = _proxy(here, _control(here, ports).address("grpc"), "--workers", "2")
        victim, survivor = _children(proxy.pid)
        os.kill(victim, signal.SIGKILL)
        for _ in range(20):
            assert len(sequence(proxy.port("proxy"), 5)) == 5
        assert survivor in _children(proxy.pid)
        eventually(lambda: len(_children(proxy.pid)) == 2, "the successor")


def test_workers_of_a_killed_agent_answer_what_runs_and_end(tmp_path: Path) -> None:
    with stand(tmp_path) as here, socket.create_server(("127.0.0.1", 0)) as slow:
        control = here.milliroute(
            "control", "--backend", f"slow=127.0.0.1:{slow.getsockname()[1]}", "--listen", "127.0.0.1:0", "--admin",
            "127.0.0.1:0",
        )  # fmt: skip
        proxy = here.milliroute(
            "proxy", "--destination", control.address("grpc"), "--listen", "127.0.0.1:0=slow", "--admin", "127.0.0.1:0"
        )
        admin = proxy.port("admin")
        eventually(lambda: is_ready(admin), "readiness")
        (worker,) = _children(proxy.pid)
        with socket.create_connection(("127.0.0.1", proxy.port("proxy"))) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: slow\r\n\r\n")
            with slow.accept()[0] as backend:
                proxy.signal(signal.SIGKILL)
                proxy.wait()
                backend.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                assert client.recv(1000).endswith(b"\r\n\r\nok")
        eventually(lambda: not Path(f"/proc/{worker}").exists(), "the end of the worker")


def test_a_destination_that_does_not_answer_is_503_and_the_proxy_says_so(tmp_path: Path) -> None:
    with stand(tmp_path) as here:
        (silent,) = here.backends("silent")
        proxy = here.milliroute(
            "proxy", "--destination", f"127.0.0.1:{silent}", "--listen", "127.0.0.1:0=reviews", "--admin",
            "127.0.0.1:0",
        )  # fmt: skip
        status, _ = get(proxy.port("proxy"), "/")
        assert status == 503
        assert get(proxy.port("admin"), "/ready") == (503, "not ready\n")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_under_load_fails_no_request_that_was_accepted(tmp_path: Path, workers: str) -> None:
    with stand(tmp_path) as here:
        ports = here.backends("reviews-v1", "reviews-v2")
        write_split(tmp_path)
        proxy = _proxy(here, _control(here, ports).address("grpc"), "--workers", workers)
        with here.load(proxy.port("proxy"), 16) as load:
            eventually(lambda: "response_total{" in get(proxy.port("admin"), "/metrics")[1], "traffic")
            proxy.signal(signal.SIGTERM)
            assert proxy.wait() == 0
        records = traffic.read(load.file)
        assert len(records) > 100
        assert [record for record in records if record.status != 200] == []


def test_a_second_signal_ends_a_drain_at_once_and_leaves_no_worker(tmp_path: Path) -> None:
    with stand(tmp_path) as here, socket.create_server(("127.0.0.1", 0)) as never_answers:
        run = here.milliroute(
            "run", "--backend", f"slow=127.0.0.1:{never_answers.getsockname()[1]}", "--listen", "127.0.0.1:0=slow",
            "--admin", "127.0.0.1:0", "--control-admin", "127.0.0.1:0",
        )  # fmt: skip
        admin = run.port("admin")
        eventually(lambda: is_ready(admin), "readiness")
        (agent,) = _children(run.pid)
        (worker,) = _children(agent)
        with socket.create_connection(("127.0.0.1", run.port("proxy"))) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: slow\r\n\r\n")
            with never_answers.accept()[0]:
                run.signal(signal.SIGTERM)
                eventually(lambda: get(admin, "/ready")[0] == 503, "the drain")
                # Signals within 0.1 s of each other are one.
                later = time.monotonic() + 0.2
                eventually(lambda: time.monotonic() > later, "a second signal that counts")
                run.signal(signal.SIGTERM)
        assert run.wait() == 1
        assert not Path(f"/proc/{worker}").exists()


def test_a_killed_run_leaves_no_proxy_behind(tmp_path: Path) -> None:
    with stand(tmp_path) as here:
        run = here.milliroute(
            "run", "--backend", "a=127.0.0.1:9", "--listen", "127.0.0.1:0=a", "--admin", "127.0.0.1:0",
            "--control-admin", "127.0.0.1:0",
        )  # fmt: skip
        admin = run.port("admin")
        eventually(lambda: is_ready(admin), "readiness")
        (agent,) = _children(run.pid)
        run.signal(signal.SIGKILL)
        run.wait()
        eventually(lambda: not Path(f"/proc/{agent}/cmdline").exists() or not _cmdline(agent), "the end of the proxy")
