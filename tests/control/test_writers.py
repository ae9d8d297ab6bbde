"""What progressive delivery tools write, step by step, and the table that a worker has after each step.

The manifests are written by hand after what these tools send: Flagger replaces whole objects, Argo Rollouts and
linkerd-failover send merge patches. Nothing of ours is in them.
"""

import copy
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from milliroute.control import snapshot
from milliroute.control.snapshot import Snapshot
from milliroute.proxy.routing.table import AuthorityTable
from tests.control.building import objects
from tests.control.routing import head, picks, shares, tabled

Object = dict[str, Any]  # JSON


def services(**addresses: int) -> list[Object]:
    """Services of the namespace shop on port 9898, each with so many ready endpoints."""
    made: list[Object] = []
    for number, (name, count) in enumerate(addresses.items()):
        name = name.replace("_", "-")
        port = {"name": "http", "port": 9898}
        made.append({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"ports": [{**port, "protocol": "TCP", "targetPort": "http"}], "selector": {"app": name}},
        })  # fmt: skip
        endpoints = [{"addresses": [f"10.1.{number}.{n}"], "conditions": {"ready": True}} for n in range(count)]
        labels = {"kubernetes.io/service-name": name}
        made.append({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": f"{name}-x7k2p", "namespace": "shop", "labels": labels},
            "ports": [port], "endpoints": endpoints,
        })  # fmt: skip
    return made


class World:
    """Objects as a cluster holds them, and what a worker routes by after each write."""

    def __init__(self, *written: Object) -> None:
        self._objects = {(one["kind"], one["metadata"]["name"]): one for one in written}
        self.built: Snapshot | None = None
        self.table: AuthorityTable | None = None
        self._read()

    def put(self, *written: Object) -> AuthorityTable:
        """Created, or replaced whole."""
        for one in written:
            self._objects[one["kind"], one["metadata"]["name"]] = copy.deepcopy(one)
        return self._read()

    def patch(self, kind: str, name: str, patch: Object) -> AuthorityTable:
        """A merge patch (RFC 7386)."""
        self._objects[kind, name] = merged(self._objects[kind, name], patch)
        return self._read()

    def delete(self, kind: str, name: str) -> AuthorityTable:
        del self._objects[kind, name]
        return self._read()

    def _read(self) -> AuthorityTable:
        text = "\n---\n".join(json.dumps(one) for one in self._objects.values()) + "\n"
        self.built = snapshot.build(objects(text), self.built, 0)
        self.table = tabled(self.built, "podinfo.shop:9898", "shop", self.table)
        return self.table


def merged(target: Object, patch: Object) -> Object:
    made = copy.deepcopy(target)
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            old = made.get(name)
            made[name] = merged(old if isinstance(old, dict) else {}, value) if isinstance(value, dict) else value
    return made


def test_the_patches_here_are_merge_patches() -> None:
    old = json.loads('{"a": {"b": 1, "c": 2}, "d": [1, 2]}')
    assert merged(old, {"a": {"c": None}, "d": [3], "e": {"f": 1}}) == {"a": {"b": 1}, "d": [3], "e": {"f": 1}}


def split_of(version: str, name: str, apex: str, weights: Mapping[str, int | str]) -> Object:
    backends = [{"service": leaf, "weight": weight} for leaf, weight in weights.items()]
    return {
        "apiVersion": f"split.smi-spec.io/{version}", "kind": "TrafficSplit",
        "metadata": {"name": name, "namespace": "shop"}, "spec": {"service": apex, "backends": backends},
    }  # fmt: skip


# Flagger: its providers linkerd and smi:v1alpha1 write quantities, the others integers. The apex Service selects the
# primary's pods; the canary has no pods between runs.


@pytest.mark.parametrize("version", ["v1alpha1", "v1alpha2", "v1alpha3"])
def test_flagger_by_traffic_splits(version: str) -> None:
    def weigh(primary: int, canary: int) -> Object:
        weights: dict[str, int | str] = {"podinfo-canary": canary, "podinfo-primary": primary}
        if version == "v1alpha1":  # as a Quantity is written in JSON
            weights = {leaf: str(weight) for leaf, weight in weights.items()}
        return split_of(version, "podinfo", "podinfo", weights)

    world = World(*services(podinfo=2, podinfo_primary=2, podinfo_canary=0))
    assert shares(world.put(weigh(100, 0))) == {"podinfo-canary": 0, "podinfo-primary": 100_000_000}
    # The canary is scaled up before it gets weight.
    world.put(*services(podinfo=2, podinfo_primary=2, podinfo_canary=1))
    for canary in (5, 10, 50):
        table = world.put(weigh(100 - canary, canary))
        assert Counter(picks(table, 100)) == {"podinfo-primary": 100 - canary, "podinfo-canary": canary}
    # Promotion: all to the canary while the primary is replaced, and back; then it is scaled to zero.
    assert set(picks(world.put(weigh(0, 100)), 10)) == {"podinfo-canary"}
    assert set(picks(world.put(weigh(100, 0)), 10)) == {"podinfo-primary"}
    table = world.put(*services(podinfo=2, podinfo_primary=2, podinfo_canary=0))
    assert set(picks(table, 10)) == {"podinfo-primary"}
    assert shares(world.delete("TrafficSplit", "podinfo")) == {"podinfo": 1_000_000}


