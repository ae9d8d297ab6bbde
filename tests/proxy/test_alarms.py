"""A storm of unexpected errors is told by its beginning and its size, and hurts no further."""

import asyncio
import logging
from collections.abc import Callable
from typing import cast

import pytest

from milliroute.proxy.alarms import Alarms


class Loop:
    """As far as a handler of exceptions knows it; its timers go off when the test says so."""

    def __init__(self, error: type[Exception] | None = None) -> None:
        self.told: list[object] = []
        self.timers: list[Callable[[], None]] = []
        self._error = error

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.timers.append(callback)

    def default_exception_handler(self, context: dict[str, object]) -> None:
        if self._error is not None:
            raise self._error
        self.told.append(context["exception"])


def _storm(alarms: Alarms, loop: Loop, count: int) -> None:
    for _ in range(count):
        alarms(cast("asyncio.AbstractEventLoop", loop), {"message": "m", "exception": MemoryError()})


def test_only_the_first_are_told_and_the_others_counted(caplog: pytest.LogCaptureFixture) -> None:
    alarms, loop = Alarms(most=3, period_s=60.0), Loop()
    with caplog.at_level(logging.ERROR):
        _storm(alarms, loop, 1000)
        assert (len(loop.told), len(loop.timers)) == (3, 1)
        loop.timers.pop()()
    assert caplog.messages == ["997 more unexpected errors in 60 s, the last: MemoryError"]


def test_after_a_period_they_are_told_again(caplog: pytest.LogCaptureFixture) -> None:
    alarms, loop = Alarms(most=3), Loop()
    _storm(alarms, loop, 2)
    loop.timers.pop()()
    _storm(alarms, loop, 3)
    assert len(loop.told) == 5
    assert caplog.messages == []


def test_what_cannot_even_be_told_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    alarms, loop = Alarms(most=3), Loop(MemoryError)
    _storm(alarms, loop, 5)
    loop.timers.pop()()
    assert caplog.messages == ["5 more unexpected errors in 60 s, the last: MemoryError"]
