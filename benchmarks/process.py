"""Child processes: started on a chosen core, waited for, and stopped together with all that they started."""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from benchmarks.cputime import process_tree

T = TypeVar("T")

# Programs start in the root of this tree, so that `python -m benchmarks.NAME` finds it.
_ROOT = Path(__file__).parents[1]
# Envoy needs about a second to be ready on a slow machine.
START_TIMEOUT_S = 15.0
# Between SIGTERM and SIGKILL.
STOP_TIMEOUT_S = 3.0


class StartError(RuntimeError):
    """A program did not come up; the message holds the end of its log."""


class Process:
    """A running program. Its stdin stays open as long as we live, its stderr goes to `log`, its stdout to `output`."""

    def __init__(self, command: Sequence[str], folder: Path, name: str, cores: frozenset[int]) -> None:
        self.name = name
        self.output = folder / f"{name}.out"
        self.log = folder / f"{name}.log"
        with self.output.open("wb") as output, self.log.open("wb") as log, on_cores(cores):
            # A session of its own: Ctrl-C reaches us alone, and we stop the others in order.
            self._popen = subprocess.Popen(
                command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=output, stderr=log, start_new_session=True
            )

    def pids(self) -> tuple[int, ...]:
        """The process and all its descendants."""
        return process_tree(self._popen.pid)

    def wait_for_line(self, pattern: str, path: Path) -> re.Match[str]:
        """The first match of `pattern` (multi-line) in a log that is being written; StartError when none comes."""
        compiled = re.compile(pattern, re.MULTILINE)
        return self.wait_until(lambda: compiled.search(path.read_text(errors="replace")), f"a line like {pattern!r}")

    def wait_until_serving(self, port: int) -> None:
        """Wait until a request to `port` gets a backend's answer through the proxy; StartError when it does not."""
        self.wait_until(lambda: _is_serving(port), f"an answer on port {port}")

    def wait_until(self, probe: Callable[[], T | None], wanted: str) -> T:
        """Ask `probe` until it gives something; StartError when the program ends first or time runs out."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while (found := probe()) is None:
            if self._popen.poll() is not None:
                raise StartError(f"{self.name} ended with status {self._popen.returncode}: {self._log_tail()}")
            if time.monotonic() > deadline_s:
                raise StartError(f"{self.name}: wanted {wanted} within {START_TIMEOUT_S:.0f} s: {self._log_tail()}")
            time.sleep(0.02)
        return found

    def _log_tail(self) -> str:
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-5:]) or "its log is empty"

    def stop(self) -> None:
        """End the whole tree: SIGTERM to the root, SIGKILL to what is left of it."""
        pids = self.pids()
        self._popen.terminate()
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(STOP_TIMEOUT_S)
        # Only members of the session we made: a pid that has been given to a stranger since is not touched.
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(pid) == self._popen.pid:
                    os.kill(pid, signal.SIGKILL)
        self._popen.wait()


def free_port() -> int:
    """As `free_ports`, one."""
    return free_ports(1)[0]


def free_ports(count: int) -> tuple[int, ...]:
    """Ports of 127.0.0.1 that were free a moment ago, for programs that cannot say which one port 0 gave them."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return tuple(int(listener.getsockname()[1]) for listener in listeners)


@contextlib.contextmanager
def on_cores(cores: frozenset[int]) -> Iterator[None]:
    """Children started inside inherit this affinity, all their threads too; an empty set changes nothing."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cores or before)
        yield
    finally:
        os.sched_setaffinity(0, before)


def _is_serving(port: int) -> Literal[True] | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/small/ready")
        if connection.getresponse().status == 200:
            return True
    return None
