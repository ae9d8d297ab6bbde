"""What is watched, what is known of it, and when it is in force."""

from dataclasses import replace

from milliroute.proxy.agent.catalog import IDLE_KEPT_S, Accepted, Catalog, Novelty, Refused
from milliroute.proxy.ipc import Alias, Applied
from tests.proxy.samples import KEY, offer, state

REVIEWS = "reviews:9080"


def watching() -> Catalog:
    catalog = Catalog()
    catalog.watch(REVIEWS, 0.0)
    catalog.resolve(REVIEWS, KEY)
    return catalog


def applied(version: int, unix_ns: int = 5_000, epoch: str = "e1", error: str = "") -> Applied:
    return Applied(KEY, epoch, version, unix_ns, error)


def in_force(catalog: Catalog) -> int:
    current = catalog.entries[KEY].in_force
    return current.update.version if current else 0


def test_a_version_is_in_force_when_the_last_live_worker_applied_it() -> None:
    catalog = watching()
    assert catalog.offer(offer(1)) is Novelty.NEW
    assert catalog.applied(1, applied(1, 7_000), [1, 2]) is None
    assert not catalog.is_answered(REVIEWS)
    assert catalog.applied(2, applied(1, 6_000), [1, 2]) == Accepted(KEY, "e1", 1, 7_000)
    assert catalog.is_answered(REVIEWS)


def test_within_an_epoch_a_version_never_goes_back() -> None:
    catalog = watching()
    catalog.offer(offer(5))
    assert catalog.offer(offer(4)) is Novelty.STALE
    assert catalog.entries[KEY].newest.update.version == 5


def test_a_new_epoch_is_accepted_with_any_version() -> None:
    catalog = watching()
    catalog.offer(offer(5))
    assert catalog.offer(offer(1, epoch="e2")) is Novelty.NEW


def test_the_same_version_again_is_no_news_and_keeps_its_verdict() -> None:
    catalog = watching()
    catalog.offer(offer(1))
    verdict = catalog.applied(1, applied(1), [1])
    assert catalog.offer(offer(1)) is Novelty.SAME
    assert catalog.entries[KEY].verdict == verdict


def test_an_answer_to_a_version_that_was_replaced_settles_nothing() -> None:
    catalog = watching()
    catalog.offer(offer(1))
    catalog.offer(offer(2))
    assert catalog.applied(1, applied(1), [1]) is None
    assert in_force(catalog) == 0


def test_one_worker_that_cannot_apply_refuses_the_version_and_the_old_one_stays() -> None:
    catalog = watching()
    catalog.offer(offer(1))
    catalog.applied(1, applied(1), [1])
    catalog.offer(offer(2))
    assert catalog.applied(1, applied(2, error="bad regex"), [1]) == Refused(KEY, "e1", 2, "bad regex")
    assert in_force(catalog) == 1
    assert [message.version for message in catalog.replay() if not isinstance(message, Alias)] == [1]


def test_the_death_of_the_worker_that_was_awaited_completes_the_version() -> None:
    catalog = watching()
    catalog.offer(offer(1))
    catalog.applied(1, applied(1, 7_000), [1, 2])
    assert catalog.worker_gone([1]) == [Accepted(KEY, "e1", 1, 7_000)]


def test_nothing_is_in_force_while_no_worker_lives() -> None:
    catalog = watching()
    catalog.offer(offer(1))
    assert catalog.worker_gone([]) == []


def test_a_new_worker_gets_tables_before_the_aliases_that_name_them() -> None:
    catalog = watching()
    catalog.offer(offer(1))
    assert list(catalog.replay()) == [offer(1).update, Alias(REVIEWS, KEY)]


def test_propagation_is_measured_for_changes_and_not_for_the_first_table() -> None:
    catalog = watching()
    catalog.offer(offer(1))
    catalog.applied(1, applied(1, 9_000), [1])
    assert catalog.entries[KEY].propagation_ns is None
    catalog.offer(offer(2, state(1, 1)))
    catalog.applied(1, applied(2, 9_000), [1])
    assert catalog.entries[KEY].propagation_ns == 8_000


