"""What every peer offers, and what it is given to start with."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.machine import Cores
from benchmarks.process import Process


@dataclass(frozen=True, slots=True)
class Lab:
    """Where a peer runs: a folder of its own, the two backends' ports on 127.0.0.1, and the cores."""

    folder: Path
    stable_port: int
    canary_port: int
    cores: Cores


@dataclass(frozen=True, slots=True)
class Running:
    """A started peer: where it listens, the processes whose CPU counts, and all the processes to stop."""

    port: int
    measured: tuple[Process, ...]
    started: tuple[Process, ...]

    def pids(self) -> tuple[int, ...]:
        """Every process of the proxy, workers included."""
        return tuple(pid for process in self.measured for pid in process.pids())

    def stop(self) -> None:
        """End everything, the last started first."""
        for process in reversed(self.started):
            process.stop()


class Peer(Protocol):
    """A proxy that can be measured. `splits` is False for a reference that does not split 900/100."""

    @property
    def name(self) -> str: ...
    @property
    def splits(self) -> bool: ...

    def find(self) -> str | None:
        """The program's path, None when it is not installed."""

    def how_to_install(self) -> str:
        """One line for people who lack it."""

    def version(self, program: str) -> str:
        """What the program says about itself."""

    def start(self, program: str, lab: Lab) -> Running:
        """Start and wait until it serves; StartError when it does not. Nothing is left running then."""


def find_program(name: str, variable: str) -> str | None:
    """By environment variable, else on PATH, else where Debian keeps daemons (not on an ordinary user's PATH)."""
    named = os.environ.get(variable)
    if named:
        return named if os.access(named, os.X_OK) else None
    return shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")


def start_and_wait(command: Sequence[str], lab: Lab, name: str, port: int) -> Running:
    """Start one program on the proxy's core and wait until `port` answers."""
    process = Process(command, lab.folder, name, lab.cores.proxy)
    try:
        process.wait_until_serving(port)
    except BaseException:
        process.stop()
        raise
    return Running(port, (process,), (process,))