def test_flagger_rolls_back_although_the_canary_has_no_endpoints_any_more() -> None:
    def weigh(primary: int, canary: int) -> Object:
        return split_of("v1alpha2", "podinfo", "podinfo", {"podinfo-canary": canary, "podinfo-primary": primary})

    world = World(*services(podinfo=2, podinfo_primary=2, podinfo_canary=1), weigh(70, 30))
    # It crashes: its share is the primary's at once, before Flagger has seen anything.
    table = world.put(*services(podinfo=2, podinfo_primary=2, podinfo_canary=0))
    assert set(picks(table, 20)) == {"podinfo-primary"}
    assert set(picks(world.put(weigh(100, 0)), 20)) == {"podinfo-primary"}


def http_route(primary: int, canary: int, *, rules: list[Object] | None = None, **filters: list[Object]) -> Object:
    """As Flagger's gatewayapi:v1 writes it for a Service parent, named after the apex."""
    made = [{"matches": [MATCH_ALL], "backendRefs": [ref("primary", primary), ref("canary", canary, **filters)]}]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "podinfo", "namespace": "shop", "generation": 1},
        "spec": {
            "parentRefs": [{"group": "core", "kind": "Service", "name": "podinfo", "namespace": "shop", "port": 9898}],
            "rules": rules if rules is not None else made,
        },
    }  # fmt: skip


MATCH_ALL: Object = {"path": {"type": "PathPrefix", "value": "/"}}


def ref(name: str, weight: int, **more: list[Object]) -> Object:
    return {"group": "", "kind": "Service", "name": f"podinfo-{name}", "port": 9898, "weight": weight, **more}


def test_flagger_by_http_routes() -> None:
    world = World(*services(podinfo=2, podinfo_primary=2, podinfo_canary=0))
    table = world.put(http_route(100, 0))
    assert set(picks(table, 20)) == {"podinfo-primary"}
    assert table.only is not None
    world.put(*services(podinfo=2, podinfo_primary=2, podinfo_canary=1))
    for canary in (10, 20, 50):
        counts = Counter(picks(world.put(http_route(100 - canary, canary)), 100))
        assert counts == {"podinfo-primary": 100 - canary, "podinfo-canary": canary}
    assert set(picks(world.put(http_route(0, 100)), 10)) == {"podinfo-canary"}
    assert set(picks(world.put(http_route(100, 0)), 10)) == {"podinfo-primary"}
    world.put(*services(podinfo=2, podinfo_primary=2, podinfo_canary=0))
    assert world.built is not None
    assert [c.is_true for c in world.built.routes[0].parents[0].conditions] == [True, True]
    assert shares(world.delete("HTTPRoute", "podinfo")) == {"podinfo": 1_000_000}


def test_flagger_compares_two_groups_of_users_by_http_routes() -> None:
    header: Object = {"type": "Exact", "name": "X-Canary", "value": "insider"}
    cookie: Object = {"type": "RegularExpression", "name": "Cookie", "value": "^(.*?;)?(canary=always)(;.*)?$"}
    matches = [{**MATCH_ALL, "headers": [header]}, {**MATCH_ALL, "headers": [cookie]}]
    rules: list[Object] = [
        {"matches": matches, "backendRefs": [ref("primary", 0), ref("canary", 100)]},
        {"matches": [MATCH_ALL], "backendRefs": [ref("primary", 100)]},
    ]
    world = World(*services(podinfo=2, podinfo_primary=2, podinfo_canary=1), http_route(0, 0, rules=rules))
    assert world.table is not None
    assert set(picks(world.table, 5, head("/x"))) == {"podinfo-primary"}
    assert set(picks(world.table, 5, head("/x", "x-canary: insider"))) == {"podinfo-canary"}
    assert set(picks(world.table, 5, head("/x", "Cookie: canary=always; a=b"))) == {"podinfo-canary"}


