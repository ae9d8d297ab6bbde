"""What `forwarding` does to heads, for those of HTTP/1: in the bytes as they came, by what the codec told. Pure.

In: a head that a codec's request_telling accepted, which is changed in place. Most say nothing of clients and hops, or
only for whom they come, once; that needs no list of fields. The rule not to break: what comes out are the fields that
Forwarder.rewrite makes, for any head.
"""

from milliroute.proxy.heads.forwarding import Forwarder
from milliroute.proxy.message import RequestHead

_END = b"\r\n\r\n"
# After which a line does not simply go on: white space, and the colon of a field without a value.
_OPEN_ENDS = (b" ", b"\t", b":")


class Introduction:
    """Of one client's connection to backends. Its parts are what is said to each of them, but for host and sender."""

    __slots__ = ("_alone", "_behind", "_client_ip", "_forwarder", "_is_https", "_is_trusted", "_only_via")

    def __init__(self, forwarder: Forwarder, client_ip: str, *, is_https: bool) -> None:
        self._forwarder = forwarder
        self._client_ip = client_ip
        self._is_https = is_https
        self._is_trusted = forwarder.is_trusted(client_ip)
        address, proto = client_ip.encode(), b"https" if is_https else b"http"
        via = b"via: 1.1 %b\r\n" % forwarder.via if forwarder.via else b""
        self._only_via = b"" if forwarder.is_on else via + b"\r\n"
        told = b"%b\r\n%bx-forwarded-proto: %b\r\nx-forwarded-host: " % (address, via, proto)
        self._alone = b"x-forwarded-for: " + told
        self._behind = b", " + told

    def rewrite(self, head: RequestHead) -> None:
        """Once per request, before it is routed. Raises LoopDetected."""
        said = head.said
        if said is None:
            self._forwarder.rewrite(head, self._client_ip, is_https=self._is_https)
        elif self._only_via:
            head.wire = head.wire[:-2] + self._only_via
        elif not said:
            head.wire = b"".join((head.wire[:-2], self._alone, head.host, _END))
        elif self._is_trusted and not said.endswith(_OPEN_ENDS):
            line = b"\r\n" + said  # which is there once: a second would have been seen
            head.wire = head.wire.replace(line, b"%b%b%b" % (line, self._behind, head.host), 1)
        else:
            self._forwarder.rewrite(head, self._client_ip, is_https=self._is_https)
