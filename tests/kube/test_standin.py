"""The faults of the stand-in, each as a client sees it, and what its replicas share."""

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.kube.errors import Object
from tests.kube.standin import Standin
from tests.kube.wire import Wire

MAPS = "/api/v1/namespaces/default/configmaps"
TIMEOUT_S = 10.0


def config(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


@pytest.fixture
def api() -> Iterator[Standin]:
    with Standin() as api:
        yield api


@pytest.fixture
def wire(api: Standin) -> Wire:
    return Wire(api.url, api.token, timeout_s=TIMEOUT_S)


def in_a_watch(api: Standin, wire: Wire, act: Callable[[], object], **query: object) -> list[Object]:
    """What a watch of config maps is told once act was called while it was open."""
    told: list[Object] = []
    api.put(config("first"))
    watch = wire.watch(MAPS, **query)
    assert next(watch)["object"]["metadata"]["name"] == "first"
    act()
    try:
        told.extend(watch)
    except http.client.IncompleteRead as error:
        told.append({"type": "BROKEN", "rest": error.partial.decode()})
    return told


def test_a_cut_watch_breaks_off_without_an_end(api: Standin, wire: Wire) -> None:
    told = in_a_watch(api, wire, api.cut_watches)
    assert [event["type"] for event in told] == ["BROKEN"]


def test_a_watch_is_cut_inside_a_line(api: Standin, wire: Wire) -> None:
    connection, response = wire.open("GET", MAPS, {"watch": "true"}, None, {})
    api.cut_watches('{"type":"MODIF')
    with pytest.raises(http.client.IncompleteRead) as broken:
        response.read()
    connection.close()
    assert broken.value.partial == b'{"type":"MODIF'


@pytest.mark.parametrize("count", [1, 2, 17, 100])
def test_a_watch_is_cut_after_so_many_bytes(api: Standin, wire: Wire, count: int) -> None:
    api.put(config("first"))
    api.cut_watch_after(count)
    connection, response = wire.open("GET", MAPS, {"watch": "true"}, None, {})
    with pytest.raises(http.client.IncompleteRead) as broken:
        response.read()
    connection.close()
    assert len(broken.value.partial) == count


def test_dribbled_lines_arrive_whole(api: Standin, wire: Wire) -> None:
    api.dribble(3)
    told = in_a_watch(api, wire, lambda: api.put(config("second")), timeoutSeconds=1)
    assert [event["object"]["metadata"]["name"] for event in told] == ["second"]


def test_an_expired_version_is_gone_as_an_event_or_as_a_status(api: Standin, wire: Wire) -> None:
    old = wire.ask("GET", MAPS).body["metadata"]["resourceVersion"]
    api.expire_history()
    (event,) = wire.watch(MAPS, resourceVersion=old)
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    api.gone_as("status")
    answer = wire.ask("GET", MAPS, watch="true", resourceVersion=old)
    assert (answer.status, answer.body["reason"]) == (410, "Expired")


def test_a_history_that_is_full_forgets_its_oldest() -> None:
    with Standin(history_changes=3) as api:
        wire = Wire(api.url, api.token)
        start = api.version
        for i in range(4):
            api.put(config("one", i=str(i)))
        (event,) = wire.watch(MAPS, resourceVersion=start, timeoutSeconds=1)
        assert event["object"]["code"] == 410
        told = list(wire.watch(MAPS, resourceVersion=start + 1, timeoutSeconds=1))
        assert [event["object"]["data"]["i"] for event in told] == ["1", "2", "3"]


def test_an_open_watch_can_be_told_410(api: Standin, wire: Wire) -> None:
    (event,) = in_a_watch(api, wire, api.expire_watches)
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


def test_an_expired_token_of_a_list_comes_with_a_fresh_one(api: Standin, wire: Wire) -> None:
    api.put(*(config(name) for name in "abc"))
    token = wire.ask("GET", MAPS, limit=1).body["metadata"]["continue"]
    api.expire_history()
    api.put(config("bb"))
    expired = wire.ask("GET", MAPS, limit=1, **{"continue": token})
    assert (expired.status, expired.body["reason"]) == (410, "Expired")
    rest = wire.ask("GET", MAPS, **{"continue": expired.body["metadata"]["continue"]}).body["items"]
    assert [item["metadata"]["name"] for item in rest] == ["b", "bb", "c"]


def test_bookmarks_come_only_to_those_who_allow_them(api: Standin, wire: Wire) -> None:
    def act() -> None:
        api.put(*({**config("other"), "kind": "Secret"},))
        api.send_bookmarks()
        api.expire_watches()

    assert [event["type"] for event in in_a_watch(api, wire, act)] == ["ERROR"]
    told = in_a_watch(api, wire, act, allowWatchBookmarks="true")
    assert [event["type"] for event in told] == ["BOOKMARK", "ERROR"]
    assert told[0]["object"]["metadata"]["resourceVersion"] == str(api.version)


def test_a_refused_kind_and_verb_is_forbidden_and_nothing_else(api: Standin, wire: Wire) -> None:
    api.refuse("configmaps", "list")
    answer = wire.ask("GET", MAPS)
    assert (answer.status, answer.body["reason"]) == (403, "Forbidden")
    assert 'cannot list resource "configmaps" in API group "" in the namespace "default"' in answer.body["message"]
    assert wire.ask("GET", "/api/v1/namespaces/default/secrets").status == 200
    assert wire.ask("GET", f"{MAPS}/none").status == 404
    api.allow("configmaps", "list")
    assert wire.ask("GET", MAPS).status == 200


def test_the_next_requests_are_answered_as_told(api: Standin, wire: Wire) -> None:
    api.next_status(429, retry_after_s=2, count=2)
    answers = [wire.ask("GET", MAPS) for _ in range(3)]
    assert [answer.status for answer in answers] == [429, 429, 200]
    assert answers[0].headers["Retry-After"] == "2"
    assert answers[0].body["details"]["retryAfterSeconds"] == 2


def test_a_rotated_token_is_the_only_one(api: Standin, wire: Wire, tmp_path: Path) -> None:
    api.kubeconfig(tmp_path)
    new = api.rotate_token()
    assert wire.ask("GET", MAPS).status == 401
    assert Wire(api.url, new).ask("GET", MAPS).status == 200
    assert (tmp_path / "token").read_text() == new


def test_a_black_hole_answers_once_it_is_gone(api: Standin, wire: Wire) -> None:
    api.blackhole()
    with pytest.raises(TimeoutError):
        Wire(api.url, timeout_s=0.1).ask("GET", MAPS)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(wire.ask, "GET", MAPS)
        api.resume()
        assert asked.result(TIMEOUT_S).status == 200


def test_replicas_share_objects_versions_and_tokens(api: Standin, wire: Wire) -> None:
    second = api.replica()
    other = Wire(second.url, api.token)
    made = wire.ask("POST", MAPS, config("one")).body
    assert other.ask("GET", f"{MAPS}/one").body == made
    api.rotate_token()
    assert other.ask("GET", MAPS).status == 401


def test_a_killed_replica_refuses_and_the_other_goes_on(api: Standin, wire: Wire) -> None:
    second = api.replica()
    api.kill()
    with pytest.raises(ConnectionRefusedError):
        wire.ask("GET", MAPS)
    assert Wire(second.url, api.token).ask("GET", MAPS).status == 200
    second.stop()


def test_a_change_by_one_replica_is_told_by_the_other(api: Standin) -> None:
    other = Wire(api.replica().url, api.token)
    told = in_a_watch(api, other, lambda: api.put(config("second")), timeoutSeconds=1)
    assert [event["object"]["metadata"]["name"] for event in told] == ["second"]


def test_what_clients_asked_is_kept(api: Standin, wire: Wire) -> None:
    wire.ask("GET", MAPS)
    list(wire.watch(MAPS, timeoutSeconds=1))
    assert api.requests() == ["list configmaps", "watch configmaps"]


def test_a_service_is_given_an_address_that_stays(api: Standin, wire: Wire) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
    (made,) = api.put(service)
    (again,) = api.put({**service, "spec": {"ports": [{"port": 81}]}})
    assert made["spec"]["clusterIP"].startswith("10.96.")
    assert again["spec"]["clusterIP"] == made["spec"]["clusterIP"]


def test_the_process_is_told_its_faults_over_http(tmp_path: Path) -> None:
    manifest = tmp_path / "one.yaml"
    manifest.write_text(json.dumps(config("one")))
    command = [sys.executable, "-m", "tests.kube", "--kubeconfig", str(tmp_path), str(manifest)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        wire = Wire(process.stdout.readline().strip())
        assert wire.ask("GET", f"{MAPS}/one").status == 200
        assert wire.ask("POST", "/standin/next_status", {"code": 429, "retry_after_s": 1}).status == 200
        assert wire.ask("GET", MAPS).status == 429
        assert wire.ask("POST", "/standin/put", {"args": [config("two")]}).status == 200
        assert wire.ask("GET", f"{MAPS}/two").status == 200
        answer = wire.ask("POST", "/standin/nothing")
        assert (answer.status, answer.body["message"].partition(";")[0]) == (404, "no knob 'nothing'")
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0


def test_a_review_says_what_is_refused(api: Standin, wire: Wire) -> None:
    api.refuse("configmaps", "list")

    def may(verb: str) -> bool:
        spec = {"resourceAttributes": {"verb": verb, "resource": "configmaps", "namespace": "default"}}
        answer = wire.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": spec})
        return bool(answer.body["status"]["allowed"])

    assert (may("list"), may("get")) == (False, True)


def test_a_body_of_another_format_is_refused(wire: Wire) -> None:
    assert wire.ask("POST", MAPS, "k8s", "application/vnd.kubernetes.protobuf").status == 415
    assert wire.ask("POST", MAPS, "{", "application/json").status == 400
