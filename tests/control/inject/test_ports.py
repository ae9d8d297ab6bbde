"""Lists of ports and networks."""

import pytest

from milliroute.control.errors import ValueTextError
from milliroute.control.inject import ports
from milliroute.control.inject.ports import Ports


def test_ports_ranges_and_names_make_a_list() -> None:
    parsed = ports.parse(" 25, 4567-4568,http ,", {"http": 8080})
    assert parsed == (Ports(25, 25), Ports(4567, 4568), Ports(8080, 8080))
    assert ports.written(parsed) == "25,4567-4568,8080"


def test_nothing_is_no_port() -> None:
    assert ports.parse("") == ()


@pytest.mark.parametrize("text", ["0", "65536", "-1", "2-1", "1-", "1-2-3", "http", "1 2", "٣", "1.5", "+1"])
def test_what_is_no_port_is_refused_with_what_was_seen(text: str) -> None:
    with pytest.raises(ValueTextError) as raised:
        ports.parse(f"25,{text}")
    assert repr(text) in str(raised.value)


def test_an_address_is_a_network_of_one() -> None:
    assert ports.networks("10.0.0.0/8, 192.0.2.1,fd00::/8") == ("10.0.0.0/8", "192.0.2.1/32", "fd00::/8")


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0/8", "x", "fd00::/129"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueTextError):
        ports.networks(text)


def test_networks_are_told_apart_by_family() -> None:
    assert list(ports.of_family(["10.0.0.0/8", "fd00::/8"], 6)) == ["fd00::/8"]