def test_an_unknown_authority_is_dropped_a_minute_after_it_was_last_asked_for() -> None:
    catalog = watching()
    catalog.offer(offer(1, is_known=False))
    catalog.watch(REVIEWS, 30.0)
    assert catalog.expire(89.0) == []
    assert catalog.expire(90.0) == [REVIEWS]
    assert not catalog.entries


def test_a_known_authority_and_a_listeners_apex_are_never_dropped() -> None:
    catalog = watching()
    catalog.offer(offer(1))
    catalog.applied(1, applied(1), [1])
    catalog.watch("pinned", 0.0, is_pinned=True)
    assert catalog.expire(1e9) == []


def test_at_the_limit_the_longest_unasked_unknown_makes_room() -> None:
    catalog = Catalog(max_watched=2)
    catalog.watch("first", 1.0)
    catalog.watch("second", 2.0)
    catalog.watch("first", 3.0)
    assert catalog.watch("third", 4.0).evicted == ("second",)
    assert set(catalog.wanted) == {"first", "third"}


def test_at_the_limit_with_nothing_to_drop_a_new_authority_is_refused() -> None:
    catalog = Catalog(max_watched=1)
    catalog.watch("pinned", 0.0, is_pinned=True)
    assert catalog.watch("other", 1.0).is_refused
    assert Catalog().watch("x" * 1000, 0.0).is_refused


def test_answers_to_what_is_not_watched_any_more_leave_nothing_behind() -> None:
    catalog = Catalog()
    assert not catalog.resolve("gone", KEY)
    assert catalog.offer(offer(1)) is Novelty.STALE
    assert not catalog.entries


def test_a_key_lives_as_long_as_one_of_its_authorities() -> None:
    catalog = watching()
    catalog.watch("reviews.default:9080", 0.0)
    catalog.resolve("reviews.default:9080", KEY)
    catalog.offer(offer(1))
    catalog.forget(REVIEWS)
    assert KEY in catalog.entries
    catalog.forget("reviews.default:9080")
    assert KEY not in catalog.entries


def test_a_service_that_has_not_read_all_yet_takes_no_table_away() -> None:
    catalog = watching()
    catalog.offer(offer(5))
    partial = replace(offer(1, epoch="e2"), is_partial=True)
    assert catalog.offer(partial) is Novelty.KEPT

    assert catalog.entries[KEY].newest.update.version == 5
    assert catalog.offer(offer(1, epoch="e2")) is Novelty.NEW


def test_a_service_that_has_not_read_all_yet_is_better_than_nothing() -> None:
    catalog = watching()
    assert catalog.offer(replace(offer(1), is_partial=True)) is Novelty.NEW


def test_a_name_that_is_answered_keeps_its_key_while_not_all_is_read() -> None:
    catalog = watching()
    catalog.offer(offer(1))
    catalog.applied(1, applied(1), [1])
    assert not catalog.resolve(REVIEWS, "reviews.default", is_partial=True)
    assert catalog.resolve(REVIEWS, "reviews.default")


def test_an_address_that_is_not_used_is_forgotten_and_one_that_is_stays() -> None:
    catalog = Catalog()
    for name, key in (
        ("10.96.0.7:80", KEY),
        ("10.96.0.8:80", "other"),
        ("inbound:10.1.0.5:80", "inbound:10.1.0.5:80?=ns"),
    ):
        catalog.watch(name, 0.0)
        catalog.resolve(name, key)
    catalog.touch(KEY, 60.0)
    catalog.touch("inbound:10.1.0.5:80", 60.0)
    assert catalog.expire_idle(IDLE_KEPT_S - 1.0) == []
    assert catalog.expire_idle(IDLE_KEPT_S) == ["10.96.0.8:80"]
    assert catalog.expire_idle(60.0 + IDLE_KEPT_S) == ["10.96.0.7:80", "inbound:10.1.0.5:80"]
    assert catalog.wanted == {}
