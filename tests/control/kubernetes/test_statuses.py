"""source.kubernetes.statuses: our entries in a route's status, and nobody else's."""

from milliroute.control.gateway import ParentRef
from milliroute.control.routestatus import Condition, ParentStatus
from milliroute.control.source.kubernetes import statuses
from milliroute.control.source.kubernetes.statuses import CONTROLLER, merged, ours, said, wanted
from tests.control.kubernetes.building import Json

PARENT = ParentRef("reviews", group="", kind="Service", port=80)
NOW, BEFORE = "2026-01-31T12:00:00Z", "2026-01-01T00:00:00Z"


def entries(is_true: bool = True, generation: int = 3, parent: ParentRef = PARENT) -> list[Json]:
    conditions = (Condition("Accepted", is_true, "Accepted"), Condition("ResolvedRefs", True, "ResolvedRefs"))
    return wanted([ParentStatus(parent, conditions)], generation)


def route(*parents: Json) -> Json:
    return {"metadata": {"name": "r"}, "status": {"parents": list(parents)}}


def theirs() -> Json:
    return {"parentRef": {"name": "gateway"}, "controllerName": "example.com/gateway", "conditions": [{"type": "X"}]}


def test_a_parent_ref_is_echoed_field_by_field_and_nothing_is_filled_in() -> None:
    [entry] = entries()
    assert entry["parentRef"] == {"group": "", "kind": "Service", "name": "reviews", "port": 80}
    [bare] = entries(parent=ParentRef("reviews", section_name="http"))
    assert bare["parentRef"] == {"name": "reviews", "sectionName": "http"}


def test_each_condition_says_of_which_generation_it_is() -> None:
    [entry] = entries()
    assert entry["controllerName"] == CONTROLLER
    assert entry["conditions"] == [
        {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "observedGeneration": 3},
        {"type": "ResolvedRefs", "status": "True", "reason": "ResolvedRefs", "message": "", "observedGeneration": 3},
    ]


def test_entries_of_other_controllers_stay_as_they_are() -> None:
    found = merged(route(theirs()), entries(), NOW)
    assert found is not None
    assert found[0] == theirs()
    assert len(found) == 2


def test_what_is_said_already_is_not_written_again() -> None:
    found = merged(route(), entries(), NOW)
    assert found is not None
    assert merged(route(*found), entries(), "later") is None
    assert ours(route(*found)) == said(entries())
    assert ours(route(theirs())) == said([]) == ""


def test_the_time_is_of_the_last_change_of_that_condition() -> None:
    found = merged(route(), entries(), BEFORE)
    assert found is not None
    changed = merged(route(*found), entries(is_true=False, generation=4), NOW)
    assert changed is not None
    conditions = changed[0]["conditions"]
    assert isinstance(conditions, list)
    assert [(c["status"], c["lastTransitionTime"]) for c in conditions] == [("False", NOW), ("True", BEFORE)]


def test_entries_for_parents_that_are_no_longer_ours_are_taken_away() -> None:
    found = merged(route(), entries(), NOW)
    assert found is not None
    assert merged(route(theirs(), *found), [], NOW) == [theirs()]


def test_parents_of_a_route_that_cannot_be_read_are_found_all_the_same() -> None:
    refs = [{"name": "a", "kind": "Service", "group": ""}, {"port": 1}, 7, {"name": "b", "port": "x"}]
    found = statuses.parents_of({"spec": {"parentRefs": refs}})
    assert found == (ParentRef("a", kind="Service", group=""), ParentRef("b"))
    assert statuses.parents_of({"spec": 1}) == ()
