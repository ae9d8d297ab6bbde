"""The whole way with what is always installed: real processes, real sockets, few requests."""

import os
from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.__main__ import parser, plan_of
from benchmarks.run import run


def test_cores_are_divided_only_when_there_are_two() -> None:
    assert machine.divide_cores([0]) == machine.Cores(frozenset(), frozenset())
    assert machine.divide_cores([5, 3, 4]) == machine.Cores(frozenset({3}), frozenset({4}))


def test_unknown_peer_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(["--peers", "envoy,squid"])
    assert "got 'squid'" in capsys.readouterr().err


@pytest.mark.slow
def test_run_measures_the_references_and_leaves_nothing_behind() -> None:
    words = ["--peers", "splice,direct", "--scenarios", "get,chunked", "--rounds", "1", "--requests", "200"]
    before = set(Path("/proc").glob("[0-9]*"))
    outcome = run(plan_of(parser().parse_args(words)), machine.Cores(frozenset(), frozenset()), lambda line: None)
    assert [(s.peer, s.scenario, s.requests, s.failed) for s in outcome.samples] == [
        ("splice", "get", 200, 0),
        ("direct", "get", 200, 0),
        ("splice", "chunked", 80, 0),
        ("direct", "chunked", 80, 0),
    ]
    assert [sample.cpu_us is None for sample in outcome.samples] == [False, True, False, True]
    assert (outcome.absent, outcome.broken) == ({}, {})
    assert not [one for one in set(Path("/proc").glob("[0-9]*")) - before if is_child(one)]


@pytest.mark.slow
def test_grpc_rows_go_through_the_usual_python_way_too() -> None:
    words = [
        "--peers",
        "grpc-aio,direct",
        "--scenarios",
        "grpc-unary,grpc-stream",
        "--rounds",
        "1",
        "--requests",
        "400",
    ]
    outcome = run(plan_of(parser().parse_args(words)), machine.Cores(frozenset(), frozenset()), lambda line: None)
    assert [(s.peer, s.scenario, s.requests, s.failed) for s in outcome.samples] == [
        ("grpc-aio", "grpc-unary", 280, 0),
        ("direct", "grpc-unary", 280, 0),
        ("grpc-aio", "grpc-stream", 16, 0),
        ("direct", "grpc-stream", 16, 0),
    ]
    assert set(outcome.samples[0].by_backend) == {"stable", "canary"}


def is_child(process: Path) -> bool:
    """Whether it is a child of ours."""
    try:
        return process.joinpath("stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())
    except OSError:
        return False
