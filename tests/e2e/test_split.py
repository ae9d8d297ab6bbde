"""The main job, with real processes and sockets: a TrafficSplit file steers live traffic, exactly."""

from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.stand import backend_flags, eventually, get, get_json, is_ready, sequence, stand, write_split


@pytest.mark.parametrize("codec", ["fast", "reference"])
def test_the_manifest_of_the_tutorials_splits_exactly(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here:
        ports = here.backends("reviews-v1", "reviews-v2")
        run = here.milliroute(
            "run", "-f", str(write_split(tmp_path)), *backend_flags(ports), "--listen", "127.0.0.1:0=reviews",
            "--admin", "127.0.0.1:0", "--control-admin", "127.0.0.1:0", "--codec", codec,
        )  # fmt: skip
        admin = run.port("admin")
        eventually(lambda: is_ready(admin), "readiness")
        bodies = sequence(run.port("proxy"), 1000)
        assert Counter(bodies) == {"reviews-v1": 900, "reviews-v2": 100}
        for start in range(len(bodies) - 9):
            assert bodies[start : start + 10].count("reviews-v2") == 1


def test_saving_the_file_moves_the_next_requests(tmp_path: Path) -> None:
    with stand(tmp_path) as here:
        ports = here.backends("reviews-v1", "reviews-v2")
        run = here.milliroute(
            "run", "-f", str(write_split(tmp_path, "1", "0")), *backend_flags(ports), "--listen",
            "127.0.0.1:0=reviews", "--admin", "127.0.0.1:0", "--control-admin", "127.0.0.1:0",
        )  # fmt: skip
        admin = run.port("admin")
        eventually(lambda: is_ready(admin), "readiness")
        assert set(sequence(run.port("proxy"), 50)) == {"reviews-v1"}
        write_split(tmp_path, "0", "1")
        eventually(lambda: sequence(run.port("proxy"), 1) == ["reviews-v2"], "the new weights")
        assert set(sequence(run.port("proxy"), 50)) == {"reviews-v2"}


def test_a_listener_without_an_apex_routes_by_host_and_answers_404_for_strangers(tmp_path: Path) -> None:
    with stand(tmp_path) as here:
        ports = here.backends("reviews-v1", "reviews-v2")
        run = here.milliroute(
            "run", "-f", str(write_split(tmp_path, "0", "1")), *backend_flags(ports), "--listen", "127.0.0.1:0",
            "--admin", "127.0.0.1:0", "--control-admin", "127.0.0.1:0",
        )  # fmt: skip
        admin, port = run.port("admin"), run.port("proxy")
        eventually(lambda: is_ready(admin), "readiness")
        for name in ("reviews", "reviews.default", "reviews.default.svc.cluster.local", "REVIEWS.default.svc:8080"):
            assert get(port, "/", {"Host": name}) == (200, "reviews-v2"), name
        assert get(port, "/", {"Host": "reviews-v1"}) == (200, "reviews-v1")
        assert get(port, "/", {"Host": "nobody"})[0] == 404


def test_a_broken_file_keeps_the_last_good_version_and_says_where(tmp_path: Path) -> None:
    with stand(tmp_path) as here:
        ports = here.backends("reviews-v1", "reviews-v2")
        path = write_split(tmp_path, "0", "1")
        run = here.milliroute(
            "run", "-f", str(path), *backend_flags(ports), "--listen", "127.0.0.1:0=reviews", "--admin",
            "127.0.0.1:0", "--control-admin", "127.0.0.1:0",
        )  # fmt: skip
        admin, control = run.port("admin"), run.port("control-admin")
        eventually(lambda: is_ready(admin), "readiness")
        write_split(tmp_path, "-1", "lots")

        def broken() -> object:
            source = get_json(control, "/splits")["sources"][0]  # type: ignore[index]  # JSON
            return source["errors"] if source["state"] == "broken" else None

        errors = eventually(broken, "the broken file in /splits")
        assert str(errors).count("split.yaml:") == 2
        assert f"{path}:9:13" in str(errors)
        assert f"{path}:11:13" in str(errors)
        assert any("split.yaml:9:13" in line for line in run.lines)
        assert 'milliroute_control_source_broken{path="' in get(control, "/metrics")[1]
        assert set(sequence(run.port("proxy"), 20)) == {"reviews-v2"}
        write_split(tmp_path, "1", "0")
        eventually(lambda: sequence(run.port("proxy"), 1) == ["reviews-v1"], "the mended file")


def test_a_taken_port_is_one_clear_line_and_exit_code_1(tmp_path: Path) -> None:
    with stand(tmp_path) as here:
        (taken,) = here.backends("somebody")
        run = here.milliroute(
            "run", "-f", str(write_split(tmp_path)), "--listen", f"127.0.0.1:{taken}=reviews", "--admin",
            "127.0.0.1:0", "--control-admin", "127.0.0.1:0",
        )  # fmt: skip
        assert run.wait() == 1
        eventually(lambda: any(f"cannot listen on 127.0.0.1:{taken}" in line for line in run.lines), "the message")
        assert not any("Traceback" in line for line in run.lines)


def test_counters_agree_with_what_was_sent(tmp_path: Path) -> None:
    with stand(tmp_path) as here:
        ports = here.backends("reviews-v1", "reviews-v2")
        run = here.milliroute(
            "run", "-f", str(write_split(tmp_path)), *backend_flags(ports), "--listen", "127.0.0.1:0=reviews",
            "--admin", "127.0.0.1:0", "--control-admin", "127.0.0.1:0", "--workers", "2",
        )  # fmt: skip
        admin = run.port("admin")
        eventually(lambda: is_ready(admin), "readiness")
        for _ in range(10):
            sequence(run.port("proxy"), 40)

        def total() -> object:
            lines = get(admin, "/metrics")[1].splitlines()
            values = [float(line.rpartition(" ")[2]) for line in lines if line.startswith("response_total{")]
            return sum(values) == 400

        eventually(total, "400 responses in /metrics")
