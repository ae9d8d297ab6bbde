"""Scripts of backends that do not speak HTTP, and what tests of TCP pass-through ask of a proxy."""

from milliroute.proxy.downstream.opaque import Tunnel
from milliroute.proxy.state import AuthorityState, BackendState, EndpointState
from tests.proxy import tables
from tests.proxy.backends import Origin, Script, Visit
from tests.proxy.serving import Client, Proxy

BINARY = b"\x00\x01hello"
MIB = 1024 * 1024


async def echo(visit: Visit) -> None:
    while data := await visit.reader.read(65536):
        await visit.send(data)


def telling(name: str) -> Script:
    """Answers every connection's first bytes with its name."""

    async def script(visit: Visit) -> None:
        await visit.reader.read(1)
        await visit.send(name.encode())

    return script


async def greeting(visit: Visit) -> None:
    await visit.send(b"220 ready\r\n")
    await echo(visit)


def declared(protocol: str, *origins: Origin) -> AuthorityState:
    endpoints = [EndpointState("127.0.0.1", origin.port) for origin in origins]
    return tables.authority([BackendState("v1", "default", 80, protocol, False, endpoints)], tables.split(1))


def tunnels(proxy: Proxy) -> list[Tunnel]:
    return [one for one in proxy.worker._connections if isinstance(one, Tunnel)]


def pending(proxy: Proxy) -> int:
    return sum(endpoint.load.pending for endpoint in proxy.endpoints())


async def names(proxy: Proxy, count: int) -> list[str]:
    """What so many connections, one after the other, are answered."""
    found = []
    for _ in range(count):
        client = await proxy.client()
        await client.send(BINARY)
        found.append((await client.rest()).decode())
        client.close()
    return found


async def is_reset(client: Client) -> bool:
    try:
        await client.rest()
    except ConnectionResetError:
        return True
    return False
