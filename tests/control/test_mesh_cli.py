"""inject, uninject, iptables, webhook and await as a person calls them."""

import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml

from tests import certificates

MAIN = [sys.executable, "-c", "from milliroute.control.cli import main; main()"]
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a}]}\n"


def milliroute(*args: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MAIN, *args], input=stdin, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **env}
    )


def test_stdin_is_read_without_a_file_and_stderr_says_what_was_done() -> None:
    done = milliroute("inject", stdin=POD)
    assert yaml.safe_load(done.stdout)["metadata"]["annotations"] == {"milliroute.io/inject": "enabled"}
    assert done.stderr == "milliroute: pod/a: annotated\n"
    assert milliroute("uninject", "-", stdin=done.stdout).stdout == POD


def test_several_files_and_folders_become_one_stream(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(POD)
    (tmp_path / "b.yml").write_text("---\n" + POD.removesuffix("\n"))
    (tmp_path / "c.txt").write_text("nothing of ours")
    (tmp_path / "d.json").write_text('{"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "x"}}')
    done = milliroute("inject", "--ingress", str(tmp_path))
    said = [thing["metadata"]["annotations"]["milliroute.io/inject"] for thing in yaml.safe_load_all(done.stdout)]
    assert said == ["ingress"] * 3


def test_what_the_operator_says_is_written_as_annotations_for_the_webhook() -> None:
    done = milliroute("inject", "--config", "skip-inbound-ports=25", "--classic", stdin=POD, MILLIROUTE_IMAGE="mine:1")
    assert yaml.safe_load(done.stdout)["metadata"]["annotations"] == {
        "milliroute.io/inject": "enabled",
        "config.milliroute.io/skip-inbound-ports": "25",
        "config.milliroute.io/proxy-enable-native-sidecar": "false",
        "config.milliroute.io/proxy-image": "mine:1",
    }


def test_manual_writes_the_proxy_with_what_the_operator_says() -> None:
    done = milliroute("inject", "--manual", "--image", "mine:1", "--destination", "c:1", stdin=POD)
    rules, proxy = yaml.safe_load(done.stdout)["spec"]["initContainers"]
    assert rules["image"] == proxy["image"] == "mine:1"
    assert "c:1" in proxy["args"]


def test_the_proxy_understands_the_flags_that_it_is_given() -> None:
    from milliroute.proxy.__main__ import parse

    done = milliroute("inject", "--manual", "--ingress", "--config", "opaque-ports=25,9000-9010",
                      "--config", "shutdown-grace-period=30", stdin=POD)  # fmt: skip
    args = yaml.safe_load(done.stdout)["spec"]["initContainers"][1]["args"]
    assert args[0] == "proxy"
    labels = [arg if arg != "/etc/milliroute/pod/labels" else "app=a" for arg in args[1:]]
    config = parse(labels, {"MILLIROUTE_POD": "a", "MILLIROUTE_NAMESPACE": "shop", "MILLIROUTE_ID": "a.shop"}).config
    assert (config.proxy_id, config.namespace, config.grace_s) == ("a.shop", "shop", 30.0)


def test_the_init_container_understands_the_flags_that_it_is_given() -> None:
    done = milliroute("inject", "--manual", "--config", "skip-subnets=10.0.0.0/8,fd00::/8", "--config", "proxy-gid=7",
                      stdin=POD)  # fmt: skip
    args = yaml.safe_load(done.stdout)["spec"]["initContainers"][0]["args"]
    printed = milliroute(*args, "--simulate")
    assert printed.returncode == 0
    assert "--gid-owner 7" in printed.stdout
    assert "-s 10.0.0.0/8" in printed.stdout


@pytest.mark.parametrize(
    ("stdin", "said"),
    [
        ("a: [", "-:2:1: YAML syntax: "),
        ("a: 1\na: 2\n", "-:2:1: duplicate key"),
        (POD.replace("e: a}", "e: a, annotations: {milliroute.io/inject: maybe}}", 1), "-:1:1: pod/a: bad milliroute"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_named_by_line_and_nothing_is_printed(stdin: str, said: str) -> None:
    done = milliroute("inject", stdin=stdin)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"milliroute: {said}")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["inject", "--config", "proxy-uid"],
        ["inject", "--config", "proxy-uid=x"],
        ["inject", "--config", "nonsense=1"],
        ["iptables", "--proxy-uid", "-1"],
        ["iptables", "--inbound-ports-to-ignore", "0"],
        ["iptables", "--firewall-mode", "none"],
        ["webhook"],
        ["await", "--admin", "x"],
    ],
)
def test_wrong_usage_exits_with_2(args: list[str]) -> None:
    done = milliroute(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["inject", "/nonexistent"],
        ["webhook", "--tls-cert", "/nonexistent", "--tls-key", "/nonexistent"],
        ["await", "--admin", "127.0.0.9:9", "--timeout", "0"],
    ],
)
def test_a_failure_exits_with_1_and_one_line(args: list[str]) -> None:
    done = milliroute(*args)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_await_returns_when_the_proxy_is_ready() -> None:
    answers = iter([503, 503, 200])

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(next(answers) if self.path == "/ready" else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        done = milliroute("await", "--admin", f"127.0.0.1:{server.server_port}", "--timeout", "30")
        server.shutdown()
        thread.join()
    assert (done.returncode, done.stderr) == (0, "")
    assert next(answers, None) is None


@pytest.mark.slow
def test_the_webhook_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    authority = certificates.authority(tmp_path)
    files = authority.server("localhost")
    args = [
        "webhook",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--tls-cert",
        files.cert,
        "--tls-key",
        files.key,
    ]
    with subprocess.Popen([*MAIN, *args], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port, admin = re.findall(r"127\.0\.0\.1:(\d+)", process.stderr.readline())
        context = ssl.create_default_context(cafile=str(authority.ca))
        with urlopen(f"https://localhost:{port}/ready", context=context, timeout=60) as answer:
            assert answer.read() == b"ok\n"
        with urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=60) as answer:
            assert b"milliroute_webhook_reviews_total" in answer.read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
