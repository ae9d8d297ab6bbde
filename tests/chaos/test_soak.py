"""The soak's own measures: a lane that counts what it should, loads and drifts from samples."""

import asyncio
from collections.abc import Callable
from itertools import chain, repeat

import pytest

from tests.chaos import gauge
from tests.chaos.gauge import Sample
from tests.chaos.lean_lanes import PATH, Lane, Summary
from tests.proxy.backends import Origin, Visit
from tests.proxy.serving import on_loop, until

RIGHT = f"HTTP/1.1 200 OK\r\ncontent-length: {len(PATH) + 2}\r\n\r\na {PATH}".encode()
WRONG = RIGHT.replace(b"200 OK", b"502 Bad Gateway")


async def _lane_against(*answers: bytes, until_: Callable[[Summary], bool]) -> Summary:
    """answers: b"" hangs up; then right ones for ever."""
    plan = chain(answers, repeat(RIGHT))

    async def script(visit: Visit) -> None:
        while await visit.request() and (answer := next(plan)):
            await visit.send(answer)

    summary, over = Summary(), asyncio.Event()
    async with Origin(script) as origin:
        lane = Lane(0.001, summary, over.set)
        await asyncio.get_running_loop().create_connection(lambda: lane, "127.0.0.1", origin.port)
        await until(lambda: until_(summary))
        lane.end()
        await over.wait()
    return summary


@on_loop
async def test_a_lane_counts_right_answers_and_its_own_end_is_no_failure() -> None:
    summary = await _lane_against(until_=lambda summary: summary.right > 20)
    assert summary.wrong == []


@on_loop
async def test_a_wrong_status_is_told_and_the_lane_goes_on() -> None:
    summary = await _lane_against(RIGHT, WRONG, until_=lambda summary: summary.right > 2)
    assert [record.status for record in summary.wrong] == [502]


@on_loop
async def test_a_connection_that_ends_in_place_of_an_answer_is_a_failure() -> None:
    summary = await _lane_against(RIGHT, b"", until_=lambda summary: bool(summary.wrong))
    assert [(record.status, record.is_begun) for record in summary.wrong] == [(0, False)]


def _sample(second: float, *, rss_kib: int = 1000, cpu_s: float = 0.0, waited_s: float = 0.0) -> Sample:
    return Sample(rss_kib, 9, cpu_s, waited_s, second)


def test_load_is_cpu_and_what_was_waited_for() -> None:
    assert gauge.load([_sample(10, cpu_s=1, waited_s=2), _sample(20, cpu_s=3, waited_s=5)]) == (0.5, 0.2)


def test_drift_is_the_last_part_against_the_first() -> None:
    assert gauge.drift([100.0, 100.0, 500.0, 103.0, 101.0], 2) == pytest.approx(0.02)
