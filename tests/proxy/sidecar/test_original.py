"""SO_ORIGINAL_DST as the kernel answers it; tests/netns asks a real one."""

import errno
import socket
import struct

import pytest

from milliroute.proxy.sidecar.original import Target, is_local, original_destination, own_address


class Socket:
    def __init__(self, family: int, answer: bytes | OSError) -> None:
        self.family = family
        self.asked: tuple[int, int, int] | None = None
        self._answer = answer

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
        self.asked = level, optname, buflen
        if isinstance(self._answer, OSError):
            raise self._answer
        return self._answer

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 4140


def test_ipv4_is_read_from_a_sockaddr_in() -> None:
    raw = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s", 80, bytes([10, 96, 0, 7])) + bytes(8)
    sock = Socket(socket.AF_INET, raw)
    assert original_destination(sock) == Target("10.96.0.7", 80)
    assert sock.asked == (socket.SOL_IP, 80, 16)


def test_ipv6_is_read_from_a_sockaddr_in6() -> None:
    address = socket.inet_pton(socket.AF_INET6, "fd96::7")
    raw = struct.pack("=H", socket.AF_INET6) + struct.pack("!HI16sI", 8080, 0, address, 0)
    sock = Socket(socket.AF_INET6, raw)
    assert original_destination(sock) == Target("fd96::7", 8080)
    assert sock.asked == (socket.IPPROTO_IPV6, 80, 28)
    assert str(original_destination(sock)) == "[fd96::7]:8080"


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOPROTOOPT])
def test_what_was_not_redirected_has_none(number: int) -> None:
    sock = Socket(socket.AF_INET, OSError(number, "no"))
    assert original_destination(sock) is None
    assert own_address(sock) == Target("127.0.0.1", 4140)


def test_an_address_is_local_where_the_machine_has_it() -> None:
    assert is_local("127.0.0.1")
    # RFC 5737: of nobody.
    assert not is_local("192.0.2.1")
