"""The control stream against a service of grpcio's own."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from random import Random

import pytest

from milliroute.control.api import destination_pb2 as pb
from milliroute.proxy.agent.catalog import Accepted, Offer
from milliroute.proxy.agent.destination import Hello, Resolved
from milliroute.proxy.agent.discovery import Discovery
from tests.proxy.fakes import FakeControl, resolved_message, state_message, until


class Answers:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.names: list[str] = ["reviews"]
        self.seen: asyncio.Queue[Resolved | Offer] = asyncio.Queue()

    def wanted(self) -> list[str]:
        return self.names

    def on_resolved(self, resolved: Resolved) -> None:
        self.seen.put_nowait(resolved)

    def on_offer(self, offer: Offer, state_bytes: bytes) -> None:
        self.seen.put_nowait(offer)


Scenario = Callable[[FakeControl, Discovery, Answers], Coroutine[None, None, None]]


def play(scenario: Scenario) -> None:
    """Runs it against a started service."""

    async def run() -> None:
        control, answers = FakeControl(), Answers()
        port = await control.start()
        hello = Hello("proxy-1", "default", "127.0.0.1:4191")
        address = f"127.0.0.1:{port}"
        discovery = Discovery(
            address, hello, answers, now_s=time.monotonic, unix_ns=lambda: 7_000_000_000, rng=Random(1)
        )
        task = asyncio.ensure_future(discovery.run())
        try:
            await scenario(control, discovery, answers)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await control.stop()

    asyncio.run(run())


async def asked(control: FakeControl, count: int) -> list[str]:
    """The kinds of the next requests, with what they name."""
    words = []
    for _ in range(count):
        request = await control.requests.get()
        kind = str(request.WhichOneof("kind"))
        inner = getattr(request, kind)
        words.append(f"{kind} {getattr(inner, 'authority', '') or getattr(inner, 'key', '') or inner.proxy_id}")
    return words


def test_a_stream_begins_with_hello_and_all_that_is_wanted() -> None:
    async def scenario(control: FakeControl, discovery: Discovery, answers: Answers) -> None:
        answers.names.append("ratings")
        assert await asked(control, 3) == ["hello proxy-1", "subscribe reviews", "subscribe ratings"]
        assert (discovery.state, discovery.was_connected, discovery.down_s()) == ("connected", True, 0.0)

    play(scenario)


def test_answers_reach_the_sink_in_order() -> None:
    async def scenario(control: FakeControl, discovery: Discovery, answers: Answers) -> None:
        control.answer(resolved_message("reviews", "reviews.default"))
        control.answer(state_message("reviews.default", 3))
        assert await answers.seen.get() == Resolved("reviews", "reviews.default")
        offer = await answers.seen.get()
        assert isinstance(offer, Offer)
        assert offer.update.version == 3

    play(scenario)


def test_subscriptions_and_verdicts_go_out_while_the_stream_is_up() -> None:
    async def scenario(control: FakeControl, discovery: Discovery, answers: Answers) -> None:
        await asked(control, 2)
        discovery.subscribe("ratings")
        discovery.report(Accepted("reviews.default", "e1", 3, 9))
        discovery.unsubscribe("details")
        assert await asked(control, 3) == ["subscribe ratings", "ack reviews.default", "unsubscribe details"]

    play(scenario)


def test_a_state_that_makes_no_sense_is_nacked_and_the_stream_goes_on() -> None:
    async def scenario(control: FakeControl, discovery: Discovery, answers: Answers) -> None:
        await asked(control, 2)
        control.answer(pb.WatchResponse(state=pb.State(key="k", epoch="e", version=4)))
        nack = (await control.requests.get()).nack
        assert (nack.key, nack.version) == ("k", 4)
        assert "without a body" in nack.reason
        control.answer(resolved_message("reviews", "reviews.default"))
        assert await answers.seen.get() == Resolved("reviews", "reviews.default")

    play(scenario)


@pytest.mark.parametrize("garbage", [None, b"\xff\xff\xff"])
def test_after_a_stream_that_ends_or_is_garbled_a_new_one_asks_for_everything_again(garbage: bytes | None) -> None:
    async def scenario(control: FakeControl, discovery: Discovery, answers: Answers) -> None:
        await asked(control, 2)
        control.hang_up() if garbage is None else control.answer_bytes(garbage)
        assert await asked(control, 2) == ["hello proxy-1", "subscribe reviews"]

    play(scenario)


def test_a_service_that_returns_on_its_old_port_is_found_again() -> None:
    async def scenario(control: FakeControl, discovery: Discovery, answers: Answers) -> None:
        await asked(control, 2)
        await control.stop()
        port = int(discovery.address.rpartition(":")[2])
        await control.start(port)
        assert await asked(control, 2) == ["hello proxy-1", "subscribe reviews"]
        assert discovery.state == "connected"

    play(scenario)


def test_a_destination_that_does_not_answer_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(control: FakeControl, discovery: Discovery, answers: Answers) -> None:
        await asked(control, 2)
        await control.stop()
        tries = discovery.failures
        await until(lambda: discovery.failures >= tries + 3)
        assert discovery.state == "disconnected"
        assert discovery.down_s() > 0
        await control.start()

    play(scenario)
    assert caplog.text.count("the last tables stay in force") == 1
