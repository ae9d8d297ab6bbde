"""Every peer is told the same split over the same backends; milliroute is started as docs/operating.md says."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import peers
from benchmarks.machine import Cores
from benchmarks.peers import envoy, haproxy, nginx
from benchmarks.peers.milliroute import Milliroute
from benchmarks.process import StartError

# Says and does what the two programs do as far as a peer can see; the proxy answers every request itself.
STAND_IN = """\
#!{python}
import http.server, sys, time
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
print("words:", *sys.argv[1:], file=sys.stderr, flush=True)
if sys.argv[1] == "control":
    print("milliroute: listening grpc 127.0.0.1:4\\nmilliroute: listening control-admin 127.0.0.1:5", file=sys.stderr)
    sys.stderr.flush()
    time.sleep(60)
server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
print(f"milliroute: listening proxy 127.0.0.1:{{server.server_port}}=apex", file=sys.stderr)
print("milliroute: listening proxy 127.0.0.1:6=apex-h2", file=sys.stderr, flush=True)
server.serve_forever()
"""


H1, H2 = peers.Backends(8001, 8002), peers.Backends(8003, 8004)


def lab(folder: Path) -> peers.Lab:
    """Nothing is pinned."""
    return peers.Lab(folder, H1, H2, Cores(frozenset(), frozenset()))


def program(folder: Path, text: str) -> str:
    """An executable script."""
    path = folder / "stand-in"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_names_are_unique_and_everyone_says_how_to_install_it() -> None:
    assert [peer.name for peer in peers.ALL] == [
        "milliroute", "guarded", "envoy", "haproxy", "nginx", "grpc-aio", "splice", "direct",
    ]  # fmt: skip
    assert all(peer.how_to_install() for peer in peers.ALL)


def test_envoy_splits_900_to_100_over_both_backends() -> None:
    text = json.dumps(envoy.config(8000, H1, 9000, H2))
    assert '[{"name": "stable", "weight": 900}, {"name": "canary", "weight": 100}]' in text
    assert '[{"name": "stable_h2", "weight": 900}, {"name": "canary_h2", "weight": 100}]' in text
    assert [f'"port_value": {port}' in text for port in (8000, 9000, 8001, 8002, 8003, 8004)] == [True] * 6
    assert text.count("http2_protocol_options") == 2


def test_haproxy_and_nginx_split_nine_to_one_over_both_backends(tmp_path: Path) -> None:
    told = haproxy.config(8000, H1, 9000, H2)
    assert "127.0.0.1:8001 weight 225\n" in told
    assert "127.0.0.1:8002 weight 25\n" in told
    assert "127.0.0.1:8003 weight 225 proto h2\n" in told
    assert "127.0.0.1:8004 weight 25 proto h2\n" in told
    assert "127.0.0.1:8001 weight=900;" in nginx.config(8000, H1, tmp_path)
    assert "127.0.0.1:8002 weight=100;" in nginx.config(8000, H1, tmp_path)


@pytest.mark.slow
def test_milliroute_is_measured_without_its_control_service(tmp_path: Path) -> None:
    running = Milliroute().start(program(tmp_path, STAND_IN.format(python=sys.executable)), lab(tmp_path))
    control, proxy = running.started
    try:
        told = control.log.read_text()
        assert "--backend stable=127.0.0.1:8001 --backend canary=127.0.0.1:8002" in told
        assert "--backend stable-h2=127.0.0.1:8003 --backend canary-h2=127.0.0.1:8004" in told
        assert "proxy --destination 127.0.0.1:4 --listen 127.0.0.1:0=apex" in proxy.log.read_text()
        assert (running.ports["h2"], running.ports["grpc"]) == (6, 6)
        assert running.pids() == proxy.pids()
    finally:
        running.stop()
    assert control.pids() == proxy.pids() == ()


def test_program_that_ends_at_once_is_a_start_error_with_its_last_words(tmp_path: Path) -> None:
    broken = program(tmp_path, "#!/bin/sh\necho no such verb >&2\nexit 3\n")
    with pytest.raises(StartError, match="ended with status 3: no such verb"):
        Milliroute().start(broken, lab(tmp_path))
