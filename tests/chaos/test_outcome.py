"""The judge itself: it finds what must not be."""

from dataclasses import replace

from tests.chaos.outcome import Loss, Outcome
from tests.chaos.records import Record


def _record(number: int, status: int = 200, body: str = "", method: str = "GET", error: str = "") -> Record:
    path = f"/{method.lower()}/{number}"
    return Record("h1", method, path, 0, 1_000_000, status, body or f"a {path}", error)


GOOD = Outcome("good", [_record(number) for number in range(60)], None, 0, (900, 100), (900, 100))


def _with(*records: Record, may_lose: Loss | None = None) -> Outcome:
    return replace(GOOD, records=[*GOOD.records, *records], may_lose=may_lose)


def test_right_answers_and_an_exact_ratio_are_no_fault() -> None:
    assert GOOD.faults() == []


def test_a_lost_get_is_a_fault_and_a_lost_post_is_counted_only() -> None:
    assert _with(_record(1, 502)).faults() == ["1 replay-safe requests lost: 1 GET h1 502 "]
    lost_post = _with(_record(1, 502, method="POST"))
    assert lost_post.faults() == []
    assert len(lost_post.failed()) == 1


def test_a_loss_is_excused_only_where_the_fault_explains_that_very_record() -> None:
    excuse = Loss("tests", lambda record: record.status == 404)
    assert _with(_record(1, 404), may_lose=excuse).faults() == []
    assert len(_with(_record(1, 502), may_lose=excuse).faults()) == 1


def test_the_answer_to_another_request_is_a_fault() -> None:
    assert len(_with(_record(1, body="a /get/2")).faults()) == 1


def test_a_post_that_was_sent_twice_is_a_fault() -> None:
    assert replace(GOOD, twice=1).faults() == ["1 POSTs were sent twice"]


def test_a_ratio_off_by_one_is_a_fault() -> None:
    assert replace(GOOD, after=(901, 99)).faults() == ["afterwards (901, 99), wanted (900, 100)"]


def test_a_load_that_did_not_run_and_a_mesh_that_did_not_heal_are_faults() -> None:
    assert len(replace(GOOD, records=[]).faults()) == 1
    assert replace(GOOD, unhealed="no ack").faults() == ["no ack"]


def test_a_request_that_was_never_answered_is_a_fault_even_if_it_may_be_lost() -> None:
    excuse = Loss("anything", lambda record: True)
    assert len(_with(_record(1, 0, error="no answer within 15 s"), may_lose=excuse).faults()) == 1
