"""subscriptions: when a key is nobody's any more, and which authorities are looked at again."""

from milliroute.control.subscriptions import Subscriptions


def test_a_key_lasts_as_long_as_the_last_of_its_authorities() -> None:
    held = Subscriptions()
    for authority in ("reviews", "reviews.default", "reviews"):
        assert held.add(authority, "reviews.default", is_settled=True) is None
    assert held.drop("reviews") is None
    assert held.drop("reviews.default") == "reviews.default"
    assert held.drop("reviews.default") is None


def test_an_authority_that_moves_leaves_its_key_to_the_others() -> None:
    held = Subscriptions()
    held.add("a:1", "a.default", is_settled=False)
    held.add("a:2", "a.default", is_settled=False)
    assert held.add("a:1", "a.default:1", is_settled=True) is None
    assert held.unsettled() == [("a:2", "a.default")]
    assert held.add("a:2", "a.default:2", is_settled=True) == "a.default"
    assert not held.has_unsettled


def test_what_was_dropped_is_not_looked_at_again() -> None:
    held = Subscriptions()
    held.add("a:1", "a.default", is_settled=False)
    held.drop("a:1")
    assert (held.has_unsettled, list(held.unsettled())) == (False, [])
