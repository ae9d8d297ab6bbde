"""Worker processes: made by fork while the agent is still small, by exec once grpc's threads live in it.

In: listening sockets and a config. Out: a child and the agent's end of its pipe. A fork of a process with threads can
deadlock in the child, so fork() is for the first workers only and spawn() for every later one.
"""

import gc
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn, Protocol

import msgspec

from milliroute.proxy.config import ProxyConfig
from milliroute.proxy.logs import current_level
from milliroute.proxy.shield import shield_from_terminal

# worker.main: pipe fd, listening fds, config; ends by SystemExit.
RunWorker = Callable[[int, list[int], ProxyConfig], None]
WORKER_MODULE = "milliroute.proxy.worker_main"


class Child(Protocol):
    pid: int

    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it. Never blocks."""

    def kill(self) -> None:
        """SIGKILL; nothing when it has ended already."""


class ForkedChild:
    __slots__ = ("_code", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def exit_code(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def kill(self) -> None:
        # Not reaped yet means that the pid is still ours.
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)


class SpawnedChild:
    __slots__ = ("_process", "pid")

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.pid = process.pid
        self._process = process

    def exit_code(self) -> int | None:
        return self._process.poll()

    def kill(self) -> None:
        self._process.kill()


def fork(
    run_worker: RunWorker,
    listening: Sequence[socket.socket],
    config: ProxyConfig,
    not_for_child: Iterable[socket.socket],
) -> tuple[Child, socket.socket]:
    """not_for_child: what the worker would hold open without need: admin, other workers' listeners and pipes."""
    ours, theirs = socket.socketpair()
    # What is alive now is shared with the child for good; a collection would write to its pages and unshare them.
    gc.collect()
    gc.freeze()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        for sock in (ours, *not_for_child):
            sock.close()
        _be_worker(run_worker, theirs.detach(), [sock.detach() for sock in listening], config)
    theirs.close()
    return ForkedChild(pid), ours


def spawn(listening: Sequence[socket.socket], config: ProxyConfig) -> tuple[Child, socket.socket]:
    """A new interpreter; the config travels as JSON in argv. Raises OSError."""
    ours, theirs = socket.socketpair()
    with theirs:
        fds = [theirs.fileno(), *(sock.fileno() for sock in listening)]
        arguments = [
            str(fds[0]),
            ",".join(str(fd) for fd in fds[1:]),
            msgspec.json.encode(config).decode(),
            current_level(),
        ]
        command = [sys.executable, "-m", WORKER_MODULE, *arguments]
        try:
            process = subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL)
        except OSError:
            ours.close()
            raise
    return SpawnedChild(process), ours


def _be_worker(run_worker: RunWorker, pipe_fd: int, listen_fds: list[int], config: ProxyConfig) -> NoReturn:
    code = 1
    try:
        shield_from_terminal()
        run_worker(pipe_fd, listen_fds, config)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: the agent's own frames are below this one.
        os._exit(code)
