"""What a sidecar is told: its flags, a pod's labels as the downward API writes them, and SO_ORIGINAL_DST."""

import ipaddress
import os
import socket
import struct
import tempfile

import msgspec

from milliroute.proxy.__main__ import parse
from milliroute.proxy.config import ProxyConfig
from milliroute.proxy.errors import ConfigError
from milliroute.proxy.sidecar.original import original_destination
from tests.fuzz.target import Target, check_said

# Flags before it, one a line; the file of labels behind it.
_LABELS = b"\n\n"


def _flags(data: bytes) -> None:
    """Flags by the command line or by the environment: a config that a worker is told as it is, or one line."""
    words, _, labels = data.partition(_LABELS)
    lines = words.decode("utf-8", "surrogateescape").split("\n")
    environ = dict(pair for line in lines if (pair := line.partition("=")[::2])[0].startswith("MILLIROUTE_"))
    argv = [line for line in lines if not line.startswith("MILLIROUTE_")]
    if any(word in ("-h", "--help") for word in argv) or _names_a_file([*lines, *environ.values()]):
        return
    with tempfile.NamedTemporaryFile(dir=_memory()) as file:
        file.write(labels)
        file.flush()
        more = [f"--pod-labels={file.name}"] if labels else []
        try:
            config = parse(["--destination=127.0.0.1:1", *argv, *more], environ).config
        except ConfigError as error:
            check_said(error)
            return
    _check_config(config)


def _memory() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def _names_a_file(words: list[str]) -> bool:
    """Whatever file of this machine that were, /dev/zero for one."""
    return any(word.rpartition("=")[2].startswith(("/", "./")) for word in words)


def _check_config(config: ProxyConfig) -> None:
    assert config.listeners
    for listener in config.listeners:
        assert 0 <= listener.address.port <= 65535
    if config.sidecar is not None:
        assert all(1 <= port <= 65535 for port in config.sidecar.opaque_ports)
        assert 0 <= config.sidecar.detect_s <= 86_400
        assert all(name and name == name.strip() for name, _ in config.sidecar.labels)
    assert msgspec.json.decode(msgspec.json.encode(config), type=ProxyConfig) == config


class _Socket:
    def __init__(self, family: int, answer: bytes) -> None:
        self.family = family
        self._answer = answer

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
        return self._answer[:buflen]

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 4140


def _original(data: bytes) -> None:
    """The kernel's bytes for either family, whole or cut: an address of that family that is written as it is read."""
    for family, size, at in ((socket.AF_INET, 16, 4), (socket.AF_INET6, 28, 8)):
        found = original_destination(_Socket(family, data))
        assert (found is None) == (len(data) < size)
        if found is None:
            continue
        address = ipaddress.ip_address(found.host)
        assert address.packed == data[at : at + len(address.packed)]
        assert found.port == int.from_bytes(data[2:4], "big")
        host, _, port = str(found).rpartition(":")
        assert (ipaddress.ip_address(host.strip("[]")), int(port)) == (address, found.port)


def _addresses() -> list[bytes]:
    """As the kernel writes a sockaddr_in and a sockaddr_in6."""
    v4 = [("10.96.0.7", 80), ("0.0.0.0", 0), ("255.255.255.255", 65535)]
    v6 = [("fd96::7", 8080), ("::ffff:10.0.0.1", 80), ("::", 1)]
    begin_v4, begin_v6 = struct.pack("=H", socket.AF_INET), struct.pack("=H", socket.AF_INET6)
    found = [begin_v4 + struct.pack("!H4s8x", port, socket.inet_pton(socket.AF_INET, host)) for host, port in v4]
    found += [
        begin_v6 + struct.pack("!HI16sI", port, 5, socket.inet_pton(socket.AF_INET6, host), 2) for host, port in v6
    ]
    return [*found, b""]


_FLAGS = (
    b"--outbound\n4140\n--inbound\n4143\n--opaque-ports\n3306,9000-9010\n--detect-timeout-s=2.5\n--ingress-mode",
    b"--outbound=[::1]:4140\n--inbound-default-policy=deny\n--workload\nweb\n--pod=web-0\n--pod-labels\napp=web,v=1",
    b'--inbound=4143\n--stall-timeout-s=5\n--max-connections=7\n--grace-s=1e1\n\napp="web"\nkubernetes.io/x="a b"\n',
    b"MILLIROUTE_OUTBOUND=4140\nMILLIROUTE_OPAQUE_PORTS=80\nMILLIROUTE_POD_LABELS=a=b\nMILLIROUTE_INGRESS_MODE=true",
    b"--listen=:80\n--trust-forwarded=10.0.0.0/8\n--via=x\n--workers=2\n--codec=reference",
    b'--inbound=4143\n--outbound=4143\n--admin=[::]:4191\n\na="\\u00e9"\n',
)

TARGETS = (
    Target(
        "sidecar-flags",
        lambda: list(_FLAGS),
        _flags,
        (b"--outbound\n", b"--inbound=", b"--opaque-ports=", b"--pod-labels=", b"--detect-timeout-s=", b"1-65535", b",",
         b"=", b"[", b"]:", b"nan", b"inf", b"1e9", b"true", b"false", b"\xd9\xa5", b'"', b"\\", b"\xed\xb2\x80"),
    ),
    Target("original-address", _addresses, _original, (b"\0", b"\xff\xff", b"\x02\0", b"\x0a\0")),
)  # fmt: skip
