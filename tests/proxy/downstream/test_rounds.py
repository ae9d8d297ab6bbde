"""A round over all connections holds nobody up, leaves nobody out and outlives errors."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from milliroute.proxy.downstream import rounds
from milliroute.proxy.downstream.rounds import Rounds
from milliroute.proxy.exchange.context import ClientConnection
from tests.proxy.serving import on_loop, until


class Guest:
    """A connection, as far as a round knows it."""

    def __init__(self, seen: list[object], size: int = 0, action: Callable[[], object] | None = None) -> None:
        self._seen = seen
        self._size = size
        self._action = action

    def check_time(self, now: float) -> None:
        self._seen.append(self)
        if self._action is not None:
            self._action()

    def queued_bytes(self) -> int:
        return self._size


def _of(guests: list[Guest], slice_s: float = 10.0) -> tuple[Rounds, set[ClientConnection]]:
    connections = cast("set[ClientConnection]", set(guests))
    return Rounds(asyncio.get_running_loop(), connections, lambda _: None, slice_s), connections


@on_loop
async def test_each_connection_is_looked_at_once_a_round() -> None:
    seen: list[object] = []
    guests = [Guest(seen) for _ in range(100)]
    looks, _ = _of(guests)
    for _ in range(2):
        looks.begin(1.0)
        looks.begin(1.0)  # while one is under way
        await until(lambda: looks._left is None)
    assert len(seen) == 200
    assert set(seen) == set(guests)


@on_loop
async def test_others_have_their_turn_between_two_slices() -> None:
    seen: list[object] = []
    looks, _ = _of([Guest(seen) for _ in range(50)], slice_s=0.0)
    looks.begin(1.0)
    turns = 0
    while looks._left is not None:
        await asyncio.sleep(0)
        turns += 1
    assert len(seen) == 50
    assert turns >= 50


@on_loop
async def test_who_has_left_meanwhile_is_not_looked_at() -> None:
    seen: list[object] = []
    guests = [Guest(seen) for _ in range(3)]
    looks, connections = _of(guests, slice_s=0.0)
    guests[0]._action = guests[1]._action = guests[2]._action = connections.clear
    looks.begin(1.0)
    await until(lambda: looks._left is None)
    assert len(seen) == 1


def _fail() -> None:
    raise RuntimeError("of one connection")


@on_loop
async def test_an_error_of_one_connection_keeps_no_other_from_its_turn() -> None:
    loop, reports, seen = asyncio.get_running_loop(), list[object](), list[object]()
    loop.set_exception_handler(lambda _, context: reports.append(context["exception"]))
    guests = [Guest(seen, action=_fail) for _ in range(5)]
    looks, _ = _of(guests)
    looks.begin(1.0)
    await until(lambda: looks._left is None)
    assert set(seen) == set(guests)
    assert len(reports) == 5


@on_loop
async def test_a_round_that_weighs_knows_what_all_hold() -> None:
    looks, connections = _of([Guest([], size) for size in (10, 20, 30)])
    looks.begin(1.0)
    await until(lambda: looks._left is None)
    assert looks.queued_bytes == 0
    looks.begin(1.0, weighs=True)
    await until(lambda: looks._left is None)
    assert looks.queued_bytes == 60
    connections.clear()
    looks.begin(1.0, weighs=True)
    await until(lambda: looks._left is None)
    assert looks.queued_bytes == 0


@on_loop
async def test_a_round_that_is_under_way_when_it_is_time_to_weigh_is_followed_by_one_that_does() -> None:
    looks, _ = _of([Guest([], 10), Guest([], 20)], slice_s=0.0)
    looks.begin(1.0)
    looks.begin(1.0, weighs=True)
    await until(lambda: looks._left is None)
    looks.begin(1.0)
    await until(lambda: looks._left is None)
    assert looks.queued_bytes == 30


@on_loop
async def test_rounds_say_at_once_that_they_take_long_and_when_they_do_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[bool, int]] = []
    seen: list[object] = []
    connections = cast("set[ClientConnection]", {Guest(seen) for _ in range(5)})
    made = Rounds(asyncio.get_running_loop(), connections, lambda is_slow: told.append((is_slow, len(seen))), 0.0)
    for quick_s in (60.0, -1.0, -1.0, 60.0, 60.0):
        monkeypatch.setattr(rounds, "QUICK_S", quick_s)
        made.begin(1.0)
        await until(lambda: made._left is None)
    assert told == [(True, 5), (False, 20)]
