"""What backends are told of where a request comes from: x-forwarded-*, Forwarded, Via. Pure.

Loaded only where it is turned on; else these fields pass as they came, because a sidecar must not change what the
application's logs and traces see. In comes a request's head, and it is changed in place. The rule not to break: of a
client that is not trusted no word about clients goes on, in whatever spelling. `l5d-*` is not handled here: orders to
the proxy are never taken from a client (codec.rules).
"""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

from milliroute.proxy.codec.hpack_static import Field
from milliroute.proxy.codec.rules import SAID, is_about_clients
from milliroute.proxy.config import Forwarding
from milliroute.proxy.errors import ConfigError, LoopDetected
from milliroute.proxy.message import Fields, RequestHead

# A chain of splits may lead through one proxy more than once in good order, but not so often.
MAX_PASSES = 4
# Proxies of any name; longer chains are loops through somebody who does not look.
MAX_HOPS = 32
# Addresses of which it is remembered whether they are trusted.
_KEPT_ADDRESSES = 1024

_FOR, _PROTO, _HOST = b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"
_FORWARDED, _VIA = b"forwarded", b"via"
# Of a trusted client: they come back with an entry more.
_GROWING = frozenset((_FOR, _FORWARDED))
# The fields of an HTTP/1 head that say something: few, and a list of all would be 7 us.
_find_said = re.compile(rb"\r\n(?=[fvx])(?=%b)([^:]*):([^\r]*)" % b"|".join(sorted(SAID)), re.IGNORECASE).findall

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Forwarder:
    """kept: of forwarding_h2, what changes in heads that were seen before."""

    __slots__ = ("_networks", "is_on", "is_trusted", "kept", "via")

    def __init__(self, config: Forwarding) -> None:
        """Raises ConfigError for a network that is none."""
        self.is_on = config.is_on
        self.via = config.via.lower().encode()
        self._networks = [parse_network(text) for text in config.trusted]
        self.is_trusted = lru_cache(_KEPT_ADDRESSES)(self._look_up)
        self.kept: dict[tuple[object, ...], tuple[tuple[int, ...], list[Field]]] = {}

    def rewrite(self, head: RequestHead, client_ip: str, *, is_https: bool) -> None:
        """Once per request, before it is routed. Raises LoopDetected."""
        fields = head.fields() if head.is_h2 else _said_in(head.wire)
        head.alter(*self.change(fields, head, client_ip, is_https))

    def change(
        self, fields: Fields, head: RequestHead, client_ip: str, is_https: bool
    ) -> tuple[frozenset[bytes], Fields]:
        """What to drop and what to say instead. fields: of the head, all those at least that are about clients or hops.
        It depends on these, on the host and the version of the head and on nothing else of it. Raises LoopDetected."""
        more: Fields = []
        drop: frozenset[bytes] = frozenset()
        if self.via:
            self._check_loop(fields)
            more.append((_VIA, (b"2 " if head.is_h2 else b"1.1 ") + self.via))
        if self.is_on and self.is_trusted(client_ip):
            drop = _GROWING if fields else drop
            more += _chain(fields, head, client_ip, is_https)
        elif self.is_on:
            drop = frozenset(name for name, _ in fields if is_about_clients(name))
            more += _anew(head, client_ip, is_https)
        return drop, more

    def _check_loop(self, fields: Fields) -> None:
        hops = [hop for name, value in fields if name == _VIA for hop in value.lower().split(b",")]
        passes = sum(hop.split()[1:2] == [self.via] for hop in hops)
        if passes >= MAX_PASSES:
            raise LoopDetected(f"the request has come through {self.via.decode('latin-1')} {passes} times already")
        if len(hops) > MAX_HOPS:
            raise LoopDetected(f"the request has come through {len(hops)} proxies, at most {MAX_HOPS}")

    def _look_up(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)


def parse_network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(f"saw {text!r}, wanted networks such as 10.0.0.0/8 or fd00::/8") from error


def _said_in(wire: bytes) -> Fields:
    return [(name.lower(), value.strip(b" \t")) for name, value in _find_said(wire)]


def _chain(fields: Fields, head: RequestHead, client_ip: str, is_https: bool) -> Fields:
    """A trusted client's word, and the client itself behind it."""
    names = {name for name, _ in fields}
    made = [field for field in _anew(head, client_ip, is_https) if field[0] == _FOR or field[0] not in names]
    made[0] = (_FOR, b", ".join((*_values(fields, _FOR), client_ip.encode())))
    if _FORWARDED in names:
        made.append((_FORWARDED, b", ".join((*_values(fields, _FORWARDED), _element(head, client_ip, is_https)))))
    return made


def _anew(head: RequestHead, client_ip: str, is_https: bool) -> Fields:
    made = [(_FOR, client_ip.encode()), (_PROTO, b"https" if is_https else b"http")]
    if head.host:
        made.append((_HOST, head.host))
    return made


def _element(head: RequestHead, client_ip: str, is_https: bool) -> bytes:
    """RFC 7239 section 4; an IPv6 address and a port need quotes (sections 4 and 6)."""
    node = f'"[{client_ip}]"' if ":" in client_ip else client_ip
    host = b';host="%b"' % head.host if head.host else b""
    return b"for=%b;proto=%b%b" % (node.encode(), b"https" if is_https else b"http", host)


def _values(fields: Fields, name: bytes) -> Iterable[bytes]:
    return (value for found, value in fields if found == name)
