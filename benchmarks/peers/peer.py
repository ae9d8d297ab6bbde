"""What every peer offers, and what it is given to start with."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface

from benchmarks.machine import Cores
from benchmarks.process import Process
from benchmarks.scenario import Protocol


@dataclass(frozen=True, slots=True)
class Backends:
    """The ports on 127.0.0.1 of the two servers that a peer splits over, 900 to 100."""

    stable_port: int
    canary_port: int


@dataclass(frozen=True, slots=True)
class Lab:
    """Where a peer runs: a folder of its own, the backends for HTTP/1.1 and for HTTP/2 (h2c), and the cores."""

    folder: Path
    h1: Backends
    h2: Backends
    cores: Cores


@dataclass(frozen=True, slots=True)
class Running:
    """A started peer: where it listens for what it speaks, the processes whose CPU counts, and all those to stop."""

    ports: Mapping[Protocol, int]
    measured: tuple[Process, ...]
    started: tuple[Process, ...]

    def pids(self) -> tuple[int, ...]:
        """Every process of the proxy, workers included."""
        return tuple(pid for process in self.measured for pid in process.pids())

    def stop(self) -> None:
        """End everything, the last started first."""
        for process in reversed(self.started):
            process.stop()


class Peer(Interface):
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


def two_ports(h1_port: int, h2_port: int) -> dict[Protocol, int]:
    """Of a peer that takes HTTP/1.1 on one port, and HTTP/2 with whatever is in it on another."""
    return {"h1": h1_port, "h2": h2_port, "grpc": h2_port}


def start_and_wait(command: Sequence[str], lab: Lab, name: str, ports: Mapping[Protocol, int]) -> Running:
    """Start one program on the proxy's core and wait until it answers, over HTTP/1.1."""
    process = Process(command, lab.folder, name, lab.cores.proxy)
    try:
        process.wait_until_serving(ports["h1"])
    except BaseException:
        process.stop()
        raise
    return Running(ports, (process,), (process,))
