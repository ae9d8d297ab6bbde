"""Runs a target for a bounded time, and keeps what it finds, made small: one file for each."""

import hashlib
import random
import time
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.target import Target

FOUND = Path(__file__).parent / "found"
# The clock is looked at between rounds.
_ROUND = 50


@dataclass(slots=True)
class Outcome:
    """failure: the smallest input that fails, or None."""

    cases: int = 0
    seconds: float = 0.0
    failure: bytes | None = None
    error: Exception | None = None


def hunt(target: Target, seconds: float, seed_number: int) -> Outcome:
    """As many inputs as the time allows, or until one fails: for long runs."""
    outcome, begun = Outcome(), time.monotonic()
    draw = target.drawer(random.Random(seed_number))
    while outcome.error is None and (not outcome.cases or time.monotonic() - begun < seconds):
        for _ in range(_ROUND):
            data = draw()
            outcome.cases += 1
            error = _error(target, data)
            if error is not None:
                outcome.failure = smallest(target, data, type(error))
                outcome.error = _error(target, outcome.failure)
                break
    outcome.seconds = time.monotonic() - begun
    return outcome


def _error(target: Target, data: bytes) -> Exception | None:
    try:
        target.check(data)
    except Exception as exc:
        return exc
    return None


def smallest(target: Target, data: bytes, kind: type[Exception]) -> bytes:
    """What is left of it when no piece can go without the error of this kind going too."""
    size = len(data) // 2
    while size:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + size :]
            if isinstance(_error(target, shorter), kind):
                data = shorter
            else:
                at += size
        size //= 2
    return data


def run(target: Target, first_seed: int, cases: int) -> Outcome:
    """By hypothesis, as a test: so many inputs, or until one fails."""
    outcome, begun = Outcome(), time.monotonic()
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
    try:
        seed(first_seed)(quiet(given(inputs)(check)))()
    except Exception as exc:
        # hypothesis runs the smallest one last.
        outcome.failure, outcome.error = last, exc
    outcome.seconds = time.monotonic() - begun
    return outcome


def keep(target: Target, failure: bytes) -> Path:
    folder = FOUND / target.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.blake2b(failure, digest_size=6).hexdigest()}.bin"
    path.write_bytes(failure)
    return path
