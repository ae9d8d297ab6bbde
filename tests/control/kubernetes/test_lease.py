"""source.kubernetes.lease: one leader at most, whatever the clocks say, and soon another when one is gone."""

from hypothesis import given
from hypothesis import strategies as st

from milliroute.control.source.kubernetes.lease import DURATION_S, RENEW_WITHIN_S, Election
from tests.control.kubernetes.building import Json


class Store:
    """A Lease as the API server keeps it: written only upon the version that was read."""

    def __init__(self) -> None:
        self.lease: Json | None = None
        self._revision = 0

    def write(self, lease: Json) -> Json | None:
        metadata = lease["metadata"]
        assert isinstance(metadata, dict)
        current = str(self._revision) if self.lease else None
        if metadata.get("resourceVersion") != current:
            return None
        self._revision += 1
        self.lease = {**lease, "metadata": {**metadata, "resourceVersion": str(self._revision)}}
        return self.lease


def play(candidate: Election, store: Store, now: float, skew_s: float = 0.0) -> None:
    candidate.seen(store.lease, now)
    wanted = candidate.wanted(now, now + skew_s)
    if wanted is not None:
        written = store.write(wanted)
        if written is not None:
            candidate.wrote(written, now)


def two() -> tuple[Election, Election, Store]:
    return Election("a", "lease", "ns"), Election("b", "lease", "ns"), Store()


def spec(store: Store) -> Json:
    assert store.lease is not None
    found = store.lease["spec"]
    assert isinstance(found, dict)
    return found


def test_the_first_takes_it_and_keeps_it_by_renewing() -> None:
    a, b, store = two()
    for now in range(0, 60, 2):
        play(a, store, now)
        play(b, store, now + 1)
        assert (a.leads(now + 1), b.leads(now + 1)) == (True, False)
    assert (spec(store)["holderIdentity"], spec(store)["leaseTransitions"]) == ("a", 0)
    assert spec(store)["acquireTime"] == "1970-01-01T00:00:00.000000Z"
    assert spec(store)["renewTime"] == "1970-01-01T00:00:58.000000Z"


def test_one_that_stopped_renewing_stops_leading_before_another_begins() -> None:
    a, b, store = two()
    play(a, store, 0)
    taken = 0.0
    for now in range(1, 40):
        play(b, store, now)
        assert not (a.leads(now) and b.leads(now))
        if b.leads(now):
            taken = now
            break
    assert not a.leads(RENEW_WITHIN_S)
    assert DURATION_S <= taken <= DURATION_S + 2
    assert spec(store)["leaseTransitions"] == 1


def test_one_that_lets_go_is_followed_at_once() -> None:
    a, b, store = two()
    play(a, store, 0)
    play(b, store, 1)
    released = a.release(2)
    assert released is not None
    store.write(released)
    assert not a.leads(2)
    play(b, store, 2)
    assert b.leads(2)
    assert a.release(3) is None


def test_clocks_that_differ_by_hours_do_no_harm() -> None:
    a, b, store = two()
    for now in range(0, 40, 2):
        play(a, store, now, skew_s=-7200)
        play(b, store, now, skew_s=7200)
        assert (a.leads(now), b.leads(now)) == (True, False)


def test_a_lease_that_was_deleted_is_made_anew() -> None:
    a, _, store = two()
    play(a, store, 0)
    store.lease = None
    play(a, store, 2)
    assert a.leads(3)


TURNS = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 9.0), st.booleans()), max_size=60)


@given(TURNS)
def test_never_do_two_lead(turns: list[tuple[str, float, bool]]) -> None:
    store = Store()
    candidates = {name: Election(name, "lease", "ns") for name in "abc"}
    now = 0.0
    for name, pause_s, loses_answer in turns:
        now += pause_s
        candidate = candidates[name]
        candidate.seen(store.lease, now)
        wanted = candidate.wanted(now, now)
        written = store.write(wanted) if wanted else None
        if written is not None and not loses_answer:
            candidate.wrote(written, now)
        assert sum(one.leads(now) for one in candidates.values()) <= 1


def test_a_duration_that_is_none_counts_as_the_usual_one() -> None:
    for said in (10**400, -1, 1 << 31, "15", None):
        candidate = Election("a", "lease", "ns")
        lease: Json = {"metadata": {}, "spec": {"holderIdentity": "b", "leaseDurationSeconds": said}}
        candidate.seen(lease, 100.0)
        assert candidate.wanted(100.0 + DURATION_S - 0.1, 0.0) is None
        assert candidate.wanted(100.0 + DURATION_S, 0.0) is not None
