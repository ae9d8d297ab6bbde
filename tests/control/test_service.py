"""The destination service over a real gRPC channel: what a proxy sees, and what is recorded of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest
from grpc import aio

from milliroute.control.api import destination_pb2 as pb
from milliroute.control.hub import State
from milliroute.control.snapshot import build
from milliroute.control.views import AuthorityView
from tests.control.building import objects
from tests.control.watching import FakeClock, FakeProxy, FakeState, Running, open_watch, view

REVIEWS = view("reviews", 900_000, 100_000)


def reviews(version: int, authority: AuthorityView = REVIEWS) -> FakeState:
    return FakeState(version, {"reviews.default:9080": (version, authority)})


def run(state: State, scenario: Callable[[Running, aio.Channel], Awaitable[None]]) -> Running:
    running = Running(state, FakeClock())

    async def main() -> None:
        async with running.channel() as channel:
            await asyncio.wait_for(scenario(running, channel), 60)

    asyncio.run(main())
    return running


def test_subscribe_is_answered_with_the_key_and_then_its_state() -> None:
    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.hello()
        resolved, state = await proxy.subscribe("reviews:9080")
        assert (resolved.authority, resolved.key) == ("reviews:9080", "reviews.default:9080")
        assert (state.key, state.epoch, state.version) == ("reviews.default:9080", "e1", 4)
        weights = state.authority.routes[0].split.weights
        assert [(weight.backend, weight.micro) for weight in weights] == [(0, 900_000), (1, 100_000)]

    run(reviews(4), scenario)


def test_a_bare_name_is_looked_up_in_the_namespace_of_the_hello() -> None:
    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.hello(namespace="shop")
        resolved, state = await proxy.subscribe("reviews")
        assert resolved.key == "reviews.shop"
        assert state.WhichOneof("body") == "unknown"

    run(reviews(1), scenario)


def test_an_unknown_name_is_told_when_it_comes_to_exist() -> None:
    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.hello()
        _, state = await proxy.subscribe("reviews:9080")
        assert state.WhichOneof("body") == "unknown"
        running.hub.publish(reviews(2))
        assert (await proxy.state()).authority.name == "reviews"

    run(FakeState(1), scenario)


def test_a_text_that_is_no_authority_is_answered_as_unknown() -> None:
    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.hello()
        resolved, state = await proxy.subscribe("not a name")
        assert resolved.key == "not a name"
        assert state.WhichOneof("body") == "unknown"
        assert running.hub.current("not a name") is None

    run(FakeState(1), scenario)


def test_two_words_for_one_key_are_both_answered_and_counted() -> None:
    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.hello()
        for authority in ("reviews:9080", "reviews.default.svc.cluster.local:9080"):
            resolved, state = await proxy.subscribe(authority)
            assert resolved.key == state.key == "reviews.default:9080"
        await proxy.send(unsubscribe=pb.Unsubscribe(authority="reviews:9080"))
        running.hub.publish(reviews(2, view("reviews", 1, 1)))
        assert (await proxy.state()).version == 2

    run(reviews(1), scenario)


PORTLESS = FakeState(1, {"reviews.default": (1, REVIEWS)}, portless=("reviews.default",))


def test_all_ports_of_a_service_without_ports_share_one_publication() -> None:
    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.hello()
        for port in range(1, 65_536, 4096):
            resolved, state = await proxy.subscribe(f"reviews:{port}")
            assert resolved.key == state.key == "reviews.default"
        assert running.hub.publications_total == 1

    run(PORTLESS, scenario)


def test_a_port_that_comes_to_mean_something_is_resolved_again_before_its_state() -> None:
    # Not even the state of the old key changed: `reviews` is port 80 still.
    ports = {"reviews.default": (1, REVIEWS), "reviews.default:9080": (2, view("admin", 1))}

    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.hello()
        await proxy.subscribe("reviews:9080")
        running.hub.publish(FakeState(2, ports))
        resolved, state = await proxy.answer()
        assert (resolved.authority, resolved.key) == ("reviews:9080", "reviews.default:9080")
        assert (state.key, state.authority.name) == ("reviews.default:9080", "admin")
        assert running.hub.current("reviews.default") is None

    run(PORTLESS, scenario)


def test_ports_asked_for_before_there_is_a_service_become_one_key_when_it_has_none() -> None:
    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.hello()
        for port in (1, 2):
            _, state = await proxy.subscribe(f"reviews:{port}")
            assert state.WhichOneof("body") == "unknown"
        running.hub.publish(PORTLESS)
        resolved = [await proxy.resolved(), await proxy.resolved()]
        assert {answer.authority: answer.key for answer in resolved} == {
            "reviews:1": "reviews.default", "reviews:2": "reviews.default"
        }  # fmt: skip
        assert (await proxy.state()).authority.name == "reviews"
        assert running.hub.current("reviews.default:1") is None

    run(FakeState(0, {}), scenario)


def test_a_subscribed_port_that_is_gone_is_told_as_unknown() -> None:
    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.hello()
        await proxy.subscribe("reviews:9080")
        running.hub.publish(FakeState(2))
        assert (await proxy.state()).WhichOneof("body") == "unknown"
        running.hub.publish(reviews(3))
        assert (await proxy.state()).authority.name == "reviews"

    run(reviews(1), scenario)


def test_unsubscribe_ends_the_updates() -> None:
    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.hello()
        await proxy.subscribe("reviews:9080")
        await proxy.send(unsubscribe=pb.Unsubscribe(authority="reviews:9080"))
        await proxy.subscribe("other")
        assert running.hub.current("reviews.default:9080") is None

    run(reviews(1), scenario)


async def ends_with(call: "aio.StreamStreamCall[bytes, bytes]") -> grpc.StatusCode:
    with pytest.raises(aio.AioRpcError) as ended:
        await call.read()
    return ended.value.code()


def test_a_stream_that_does_not_begin_with_hello_is_refused() -> None:
    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.send(subscribe=pb.Subscribe(authority="reviews"))
        assert await ends_with(proxy.call) == grpc.StatusCode.FAILED_PRECONDITION

    run(FakeState(1), scenario)


def test_a_second_hello_is_refused() -> None:
    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.hello()
        await proxy.hello()
        assert await ends_with(proxy.call) == grpc.StatusCode.FAILED_PRECONDITION

    run(FakeState(1), scenario)


def test_garbage_ends_its_own_stream_only() -> None:
    async def scenario(running: Running, channel: aio.Channel) -> None:
        good = FakeProxy(channel)
        await good.hello()
        await good.subscribe("reviews:9080")
        raw = open_watch(channel)
        await raw.write(b"\xff\xff garbage")
        assert await ends_with(raw) == grpc.StatusCode.INVALID_ARGUMENT
        running.hub.publish(reviews(2, view("reviews", 1, 1)))
        assert (await good.state()).version == 2

    run(reviews(1), scenario)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # what is waited for knows nothing of tests
        await asyncio.sleep(0.001)


def test_an_ack_records_the_time_from_publish_to_in_force() -> None:
    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.hello()
        await proxy.subscribe("reviews:9080")
        running.clock.unix_ns = 5_000_000_000
        running.hub.publish(reviews(2, view("reviews", 1, 1)))
        await proxy.ack(await proxy.state(), applied_unix_ns=5_004_000_000)
        await until(lambda: running.fleet.acks_total == 1)

    [proxy] = run(reviews(1), scenario).fleet.proxies()
    status = proxy.keys["reviews.default:9080"]
    assert (status.sent_version, status.acked_version, status.acked_epoch) == (2, 2, "e1")
    assert status.propagation_s == pytest.approx(0.004)


def test_a_nack_is_kept_with_its_reason() -> None:
    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.hello()
        _, state = await proxy.subscribe("reviews:9080")
        await proxy.send(nack=pb.Nack(key=state.key, epoch="e1", version=1, reason="regex ( is not RE2"))
        await until(lambda: running.fleet.nacks_total == 1)

    [proxy] = run(reviews(1), scenario).fleet.proxies()
    assert proxy.keys["reviews.default:9080"].nack == "version 1: regex ( is not RE2"


def test_a_proxy_that_leaves_is_shown_as_disconnected() -> None:
    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.hello()
        await proxy.subscribe("reviews:9080")
        await proxy.call.done_writing()
        await until(lambda: running.hub.watchers == 0)

    running = run(reviews(1), scenario)
    [proxy] = running.fleet.proxies()
    assert (proxy.id, proxy.admin, proxy.connected) == ("p1", "127.0.0.1:4191", False)


def test_a_cancelled_stream_leaves_nothing_behind() -> None:
    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.hello()
        await proxy.subscribe("reviews:9080")
        proxy.call.cancel()
        await until(lambda: running.hub.watchers == 0)
        assert running.hub.current("reviews.default:9080") is None

    run(reviews(1), scenario)


def test_each_version_is_in_force_and_timed_before_the_next_is_published() -> None:
    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.hello()
        await proxy.ack((await proxy.subscribe("reviews:9080"))[1], running.clock.unix_ns)
        await until(lambda: running.fleet.acks_total == 1)
        for version in range(2, 52):
            running.clock.unix_ns = version * 1_000_000_000
            running.hub.publish(reviews(version, view("reviews", version, 1)))
            state = await proxy.state()
            assert state.version == version
            await proxy.ack(state, state.published_unix_ns + 2_000_000)
            await until(lambda acked=version: running.fleet.acks_total == acked)  # type: ignore[misc]

    running = run(reviews(1), scenario)
    counts = dict(zip(running.fleet.propagation.bounds, running.fleet.propagation.counts, strict=False))
    assert (counts[0.002], sum(running.fleet.propagation.counts)) == (50, 51)
    assert running.hub.replaced_total == 0


def test_what_was_said_before_all_was_read_is_marked_and_its_stream_ends_when_it_is() -> None:
    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.hello()
        resolved, state = await proxy.subscribe("reviews:9080")
        assert (resolved.is_partial, state.is_partial) == (True, True)
        running.hub.publish(reviews(2))
        while isinstance(await proxy.call.read(), bytes):
            pass  # the same again, without the mark
        again = FakeProxy(channel)
        await again.hello()
        resolved, state = await again.subscribe("reviews:9080")
        assert (resolved.is_partial, state.is_partial) == (False, False)

    begun = reviews(1)
    begun.is_partial = True
    run(begun, scenario)


SERVICE = (
    "kind: Service\napiVersion: v1\nmetadata: {{name: {0}}}\nspec: {{clusterIP: {1}, ports: [{{port: 80}}]}}\n---\n"
)


def test_a_cluster_ip_is_resolved_again_whenever_it_is_somebody_elses() -> None:
    first = build(objects(SERVICE.format("reviews", "10.96.0.7") + SERVICE.format("other", "10.96.0.8")), None, 0)
    second = build(objects(SERVICE.format("ratings", "10.96.0.7") + SERVICE.format("other", "10.96.0.8")), first, 0)
    third = build(objects(SERVICE.format("other", "10.96.0.8")), second, 0)

    async def scenario(running: Running, channel: aio.Channel) -> None:
        proxy = FakeProxy(channel)
        await proxy.hello(capabilities=["addresses"])
        resolved, state = await proxy.subscribe("10.96.0.7:80")
        assert (resolved.key, state.authority.name) == ("reviews.default:80", "reviews")
        running.hub.publish(second)
        # That reviews is gone may be told first.
        assert [one.key async for one in told(proxy)][-1] == "ratings.default:80"
        running.hub.publish(third)
        assert [one.key async for one in told(proxy)][-1] == "dialled:10.96.0.7:80"

    run(first, scenario)


async def told(proxy: FakeProxy) -> AsyncIterator[pb.State]:
    """The states up to that of the key that is resolved on the way."""
    key = ""
    while True:
        response = await proxy.response()
        if response.WhichOneof("kind") == "resolved":
            key = response.resolved.key
        else:
            yield response.state
            if response.state.key == key:
                return


def test_a_port_of_the_pod_is_guarded_by_the_labels_of_the_hello() -> None:
    server = "kind: Server\napiVersion: policy.linkerd.io/v1beta3\nmetadata: {name: guard, namespace: shop}\n"
    spec = "spec: {port: 8080, podSelector: {matchLabels: {app: web}}}\n---\n"
    made = build(objects(server + spec + SERVICE.format("other", "None")), None, 0)

    async def scenario(running: Running, channel: aio.Channel) -> None:
        ours, theirs = FakeProxy(channel), FakeProxy(channel)
        await ours.hello("p1", "shop", app="web")
        await theirs.hello("p2", "shop", app="db")
        keys = set()
        for proxy, names in ((ours, ["shop/guard"]), (theirs, [])):
            resolved, state = await proxy.subscribe("inbound:10.1.0.5:8080")
            assert [guard.name for guard in state.authority.access] == names
            assert resolved.authority == "inbound:10.1.0.5:8080"
            keys.add(resolved.key)
        assert len(keys) == 2
        _, state = await ours.subscribe("inbound:web:8080")
        assert state.WhichOneof("body") == "unknown"

    run(made, scenario)
