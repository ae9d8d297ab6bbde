"""Lists of ports and networks as flags and annotations write them: "25,587,4567-4568", "10.0.0.0/8,fd00::/8"."""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from milliroute.control.errors import ValueTextError

WANT = "ports such as 25,587,4567-4568"


@dataclass(frozen=True, slots=True)
class Ports:
    """Both ends belong to it."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def parse(text: str, named: Mapping[str, int] | None = None) -> tuple[Ports, ...]:
    """`named`: what names stand for, such as a pod's container ports. Raises ValueTextError."""
    return tuple(_ports(part.strip(), named or {}) for part in text.split(",") if part.strip())


def one(text: str) -> int:
    """Raises ValueTextError."""
    number = _number(text)
    if number is None:
        raise ValueTextError("bad port", text, "a number from 1 to 65535")
    return number


def networks(text: str) -> tuple[str, ...]:
    """Addresses become networks of one; host bits are refused. Raises ValueTextError."""
    return tuple(_network(part.strip()) for part in text.split(",") if part.strip())


def written(ports: Sequence[Ports]) -> str:
    return ",".join(str(part) for part in ports)


def _ports(text: str, named: Mapping[str, int]) -> Ports:
    if text in named:
        return Ports(named[text], named[text])
    first, dash, last = text.partition("-")
    low, high = _number(first), _number(last if dash else first)
    if low is None or high is None or high < low:
        raise ValueTextError("bad port", text, WANT)
    return Ports(low, high)


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        return None
    return int(text) if 1 <= int(text) <= 65_535 else None


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueTextError(f"bad network: {error}", text, "a CIDR such as 10.0.0.0/8") from None


def of_family(cidrs: Sequence[str], version: int) -> Iterator[str]:
    """Those of IPv4 or of IPv6."""
    return (cidr for cidr in cidrs if ipaddress.ip_network(cidr).version == version)
