"""The proxy's own processes: a killed worker takes its clients' connections along, and nothing else."""

import os
import signal

from tests.chaos.outcome import Loss
from tests.chaos.records import Record
from tests.chaos.scenario import Scenario
from tests.chaos.stage import Stage
from tests.e2e.stand import eventually


def _is_cut(record: Record) -> bool:
    """It ended with the worker: of a client's requests under way on its connection no other process knows."""
    return record.status == 0 and record.error.startswith(("h1: reset", "h1: closed", "h2: connection"))


GONE = Loss("the connection ended with its worker", _is_cut)


def _killed(stage: Stage) -> str:
    for _ in stage.during(1.5):
        os.kill(stage.rng.choice(stage.workers()), signal.SIGKILL)
    _await_workers(stage)
    return f"{stage.turns} kills"


def _stopped(stage: Stage) -> None:
    """One of two: the other's clients do not notice, its own wait."""
    victim = stage.rng.choice(stage.workers())
    os.kill(victim, signal.SIGSTOP)
    stage.hold()
    os.kill(victim, signal.SIGCONT)


def _agent_stopped(stage: Stage) -> None:
    """Workers route by what they have."""
    stage.proxy.signal(signal.SIGSTOP)
    stage.hold()
    stage.proxy.signal(signal.SIGCONT)


def _await_workers(stage: Stage) -> None:
    count = 2 if "2" in stage.flags else 1
    eventually(lambda: len(stage.workers()) == count, f"{count} workers")


SCENARIOS = [
    Scenario("worker-killed-one-of-one", _killed, GONE, is_short=True),
    Scenario("worker-killed-one-of-two", _killed, GONE, flags=("--workers", "2")),
    Scenario("worker-stopped-one-of-two", _stopped, flags=("--workers", "2")),
    Scenario("agent-stopped", _agent_stopped),
]
