"""A scenario, and how one is played: start, load, hurt, heal, and a thousand requests afterwards."""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.outcome import Loss, Outcome
from tests.chaos.records import Record
from tests.chaos.stage import ENDPOINTS, Stage
from tests.e2e.stand import sequence, stand

Fault = Callable[[Stage], str | None]
CYCLE = 1000


@dataclass(frozen=True, slots=True)
class Scenario:
    """fault: hurts the stage for stage.seconds and heals it; what it returns is printed as a note. may_lose: which
    GETs may be lost by nature, and why. due: of CYCLE requests afterwards, by leaf. is_short: in every test run."""

    name: str
    fault: Fault
    may_lose: Loss | None = None
    due: tuple[int, int] = (900, 100)
    annotations: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    seconds: float = 3.0
    is_short: bool = False
    prepare: Callable[[Stage], None] | None = None


def play(scenario: Scenario, seed: int, share: float = 1.0) -> Outcome:
    """share: of the scenario's seconds."""
    with tempfile.TemporaryDirectory() as folder, stand(Path(folder)) as here:
        stage = Stage(here, seed, scenario.seconds * share)
        if scenario.prepare is not None:
            scenario.prepare(stage)
        stage.start(scenario.annotations, *scenario.flags)
        records: list[Record] = []
        note, unhealed = "", ""
        with stage.load(records):
            try:
                note = scenario.fault(stage) or ""
            except (AssertionError, OSError) as exc:
                unhealed = f"{exc}\n{stage.logs()}"
        after = _by_leaf(stage)
        return Outcome(
            scenario.name, records, scenario.may_lose, stage.sent_twice(), after, scenario.due, note, unhealed
        )


def _by_leaf(stage: Stage) -> tuple[int, int]:
    """(-1, -1) where one of the requests failed."""
    with suppress(AssertionError, OSError):
        names = Counter(ENDPOINTS[body.partition(" ")[0]] for body in sequence(stage.port, CYCLE))
        return names["reviews-v1"], names["reviews-v2"]
    return -1, -1
