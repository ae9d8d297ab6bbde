"""Supervision of child processes, with small scripts in the place of services."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from milliroute.control.cli.demo.plan import Program
from milliroute.control.cli.demo.processes import MAX_DEATHS, RESTART_AFTER_S, Processes

SLEEPER = "import time; time.sleep(60)"
# Opens the pipe it is told, and holds it until it ends: who reads it knows when it is up and when it is gone.
HOLDER = "import time; pipe = open({pipe!r}, 'w'); print('up', file=pipe, flush=True); time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + HOLDER


class Clock:
    """Time that moves when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class ImpatientClock(Clock):
    """Time that runs a second with every look, so that no test waits for a timeout."""

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def script(name: str, code: str) -> Program:
    return Program(name, (sys.executable, "-S", "-E", "-c", code))


def end(pid: int, number: int = signal.SIGKILL) -> None:
    """Kill a child and wait until it has ended; its exit status stays for the one who owns it."""
    os.kill(pid, number)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def processes(tmp_path: Path, clock: Clock) -> Iterator[Processes]:
    supervised = Processes(tmp_path / "logs", clock)
    yield supervised
    supervised.stop()


def test_what_was_started_is_up_and_stop_leaves_nothing(processes: Processes) -> None:
    processes.start([script("one", SLEEPER), script("two", SLEEPER)])
    pids = processes.pids
    assert set(pids) == {"one", "two"}
    assert processes.dead() == ""
    processes.stop()
    assert all(is_gone(pid) for pid in pids.values())


def test_a_child_that_died_is_described_with_the_end_of_its_log(processes: Processes) -> None:
    processes.start([script("talker", "import sys; print('last words'); sys.exit(3)")])
    os.waitid(os.P_PID, processes.pids["talker"], os.WEXITED | os.WNOWAIT)
    assert processes.dead() == "talker ended with exit code 3\n    last words"
    assert "talker" in processes.last_words()


def test_a_killed_child_is_started_again_after_a_pause(processes: Processes, clock: Clock) -> None:
    processes.start([script("phoenix", SLEEPER)])
    first = processes.pids["phoenix"]
    end(first)
    (line,) = processes.revive()
    assert line.startswith("phoenix ended by SIGKILL and will be started again")
    clock.now += RESTART_AFTER_S
    assert processes.revive() == ["phoenix is started again"]
    assert processes.pids["phoenix"] != first
    assert processes.revive() == []


def test_a_child_that_keeps_dying_stays_down(processes: Processes, clock: Clock) -> None:
    processes.start([script("moth", SLEEPER)])
    for _ in range(MAX_DEATHS - 1):
        end(processes.pids["moth"])
        processes.revive()
        clock.now += RESTART_AFTER_S
        assert processes.revive() == ["moth is started again"]
    end(processes.pids["moth"])
    clock.now += RESTART_AFTER_S
    for _ in range(2):
        (line,) = processes.revive()
        assert "stays down" in line
    processes.stop()


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    processes = Processes(tmp_path, ImpatientClock())
    processes.start([script("stubborn", STUBBORN.format(pipe=str(pipe)))])
    pid = processes.pids["stubborn"]
    with pipe.open() as end_of_child:
        assert end_of_child.readline() == "up\n"
        processes.stop()
        assert end_of_child.read() == ""
    assert is_gone(pid)


def test_a_log_starts_empty_at_each_start(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "one-sidecar.log").write_text("of the run before\n")
    processes.start([script("one sidecar", SLEEPER)])
    assert (tmp_path / "logs" / "one-sidecar.log").read_text() == ""


def test_a_child_is_out_of_reach_of_the_terminals_ctrl_c(processes: Processes) -> None:
    processes.start([script("one", SLEEPER)])
    pid = processes.pids["one"]
    assert os.getpgid(pid) == pid


DEMO = """
import sys, time
from pathlib import Path
from milliroute.control.cli.demo.plan import Program
from milliroute.control.cli.demo.processes import Processes
Processes(Path({folder!r})).start([Program("child", (sys.executable, "-S", "-E", "-c", {child!r}))])
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux")
def test_children_end_when_the_demo_itself_is_killed(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = DEMO.format(folder=str(tmp_path), child=HOLDER.format(pipe=str(pipe)))
    with subprocess.Popen([sys.executable, "-c", code]) as demo, pipe.open() as end_of_child:
        assert end_of_child.readline() == "up\n"
        demo.kill()
        assert end_of_child.read() == ""
