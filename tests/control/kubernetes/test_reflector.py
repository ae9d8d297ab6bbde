"""source.kubernetes.reflector: what is asked after which answer, and that nothing known is forgotten by a fault."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milliroute.control.source.kubernetes import answers
from milliroute.control.source.kubernetes.holding import Holding
from milliroute.control.source.kubernetes.reflector import NEVER_EMPTY, Answer, Get, Wait, Watch
from milliroute.control.source.kubernetes.resources import POLICIES, SERVICES, SLICES, SPLITS, Resource
from tests.control.kubernetes.building import (
    SPLIT,
    Driver,
    ModelServer,
    bookmark,
    dumped,
    gone,
    gone_event,
    held,
    line,
    pieces,
    reflector,
    split,
)


def synced(*names: str) -> Driver:
    driver = Driver()
    for name in names:
        driver.server.put(name, "900m")
    driver.until_watch()
    return driver


def refusal(code: int, message: str = "no", retry_after: str = "") -> Answer:
    return Answer(code, dumped({"kind": "Status", "code": code, "message": message}), retry_after)


def test_a_kind_is_discovered_listed_in_pages_and_watched_from_there() -> None:
    driver = synced("a", "b", "c", "d", "e")
    assert held(driver.reflector) == dict.fromkeys("abcde", "900m")
    step = driver.step()
    assert isinstance(step, Watch)
    assert step.params["resourceVersion"] == "105"
    assert step.params["allowWatchBookmarks"] == "true"
    assert 30 <= int(step.params["timeoutSeconds"]) <= 60 < step.patience_s + 5
    assert driver.reflector.version == "v1alpha2"


def test_nothing_counts_before_the_last_page() -> None:
    driver = Driver()
    for name in "abc":
        driver.server.put(name, "1")
    for _ in range(3):  # group, version, first page
        step = driver.step()
        assert isinstance(step, Get)
        driver.reflector.answered(driver.server.get(step), driver.now)
    assert held(driver.reflector) == {}
    assert driver.reflector.known == "nothing"


def test_lists_ask_for_the_newest_state_and_never_for_a_cached_one() -> None:
    step = Driver(found=reflector(SERVICES)).step()
    assert step == Get("/api/v1/services", {"limit": "500"}, 5.0)


def test_one_namespace_is_asked_for_alone_and_slices_by_their_label() -> None:
    found = reflector(SLICES, "shop")
    resource = {"name": "endpointslices", "verbs": ["list", "watch"]}
    found.answered(Answer(200, dumped({"versions": [{"version": "v1beta1"}, {"version": "v1"}]})), 0)
    found.answered(Answer(200, dumped({"resources": [resource]})), 0)
    step = found.step(0)
    assert isinstance(step, Get)
    assert step.path == "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
    assert step.params["labelSelector"] == "kubernetes.io/service-name"


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_events_count_however_they_are_cut(size: int) -> None:
    driver = synced("a", "b")
    driver.server.put("a", "1")
    driver.server.remove("b")
    driver.server.put("c", 0.1)
    told = driver.server.events(driver.until_watch())
    assert told is not None
    driver.reflector.opened(Answer(200), driver.now)
    news = [driver.reflector.received(part, driver.now)[0] for part in pieces(told, size)]
    assert any(news)
    assert held(driver.reflector) == {"a": "1", "c": "0.1"}


TOLD = [
    line("MODIFIED", split("a", "1", revision=110)),
    line("DELETED", split("b", revision=111)),
    bookmark(115),
    line("ADDED", split("c", "5", revision=116)),
]
STATES = [{"a": "900m", "b": "900m"}, {"a": "1", "b": "900m"}, {"a": "1"}, {"a": "1"}, {"a": "1", "c": "5"}]


def test_a_watch_that_is_cut_at_any_byte_goes_on_after_its_last_whole_event() -> None:
    told = b"".join(TOLD)
    for cut in range(len(told) + 1):
        driver = synced("a", "b")
        driver.reflector.opened(Answer(200), driver.now)
        driver.reflector.received(told[:cut], driver.now)
        driver.reflector.ended(driver.now)
        whole = told[:cut].count(b"\n")
        assert held(driver.reflector) == STATES[whole], cut
        step = driver.step()
        assert isinstance(step, Watch), cut
        assert step.params["resourceVersion"] == ["102", "110", "111", "115", "116"][whole], cut


def test_a_deletion_that_the_watch_missed_is_found_by_the_next_list() -> None:
    driver = synced("a", "b", "c")
    driver.server.remove("b")
    driver.server.expire()
    driver.watch_once()
    assert held(driver.reflector) == {"a": "900m", "b": "900m", "c": "900m"}
    driver.until_watch()
    assert held(driver.reflector) == {"a": "900m", "c": "900m"}


@pytest.mark.parametrize("form", ["status", "event", "code only"])
def test_both_forms_of_410_lead_to_a_list(form: str) -> None:
    driver = synced("a")
    if form == "status":
        driver.reflector.opened(gone(), driver.now)
    else:
        told = gone_event() if form == "event" else line("ERROR", {"code": 410})
        driver.reflector.opened(Answer(200), driver.now)
        assert driver.reflector.received(told, driver.now) == (False, False)
    step = driver.step()
    assert isinstance(step, Get)
    assert "continue" not in step.params
    assert held(driver.reflector) == {"a": "900m"}


def test_410_again_and_again_is_asked_for_ever_more_slowly() -> None:
    driver = synced("a")
    begin = driver.now
    for _ in range(12):
        driver.until_watch()
        driver.reflector.opened(gone(), driver.now)
    assert driver.now - begin > 0.2


def test_an_expired_page_begins_the_list_anew_and_in_the_end_asks_for_everything_at_once() -> None:
    driver = Driver()
    for name in "abcde":
        driver.server.put(name, "1")
    limits = []
    for _ in range(12):
        step = driver.step()
        if isinstance(step, Watch):
            break
        if "continue" in step.params:
            driver.server.expire()
        elif step.path.endswith("trafficsplits"):
            limits.append("limit" in step.params)
        driver.reflector.answered(driver.server.get(step), driver.now)
    assert limits == [True, True, False]
    assert held(driver.reflector) == dict.fromkeys("abcde", "1")


def test_an_object_that_breaks_keeps_its_last_good_version_and_is_told_by_name() -> None:
    driver = synced("a")
    driver.server.put("a", "-1")
    driver.watch_once()
    assert held(driver.reflector) == {"a": "900m"}
    [error] = driver.reflector.holding.held().errors
    assert error.startswith("TrafficSplit shop/a: weight: negative quantity (saw '-1', want ")
    assert error.endswith("its last good version stays in force")
    driver.server.put("a", "1")
    driver.watch_once()
    assert (held(driver.reflector), driver.reflector.holding.held().errors) == ({"a": "1"}, ())


def test_an_object_that_was_made_anew_has_no_last_good_version() -> None:
    driver = synced("a")
    driver.server.remove("a")
    driver.server.put("a", "-1")
    driver.server.expire()
    driver.watch_once()
    driver.until_watch()
    assert held(driver.reflector) == {}
    assert len(driver.reflector.holding.held().errors) == 1


def test_429_waits_as_long_as_it_says() -> None:
    driver = synced("a")
    driver.reflector.opened(refusal(429, "slow down", "7"), driver.now)
    step = driver.reflector.step(driver.now)
    assert isinstance(step, Wait)
    assert 7 <= step.seconds <= 8.4
    assert driver.reflector.trouble == "status 429: slow down"
    driver.until_watch()
    driver.reflector.opened(Answer(200), driver.now)
    assert driver.reflector.trouble == ""


@pytest.mark.parametrize("answer", [refusal(500), refusal(503), refusal(401), Answer(200, b"{"), Answer(200, b"[]")])
def test_failures_are_tried_again_with_a_growing_wait_and_cost_no_object(answer: Answer) -> None:
    driver = synced("a")
    driver.reflector.opened(gone(), driver.now)
    waits: list[float] = []
    for _ in range(6):
        driver.step()
        assert driver.reflector.answered(answer, driver.now) == (not waits)
        step = driver.reflector.step(driver.now)
        assert isinstance(step, Wait)
        waits.append(step.seconds)
    assert waits[-1] >= 0.025 > waits[0]
    assert held(driver.reflector) == {"a": "900m"}
    assert driver.reflector.trouble
    driver.until_watch()
    assert driver.reflector.trouble == ""


def test_a_lost_connection_is_trouble_only_when_the_next_one_fails_too() -> None:
    driver = synced("a")
    driver.reflector.opened(Answer(200), driver.now)
    driver.reflector.received(bookmark(200), driver.now)
    assert not driver.reflector.ended(driver.now)
    assert driver.reflector.trouble == ""
    driver.step()
    assert driver.reflector.lost("no answer: refused", driver.now)
    assert driver.reflector.trouble == "no answer: refused"


def test_a_watch_that_tells_nothing_again_and_again_is_replaced_by_a_list() -> None:
    driver = synced("a")
    for _ in range(6):
        driver.until_watch()
        driver.reflector.opened(Answer(200), driver.now)
        driver.reflector.ended(driver.now)
    assert isinstance(driver.step(), Get)


def test_a_watch_that_was_quiet_for_its_time_is_begun_anew_at_once() -> None:
    driver = synced("a")
    driver.until_watch()
    driver.reflector.opened(Answer(200), driver.now)
    driver.now += 60
    driver.reflector.ended(driver.now)
    assert isinstance(driver.reflector.step(driver.now), Watch)


@pytest.mark.parametrize("told", [b"{\n", b"[]\n", line("ADDED", {}), line("RENAMED", split("a"))])
def test_what_no_api_server_says_leads_to_a_list(told: bytes) -> None:
    driver = synced("a")
    driver.reflector.opened(Answer(200), driver.now)
    assert driver.reflector.received(told, driver.now) == (True, False)
    assert isinstance(driver.step(), Get)
    assert held(driver.reflector) == {"a": "900m"}


def test_a_kind_that_is_not_served_is_looked_for_slowly_and_found_later() -> None:
    driver = Driver()
    driver.step()
    assert driver.reflector.answered(refusal(404), driver.now)
    assert driver.reflector.known == "absent"
    wait = driver.reflector.step(driver.now)
    assert isinstance(wait, Wait)
    assert wait.seconds >= 0.05
    driver.server.put("a", "1")
    driver.until_watch()
    assert (driver.reflector.known, held(driver.reflector)) == ("all", {"a": "1"})


def test_a_kind_whose_definition_is_deleted_is_gone_after_a_while_and_not_at_once() -> None:
    driver = synced("a")
    driver.reflector.opened(refusal(404), driver.now)
    begin = driver.now
    while driver.reflector.known != "absent":
        assert held(driver.reflector) == {"a": "900m"}
        driver.step()
        driver.reflector.answered(refusal(404), driver.now)
    assert held(driver.reflector) == {}
    assert driver.now - begin >= 0.3


def test_a_version_that_is_served_no_more_gives_way_to_another_without_a_loss() -> None:
    driver = synced("a")
    driver.reflector.opened(refusal(404), driver.now)
    driver.server.put("b", "1")
    driver.until_watch()
    assert held(driver.reflector) == {"a": "900m", "b": "1"}


def test_a_kind_that_may_not_be_read_is_unknown_first_and_given_up_later() -> None:
    driver = Driver(found=reflector(SPLITS[0]))
    driver.step()
    driver.reflector.answered(refusal(403, "splits are forbidden"), driver.now)
    assert (driver.reflector.known, driver.reflector.trouble) == ("nothing", "status 403: splits are forbidden")
    while driver.reflector.known == "nothing":
        driver.step()
        driver.reflector.answered(refusal(403, "splits are forbidden"), driver.now)
    assert driver.reflector.known == "forbidden"


def after_refusals(resource: Resource, *before: Answer) -> tuple[str, str]:
    """What is known, and the trouble, after a minute of 403."""
    driver = Driver(found=reflector(resource))
    for answer in before:
        driver.step()
        driver.reflector.answered(answer, driver.now)
    for _ in range(60):
        driver.now += 1
        driver.step()
        driver.reflector.answered(refusal(403, "no"), driver.now)
    return driver.reflector.known, driver.reflector.trouble


@pytest.mark.parametrize("resource", [SERVICES, SLICES, *POLICIES], ids=lambda resource: resource.name)
def test_endpoints_and_policies_that_may_not_be_read_never_count_as_empty(
    resource: Resource,
) -> None:
    assert after_refusals(resource) == ("nothing", "status 403: no" + NEVER_EMPTY)


def test_a_kind_that_was_absent_and_may_not_be_read_now_is_not_absent_any_more() -> None:
    assert after_refusals(POLICIES[0], Answer(404))[0] == "nothing"
    assert after_refusals(SPLITS[0], Answer(404))[0] == "forbidden"


def test_a_right_that_is_taken_away_costs_no_object() -> None:
    driver = synced("a")
    for _ in range(10):
        driver.until_watch()
        driver.reflector.opened(refusal(403), driver.now)
    assert (driver.reflector.known, held(driver.reflector)) == ("all", {"a": "900m"})


MOVES = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("abcd"), st.integers(1, 9)),
    st.tuples(st.just("remove"), st.sampled_from("abcd"), st.just(0)),
    st.tuples(st.just("expire"), st.just(""), st.just(0)),
    st.tuples(st.just("watch"), st.just(""), st.integers(0, 3000)),
    st.tuples(st.just("refuse"), st.just(""), st.sampled_from([401, 403, 410, 429, 500, 503])),
    st.tuples(st.just("lose"), st.just(""), st.just(0)),
)


@given(st.lists(MOVES, max_size=30))
def test_whatever_fails_the_end_is_the_cluster_and_what_stays_there_is_never_missing(
    moves: list[tuple[str, str, int]],
) -> None:
    driver = Driver(ModelServer())
    driver.server.put("stays", "7")
    driver.until_watch()
    for move, name, number in moves:
        _play(driver, move, name, number)
        assert held(driver.reflector)["stays"] == "7"
    driver.watch_once()
    driver.until_watch()
    driver.watch_once()
    assert held(driver.reflector) == driver.server.weights()


def _play(driver: Driver, move: str, name: str, number: int) -> None:
    if move == "put":
        driver.server.put(name, number)
    elif move == "remove":
        driver.server.remove(name)
    elif move == "expire":
        driver.server.expire()
    elif move == "watch":
        driver.watch_once(cut=number)
    else:
        step = driver.step()
        if move == "lose":
            driver.reflector.lost("no answer", driver.now)
        elif isinstance(step, Watch):
            driver.reflector.opened(refusal(number), driver.now)
        else:
            driver.reflector.answered(refusal(number), driver.now)


@given(st.lists(st.tuples(st.sampled_from(["put", "drop", "replace"]), st.text("abcdef", min_size=1, max_size=2))))
def test_objects_are_in_order_of_their_names_whatever_came_when(moves: list[tuple[str, str]]) -> None:
    holding = Holding()
    for move, name in moves:
        entry = answers.entry_of(dumped(split(name)), SPLIT, "v1alpha1")
        if move == "put":
            holding.put(entry)
        elif move == "drop":
            holding.drop(entry.key)
        else:
            holding.replace([entry])
        assert [value.name for value in holding.held().objects] == sorted(name for _, name in holding.entries)
