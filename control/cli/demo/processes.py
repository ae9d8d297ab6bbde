"""The child processes of the demo: started, watched, restarted, stopped by their own id.

In: programs. Out: running processes, a log file each, and a line of news when one dies. None may outlive the demo:
`stop` ends them in seconds, and where the system can (Linux), they get SIGTERM when the demo itself is killed.
"""

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from milliroute.control.cli.demo.plan import Program
from milliroute.control.cli.lifeline import die_with_parent

# A process that dies is started again after this pause; one that died this often stays down: it will not get better.
RESTART_AFTER_S = 2.0
MAX_DEATHS = 5
# From the first SIGTERM on: when to send the second one (a proxy then stops to drain), and when SIGKILL.
SECOND_SIGTERM_AFTER_S = 2.0
SIGKILL_AFTER_S = 4.0
POLL_S = 0.05
LOG_TAIL_LINES = 12


@dataclass(slots=True)
class _Child:
    program: Program
    log_path: Path
    process: subprocess.Popen[bytes]
    deaths: int = 0
    restart_at: float = field(default=0.0)


class Processes:
    """Runs programs. Not for several threads: the thread that starts a child must live as long as the child."""

    def __init__(self, log_folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._log_folder = log_folder
        self._clock = clock
        self._children: list[_Child] = []

    @property
    def pids(self) -> dict[str, int]:
        """Process id by program name."""
        return {child.program.name: child.process.pid for child in self._children}

    def start(self, programs: Sequence[Program]) -> None:
        """Start all. Raises OSError when one cannot be started."""
        self._log_folder.mkdir(parents=True, exist_ok=True)
        for program in programs:
            log_path = self._log_folder / f"{program.name.replace(' ', '-')}.log"
            log_path.unlink(missing_ok=True)
            self._children.append(_Child(program, log_path, _spawn(program, log_path)))

    def dead(self) -> str:
        """Describe the first process that is down, with the end of its log; empty when all are up."""
        for child in self._children:
            if child.process.poll() is not None:
                return f"{_epitaph(child)}\n{tail(child.log_path)}"
        return ""

    def last_words(self) -> str:
        """The end of every log that has something, by program: for a start that failed with all processes up."""
        logs = ((child.program.name, tail(child.log_path)) for child in self._children)
        return "\n".join(f"  {name}:\n{text}" for name, text in logs if text)

    def revive(self) -> list[str]:
        """Start again what died a while ago; return one line for each process that is down now."""
        now = self._clock()
        return [line for child in self._children if (line := _care(child, now))]

    def stop(self) -> None:
        """Stop all and wait until they are gone; takes SIGKILL_AFTER_S at most."""
        alive = [child.process for child in self._children if child.process.poll() is None]
        started = self._clock()
        for number, until_s in (
            (signal.SIGTERM, SECOND_SIGTERM_AFTER_S),
            (signal.SIGTERM, SIGKILL_AFTER_S),
            (signal.SIGKILL, float("inf")),
        ):
            for process in alive:
                process.send_signal(number)
            while alive and self._clock() - started < until_s:
                alive = [process for process in alive if process.poll() is None]
                time.sleep(POLL_S if alive else 0)
        self._children.clear()


def tail(path: Path) -> str:
    """The last lines of a log, indented."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
    return "\n".join(f"    {line}" for line in lines)


def _spawn(program: Program, log_path: Path) -> subprocess.Popen[bytes]:
    with log_path.open("ab") as log:
        # A group of its own: Ctrl-C in the terminal reaches the demo only, which then stops the rest in good order.
        return subprocess.Popen(
            program.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
            preexec_fn=die_with_parent,
        )


def _care(child: _Child, now: float) -> str:
    if child.process.poll() is None:
        child.restart_at = 0.0
        return ""
    if child.restart_at == 0.0:
        child.deaths += 1
        child.restart_at = now + RESTART_AFTER_S
    if child.deaths >= MAX_DEATHS:
        return f"{_epitaph(child)} and stays down: {child.log_path}"
    if now >= child.restart_at:
        child.restart_at = 0.0
        child.process = _spawn(child.program, child.log_path)
        return f"{child.program.name} is started again"
    return f"{_epitaph(child)} and will be started again: {child.log_path}"


def _epitaph(child: _Child) -> str:
    code = child.process.returncode
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return f"{child.program.name} ended {how}"
