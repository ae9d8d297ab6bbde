"""Requests of rules that change something, through a worker: what both sides see, and tries on other leaves."""

import pytest

from milliroute.proxy.config import Codec
from milliroute.proxy.state import (
    AuthorityState,
    FiltersState,
    HeaderChangeState,
    RedirectState,
    RouteState,
    SplitState,
    WeightState,
)
from tests.proxy.backends import Origin, Visit, closed_port
from tests.proxy.serving import BOTH_CODECS, on_loop, post, serving
from tests.proxy.tables import backend, split
from tests.proxy.tunnelling import names, telling

pytestmark = pytest.mark.parametrize("codec", BOTH_CODECS)


async def echo(visit: Visit) -> None:
    while (asked := await visit.request()) is not None:
        await visit.answer(asked.body or b"-", "x-internal: 1")


def setting(name: str, value: str) -> HeaderChangeState:
    return HeaderChangeState(set=[(name, value)])


def ruled(weights: list[WeightState], *ports: int, rule: FiltersState | None = None) -> AuthorityState:
    backends = [backend(f"v{number}", *([port] if port else [])) for number, port in enumerate(ports)]
    made = SplitState("default/r/0", weights, apex="reviews", strict_empty_leaf=True)
    return AuthorityState(
        "reviews", "default", backends, [RouteState(made, name="HTTPRoute default/r/0", filters=rule)]
    )


@on_loop
async def test_a_response_is_changed_and_a_body_passes_untouched(codec: Codec) -> None:
    async with Origin(echo) as origin:
        rule = FiltersState(setting("x-a", "1"), HeaderChangeState(set=[("x-b", "2")], remove=["x-internal"]))
        async with serving(codec, ruled([WeightState(0, 1)], origin.port, rule=rule)) as proxy:
            client = await proxy.client()
            for body in (b"one", b"two"):
                await client.send(post(body))
                reply = await client.reply()
                assert (reply.body, reply.fields["x-b"], "x-internal" in reply.fields) == (body, "2", False)
            assert [asked.field("x-a") for asked in origin.asked] == ["1", "1"]


@on_loop
async def test_another_leaf_gets_the_request_with_its_own_changes_only(codec: Codec) -> None:
    port = closed_port()
    async with Origin(echo) as origin:
        weights = [
            WeightState(number, 1, filters=FiltersState(setting(f"x-{number}", "1"), setting("x-leaf", str(number))))
            for number in (0, 1)
        ]
        async with serving(codec, ruled(weights, port, origin.port)) as proxy:
            client = await proxy.client()
            replies = [await client.get() for _ in range(4)]
            assert {(reply.status, reply.fields["x-leaf"]) for reply in replies} == {(200, "1")}
            assert {(asked.field("x-0"), asked.field("x-1")) for asked in origin.asked} == {("", "1")}


@on_loop
async def test_the_share_of_a_refused_backend_is_500_and_the_others_are_served(codec: Codec) -> None:
    async with Origin(echo) as origin:
        state = ruled([WeightState(0, 1, status=500), WeightState(1, 1)], 0, origin.port)
        async with serving(codec, state) as proxy:
            client = await proxy.client()
            assert sorted([(await client.get()).status for _ in range(10)]) == [200] * 5 + [500] * 5


@on_loop
async def test_a_redirect_keeps_the_connection(codec: Codec) -> None:
    redirect = RedirectState(scheme="https", status=301)
    route = RouteState(SplitState("default/r/0", []), name="HTTPRoute default/r/0", redirect=redirect)
    async with serving(codec, AuthorityState("reviews", "default", [], [route])) as proxy:
        client = await proxy.client()
        for _ in range(2):
            reply = await client.get("/a")
            assert (reply.status, reply.fields["location"]) == (301, "https://reviews/a")
        assert proxy.ledger.errors == {}


@on_loop
async def test_a_rule_may_end_and_a_plain_split_take_its_place_on_an_open_connection(codec: Codec) -> None:
    async with Origin(echo) as origin:
        rule = FiltersState(response=setting("x-b", "2"))
        async with serving(codec, ruled([WeightState(0, 1)], origin.port, rule=rule)) as proxy:
            client = await proxy.client()
            assert "x-b" in (await client.get()).fields
            backends = [backend("v0", origin.port)]
            await proxy.update(AuthorityState("reviews", "default", backends, [RouteState(split(1))]))
            assert "x-b" not in (await client.get()).fields


@on_loop
async def test_rules_are_about_requests_and_other_connections_go_to_the_service_itself(codec: Codec) -> None:
    async with Origin(telling("rule")) as ruled_to, Origin(telling("own")) as own:
        state = ruled([WeightState(0, 1)], ruled_to.port)
        backends = [*state.backends, backend("own", own.port)]
        routes = [*state.routes, RouteState(SplitState("", [WeightState(1, 1)]))]
        async with serving(codec, AuthorityState("reviews", "default", backends, routes)) as proxy:
            assert await names(proxy, 3) == ["own"] * 3
