"""One slot per subject, the newest message wins."""

from milliroute.proxy.agent.mailbox import Mailbox


def test_messages_leave_in_the_order_of_their_slots() -> None:
    box = Mailbox()
    for slot in "abc":
        box.put(slot, slot.encode())
    assert [box.take(), box.take(), box.take(), box.take()] == [b"a", b"b", b"c", None]


def test_a_newer_message_replaces_the_waiting_one_and_keeps_its_place() -> None:
    box = Mailbox()
    box.put("a", b"1")
    box.put("b", b"2")
    box.put("a", b"3")
    assert [box.take(), box.take()] == [b"3", b"2"]
    assert box.replaced == 1


def test_memory_is_bounded_by_the_number_of_slots() -> None:
    box = Mailbox()
    for version in range(1000):
        box.put("only", str(version).encode())
    assert len(box) == 1
    assert box.take() == b"999"
