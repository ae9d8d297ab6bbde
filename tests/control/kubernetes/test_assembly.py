"""source.kubernetes.assembly and beside: what is known of a cluster as Objects, and files beside it."""

from milliroute.control.model import Objects, Service, SourceStatus, TrafficSplit
from milliroute.control.source import beside, reading
from milliroute.control.source.backends import backend_objects
from milliroute.control.source.kubernetes.assembly import assemble, is_known
from milliroute.control.source.kubernetes.reflector import Answer, Reflector
from milliroute.control.source.kubernetes.resources import POLICIES, SERVICES, SPLITS
from milliroute.control.source.merge import FileState, merge
from tests.control.kubernetes.building import Driver, dumped, reflector
from tests.control.kubernetes.standing import endpoints, service, split


def state(*reflectors: Reflector) -> list[tuple[str, str]]:
    return [(source.in_force, source.state) for source in assemble(reflectors).sources]


def test_before_the_first_list_everything_is_partial() -> None:
    found = reflector()
    assert state(found) == [("nothing", "broken")]
    assert assemble([found]).is_partial
    assert not is_known([found])
    assert assemble([found]).sources[0].errors == ("kubernetes trafficsplits.split.smi-spec.io: not listed yet",)


def test_a_kind_that_is_not_served_is_no_trouble() -> None:
    found, services = reflector(SPLITS[1]), reflector(SERVICES)
    found.answered(Answer(404), 0)
    items = [{**service("a"), "metadata": {"name": "a", "namespace": "default"}}]
    services.answered(Answer(200, dumped({"metadata": {"resourceVersion": "1"}, "items": items})), 0)
    assert state(found, services) == [("absent", "absent"), ("newest", "ok")]
    assert is_known([found, services])
    assert not assemble([found, services]).is_partial


def test_while_a_policy_may_not_be_read_the_source_is_partial_and_no_proxy_loses_its_guards() -> None:
    servers, services = reflector(POLICIES[0]), reflector(SERVICES)
    items = [{**service("a"), "metadata": {"name": "a", "namespace": "default"}}]
    services.answered(Answer(200, dumped({"metadata": {"resourceVersion": "1"}, "items": items})), 0)
    for now in range(0, 3600, 30):
        servers.answered(Answer(403), now)
    assert state(servers, services) == [("nothing", "broken"), ("newest", "ok")]
    assert not is_known([servers, services])
    assert assemble([servers, services]).is_partial
    assert "is not complete" in assemble([servers, services]).sources[0].errors[0]


def test_an_outage_and_a_broken_object_are_told_and_take_nothing_away() -> None:
    driver = Driver()
    driver.server.put("a", "1")
    driver.server.put("b", "-1")
    driver.until_watch()
    assert state(driver.reflector) == [("rest", "broken")]
    driver.reflector.lost("no answer: refused", driver.now)
    found = assemble([driver.reflector])
    assert [one.name for one in found.splits] == ["a"]
    assert found.sources[0].in_force == "last good"
    outage, broken = found.sources[0].errors
    assert outage == "kubernetes trafficsplits.split.smi-spec.io: no answer: refused"
    assert broken.startswith("TrafficSplit shop/b: weight")


def test_a_split_under_both_spellings_of_its_group_counts_once() -> None:
    right, wrong = Driver(), Driver()
    for driver, weight in ((right, "1"), (wrong, "2")):
        driver.server.put("a", weight)
        driver.until_watch()
    found = assemble([right.reflector, wrong.reflector])
    assert [one.backends[0].weight_text for one in found.splits] == ["1"]
    assert "is there already" in found.sources[1].errors[0]


def objects(*found: dict[str, object], path: str = "cluster") -> Objects:
    values, errors = reading.parsed(b"\n---\n".join(map(dumped, found)), path)
    assert errors == ()
    return merge([FileState(path, values)])


def test_a_file_wins_over_the_cluster_and_both_are_named() -> None:
    files = objects(split("reviews", "1", "9"), path="a.yaml")
    cluster = objects(split("reviews", "9", "1"), split("other", "1", "1"))
    found = beside.combine(files, cluster)
    assert [(one.name, one.backends[0].weight_text) for one in found.splits] == [("reviews", "1"), ("other", "1")]
    said = "TrafficSplit default/reviews is in a.yaml:1:1 too (want each once): the file's counts"
    assert found.sources[-1] == SourceStatus(beside.BOTH, "rest", (f"kubernetes, beside files: {said}",))


def test_a_backend_beside_a_cluster_replaces_all_endpoints_and_no_port() -> None:
    cluster = objects(service("reviews", 9080), *endpoints("reviews", 1, 2))
    found = beside.combine(merge([], [backend_objects("reviews=127.0.0.1:9")]), cluster)
    assert [port.port for one in found.services for port in one.ports] == [9080]
    assert [endpoint.port for one in found.slices for endpoint in one.endpoints] == [9]
    assert [source.path for source in found.sources] == ["cluster"]


def test_what_only_one_has_is_all_there() -> None:
    found = beside.combine(Objects(services=(Service("a", "x"),)), Objects(splits=(TrafficSplit("a", "y", "z", ()),)))
    assert (len(found.services), len(found.splits), found.sources) == (1, 1, ())
