"""The demo's YAML, its ports, and its working copy."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from milliroute.control.cli.demo import plan, sockets, working_copy


def documents(path: Path) -> Iterator[dict[str, object]]:
    yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


def of_kind(path: Path, kind: str) -> list[dict[str, object]]:
    return [document for document in documents(path) if document["kind"] == kind]


def name(document: dict[str, object]) -> str:
    metadata = document["metadata"]
    assert isinstance(metadata, dict)
    return str(metadata["name"])


def owner(endpoint_slice: dict[str, object]) -> str:
    metadata = endpoint_slice["metadata"]
    assert isinstance(metadata, dict)
    return str(metadata["labels"]["kubernetes.io/service-name"])


def slice_ports(path: Path) -> set[int]:
    found: set[int] = set()
    for endpoint_slice in of_kind(path, "EndpointSlice"):
        ports = endpoint_slice["ports"]
        assert isinstance(ports, list)
        found.update(port["port"] for port in ports)
    return found


def test_the_shipped_split_gives_all_three_versions_a_share() -> None:
    (split,) = documents(working_copy.shipped() / working_copy.SPLIT)
    assert split["apiVersion"] == "split.smi-specs.io/v1alpha2"
    assert split["kind"] == "TrafficSplit"
    spec = split["spec"]
    assert isinstance(spec, dict)
    assert spec["service"] == "reviews"
    weights = {backend["service"]: backend["weight"] for backend in spec["backends"]}
    assert weights == {"reviews-v1": "333m", "reviews-v2": "333m", "reviews-v3": "333m"}


def test_every_shipped_service_has_endpoints_and_every_slice_a_service() -> None:
    path = working_copy.shipped() / working_copy.SERVICES
    services = {name(service) for service in of_kind(path, "Service")}
    assert services == {owner(endpoint_slice) for endpoint_slice in of_kind(path, "EndpointSlice")}
    assert {"productpage", "details", "ratings", "reviews", "reviews-v1", "reviews-v2", "reviews-v3"} <= services


def test_every_shipped_endpoint_is_a_default_port_of_the_plan() -> None:
    assert slice_ports(working_copy.shipped() / working_copy.SERVICES) <= set(plan.DEFAULT_PORTS.values())


def test_the_copy_has_the_ports_of_this_run_and_keeps_service_ports(tmp_path: Path) -> None:
    ports = plan.ports(page=None, base=20000)
    assert not working_copy.prepare(tmp_path / "demo", ports, is_fresh=False)
    copy = tmp_path / "demo" / working_copy.SERVICES
    assert slice_ports(copy) <= set(ports.values())
    assert all(port >= 20000 for port in slice_ports(copy))
    for service in of_kind(copy, "Service"):
        assert service["spec"] == {"ports": [{"name": "http", "port": 9080}]}


def test_with_default_ports_the_copy_is_the_shipped_file(tmp_path: Path) -> None:
    working_copy.prepare(tmp_path, plan.ports(None, None), is_fresh=False)
    for file in (working_copy.SPLIT, working_copy.SERVICES):
        assert (tmp_path / file).read_bytes() == (working_copy.shipped() / file).read_bytes()


def test_an_edited_split_survives_a_restart_unless_fresh(tmp_path: Path) -> None:
    (tmp_path / working_copy.SPLIT).write_text("# mine\n")
    assert working_copy.prepare(tmp_path, plan.DEFAULT_PORTS, is_fresh=False)
    assert (tmp_path / working_copy.SPLIT).read_text() == "# mine\n"
    assert not working_copy.prepare(tmp_path, plan.DEFAULT_PORTS, is_fresh=True)
    assert "TrafficSplit" in (tmp_path / working_copy.SPLIT).read_text()


def test_default_ports_are_distinct_and_those_of_the_other_commands() -> None:
    ports = plan.ports(None, None)
    assert len(set(ports.values())) == len(ports)
    assert (ports["page"], ports["productpage admin"]) == (9080, 4191)
    assert (ports["destination"], ports["destination admin"]) == (8086, 9996)


def test_a_port_base_moves_everything_but_the_page() -> None:
    ports = plan.ports(page=None, base=30000)
    others = sorted(port for listener, port in ports.items() if listener != "page")
    assert others == list(range(30000, 30000 + len(others)))
    assert ports["page"] == 9080


def test_zero_takes_free_and_distinct_ports() -> None:
    ports = sockets.settle(plan.ports(page=0, base=0))
    assert 0 not in ports.values()
    assert len(set(ports.values())) == len(plan.DEFAULT_PORTS)


def test_a_taken_port_is_one_message_with_port_and_flag() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(sockets.PortTaken, match=rf"port {port} \(page\) is taken .* --page-port"):
            sockets.settle({"page": port})


def test_each_service_has_one_sidecar_and_productpage_calls_out_through_its_own(tmp_path: Path) -> None:
    programs = {program.name: program.argv for program in plan.programs(plan.DEFAULT_PORTS, tmp_path)}
    sidecars = {program for program in programs if program.endswith("sidecar")}
    assert sidecars == {f"{service} sidecar" for service in ("productpage", "details", "ratings", "reviews")}
    outbound = f"127.0.0.1:{plan.DEFAULT_PORTS['productpage outbound']}"
    assert programs["productpage"].count(outbound) == 2
    assert outbound in programs["productpage sidecar"]
    assert "127.0.0.1:9080=productpage" in programs["productpage sidecar"]


def test_the_destination_service_watches_an_absolute_path() -> None:
    (destination,) = [p for p in plan.programs(plan.DEFAULT_PORTS, Path("demo")) if p.name == "destination"]
    assert str(Path("demo").absolute()) in destination.argv
