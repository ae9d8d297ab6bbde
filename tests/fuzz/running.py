"""Runs a target for a bounded time, and keeps what it finds: minimised by hypothesis, one file for each."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.target import Target

FOUND = Path(__file__).parent / "found"
# Of one round; the clock is looked at between rounds, and each has a seed of its own.
_ROUND = 500


@dataclass(slots=True)
class Outcome:
    """failure: the smallest input that fails, or None."""

    cases: int = 0
    seconds: float = 0.0
    failure: bytes | None = None
    error: Exception | None = None


def run(target: Target, seconds: float, first_seed: int, *, cases: int = _ROUND) -> Outcome:
    """At least one round; until the time is over or an input fails."""
    outcome, begun, number = Outcome(), time.monotonic(), first_seed
    inputs = target.inputs()
    last = b""

    def check(data: bytes) -> None:
        nonlocal last
        outcome.cases += 1
        last = data
        target.check(data)

    quiet = settings(
        max_examples=cases, database=None, deadline=None, derandomize=False, print_blob=False,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    while outcome.error is None and (not outcome.cases or time.monotonic() - begun < seconds):
        try:
            seed(number)(quiet(given(inputs)(check)))()
        except Exception as exc:
            # hypothesis runs the smallest one last.
            outcome.failure, outcome.error = last, exc
        number += 1
    outcome.seconds = time.monotonic() - begun
    return outcome


def keep(target: Target, failure: bytes) -> Path:
    folder = FOUND / target.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.blake2b(failure, digest_size=6).hexdigest()}.bin"
    path.write_bytes(failure)
    return path
