"""Backends that die, hang, cut, mumble and come back: endpoint `a` of reviews-v1, unless said otherwise."""

import signal
from functools import partial

from tests.chaos.mesh import SAFE
from tests.chaos.outcome import Loss
from tests.chaos.scenario import Scenario
from tests.chaos.stage import Stage

# A backend's answer is an answer, and tried again only where its owner says so.
NO_POLICY = Loss("no retry policy", lambda record: record.status == 503)
BEGUN = Loss("the client has a part of the answer already", lambda record: record.is_begun)
# HTTP/1.1 has no names for answers: one that nobody asked for, and that crosses the next request, looks like its own.
NAMELESS = Loss("an HTTP/1.1 answer has no name", lambda record: record.status == 200 and record.protocol != "h2")


def _killed(stage: Stage, *names: str) -> None:
    for name in names:
        stage.kill(name)
    stage.hold()
    for name in names:
        stage.restart(name)


def _killed_in_turn(stage: Stage) -> str:
    """One after the other, so that two are always there."""
    for turn in stage.during(0.5):
        name = "abc"[turn % 3]
        stage.kill(name)
        stage.restart(name)
    return f"{stage.turns} kills"


def _stopped(stage: Stage) -> None:
    stage.signal("a", signal.SIGSTOP)
    stage.hold()
    stage.signal("a", signal.SIGCONT)


def _in_mode(stage: Stage, mode: str, name: str = "a") -> None:
    stage.set_mode(name, mode)
    stage.hold()
    stage.set_mode(name, "ok")


def _stammering(stage: Stage) -> None:
    """A mode now and then, so that connections that have served well go bad."""
    for number in stage.during(0.1):
        stage.set_mode("a", "reset" if number % 2 else "ok")
    stage.set_mode("a", "ok")


def _mode(mode: str, may_lose: Loss | None = None, *, is_short: bool = False) -> Scenario:
    return Scenario(f"backend-{mode}", partial(_in_mode, mode=mode), may_lose, is_short=is_short)


def _safe(mode: str, may_lose: Loss | None = None, *, is_short: bool = False) -> Scenario:
    """The same with retries and failure accrual by annotation."""
    fault = partial(_in_mode, mode=mode)
    return Scenario(f"backend-{mode}-policy", fault, may_lose, annotations=SAFE, is_short=is_short)


SCENARIOS = [
    Scenario("backend-killed", lambda stage: _killed(stage, "a"), is_short=True),
    Scenario("backend-leaf-killed", lambda stage: _killed(stage, "c")),
    Scenario("backend-all-but-one-killed", lambda stage: _killed(stage, "a", "c")),
    Scenario("backend-killed-in-turn", _killed_in_turn),
    Scenario("backend-stopped", _stopped, is_short=True),
    _mode("slow"),
    _mode("reset"),
    Scenario("backend-reset-now-and-then", _stammering),
    _mode("reset-head"),
    _mode("reset-body", BEGUN, is_short=True),
    _mode("close"),
    _mode("close-after", is_short=True),
    _mode("garbage"),
    _mode("twice", is_short=True),
    _mode("late-twice", NAMELESS),
    _mode("error", NO_POLICY),
    _mode("refuse", NO_POLICY),
    _safe("reset", is_short=True),
    Scenario("backend-reset-now-and-then-policy", _stammering, annotations=SAFE),
    _safe("reset-head"),
    _safe("reset-body", BEGUN),
    _safe("close"),
    _safe("garbage"),
    _safe("silent"),
    _safe("error"),
    _safe("refuse"),
]
