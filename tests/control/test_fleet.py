"""The fleet: what is recorded of each proxy, and that a peer cannot grow it."""

import pytest

from milliroute.control import fleet as fleet_module
from milliroute.control.fleet import Fleet, Histogram


def test_an_ack_of_the_version_sent_is_timed_once() -> None:
    fleet = Fleet()
    proxy = fleet.hello("p", "", "")
    fleet.sent(proxy, "a.default", "e", 2, due_unix_ns=1_000_000_000)
    for _ in range(3):
        fleet.ack(proxy, "a.default", "e", 2, applied_unix_ns=1_002_000_000)
    assert proxy.keys["a.default"].propagation_s == pytest.approx(0.002)
    assert sum(fleet.propagation.counts) == 1
    assert fleet.acks_total == 3


def test_an_ack_of_an_older_version_is_kept_and_not_timed() -> None:
    fleet = Fleet()
    proxy = fleet.hello("p", "", "")
    fleet.sent(proxy, "a.default", "e", 3, due_unix_ns=0)
    fleet.ack(proxy, "a.default", "e", 2, applied_unix_ns=5)
    assert proxy.keys["a.default"].acked_version == 2
    assert sum(fleet.propagation.counts) == 0


def test_acks_of_keys_never_sent_are_ignored() -> None:
    fleet = Fleet()
    proxy = fleet.hello("p", "", "")
    fleet.ack(proxy, "made-up", "e", 1, 1)
    fleet.nack(proxy, "made-up", 1, "no")
    assert proxy.keys == {}
    assert (fleet.acks_total, fleet.nacks_total) == (0, 0)


def test_a_clock_that_is_behind_gives_no_negative_delay() -> None:
    fleet = Fleet()
    proxy = fleet.hello("p", "", "")
    fleet.sent(proxy, "a.default", "e", 1, due_unix_ns=1_000)
    fleet.ack(proxy, "a.default", "e", 1, applied_unix_ns=10)
    assert proxy.keys["a.default"].propagation_s == 0


def test_a_good_ack_clears_the_nack_before() -> None:
    fleet = Fleet()
    proxy = fleet.hello("p", "", "")
    fleet.sent(proxy, "a.default", "e", 1, 0)
    fleet.nack(proxy, "a.default", 1, "x" * 10_000)
    assert len(proxy.keys["a.default"].nack) == fleet_module.MAX_REASON_CHARACTERS
    fleet.sent(proxy, "a.default", "e", 2, 0)
    fleet.ack(proxy, "a.default", "e", 2, 1)
    assert proxy.keys["a.default"].nack == ""


def test_the_end_of_an_old_stream_does_not_disconnect_the_new_one() -> None:
    fleet = Fleet()
    old = fleet.hello("p", "", "")
    new = fleet.hello("p", "", "")
    fleet.bye(old)
    assert fleet.proxies() == (new,)
    assert new.connected


def test_the_oldest_of_too_many_disconnected_proxies_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "MAX_DISCONNECTED", 2)
    fleet = Fleet()
    stays = fleet.hello("stays", "", "")
    for n in range(5):
        fleet.bye(fleet.hello(f"p{n}", "", ""))
    assert [proxy.id for proxy in fleet.proxies()] == [stays.id, "p3", "p4"]


def test_a_value_on_a_bound_belongs_to_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 9.0):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.sum == 14.0
