"""The working copy of the demo's YAML: the split is the user's, the endpoints are written anew at each start.

The checkout (or the installed package) is only read. `split.yaml` is copied when there is none, so an edited one
survives a restart; `services.yaml` carries the ports of this run.
"""

import re
import shutil
from pathlib import Path

import milliroute.control
from milliroute.control.cli.demo.plan import DEFAULT_PORTS, Ports

SPLIT = "split.yaml"
SERVICES = "services.yaml"


def shipped() -> Path:
    """Where the YAML that comes with this package is: beside control/, in a checkout and in a wheel alike."""
    return Path(milliroute.control.__file__).parents[1] / "deploy" / "demo"


def prepare(folder: Path, ports: Ports, *, is_fresh: bool) -> bool:
    """Write the working copy; True when an older split.yaml was kept. `is_fresh` replaces that too. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    is_kept = (folder / SPLIT).exists() and not is_fresh
    if not is_kept:
        shutil.copyfile(shipped() / SPLIT, folder / SPLIT)
    services = (shipped() / SERVICES).read_text(encoding="utf-8")
    (folder / SERVICES).write_text(with_ports(services, ports), encoding="utf-8")
    return is_kept


def with_ports(services: str, ports: Ports) -> str:
    """Put the ports of this run in the place of the default ones; a Service's own port stays."""
    moved = {port: ports[name] for name, port in DEFAULT_PORTS.items() if name != "page"}
    return re.sub(r"(?<=\bport: )\d+", lambda found: str(moved.get(int(found[0]), found[0])), services)
