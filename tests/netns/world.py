"""Network namespaces that stand for pods on one node, joined by a bridge, and processes inside them.

Names are of this run alone. Nothing is changed in the namespace of the caller, and everything goes when the `with`
block ends, however it ends: processes first, then the namespaces, and with them their links and rules.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.e2e.stand import MILLIROUTE, Process, Stand

PROXY_UID = 2102
NOBODY = 65534
TOOLS = ("ip", "iptables-nft-restore", "ip6tables-nft-restore", "setpriv", "unshare", "curl")
# Every pod is PREFIX + its number.
PREFIX_V4, PREFIX_V6 = "10.77.0.", "fd77::"
COMMAND_TIMEOUT_S = 30
# Where the tests run as root, the interpreter may be in root's home. Of all that root may do, only to read files.
_MAY_READ = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")


def why_not() -> str:
    """Why there is to be no world here. Raises where there is to be one and cannot: a skip would look like success."""
    if not os.environ.get("NETNS_TESTS"):
        return "network namespaces are for `make netns`"
    if missing := _missing():
        raise RuntimeError(f"make netns: {missing}")
    return ""


def _missing() -> str:
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        return f"no {', '.join(missing)} here"
    probe = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return f"no network namespaces here: {probe.stderr.strip()}" if probe.returncode else ""


class Pod:
    """A network namespace with one address of each family."""

    def __init__(self, world: "World", name: str, number: int) -> None:
        self.namespace = f"{world.prefix}-{name}"
        self.name = name
        self.v4, self.v6 = f"{PREFIX_V4}{number}", f"{PREFIX_V6}{number:x}"
        self._stand = world.stand

    def start(self, *command: str, uid: int = NOBODY, **environment: str) -> Process:
        return self._stand.start(*self._inside(command, uid), **environment)

    def python(self, module: str, *arguments: str, uid: int = NOBODY) -> Process:
        return self.start(sys.executable, "-m", module, *arguments, uid=uid)

    def run(self, *command: str, uid: int = NOBODY, stdin: str = "", check: bool = True) -> str:
        """What it wrote; fails the test when it fails, unless told otherwise."""
        done = subprocess.run(
            self._inside(command, uid),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        assert not (check and done.returncode), f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def client(self, *arguments: str, uid: int = NOBODY) -> str:
        return self.run(sys.executable, "-m", "tests.netns.client", *arguments, uid=uid).strip()

    def catch(self, *flags: str) -> None:
        """The rules of `milliroute iptables` in force."""
        self.run(MILLIROUTE, "iptables", *flags, uid=0)

    def sidecar(self, destination: str, *flags: str) -> Process:
        command = (MILLIROUTE, "proxy", "--destination", destination, "--outbound", "4140", "--inbound", "4143")
        proxy = self.start(*command, "--admin", ":4191", "--pod", self.name, *flags, uid=PROXY_UID)
        proxy.address("inbound")
        return proxy

    def metrics(self, number: str, **labels: str) -> float:
        """The sum of the series of this name with these labels, as the sidecar shows them now."""
        total = 0.0
        for line in self.run("curl", "-sS", f"http://{self.v4}:4191/metrics", uid=PROXY_UID).splitlines():
            name, _, rest = line.partition("{")
            if name == number and all(f'{key}="{value}"' in rest for key, value in labels.items()):
                total += float(line.rpartition(" ")[2])
        return total

    def _inside(self, command: tuple[str, ...], uid: int) -> list[str]:
        as_uid = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *_MAY_READ, "--"] if uid else []
        return ["ip", "netns", "exec", self.namespace, *as_uid, *command]


class World:
    def __init__(self, stand: Stand) -> None:
        self.prefix = f"mr{os.getpid()}-{secrets.token_hex(2)}"
        self.stand = stand
        self._switch = f"{self.prefix}-switch"
        self._namespaces: list[str] = []
        self._add(self._switch)
        _ip("-n", self._switch, "link", "add", "br0", "type", "bridge")
        self._address(self._switch, "br0", 1)

    def pod(self, name: str, number: int) -> Pod:
        """On the bridge, with a default route, so that addresses which nobody has can be dialled."""
        pod = Pod(self, name, number)
        self._add(pod.namespace)
        port = f"p{number}"
        _ip("link", "add", port, "netns", self._switch, "type", "veth", "peer", "name", "eth0", "netns", pod.namespace)
        _ip("-n", self._switch, "link", "set", port, "master", "br0", "up")
        self._address(pod.namespace, "eth0", number)
        _ip("-n", pod.namespace, "route", "add", "default", "via", f"{PREFIX_V4}1")
        _ip("-n", pod.namespace, "-6", "route", "add", "default", "via", f"{PREFIX_V6}1")
        return pod

    def close(self) -> None:
        self.stand.stop()
        for namespace in reversed(self._namespaces):
            # All are tried: one that is gone already must not leave the others behind.
            with suppress(subprocess.SubprocessError):
                _ip("netns", "delete", namespace)

    def _add(self, namespace: str) -> None:
        _ip("netns", "add", namespace)
        self._namespaces.append(namespace)
        _ip("-n", namespace, "link", "set", "lo", "up")

    def _address(self, namespace: str, link: str, number: int) -> None:
        _ip("-n", namespace, "address", "add", f"{PREFIX_V4}{number}/24", "dev", link)
        # Without duplicate address detection, which takes a second.
        _ip("-n", namespace, "address", "add", f"{PREFIX_V6}{number:x}/64", "dev", link, "nodad")
        _ip("-n", namespace, "link", "set", link, "up")


@contextmanager
def world(folder: Path) -> Iterator[World]:
    stand = Stand(folder)
    made = World(stand)
    try:
        yield made
    finally:
        made.close()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
