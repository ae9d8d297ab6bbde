"""One interleaved run: in every round each scenario goes to each peer in turn, the order rotated by the round.

Everything that is started is stopped by pid on the way out, whatever the way out is.
"""

import asyncio
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from benchmarks.cputime import tree_cpu_ns
from benchmarks.machine import Cores
from benchmarks.peers import Backends, Lab, Peer, Running
from benchmarks.process import Process, StartError, on_cores
from benchmarks.scenario import Scenario
from benchmarks.scenario_h2 import H2Scenario
from benchmarks.session import H1Session, LoadResult, lost
from benchmarks.session_h2 import H2Session
from benchmarks.summary import Sample, percentile

# Before anything is counted, to fill pools and caches; a part of the measurement where that is short: 1 MiB each.
WARM_UP_REQUESTS = 500
WARM_UP_PART = 5
# What a proxy still does when the last answer has left belongs to the requests: closing, counting, timers.
SETTLE_S = 0.02


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `requests` is of a scenario of effort 1."""

    peers: Sequence[Peer]
    scenarios: Sequence[Scenario | H2Scenario]
    rounds: int
    requests: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: samples, the versions of those who ran, and why the others did not."""

    samples: Sequence[Sample]
    versions: dict[str, str]
    absent: dict[str, str]
    broken: dict[str, str]


@dataclass(frozen=True, slots=True)
class Entrant:
    """A peer that runs."""

    peer: Peer
    running: Running


def run(plan: Plan, cores: Cores, tell: Callable[[str], None]) -> Outcome:
    """Start everyone, measure, stop everyone. `tell` gets progress for people."""
    outcome = Outcome([], {}, {}, {})
    samples: list[Sample] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="milliroute-bench-")))
        h1 = _backends("benchmarks.backend", folder, cores, stack)
        h2 = _backends("benchmarks.backend_h2", folder, cores, stack)
        entrants = []
        for peer in plan.peers:
            running = _start(peer, Lab(_made(folder / peer.name), h1, h2, cores), outcome, tell)
            if running is not None:
                stack.callback(running.stop)
                entrants.append(Entrant(peer, running))
        stack.enter_context(on_cores(cores.load))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        for number, scenario, entrant in turns(plan.rounds, plan.scenarios, entrants):
            count = max(scenario.concurrency, round(plan.requests * scenario.effort))
            try:
                sample = runner.run(_measure(entrant, scenario, number, count))
            except OSError as error:
                # It refuses connections or is gone. The others go on; the loss is reported.
                sample = _sample(entrant.peer.name, scenario.name, number, lost(count, str(error)), None)
            samples.append(sample)
            if entrant is entrants[number % len(entrants)]:
                tell(f"round {number + 1} of {plan.rounds}: {scenario.name}")
    return Outcome(samples, outcome.versions, outcome.absent, outcome.broken)


def turns(
    rounds: int, scenarios: Sequence[Scenario | H2Scenario], entrants: Sequence[Entrant]
) -> Iterator[tuple[int, Scenario | H2Scenario, Entrant]]:
    """Every entrant under every scenario it speaks, in every round; who goes first changes with the round."""
    for number in range(rounds):
        first = number % len(entrants) if entrants else 0
        for scenario in scenarios:
            for entrant in (*entrants[first:], *entrants[:first]):
                if scenario.protocol in entrant.running.ports:
                    yield number, scenario, entrant


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _backends(module: str, folder: Path, cores: Cores, stack: ExitStack) -> Backends:
    return Backends(*(stack.enter_context(_backend(module, name, folder, cores)) for name in ("stable", "canary")))


@contextmanager
def _backend(module: str, name: str, folder: Path, cores: Cores) -> Iterator[int]:
    process = Process([sys.executable, "-m", module, name], folder, f"{module}-{name}", cores.load)
    try:
        yield int(process.wait_for_line(r"^(\d+)\n", process.output)[1])
    finally:
        process.stop()


def _start(peer: Peer, lab: Lab, outcome: Outcome, tell: Callable[[str], None]) -> Running | None:
    program = peer.find()
    if program is None:
        outcome.absent[peer.name] = peer.how_to_install()
        return None
    tell(f"starting {peer.name}")
    try:
        running = peer.start(program, lab)
    except StartError as error:
        outcome.broken[peer.name] = str(error)
        return None
    outcome.versions[peer.name] = peer.version(program)
    return running


async def _measure(entrant: Entrant, scenario: Scenario | H2Scenario, number: int, count: int) -> Sample:
    session = H1Session(scenario) if isinstance(scenario, Scenario) else H2Session(scenario)
    try:
        await session.open("127.0.0.1", entrant.running.ports[scenario.protocol])
        await session.send(min(WARM_UP_REQUESTS, max(scenario.concurrency, count // WARM_UP_PART)))
        session.prepare(count)
        # Our own collections would only disturb: nothing of a session is cyclic garbage.
        gc.collect()
        gc.disable()
        pids = entrant.running.pids()
        before_ns = tree_cpu_ns(pids)
        result = await session.send(count)
        await asyncio.sleep(SETTLE_S)
        used_ns = tree_cpu_ns(pids) - before_ns
        if entrant.running.pids() != pids:
            raise ProcessLookupError(f"the processes of {entrant.peer.name} changed while it was measured")
    finally:
        gc.enable()
        session.close()
    return _sample(entrant.peer.name, scenario.name, number, result, used_ns / count / 1000 if pids else None)


def _sample(peer: str, scenario: str, number: int, result: LoadResult, cpu_us: float | None) -> Sample:
    return Sample(
        peer=peer,
        scenario=scenario,
        round_number=number,
        requests=result.requests,
        failed=result.failed,
        reasons=result.reasons,
        elapsed_s=result.elapsed_s,
        cpu_us=cpu_us,
        by_backend=result.by_backend,
        p50_ms=percentile(result.latencies_s, 50) * 1000,
        p99_ms=percentile(result.latencies_s, 99) * 1000,
    )
