"""The control service whole: sources that change, break and throw; listeners; and what a proxy sees of it."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from grpc import aio

from milliroute.control import errors, server
from milliroute.control.config import ControlConfig
from milliroute.control.model import Leaf, Objects, Origin, SourceStatus, TrafficSplit
from milliroute.control.server import ControlServer
from tests.control.watching import FakeProxy

CONFIG = ControlConfig(files=("split.yaml",), listen="127.0.0.1:0", admin="127.0.0.1:0")


def objects(*weights: int, errors_: tuple[str, ...] = ()) -> Objects:
    leaves = tuple(Leaf(f"reviews-v{n}", weight * 1_000_000, str(weight)) for n, weight in enumerate(weights, 1))
    split = TrafficSplit("default", "reviews", "reviews", leaves, origin=Origin("split.yaml", 1, 1))
    source = SourceStatus("split.yaml", "last good" if errors_ else "newest", errors_)
    return Objects(splits=(split,), sources=(source,))


class FakeSource:
    """A source that a test changes; an exception put into it is thrown by watch()."""

    def __init__(self, first: Objects) -> None:
        self._first = first
        self.changes: asyncio.Queue[Objects | Exception] = asyncio.Queue()

    def read(self) -> Objects:
        return self._first

    async def watch(self) -> AsyncIterator[Objects]:
        while True:
            change = await self.changes.get()
            if isinstance(change, Exception):
                raise change
            yield change


Listening = dict[str, str]


def run(scenario: Callable[[FakeSource, Listening], Awaitable[None]], config: ControlConfig = CONFIG) -> None:
    async def main() -> None:
        source = FakeSource(objects(9, 1))
        control = ControlServer(config, source)
        listening: Listening = {}
        try:
            await control.start(listening.__setitem__)
            following = asyncio.create_task(control.follow())
            await asyncio.wait_for(scenario(source, listening), 60)
            following.cancel()
        finally:
            await control.stop()

    asyncio.run(main())


async def get(address: str, path: str) -> bytes:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2]


def weights(state: object) -> list[str]:
    return [weight.text for weight in state.authority.routes[0].split.weights]  # type: ignore[attr-defined]


def test_a_saved_change_reaches_a_proxy_and_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(source: FakeSource, listening: Listening) -> None:
        async with aio.insecure_channel(listening["grpc"]) as channel:
            proxy = FakeProxy(channel)
            await proxy.hello()
            _, first = await proxy.subscribe("reviews:9080")
            assert weights(first) == ["9", "1"]
            source.changes.put_nowait(objects(5, 5))
            second = await proxy.state()
            assert weights(second) == ["5", "5"]
            assert second.version > first.version
            assert second.epoch == first.epoch

    with caplog.at_level(logging.INFO):
        run(scenario)
    assert "split default/reviews: reviews-v1 9 -> 5, reviews-v2 1 -> 5 (split.yaml:1)" in caplog.messages


def test_a_broken_file_is_shown_and_its_last_good_version_served(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(source: FakeSource, listening: Listening) -> None:
        source.changes.put_nowait(objects(9, 1, errors_=("split.yaml:4:2: weight",)))
        source.changes.put_nowait(objects(9, 1, errors_=("split.yaml:4:2: weight",)))
        page = json.loads(await get(listening["control-admin"], "/splits"))
        while not page["sources"][0]["errors"]:
            page = json.loads(await get(listening["control-admin"], "/splits"))
        assert page["sources"] == [{"path": "split.yaml", "state": "broken", "errors": ["split.yaml:4:2: weight"]}]
        assert [leaf["weight"] for leaf in page["splits"][0]["leaves"]] == ["9", "1"]
        assert b'source_broken{path="split.yaml"} 1.0' in await get(listening["control-admin"], "/metrics")

    run(scenario)
    assert caplog.messages.count("split.yaml:4:2: weight") == 1


def test_a_source_that_throws_is_watched_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REWATCH_S", 0)

    async def scenario(source: FakeSource, listening: Listening) -> None:
        source.changes.put_nowait(OSError("inotify limit"))
        source.changes.put_nowait(objects(1, 1))
        version = 0
        while version < 2:
            version = json.loads(await get(listening["control-admin"], "/splits"))["version"]

    run(scenario)
    assert "watching the sources failed, trying again" in caplog.messages


def test_every_start_has_an_epoch_of_its_own() -> None:
    epochs: set[str] = set()

    async def scenario(source: FakeSource, listening: Listening) -> None:
        epochs.add(json.loads(await get(listening["control-admin"], "/splits"))["epoch"])

    run(scenario)
    run(scenario)
    assert len(epochs) == 2


@pytest.mark.parametrize("path", ["/ready", "/live", "/version"])
def test_the_small_pages_answer(path: str) -> None:
    async def scenario(source: FakeSource, listening: Listening) -> None:
        assert path.strip("/").encode() in await get(listening["control-admin"], path)

    run(scenario)


@pytest.mark.parametrize("flag", ["listen", "admin"])
def test_a_taken_port_is_one_clear_message(flag: str) -> None:
    async def scenario(source: FakeSource, listening: Listening) -> None:
        raise AssertionError("started on a taken port")

    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = ControlConfig(
            files=("split.yaml",),
            listen=address if flag == "listen" else "127.0.0.1:0",
            admin=address if flag == "admin" else "127.0.0.1:0",
        )
        with pytest.raises(errors.ControlError, match=f"cannot listen on {address} .*in use"):
            run(scenario, config)


def test_a_second_service_does_not_share_the_port_of_a_first() -> None:
    async def scenario(source: FakeSource, listening: Listening) -> None:
        second = ControlServer(ControlConfig(listen=listening["grpc"], admin="127.0.0.1:0"), FakeSource(objects(1)))
        with pytest.raises(errors.ControlError, match="in use"):
            await second.start(lambda name, address: None)
        await second.stop()

    run(scenario)
