"""Names are the clients' to choose: however many they make up, those that matter go on being answered."""

import random

from milliroute.proxy.agent.catalog import Catalog, Offer
from milliroute.proxy.ipc import Update
from milliroute.proxy.routing.router import Router
from milliroute.proxy.state import AuthorityState
from tests.proxy.tables import leaves


def _known(catalog: Catalog, authority: str, key: str) -> None:
    catalog.watch(authority, 0.0)
    catalog.resolve(authority, key)
    catalog.offer(Offer(Update(key, "e", 1, AuthorityState("a", "default", [], []))))


def test_new_name_finds_room_though_all_others_are_known() -> None:
    catalog = Catalog(max_watched=3)
    for port in range(3):
        _known(catalog, f"a:{port}", "a.default")
    outcome = catalog.watch("b", 1.0)
    assert outcome.is_new
    assert outcome.evicted == ("a:0",)
    assert catalog.authorities_of("a.default") == ["a:1", "a:2"]


def test_unknown_name_makes_room_before_an_older_known_one() -> None:
    catalog = Catalog(max_watched=2)
    _known(catalog, "a", "a.default")
    catalog.watch("nobody", 0.0)
    assert catalog.watch("b", 1.0).evicted == ("nobody",)


def test_pinned_name_is_never_evicted() -> None:
    catalog = Catalog(max_watched=1)
    catalog.watch("apex", 0.0, is_pinned=True)
    assert catalog.watch("b", 1.0).is_refused


def test_key_is_dropped_with_its_last_name() -> None:
    catalog = Catalog()
    _known(catalog, "a", "a.default")
    _known(catalog, "a.default", "a.default")
    catalog.forget("a")
    assert "a.default" in catalog.entries
    catalog.forget("a.default")
    assert catalog.entries == {}


def test_name_that_means_another_key_takes_the_old_key_along() -> None:
    catalog = Catalog()
    _known(catalog, "a:80", "a.default")
    catalog.resolve("a:80", "a.default:80")
    assert catalog.entries == {}
    assert catalog.authorities_of("a.default:80") == ["a:80"]


def test_routers_old_key_goes_with_its_last_name() -> None:
    router = Router(random.Random(1), lambda: 0.0, lambda: 0.0)
    state = leaves({"v1": [1]}, 1)
    router.alias("a:80", "a.default")
    router.update("a.default", 1, state)
    gone = router.alias("a:80", "a.default:80")
    assert [(endpoint.host, endpoint.port) for endpoint in gone] == [("127.0.0.1", 1)]
    assert not router.has_state("a.default")
