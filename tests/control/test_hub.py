"""The hub: who gets what, in which version, and what a slow watcher misses."""

import asyncio

import pytest

from milliroute.control import hub as hub_module
from milliroute.control.hub import Hub, TooManyKeysError
from milliroute.control.views import AuthorityView
from tests.control.watching import FakeClock, FakeState, plain, view


def make_hub(state: FakeState) -> Hub:
    return Hub("e1", state, plain, FakeClock())


def test_the_first_answer_is_there_at_once() -> None:
    hub = make_hub(FakeState(3, {"a": (2, view("a", 1))}))
    watcher = hub.watcher()
    watcher.subscribe("a")
    publication = watcher.take()
    assert publication is not None
    assert publication.payload == b"a@2:a"


def test_an_unknown_name_is_answered_at_once_with_the_newest_version() -> None:
    hub = make_hub(FakeState(3))
    watcher = hub.watcher()
    watcher.subscribe("nobody")
    publication = watcher.take()
    assert publication is not None
    assert publication.payload == b"nobody@3:unknown"


def test_an_unchanged_view_is_not_sent_again() -> None:
    same = view("a", 1)
    hub = make_hub(FakeState(1, {"a": (1, same)}))
    watcher = hub.watcher()
    watcher.subscribe("a")
    watcher.take()
    assert hub.publish(FakeState(2, {"a": (1, same), "b": (2, view("b", 1))})) == 0
    assert watcher.take() is None


def test_a_slow_watcher_finds_only_the_newest_and_the_rest_is_counted() -> None:
    hub = make_hub(FakeState(1, {"a": (1, view("a", 1))}))
    watcher = hub.watcher()
    watcher.subscribe("a")
    for version in range(2, 12):
        hub.publish(FakeState(version, {"a": (version, view("a", version))}))
    publication = watcher.take()
    assert publication is not None
    assert publication.stamp.version == 11
    assert watcher.take() is None
    assert hub.replaced_total == 10


def test_every_watcher_gets_the_same_bytes_serialised_once() -> None:
    calls: list[str] = []

    def counting(stamp: hub_module.Stamp, authority: AuthorityView | None) -> bytes:
        calls.append(stamp.key)
        return plain(stamp, authority)

    hub = Hub("e1", FakeState(1), counting, FakeClock())
    watchers = [hub.watcher() for _ in range(5)]
    for watcher in watchers:
        watcher.subscribe("a")
        watcher.take()
    hub.publish(FakeState(2, {"a": (2, view("a", 1))}))
    payloads = [publication.payload for watcher in watchers if (publication := watcher.take())]
    assert len(payloads) == 5
    assert len({id(payload) for payload in payloads}) == 1
    assert calls == ["a", "a"]


def test_a_replaced_publication_keeps_its_turn() -> None:
    hub = make_hub(FakeState(1))
    watcher = hub.watcher()
    watcher.subscribe("a")
    watcher.subscribe("b")
    hub.publish(FakeState(2, {"a": (2, view("a", 1))}))
    first = watcher.take()
    assert first is not None
    assert first.payload == b"a@2:a"


def test_versions_of_a_key_rise_through_unknown_and_back() -> None:
    hub = make_hub(FakeState(1, {"a": (1, view("a", 1))}))
    watcher = hub.watcher()
    versions = []
    watcher.subscribe("a")
    for state in (FakeState(2), FakeState(3), FakeState(4, {"a": (4, view("a", 1))})):
        publication = watcher.take()
        versions.append(publication.stamp.version if publication else None)
        hub.publish(state)
    assert versions == [1, 2, None]
    last = watcher.take()
    assert last is not None
    assert last.stamp.version == 4


def test_nothing_comes_after_unsubscribe() -> None:
    hub = make_hub(FakeState(1))
    watcher = hub.watcher()
    watcher.subscribe("a")
    watcher.unsubscribe("a")
    hub.publish(FakeState(2, {"a": (2, view("a", 1))}))
    assert watcher.take() is None
    assert hub.current("a") is None


def test_a_closed_watcher_leaves_nothing_behind() -> None:
    hub = make_hub(FakeState(1))
    watcher = hub.watcher()
    for n in range(100):
        watcher.subscribe(f"random-{n}")
    watcher.close()
    watcher.close()
    assert hub.watchers == 0
    assert hub.current("random-7") is None


def test_a_watcher_holds_a_bounded_number_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MAX_KEYS_PER_WATCHER", 2)
    watcher = make_hub(FakeState(1)).watcher()
    watcher.subscribe("a")
    watcher.subscribe("b")
    watcher.subscribe("a")
    with pytest.raises(TooManyKeysError, match="2 keys"):
        watcher.subscribe("c")


def test_a_watcher_that_asks_for_it_wakes_on_a_snapshot_that_changes_none_of_its_keys() -> None:
    hub = make_hub(FakeState(1))
    eager, other = hub.watcher(), hub.watcher()
    eager.wakes_on_snapshots = True
    hub.publish(FakeState(2))

    async def wakes(watcher: hub_module.Watcher) -> bool:
        waiting = asyncio.ensure_future(watcher.wait())
        await asyncio.sleep(0)
        return waiting.done() or not waiting.cancel()

    assert [asyncio.run(wakes(watcher)) for watcher in (eager, other)] == [True, False]


async def waits_until_published() -> bytes:
    hub = make_hub(FakeState(1))
    watcher = hub.watcher()
    watcher.subscribe("a")
    await watcher.wait()
    watcher.take()
    waiting = asyncio.ensure_future(watcher.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    hub.publish(FakeState(2, {"a": (2, view("a", 1))}))
    await waiting
    publication = watcher.take()
    return publication.payload if publication else b""


def test_a_waiting_watcher_wakes_when_its_key_changes() -> None:
    assert asyncio.run(waits_until_published()) == b"a@2:a"
