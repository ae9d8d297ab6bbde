"""Listening sockets of the agent."""

import socket

import pytest

from milliroute.proxy.agent.listening import bound_address, describe, open_group
from milliroute.proxy.config import HostPort, Listener
from milliroute.proxy.errors import ListenError

LOOPBACK = HostPort("127.0.0.1", 0)


def test_one_socket_per_worker_all_on_the_same_free_port() -> None:
    group = open_group(LOOPBACK, 3)
    assert len({bound_address(sock) for sock in group}) == 1
    assert bound_address(group[0]).port != 0
    assert not any(sock.getblocking() for sock in group)
    for sock in group:
        sock.close()


def test_each_socket_of_a_group_takes_connections_before_anybody_accepts() -> None:
    group = open_group(LOOPBACK, 2)
    clients = [socket.create_connection(group[0].getsockname()) for _ in range(20)]
    for sock in (*clients, *group):
        sock.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_in_use_is_an_error_that_names_the_address(workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ListenError) as caught:
            open_group(HostPort("127.0.0.1", port), workers)
    assert str(caught.value) == f"cannot listen on 127.0.0.1:{port}: address already in use"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_that_others_share_by_reuseport_is_in_use_too(workers: int) -> None:
    group = open_group(LOOPBACK, 2)
    with pytest.raises(ListenError, match="address already in use"):
        open_group(bound_address(group[0]), workers)
    for sock in group:
        sock.close()


def test_a_host_that_is_not_ours_is_an_error() -> None:
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:0: "):
        open_group(HostPort("192.0.2.1", 0), 1)


def test_a_listener_is_described_with_the_port_it_got_and_its_apex() -> None:
    taken = HostPort("127.0.0.1", 4140)
    assert describe(Listener(LOOPBACK), taken) == "127.0.0.1:4140"
    assert describe(Listener(LOOPBACK, "reviews"), taken) == "127.0.0.1:4140=reviews"
