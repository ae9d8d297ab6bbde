"""Real processes for end-to-end tests: backends, load, and milliroute itself, each started, awaited and stopped by pid.

Nothing here sleeps for a result: a process is up when it says so on its standard error, and answers are polled for
with a bound.
"""

import http.client
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

MILLIROUTE = str(Path(sys.executable).parent / "milliroute")
# Generous, because CI machines stall; nothing is measured against it.
PATIENCE_S = 60.0
_LISTENING = re.compile(r"milliroute: listening (\S+) (\S+)")

T = TypeVar("T")


def eventually(probe: Callable[[], T | None], what: str, patience_s: float = PATIENCE_S) -> T:
    """The first truthy result of probe; fails the test when there is none in time."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        result = probe()
        if result:
            return result
        time.sleep(0.01)
    raise AssertionError(f"not within {patience_s:g} s: {what}")


class Process:
    """A child whose standard error is read line by line."""

    def __init__(self, command: Sequence[str], **environment: str) -> None:
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def _read(self) -> None:
        assert self._popen.stderr is not None
        for line in self._popen.stderr:
            self.lines.append(line.rstrip("\n"))
            self._queue.put(line)
        self._queue.put(None)

    def address(self, name: str) -> str:
        """HOST:PORT (with =APEX, where there is one) of the listener it announced under that name."""

        def announced() -> str | None:
            for line in self.lines:
                found = _LISTENING.search(line)
                if found and found[1] == name:
                    return found[2]
            assert self._popen.poll() is None, f"ended with {self._popen.returncode}:\n" + "\n".join(self.lines)
            return None

        return eventually(announced, f"'listening {name}' from {self._popen.args!r}")

    def port(self, name: str) -> int:
        return int(self.address(name).partition("=")[0].rpartition(":")[2])

    def close_stdin(self) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def is_running(self) -> bool:
        return self._popen.poll() is None

    def wait(self) -> int:
        return self._popen.wait(PATIENCE_S)

    def stop(self) -> None:
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(PATIENCE_S / 2)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        self._reader.join(1)
        for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if stream is not None:
                stream.close()


@dataclass(frozen=True)
class Load:
    file: Path


class Stand:
    """Everything one test started, stopped in reverse order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[Process] = []

    def start(self, *command: str, **environment: str) -> Process:
        process = Process(command, **environment)
        self._processes.append(process)
        return process

    def milliroute(self, *arguments: str) -> Process:
        return self.start(MILLIROUTE, *arguments)

    def backends(self, *names: str, kind: str = "backend") -> list[int]:
        """Ports of backends that answer with their name as the body; kind grpc_backend: in the trailing metadata."""
        process = self.start(sys.executable, "-m", f"tests.e2e.{kind}", *names)
        return [process.port(name) for name in names]

    @contextmanager
    def load(self, port: int, connections: int, kind: str = "traffic") -> Iterator["Load"]:
        """Keep-alive load at full speed for as long as the block runs; its records are in `file` afterwards. kind:
        traffic, or grpc_traffic for so many calls at once."""
        file = self.folder / "records"
        process = self.start(sys.executable, "-m", f"tests.e2e.{kind}", str(port), str(connections), str(file))
        process.address("load")
        try:
            yield Load(file)
        finally:
            process.close_stdin()
            assert process.wait() == 0

    def stop(self) -> None:
        while self._processes:
            self._processes.pop().stop()


@contextmanager
def stand(folder: Path) -> Iterator[Stand]:
    made = Stand(folder)
    try:
        yield made
    finally:
        made.stop()


TUTORIAL = """\
apiVersion: split.smi-specs.io/v1alpha2
kind: TrafficSplit
metadata:
  name: reviews
spec:
  service: reviews
  backends:
  - service: reviews-v1
    weight: {v1}
  - service: reviews-v2
    weight: {v2}
"""


def write_split(folder: Path, v1: str = "900m", v2: str = "100m") -> Path:
    """The manifest as tutorials print it; replaced atomically, as `kubectl` users' editors do."""
    path = folder / "split.yaml"
    fresh = folder / ".split.new"
    fresh.write_text(TUTORIAL.format(v1=v1, v2=v2))
    fresh.replace(path)
    return path


def backend_flags(ports: Sequence[int]) -> list[str]:
    names = [f"reviews-v{i + 1}" for i in range(len(ports))]
    return [part for n, p in zip(names, ports, strict=True) for part in ("--backend", f"{n}=127.0.0.1:{p}")]


def get(port: int, path: str = "/", headers: dict[str, str] | None = None) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def get_json(port: int, path: str) -> dict[str, object]:
    status, body = get(port, path)
    assert status == 200, f"{path}: {status} {body}"
    parsed = json.loads(body)
    assert isinstance(parsed, dict)
    return parsed


def sequence(port: int, count: int) -> list[str]:
    """The bodies of so many requests, one after the other on one connection; each must be a 200."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
        bodies = []
        for number in range(count):
            connection.request("GET", f"/item/{number}")
            answer = connection.getresponse()
            body = answer.read().decode()
            assert answer.status == 200, f"request {number}: {answer.status} {answer.getheader('l5d-proxy-error')}"
            bodies.append(body)
    return bodies


def is_ready(admin_port: int) -> bool:
    try:
        return get(admin_port, "/ready")[0] == 200
    except OSError:
        return False
