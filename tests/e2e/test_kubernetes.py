"""`milliroute control --kubernetes` as processes: the order of a change, replicas that die, files beside a cluster."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from milliroute.control.cli.proxies import ProxyPage
from tests.e2e import kube_latency, kube_stand, traffic
from tests.e2e.kube_stand import LEAVES, Front
from tests.e2e.stand import MILLIROUTE, Process, eventually, get, get_json, sequence, stand
from tests.kube.standin import Standin

pytestmark = pytest.mark.slow

LEASE = ("coordination.k8s.io/v1", "Lease", "milliroute-control", "default")


def holder(api: Standin) -> str:
    try:
        return str(api.get(*LEASE)["spec"].get("holderIdentity", ""))
    except Exception:  # not made yet; the stand-in says so in its own way
        return ""


def reasons(api: Standin) -> list[str]:
    return sorted(event["reason"] for event in api.all("v1", "Event"))


def applied(port: int) -> list[str]:
    """The weights that the proxy says it routes by."""
    page = msgspec.convert(get_json(port, "/splits"), ProxyPage)
    [authority] = page.authorities
    return [leaf.weight for leaf in authority.splits[0].leaves]


def test_every_answer_is_by_the_old_weights_until_the_first_by_the_new_and_none_fails(tmp_path: Path) -> None:
    changes = kube_latency.run(tmp_path, 30)
    before = LEAVES[0]
    for change in changes:
        *old, (_, done_ns, leaf) = change.answers
        assert leaf == change.leaf
        assert {leaf for _, _, leaf in old} <= {before}
        assert done_ns > change.changed_ns
        before = change.leaf


def test_of_two_replicas_one_is_killed_and_no_request_and_no_change_is_lost(tmp_path: Path) -> None:
    with stand(tmp_path) as here:
        ports = here.backends(*LEAVES)
        with kube_stand.cluster(*kube_stand.objects(ports)) as api:
            replicas = [kube_stand.control(here, api.kubeconfig(tmp_path / name)) for name in ("one", "two")]
            front = Front(*(replica.port("grpc") for replica in replicas))
            proxy = kube_stand.proxy(here, front.address)
            with here.load(proxy.port("proxy"), 4) as load:
                for number in range(20):
                    kube_stand.set_weights(api, f"{number + 1}m", "1")
                    if number == 10:
                        replicas[0].signal(signal.SIGKILL)
                    time.sleep(0.05)
                eventually(lambda: applied(proxy.port("admin")) == ["20m", "1"], "the last weights")
                kube_stand.set_weights(api, "0", "1")
                eventually(lambda: applied(proxy.port("admin")) == ["0", "1"], "weights by the replica that is left")
                assert set(sequence(proxy.port("proxy"), 30)) == {LEAVES[1]}
            front.close()
    records = traffic.read(load.file)
    assert len(records) > 100
    assert [record for record in records if record.status != 200] == []


def test_the_replica_that_stops_lets_the_other_one_lead_and_objects_are_told(tmp_path: Path) -> None:
    with stand(tmp_path) as here, kube_stand.cluster(*kube_stand.objects((1, 2))) as api:
        first = kube_stand.control(here, api.kubeconfig(tmp_path / "one"))
        leader = eventually(lambda: holder(api), "a leader")
        eventually(lambda: reasons(api) == ["Accepted"], "an event")
        second = kube_stand.control(here, api.kubeconfig(tmp_path / "two"))
        first.stop()
        eventually(lambda: holder(api) not in ("", leader), "another leader")
        kube_stand.set_weights(api, "-1", "1")
        eventually(lambda: reasons(api) == ["Accepted", "Invalid"], "the other event")
        page = get_json(second.port("control-admin"), "/splits")
        [broken] = [source for source in page["sources"] if source["state"] == "broken"]  # type: ignore[attr-defined]
        assert broken["path"] == "kubernetes trafficsplits.split.smi-spec.io"
        assert broken["errors"][0].startswith("TrafficSplit default/reviews: weight: negative quantity (saw '-1'")


def test_a_file_beside_the_cluster_sends_a_leaf_elsewhere(tmp_path: Path) -> None:
    with stand(tmp_path) as here:
        [desk] = here.backends("desk")
        ports = here.backends(*LEAVES)
        with kube_stand.cluster(*kube_stand.objects(ports, "0", "1")) as api:
            control = here.milliroute(
                "control", "--kubernetes", "--kubeconfig", str(api.kubeconfig(tmp_path / "kube")),
                "--backend", f"reviews-v2=127.0.0.1:{desk}", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
            )  # fmt: skip
            proxy = kube_stand.proxy(here, control.address("grpc"))
            assert set(sequence(proxy.port("proxy"), 5)) == {"desk"}


def test_a_replica_that_could_not_list_everything_is_not_ready_and_becomes_so(tmp_path: Path) -> None:
    with stand(tmp_path) as here, kube_stand.cluster(*kube_stand.objects((1, 2))) as api:
        api.refuse("services", "list", 500)
        control = here.milliroute(
            "control", "--kubernetes", "--kubeconfig", str(api.kubeconfig(tmp_path / "kube")),
            "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
        )  # fmt: skip
        admin = control.port("control-admin")
        assert get(admin, "/ready")[0] == 503
        assert get(admin, "/live")[0] == 200
        api.allow("services", "list")
        eventually(lambda: get(admin, "/ready")[0] == 200, "readiness")
        control.address("grpc")


def test_a_start_that_waits_for_the_cluster_can_be_stopped(tmp_path: Path) -> None:
    with stand(tmp_path) as here, kube_stand.cluster() as api:
        api.blackhole()
        control = here.milliroute(
            "control", "--kubernetes", "--kubeconfig", str(api.kubeconfig(tmp_path / "kube")),
            "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
        )  # fmt: skip
        control.port("control-admin")
        control.signal(signal.SIGTERM)
        assert control.wait() == 0
        assert not any("Traceback" in line for line in control.lines)
        api.resume()


def refused(here: Callable[..., Process], *arguments: str) -> tuple[int, str]:
    process = here(MILLIROUTE, "control", *arguments)
    code = process.wait()
    process.stop()
    return code, process.lines[-1]


def test_what_is_no_configuration_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("clusters: [")
    (tmp_path / "empty").write_text("{}")
    with stand(tmp_path) as here:
        for arguments, wanted in (
            (("--kubernetes", "--kubeconfig", str(tmp_path / "none")), "not found"),
            (("--kubernetes", "--kubeconfig", str(tmp_path / "bad")), "while parsing"),
            (("--kubernetes", "--kubeconfig", str(tmp_path / "empty")), "clusters is missing"),
            (("--kubeconfig", "x"), "--kubeconfig: saw it without --kubernetes"),
        ):
            code, line = refused(here.start, *arguments)
            assert (code, wanted in line) == (2, True), line


def test_the_service_without_a_cluster_imports_nothing_of_one() -> None:
    code = "import sys, milliroute.control.server; print(*(m for m in sys.modules if 'lightkube' in m or 'httpx' in m))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
