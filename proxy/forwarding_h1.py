"""What `forwarding` does to heads, for those of HTTP/1: in the bytes as they came, by what the codec told. Pure.

In: a head that a codec's request_telling accepted, which is changed in place. Most say nothing of clients and hops, or
only for whom they come, once; that needs no list of fields. The rule not to break: what comes out are the bytes that
Forwarder.rewrite makes, for any head.
"""

from milliroute.proxy.forwarding import Forwarder
from milliroute.proxy.message import MUCH_SAID, NOTHING_SAID, RequestHead

_SENDER_BYTES = len(b"\r\nx-forwarded-for:")
_END = b"\r\n\r\n"


class Introduction:
    """Of one client's connection to backends. Its parts are what is said to each of them, but for host and sender."""

    __slots__ = ("_alone", "_before", "_behind", "_client_ip", "_forwarder", "_is_https", "_is_trusted", "_only_via")

    def __init__(self, forwarder: Forwarder, client_ip: str, *, is_https: bool) -> None:
        self._forwarder = forwarder
        self._client_ip = client_ip
        self._is_https = is_https
        self._is_trusted = forwarder.is_trusted(client_ip)
        address, proto = client_ip.encode(), b"https" if is_https else b"http"
        via = b"via: 1.1 %b\r\n" % forwarder.via if forwarder.via else b""
        self._only_via = b"" if forwarder.is_on else via + b"\r\n"
        self._before = b"%bx-forwarded-for: " % via
        self._behind = b", %b\r\nx-forwarded-proto: %b\r\nx-forwarded-host: " % (address, proto)
        self._alone = self._before + self._behind.removeprefix(b", ")

    def rewrite(self, head: RequestHead) -> None:
        """Once per request, before it is routed. Raises LoopDetected."""
        wire, begin = head.wire, head.said
        if begin == MUCH_SAID:
            self._forwarder.rewrite(head, self._client_ip, is_https=self._is_https)
        elif self._only_via:
            head.wire = wire[:-2] + self._only_via
        elif begin == NOTHING_SAID:
            head.wire = b"".join((wire[:-2], self._alone, head.host, _END))
        elif self._is_trusted:
            end = wire.index(b"\r", begin + _SENDER_BYTES)
            sender = wire[begin + _SENDER_BYTES : end].strip(b" \t")
            kept = wire[:begin], wire[end:-2]
            head.wire = b"".join((*kept, self._before, sender, self._behind, head.host, _END))
        else:
            self._forwarder.rewrite(head, self._client_ip, is_https=self._is_https)
