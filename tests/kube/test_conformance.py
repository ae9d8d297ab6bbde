"""The same rules held against the stand-in and, where KUBEBUILDER_ASSETS names one, a real kube-apiserver."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.kube.errors import Object
from tests.kube.place import GROUP, Place, config, define, split, version
from tests.kube.real import missing, real
from tests.kube.standin import Standin
from tests.kube.wire import APPLY, JSON_PATCH, MERGE, STRATEGIC, Wire


@pytest.fixture(scope="module", params=["stand-in"] if missing() else ["stand-in", "real"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with contextlib.ExitStack() as stack:
        if request.param == "real":
            wire = stack.enter_context(real(tmp_path_factory.mktemp("real")))
        else:
            api = stack.enter_context(Standin())
            wire = Wire(api.url, api.token)
        define(wire)
        yield wire


@pytest.fixture
def place(server: Wire) -> Place:
    return Place(server)


def test_the_real_server_was_held_to_the_same_rules() -> None:
    if why := missing():
        pytest.skip(why)


# Writes


def test_a_created_object_gets_what_the_server_sets(place: Place) -> None:
    made = place.make(place.splits, split("one"))["metadata"]
    assert made["uid"]
    assert made["resourceVersion"]
    assert made["creationTimestamp"].endswith("Z")
    assert (made["generation"], made["namespace"]) == (1, place.name)


def test_what_is_there_is_not_created_again(place: Place) -> None:
    place.make(place.maps, config("one"))
    answer = place.ask("POST", place.maps, config("one"))
    assert (answer.status, answer.body["kind"], answer.body["reason"]) == (409, "Status", "AlreadyExists")


def test_nothing_is_created_in_a_namespace_that_is_not_there(place: Place) -> None:
    answer = place.ask("POST", "/api/v1/namespaces/not-there/configmaps", config("one"))
    assert (answer.status, answer.body["details"]["name"]) == (404, "not-there")


def test_generate_name_is_completed(place: Place) -> None:
    made = place.make(place.maps, {"metadata": {"generateName": "gen-"}})
    assert made["metadata"]["name"].startswith("gen-")
    assert len(made["metadata"]["name"]) == len("gen-") + 5


def test_an_update_from_an_old_version_is_a_conflict(place: Place) -> None:
    old = place.make(place.maps, config("one"))
    assert place.ask("PUT", f"{place.maps}/one", old | {"data": {"a": "b"}}).status == 200
    answer = place.ask("PUT", f"{place.maps}/one", old | {"data": {"a": "c"}})
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")


def test_a_custom_object_is_not_updated_without_a_version(place: Place) -> None:
    place.make(place.splits, split("one"))
    assert place.ask("PUT", f"{place.splits}/one", split("one", weight=1)).status == 422


def test_an_update_that_changes_nothing_makes_no_version(place: Place) -> None:
    made = place.make(place.splits, split("one"))
    answer = place.ask("PUT", f"{place.splits}/one", made)
    assert (answer.status, version(answer.body)) == (200, version(made))


def test_the_version_is_one_over_all_kinds(place: Place) -> None:
    one = place.make(place.maps, config("one"))
    two = place.make(place.splits, split("one"))
    assert int(version(two)) > int(version(one))
    assert int(version(place.ask("GET", place.leases).body)) >= int(version(two))


def test_the_three_patches_do_what_they_say(place: Place) -> None:
    place.make(place.services, {"metadata": {"name": "web"}, "spec": {"ports": [{"name": "a", "port": 80}]}})
    path = f"{place.services}/web"
    added = place.ask("PATCH", path, {"spec": {"ports": [{"name": "b", "port": 81}]}}, STRATEGIC).body
    assert sorted(port["port"] for port in added["spec"]["ports"]) == [80, 81]
    merged = place.ask("PATCH", path, {"spec": {"ports": [{"name": "c", "port": 82}]}}, MERGE).body
    assert [port["port"] for port in merged["spec"]["ports"]] == [82]
    operations = [{"op": "replace", "path": "/spec/ports/0/port", "value": 83}]
    replaced = place.ask("PATCH", path, operations, JSON_PATCH).body
    assert [port["port"] for port in replaced["spec"]["ports"]] == [83]


def test_a_patch_that_names_an_old_version_is_a_conflict(place: Place) -> None:
    old = place.make(place.maps, config("one"))
    assert place.ask("PATCH", f"{place.maps}/one", {"data": {"a": "b"}}, MERGE).status == 200
    stale = {"metadata": {"resourceVersion": version(old)}, "data": {"a": "c"}}
    assert place.ask("PATCH", f"{place.maps}/one", stale, MERGE).status == 409


def test_a_strategic_patch_of_a_custom_object_is_refused(place: Place) -> None:
    place.make(place.splits, split("one"))
    assert place.ask("PATCH", f"{place.splits}/one", {"spec": {"weight": 1}}, STRATEGIC).status == 415


def test_a_dry_run_leaves_nothing_behind(place: Place) -> None:
    assert place.ask("POST", place.maps, config("one"), dryRun="All").status == 201
    assert place.ask("GET", f"{place.maps}/one").status == 404


def test_delete_answers_success_and_then_not_found(place: Place) -> None:
    place.make(place.maps, config("one"))
    answer = place.ask("DELETE", f"{place.maps}/one")
    assert (answer.status, answer.body["status"], answer.body["details"]["kind"]) == (200, "Success", "configmaps")
    answer = place.ask("DELETE", f"{place.maps}/one")
    assert (answer.status, answer.body["message"]) == (404, 'configmaps "one" not found')


def test_delete_holds_to_its_preconditions(place: Place) -> None:
    place.make(place.maps, config("one"))
    answer = place.ask("DELETE", f"{place.maps}/one", {"preconditions": {"uid": "another"}})
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")


def test_a_finalizer_holds_an_object_until_it_is_taken_away(place: Place) -> None:
    value = config("one")
    value["metadata"]["finalizers"] = ["milliroute.io/test"]
    place.make(place.maps, value)
    assert place.ask("DELETE", f"{place.maps}/one").status == 200
    assert place.ask("GET", f"{place.maps}/one").body["metadata"]["deletionTimestamp"]
    place.ask("PATCH", f"{place.maps}/one", {"metadata": {"finalizers": None}}, MERGE)
    assert place.ask("GET", f"{place.maps}/one").status == 404


# Status and generation


def test_a_status_is_written_by_its_own_path_only(place: Place) -> None:
    made = place.make(place.splits, split("one") | {"status": {"ready": True}})
    assert "status" not in made
    made = place.ask("PUT", f"{place.splits}/one", made | {"status": {"ready": True}}).body
    assert "status" not in made
    made["status"], made["spec"] = {"ready": True}, {"service": "other"}
    answer = place.ask("PUT", f"{place.splits}/one/status", made).body
    assert (answer["status"], answer["spec"]["service"]) == ({"ready": True}, "s")


def test_the_generation_rises_by_the_spec_alone(place: Place) -> None:
    place.make(place.splits, split("one"))
    path = f"{place.splits}/one"
    labelled = place.ask("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, MERGE).body
    ready = place.ask("PATCH", f"{path}/status", {"status": {"ready": True}}, MERGE).body
    assert (labelled["metadata"]["generation"], ready["metadata"]["generation"]) == (1, 1)
    assert place.ask("PATCH", path, {"spec": {"weight": 2}}, MERGE).body["metadata"]["generation"] == 2


# Custom kinds


def test_every_served_version_shows_the_same_object(place: Place) -> None:
    made = place.make(place.splits, split("one"))
    other = place.ask("GET", f"{place.splits.replace('/v1/', '/v1beta1/', 1)}/one").body
    assert (other["apiVersion"], other["metadata"]["uid"]) == (f"{GROUP}/v1beta1", made["metadata"]["uid"])


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"weight": -1}, "spec.weight"), ({"weight": "1"}, "spec.weight"), ({"mode": "c"}, "spec.mode"),
        ({"backends": [{"weight": 1}]}, "spec.backends[0].name"),
    ],
)  # fmt: skip
def test_what_the_schema_forbids_is_invalid_and_named(place: Place, spec: Object, field: str) -> None:
    answer = place.ask("POST", place.splits, split("one", **spec))
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")
    assert field in {cause["field"] for cause in answer.body["details"]["causes"]}


def test_unknown_fields_are_dropped_and_defaults_filled_in(place: Place) -> None:
    assert place.make(place.splits, split("one", unknown=1))["spec"] == {"service": "s", "mode": "a"}


def test_unknown_fields_are_refused_where_strictness_is_asked_for(place: Place) -> None:
    answer = place.ask("POST", place.splits, split("one", unknown=1), fieldValidation="Strict")
    assert (answer.status, 'unknown field "spec.unknown"' in answer.body["message"]) == (400, True)


# Lists


def test_a_list_names_its_kind_and_a_version(place: Place) -> None:
    place.make(place.maps, config("one"))
    found = place.ask("GET", place.maps).body
    assert found["kind"] == "ConfigMapList"
    assert [item["metadata"]["name"] for item in found["items"] if item["metadata"]["name"] == "one"] == ["one"]
    assert found["metadata"]["resourceVersion"]


@pytest.mark.parametrize(
    ("selectors", "names"),
    [
        ({"labelSelector": "app=a"}, ["a"]), ({"labelSelector": "app!=a"}, ["b", "c"]),
        ({"labelSelector": "app in (a,c)"}, ["a", "c"]), ({"labelSelector": "app notin (a),app"}, ["b", "c"]),
        ({"labelSelector": "!app"}, []), ({"fieldSelector": "metadata.name=b"}, ["b"]),
        ({"fieldSelector": "metadata.name!=b", "labelSelector": "app"}, ["a", "c"]),
    ],
)  # fmt: skip
def test_selectors_select(place: Place, selectors: dict[str, str], names: list[str]) -> None:
    for name in "abc":
        place.make(place.leases, {"metadata": {"name": name, "labels": {"app": name}}})
    found = place.ask("GET", place.leases, **selectors).body["items"]
    assert [item["metadata"]["name"] for item in found] == names


def test_pages_are_of_one_version(place: Place) -> None:
    for name in "abcd":
        place.make(place.leases, {"metadata": {"name": name}})
    first = place.ask("GET", place.leases, limit=2).body
    assert first["metadata"]["remainingItemCount"] == 2
    place.make(place.leases, {"metadata": {"name": "cc"}})
    second = place.ask("GET", place.leases, limit=2, **{"continue": first["metadata"]["continue"]}).body
    assert [item["metadata"]["name"] for item in second["items"]] == ["c", "d"]
    assert (version(second), second["metadata"].get("continue", "")) == (version(first), "")


def test_an_exact_list_shows_the_past(place: Place) -> None:
    old = place.make(place.leases, {"metadata": {"name": "a"}})
    place.make(place.leases, {"metadata": {"name": "b"}})
    found = place.ask("GET", place.leases, resourceVersion=version(old), resourceVersionMatch="Exact").body
    assert [item["metadata"]["name"] for item in found["items"]] == ["a"]


def test_a_match_without_a_version_is_refused(place: Place) -> None:
    assert place.ask("GET", place.leases, resourceVersionMatch="Exact").status in (400, 422)


# Watches


def test_a_watch_tells_what_happened_since_its_version(place: Place) -> None:
    start = version(place.ask("GET", place.maps).body)
    made = place.make(place.maps, config("one"))
    place.ask("PATCH", f"{place.maps}/one", {"data": {"a": "b"}}, MERGE)
    place.ask("DELETE", f"{place.maps}/one")
    events = [
        event for event in place.watch(place.maps, resourceVersion=start, timeoutSeconds=1)
        if event["object"]["metadata"]["name"] == "one"
    ]  # fmt: skip
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(version(event["object"])) for event in events]
    assert versions == sorted(set(versions))
    assert events[0]["object"]["metadata"]["uid"] == made["metadata"]["uid"]
    assert events[2]["object"]["data"] == {"a": "b"}


def test_a_watch_without_a_version_begins_with_what_is_there(place: Place) -> None:
    place.make(place.leases, {"metadata": {"name": "a"}})
    events = list(place.watch(place.leases, timeoutSeconds=1))
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == [("ADDED", "a")]


def test_what_leaves_the_selection_is_deleted_to_the_watch(place: Place) -> None:
    start = version(place.make(place.leases, {"metadata": {"name": "a", "labels": {"on": "1"}}}))
    place.ask("PATCH", f"{place.leases}/a", {"metadata": {"labels": {"on": "0"}}}, MERGE)
    place.ask("PATCH", f"{place.leases}/a", {"metadata": {"labels": {"on": "1"}}}, MERGE)
    events = list(place.watch(place.leases, resourceVersion=start, labelSelector="on=1", timeoutSeconds=1))
    assert [event["type"] for event in events] == ["DELETED", "ADDED"]


def test_a_watch_tells_while_it_is_open(place: Place) -> None:
    start = version(place.ask("GET", place.leases).body)
    with ThreadPoolExecutor(1) as pool:
        watch = place.watch(place.leases, resourceVersion=start, timeoutSeconds=10)
        told = pool.submit(next, watch)
        place.make(place.leases, {"metadata": {"name": "a"}})
        assert told.result(10)["type"] == "ADDED"


def test_a_streaming_list_ends_with_a_marked_bookmark(place: Place) -> None:
    place.make(place.leases, {"metadata": {"name": "a"}})
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    events = list(place.watch(place.leases, timeoutSeconds=1, **query))
    assert [event["type"] for event in events][:2] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_initial_events_need_their_match(place: Place) -> None:
    assert place.ask("GET", place.leases, watch="true", sendInitialEvents="true").status == 422


def test_a_watch_of_a_forgotten_version_is_gone(place: Place) -> None:
    found = next(place.watch(place.leases, resourceVersion=1, timeoutSeconds=5))
    assert (found["type"] in ("ERROR", "STATUS"), found["object"]["code"]) == (True, 410)


# Server-side apply


def applied(place: Place, spec: Object, manager: str, **query: str) -> tuple[int, Object]:
    value = {"apiVersion": f"{GROUP}/v1", "kind": "Split", "metadata": {"name": "one"}, "spec": spec}
    answer = place.ask("PATCH", f"{place.splits}/one", value, APPLY, fieldManager=manager, **query)
    return answer.status, answer.body


def test_apply_creates_and_then_changes(place: Place) -> None:
    assert applied(place, {"service": "a"}, "one")[0] == 201
    status, found = applied(place, {"service": "b"}, "one")
    assert (status, found["spec"]["service"]) == (200, "b")
    assert [(item["manager"], item["operation"]) for item in found["metadata"]["managedFields"]] == [("one", "Apply")]


def test_a_field_of_another_manager_is_a_conflict_unless_forced(place: Place) -> None:
    applied(place, {"service": "a", "weight": 1}, "one")
    status, body = applied(place, {"service": "a", "weight": 2}, "two")
    assert (status, body["details"]["causes"][0]["field"]) == (409, ".spec.weight")
    status, body = applied(place, {"service": "a", "weight": 2}, "two", force="true")
    assert (status, body["spec"]["weight"]) == (200, 2)


def test_a_field_that_its_last_owner_leaves_out_is_removed(place: Place) -> None:
    applied(place, {"service": "a", "weight": 1}, "one")
    applied(place, {"service": "a"}, "two")
    _, found = applied(place, {"service": "a"}, "one")
    assert "weight" not in found["spec"]
    assert found["spec"]["service"] == "a"


def test_apply_merges_a_keyed_list(place: Place) -> None:
    applied(place, {"service": "a", "backends": [{"name": "x", "weight": 1}]}, "one")
    _, found = applied(place, {"service": "a", "backends": [{"name": "y", "weight": 2}]}, "two")
    assert sorted(item["name"] for item in found["spec"]["backends"]) == ["x", "y"]
    _, found = applied(place, {"service": "a"}, "one")
    assert [item["name"] for item in found["spec"]["backends"]] == ["y"]


def test_an_update_takes_the_fields_it_changes(place: Place) -> None:
    applied(place, {"service": "a", "weight": 1}, "one")
    place.ask("PATCH", f"{place.splits}/one", {"spec": {"weight": 3}}, MERGE, fieldManager="editor")
    status, body = applied(place, {"service": "a", "weight": 1}, "one")
    assert (status, 'conflict with "editor"' in body["message"]) == (409, True)


def test_apply_needs_a_manager(place: Place) -> None:
    assert place.ask("PATCH", f"{place.splits}/one", split("one"), APPLY).status == 400


# Discovery and leases


def test_discovery_names_the_custom_kind(place: Place) -> None:
    found = place.ask("GET", f"/apis/{GROUP}/v1").body
    assert {item["name"] for item in found["resources"]} == {"splits", "splits/status"}
    groups = {group["name"]: group for group in place.ask("GET", "/apis").body["groups"]}
    assert groups[GROUP]["preferredVersion"]["version"] == "v1"


def test_what_is_not_served_is_not_found(place: Place) -> None:
    answer = place.ask("GET", "/apis/not.there/v1/things")
    assert answer.status == 404


def test_of_two_who_take_a_lease_one_wins(place: Place) -> None:
    free = place.make(place.leases, {"metadata": {"name": "leader"}, "spec": {"leaseDurationSeconds": 15}})
    takers = [free | {"spec": {"holderIdentity": name, "leaseDurationSeconds": 15}} for name in ("a", "b")]
    assert [place.ask("PUT", f"{place.leases}/leader", value).status for value in takers] == [200, 409]


def test_a_wrong_token_is_unauthorized(server: Wire) -> None:
    answer = Wire(server.url, "wrong", server.tls).ask("GET", "/api/v1/namespaces")
    assert (answer.status, answer.body["reason"]) == (401, "Unauthorized")


def test_a_table_is_given_to_those_who_ask(place: Place) -> None:
    place.make(place.splits, split("one"))
    found = place.ask("GET", place.splits, accept="application/json;as=Table;v=v1;g=meta.k8s.io").body
    cells = (found["columnDefinitions"][0]["name"], found["rows"][0]["cells"][0])
    assert (found["kind"], *cells) == ("Table", "Name", "one")