def test_flagger_keeps_a_session_on_the_canary_by_http_routes() -> None:
    """The canary's responses set a cookie, and whoever has it goes there whatever the weights."""
    cookie: Object = {"type": "RegularExpression", "name": "Cookie", "value": ".*flagger-cookie.*abc.*"}
    set_cookie: Object = {
        "type": "ResponseHeaderModifier",
        "responseHeaderModifier": {"add": [{"name": "Set-Cookie", "value": "flagger-cookie=abc; Max-Age=60"}]},
    }
    sticky: Object = {
        "matches": [{**MATCH_ALL, "headers": [cookie]}],
        "backendRefs": [ref("primary", 0), ref("canary", 100)],
    }
    weighted: Object = {
        "matches": [MATCH_ALL], "backendRefs": [ref("primary", 90), ref("canary", 10, filters=[set_cookie])],
    }  # fmt: skip
    world = World(*services(podinfo=2, podinfo_primary=2, podinfo_canary=1), http_route(0, 0, rules=[sticky, weighted]))
    table = world.table
    assert table is not None
    assert Counter(picks(table, 100, head("/"))) == {"podinfo-primary": 90, "podinfo-canary": 10}
    assert set(picks(table, 10, head("/", "cookie: x=1; flagger-cookie=abc"))) == {"podinfo-canary"}
    leaves = table.route_for(head("/")).split.leaves
    assert [leaf.filters is not None for leaf in leaves] == [False, True]


# Argo Rollouts: a split named after the rollout, whose root is the stable Service unless told otherwise; weights change
# by merge patches of the whole spec.


@pytest.mark.parametrize("version", ["v1alpha1", "v1alpha2", "v1alpha3"])
def test_argo_rollouts_with_the_apex_as_the_stable_leaf(version: str) -> None:
    def weigh(canary: int) -> Object:
        weights = {"podinfo-canary": canary, "podinfo": 100 - canary}
        return {"spec": split_of(version, "", "podinfo", weights)["spec"]}

    first = split_of(version, "rollout", "podinfo", {"podinfo-canary": 0, "podinfo": 100})
    world = World(*services(podinfo=3, podinfo_canary=1))
    assert set(picks(world.put(first), 10)) == {"podinfo"}
    for canary in (5, 25, 100, 0):
        counts = Counter(picks(world.patch("TrafficSplit", "rollout", weigh(canary)), 100))
        assert (counts["podinfo-canary"], counts["podinfo"]) == (canary, 100 - canary)
    # The controller may also change the weights alone; a list is replaced whole.
    patch = {"spec": {"backends": [{"service": "podinfo", "weight": 1}, {"service": "podinfo-canary", "weight": 1}]}}
    table = world.patch("TrafficSplit", "rollout", patch)
    assert Counter(picks(table, 10)) == {"podinfo": 5, "podinfo-canary": 5}


# linkerd-failover: weights of 0 and 1, by which Services have ready endpoints.


def test_linkerd_failover_moves_weights_between_services() -> None:
    labels = {"failover.linkerd.io/controlled-by": "linkerd-failover"}
    annotations = {"failover.linkerd.io/primary-service": "podinfo"}
    split = split_of("v1alpha2", "podinfo", "podinfo", {"podinfo": 1, "podinfo-west": 0, "podinfo-east": 0})
    split["metadata"] |= {"labels": labels, "annotations": annotations}

    def weigh(primary: int, west: int, east: int) -> Object:
        weights = {"podinfo": primary, "podinfo-west": west, "podinfo-east": east}
        return {"spec": {"backends": split_of("", "", "", weights)["spec"]["backends"]}}

    world = World(*services(podinfo=1, podinfo_west=1, podinfo_east=1), split)
    assert world.table is not None
    assert set(picks(world.table, 10)) == {"podinfo"}
    world.put(*services(podinfo=0, podinfo_west=1, podinfo_east=1))
    table = world.patch("TrafficSplit", "podinfo", weigh(0, 1, 1))
    assert Counter(picks(table, 10)) == {"podinfo-west": 5, "podinfo-east": 5}
    world.put(*services(podinfo=1, podinfo_west=1, podinfo_east=1))
    assert set(picks(world.patch("TrafficSplit", "podinfo", weigh(1, 0, 0)), 10)) == {"podinfo"}


def test_linkerd_failover_without_any_ready_service_leaves_all_weights_zero() -> None:
    """Then there is no split, and when the apex has endpoints again it serves before anybody has patched anything."""
    world = World(
        *services(podinfo=0, podinfo_west=0),
        split_of("v1alpha2", "podinfo", "podinfo", {"podinfo": 0, "podinfo-west": 0}),
    )
    assert world.table is not None
    assert shares(world.table) == {"podinfo": 0}
    assert shares(world.put(*services(podinfo=1, podinfo_west=0))) == {"podinfo": 1_000_000}
