"""What `forwarding` does to heads, for those of HTTP/1: in the bytes as they came, with one look at what is said. Pure.

In: a head that a codec accepted, which is changed in place. Most say nothing of clients and hops, or only for whom they
come, once; that needs no list of fields. The rule not to break: what comes out are the bytes that Forwarder.rewrite
makes, for any head.
"""

import re

from milliroute.proxy.forwarding import Forwarder
from milliroute.proxy.message import RequestHead

# The next field that says something; of x-forwarded-for the value, without white space before it. The first letter is
# looked at apart, because most fields end there: without that the search takes twice as long.
_find = re.compile(
    rb"\r\n(?=[fvx])(?:x(?:-forwarded-for:[ \t]*([^\r]*)|[-_](?:forwarded[-_]|real[-_]ip:))|forwarded:|via:)",
    re.IGNORECASE,
).search
_END = b"\r\n\r\n"


class Introduction:
    """Of one client's connection to backends. Its parts are what is said to each of them, but for host and sender."""

    __slots__ = ("_alone", "_before", "_behind", "_client_ip", "_forwarder", "_is_https", "_is_on", "_is_trusted")

    def __init__(self, forwarder: Forwarder, client_ip: str, *, is_https: bool) -> None:
        self._forwarder = forwarder
        self._client_ip = client_ip
        self._is_https = is_https
        self._is_on = forwarder.is_on
        self._is_trusted = forwarder.is_trusted(client_ip)
        address, proto = client_ip.encode(), b"https" if is_https else b"http"
        via = b"via: 1.1 %b\r\n" % forwarder.via if forwarder.via else b""
        self._before = b"%bx-forwarded-for: " % via
        self._behind = b", %b\r\nx-forwarded-proto: %b\r\nx-forwarded-host: " % (address, proto)
        self._alone = self._before + self._behind.removeprefix(b", ")

    def rewrite(self, head: RequestHead) -> None:
        """Once per request, before it is routed. Raises LoopDetected."""
        wire, host = head.wire, head.host
        if self._is_on and host:
            said = _find(wire)
            if said is None:
                head.wire = b"".join((wire[:-2], self._alone, host, _END))
                return
            sender = said[1] if self._is_trusted else None
            if sender is not None:
                begin, end = said.span()
                if _find(wire, end) is None:
                    sender = sender.rstrip(b" \t")
                    head.wire = b"".join((wire[:begin], wire[end:-2], self._before, sender, self._behind, host, _END))
                    return
        self._forwarder.rewrite(head, self._client_ip, is_https=self._is_https)
