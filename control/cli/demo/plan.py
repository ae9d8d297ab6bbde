"""Which processes the demo runs, and on which ports. Pure: ports and a folder in, command lines out."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"

# Name of a listener -> its port unless a flag says otherwise. 4191, 8086 and 9996 are the defaults of the proxy's and
# the destination service's own flags, so that `milliroute split show` and `split set` need none beside the demo.
# The ports of services.yaml are among these; working_copy.py puts other ones in their place where needed.
DEFAULT_PORTS: Mapping[str, int] = {
    "page": 9080,
    "destination": 8086,
    "destination admin": 9996,
    "productpage admin": 4191,
    "reviews admin": 4192,
    "details admin": 4193,
    "ratings admin": 4194,
    "productpage": 9181,
    "details": 9182,
    "ratings": 9183,
    "reviews-v1": 9184,
    "reviews-v2": 9185,
    "reviews-v3": 9186,
    "productpage outbound": 9187,
    "reviews outbound": 9188,
    "details inbound": 9189,
    "ratings inbound": 9190,
}

Ports = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Program:
    """One process: a name for people and for its log, and its command line."""

    name: str
    argv: tuple[str, ...]


def ports(page: int | None, base: int | None) -> Ports:
    """Lay out the ports: `page` for the page, `base` and up for all others; None keeps a default, 0 stays 0 (free)."""
    chosen = dict(DEFAULT_PORTS)
    if base is not None:
        others = [name for name in chosen if name != "page"]
        chosen |= {name: base + index if base else 0 for index, name in enumerate(others)}
    if page is not None:
        chosen["page"] = page
    return chosen


def programs(ports: Ports, folder: Path) -> list[Program]:
    """Every process of the demo, in the order of their start."""
    return [*_applications(ports), _destination(ports, folder), *_sidecars(ports)]


def _applications(ports: Ports) -> list[Program]:
    ratings = ("--ratings", f"{HOST}:{ports['reviews outbound']}")
    outbound = f"{HOST}:{ports['productpage outbound']}"
    return [
        _bookinfo("ratings", "ratings", ports),
        _bookinfo("details", "details", ports),
        *(_bookinfo(f"reviews-{version}", "reviews", ports, "--version", version, *ratings) for version in _VERSIONS),
        _bookinfo("productpage", "productpage", ports, "--details", outbound, "--reviews", outbound),
    ]


_VERSIONS = ("v1", "v2", "v3")


def _bookinfo(name: str, service: str, ports: Ports, *flags: str) -> Program:
    module = "milliroute.control.cli.bookinfo"
    return Program(name, (sys.executable, "-m", module, service, "--listen", f"{HOST}:{ports[name]}", *flags))


def _destination(ports: Ports, folder: Path) -> Program:
    # Absolute, so that `split set` finds the file that the service watches from whatever folder it is run in.
    listen = ("--listen", f"{HOST}:{ports['destination']}", "--admin", f"{HOST}:{ports['destination admin']}")
    return Program("destination", (*_MILLIROUTE, "control", "-f", str(folder.absolute()), *listen))


# The console script may not be on PATH, nor installed where this interpreter looks.
_MILLIROUTE = (sys.executable, "-c", "import sys; from milliroute.control.cli import main; sys.exit(main())")


def _sidecars(ports: Ports) -> list[Program]:
    return [
        _sidecar("ratings", ports, f"{HOST}:{ports['ratings inbound']}=ratings-app"),
        _sidecar("details", ports, f"{HOST}:{ports['details inbound']}=details-app"),
        _sidecar("reviews", ports, f"{HOST}:{ports['reviews outbound']}"),
        _sidecar(
            "productpage", ports, f"{HOST}:{ports['page']}=productpage", f"{HOST}:{ports['productpage outbound']}"
        ),
    ]


def _sidecar(service: str, ports: Ports, *listeners: str) -> Program:
    listen = [part for listener in listeners for part in ("--listen", listener)]
    admin = ("--admin", f"{HOST}:{ports[f'{service} admin']}", "--id", f"{service}-sidecar")
    destination = ("--destination", f"{HOST}:{ports['destination']}")
    return Program(
        f"{service} sidecar",
        (sys.executable, "-m", "milliroute.proxy", *destination, *listen, *admin, "--workers", "1"),
    )
