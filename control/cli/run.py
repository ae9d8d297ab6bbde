"""`milliroute run`: the control service with a proxy as its child, over a unix socket in a private folder.

In: files, backends and the proxy's flags. Out: the child's exit code. SIGTERM and SIGINT become SIGTERM for the child,
which drains; a second one ends it at once. SIGHUP passes, by which the child replaces its workers, unless it says that
our terminal is gone. The control service stays until the child is gone, so that a draining proxy still has its tables.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from milliroute.control.config import UNIX, ControlConfig
from milliroute.control.model import AccessDefaults
from milliroute.control.server import ControlServer, announce

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Flags of both halves; what is None is left to the proxy's own default."""

    files: tuple[str, ...]
    backends: tuple[str, ...]
    listen: tuple[str, ...]
    control_admin: str
    admin: str | None = None
    workers: int | None = None
    codec: str | None = None
    access: AccessDefaults = AccessDefaults()  # noqa: RUF009  # a frozen value

    def proxy_args(self, destination: str) -> list[str]:
        args = ["--destination", destination]
        for listen in self.listen:
            args += ["--listen", listen]
        for flag, value in (("--admin", self.admin), ("--workers", self.workers), ("--codec", self.codec)):
            if value is not None:
                args += [flag, str(value)]
        return args


def run(config: RunConfig, program: tuple[str, ...] = (sys.executable, "-m", "milliroute.proxy")) -> int:
    """Run until the child ends; returns its exit code. Raises ControlError when the service cannot start."""
    with tempfile.TemporaryDirectory(prefix="milliroute-") as private:
        return asyncio.run(_run(config, program, f"{UNIX}{Path(private) / 'control.sock'}"))


async def _run(config: RunConfig, program: tuple[str, ...], destination: str) -> int:
    server = ControlServer(
        ControlConfig(config.files, config.backends, destination, config.control_admin, config.access)
    )
    following: asyncio.Task[None] | None = None
    try:
        await server.start(announce)
        following = asyncio.create_task(server.follow())
        code = await _child(*program, *config.proxy_args(destination))
    finally:
        if following is not None:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
        await server.stop()
    return code


async def _child(*argv: str) -> int:
    # A process group of its own: Ctrl-C would reach it beside our SIGTERM, and two signals end a drain.
    # The proxy drains when the other end of this pipe is gone, whatever ended us. Not by preexec_fn and prctl: a fork
    # with grpc's threads, which that takes, aborts now and then.
    lifeline, ours = os.pipe()
    try:
        environment = {**os.environ, "MILLIROUTE_LIFELINE_FD": str(lifeline)}
        # Before there is a child: a signal in between would end us and leave it to its lifeline.
        with _signals() as adopt:
            child = await asyncio.create_subprocess_exec(*argv, process_group=0, pass_fds=[lifeline], env=environment)
            adopt(child)
            code = await child.wait()
    finally:
        os.close(lifeline)
        os.close(ours)
    # The shell's way to say that a signal ended a process.
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[asyncio.subprocess.Process], None]]:
    """Ours go to the child that is adopted by what this yields; an end that comes before it waits for it."""
    loop = asyncio.get_running_loop()
    children: list[asyncio.subprocess.Process] = []
    seen: list[int] = []
    had_terminal = _has_terminal()

    def send(number: int) -> None:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(number)

    def forward(number: int) -> None:
        if number == signal.SIGHUP and not (had_terminal and not _has_terminal()):
            send(signal.SIGHUP)
            return
        seen.append(number)
        if len(seen) == 1:
            log.info("draining; a second signal stops at once")
        # The proxy itself ends at once at its second one; killed, it would leave its workers draining.
        send(signal.SIGTERM)

    def adopt(child: asyncio.subprocess.Process) -> None:
        children.append(child)
        if seen:
            send(signal.SIGTERM)

    for number in _SIGNALS:
        loop.add_signal_handler(number, forward, number)
    try:
        yield adopt
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _has_terminal() -> bool:
    """A controlling one that is still there: one that has hung up cannot be opened (man 4 tty)."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
