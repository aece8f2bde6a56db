"""What senders hear later of messages whose receipt said enqueued: delivered, or expired."""

from __future__ import annotations

import asyncio

import pytest

from gateway.observe.events import AckIgnored, PeerLost, PeerRedelivered
from tests.peer.post_office import changed, open_office, redelivered, turns
from tests.virtual_time import virtual_time

# --- expiry -----------------------------------------------------------------------------------------------------------


@virtual_time
async def test_expiry():
    """Mail that is too old is not delivered; its sender is told how many and why, within a second."""
    office = await open_office()
    a, b, c = office.device("a"), office.device("b", online=False), office.device("c")
    a.send("b", "m1", ttl_ms=5000)
    a.send("b", "m2", ttl_ms=5000)
    c.send("b", "m3", ttl_ms=5000)
    a.send("b", "m4", ttl_ms=60_000)
    await asyncio.sleep(5)
    assert a.events == []
    b.connect()
    await asyncio.sleep(1.1)
    assert b.texts == ["m4"]
    assert {"type": "peer", "event": "expired", "to": "b", "count": 2, "reason": "ttl"} in a.events
    assert redelivered("b", 1) in a.events
    assert c.events == [{"type": "peer", "event": "expired", "to": "b", "count": 1, "reason": "ttl"}]
    assert sum(one.count for one in office.of(PeerLost)) == 3
    await office.close()


@virtual_time
async def test_expiry_by_default_after_three_days():
    """Without a time to live mail is kept for three days."""
    office = await open_office()
    office.device("a").send("b", "m1")
    await turns()
    (letter,) = await office.waiting("b")
    assert letter.expires - letter.created == 3 * 86400
    await office.close()


@virtual_time
async def test_expiry_and_a_sender_that_is_away():
    """The event waits for the sender, merged with others of its kind."""
    office = await open_office()
    a = office.device("a")
    a.send("b", "m1", ttl_ms=2000)
    a.send("b", "m2", ttl_ms=20_000)
    await turns()
    a.disconnect()
    await asyncio.sleep(30)
    a.connect()
    await turns()
    assert a.events == [{"type": "peer", "event": "expired", "to": "b", "count": 2, "reason": "ttl"}]
    await office.close()


@virtual_time
async def test_expiry_in_flight():
    """A message that expires while it is unacknowledged is not sent again, and counts as expired only."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False)
    a.send("b", "m1", ttl_ms=3000)
    await asyncio.sleep(3.5)
    assert len(b.messages) == 2
    await asyncio.sleep(1)
    assert office.courier.unconfirmed == 0
    b.ack("m1", "m1")
    await asyncio.sleep(60)
    assert len(b.messages) == 2
    assert a.events == [{"type": "peer", "event": "expired", "to": "b", "count": 1, "reason": "ttl"}]
    assert office.of(AckIgnored) == []
    await office.close()


@virtual_time
async def test_expired_before_its_delivery_was_noted():
    """A delivery that the mailbox could not note in time, so that the letter expired there, is not reported twice."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False)
    a.send("b", "m1", ttl_ms=5000)
    await asyncio.sleep(1)
    assert a.outcome() == {"enqueued": ["b"]}
    office.mailbox.failing = {"settle"}
    b.ack("m1")
    await asyncio.sleep(10)
    office.mailbox.failing = set()
    await asyncio.sleep(60)
    assert a.events == [{"type": "peer", "event": "expired", "to": "b", "count": 1, "reason": "ttl"}]
    await office.close()


@virtual_time
async def test_a_life_shorter_than_the_wait_for_an_acknowledgement():
    """A present target gets even the shortest-lived message; without an acknowledgement it expires."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False)
    a.send("b", "m1", ttl_ms=1)
    await asyncio.sleep(5)
    assert a.outcome() == {"enqueued": ["b"]}
    assert a.events == [{"type": "peer", "event": "expired", "to": "b", "count": 1, "reason": "ttl"}]
    assert len(b.messages) == 1
    await office.close()


@virtual_time
async def test_expiry_with_a_failing_mailbox():
    """Letters that could not be taken at one look are taken at a later one; a failure behind it loses nothing."""
    office = await open_office()
    a = office.device("a")
    a.send("b", "m1", ttl_ms=1000)
    await turns()
    office.mailbox.failing = {"take_expired"}
    await asyncio.sleep(10)
    assert a.events == []
    office.mailbox.failing = set()
    await asyncio.sleep(1)
    assert a.events == [{"type": "peer", "event": "expired", "to": "b", "count": 1, "reason": "ttl"}]
    await office.close()


@virtual_time
async def test_a_wave_of_expiry():
    """More letters than one look takes are taken at once, not five hundred a second, and are told as one."""
    office = await open_office(changed(burst=2000), per_device=2000)
    a, c = office.device("a"), office.device("c")
    for number in range(600):
        a.send("b", f"m{number}", ttl_ms=500)
        c.send("b", f"m{number}", ttl_ms=500)
    await asyncio.sleep(1.1)
    assert [event["count"] for event in a.events + c.events] == [600, 600]
    assert sum(one.count for one in office.of(PeerLost)) == 1200
    assert office.mailbox.calls.count("take_expired") == 3
    await office.close()


# --- what senders hear later ------------------------------------------------------------------------------------------


@virtual_time
async def test_one_report_a_share():
    """Each sender hears once, when its share is acknowledged, how many there were."""
    office = await open_office()
    a, c, b = office.device("a"), office.device("c"), office.device("b", acks=False, online=False)
    for number in range(3):
        a.send("b", f"a{number}")
        c.send("b", f"c{number}")
    await turns()
    b.connect()
    await asyncio.sleep(1)
    b.ack("a0", "a1", "c0")
    await asyncio.sleep(1)
    assert a.events == c.events == []
    b.ack("a2")
    await turns()
    assert a.events == [redelivered("b", 3)]
    await asyncio.sleep(1.1)
    assert c.events == [redelivered("b", 1)]  # three seconds have passed
    b.ack("c1", "c2")
    await asyncio.sleep(10)
    assert c.events == [redelivered("b", 1), redelivered("b", 2)]
    assert a.events == [redelivered("b", 3)]
    reports = [(one.sender, one.count, one.mailboxed) for one in office.of(PeerRedelivered)]
    assert reports == [("a", 3, False), ("c", 1, False), ("c", 2, False)]
    await office.close()


@virtual_time
async def test_nothing_delivered_nothing_reported():
    """Without an acknowledgement there is no report, however long it takes."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False, online=False)
    a.send("b", "m1")
    await turns()
    b.connect()
    await asyncio.sleep(100)
    b.disconnect()
    await asyncio.sleep(100)
    assert a.events == []
    assert await office.texts("b") == ["m1"]
    await office.close()


@virtual_time
async def test_lost_in_the_middle():
    """Of a recipient that is lost in the middle, what it acknowledged is reported; the rest stays for the next time."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False, online=False)
    for number in range(5):
        a.send("b", f"m{number}")
    await turns()
    b.connect()
    await turns()
    b.ack("m0", "m1")
    b.disconnect()
    await turns()
    assert a.events == [redelivered("b", 2)]
    assert await office.texts("b") == ["m2", "m3", "m4"]
    b.acks = True
    b.connect()
    await turns()
    assert b.texts[5:] == ["m2", "m3", "m4"]
    assert a.events == [redelivered("b", 2), redelivered("b", 3)]
    await office.close()


@virtual_time
async def test_lost_while_the_delivery_is_noted():
    """An acknowledgement counts though its device is gone before the mailbox has noted it; nothing is sent again."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False, online=False)
    a.send("b", "m1")
    a.send("b", "m2")
    await turns()
    b.connect()
    await turns()
    office.mailbox.seconds = 0.5
    b.ack("m1")
    b.disconnect()
    b.connect()
    await asyncio.sleep(5)
    assert a.events == [redelivered("b", 1)]
    assert b.texts.count("m1") == 1
    b.ack("m2")
    await asyncio.sleep(5)
    assert a.events == [redelivered("b", 1)] * 2
    await office.close()


@virtual_time
async def test_a_sender_that_is_away():
    """Its reports wait in its mailbox, added up for each target; what it gets causes no further report."""
    office = await open_office(changed(burst=100))
    a = office.device("a")
    b, c = office.device("b", online=False), office.device("c", online=False)
    for number in range(4):
        a.send(["b", "c"], f"m{number}")
    await turns()
    a.disconnect()
    b.connect()
    await turns()
    b.disconnect()
    c.connect()
    await turns()
    assert [(one.kind, one.about, one.count) for one in await office.waiting("a")] == [
        ("redelivered", "b", 4),
        ("redelivered", "c", 4),
    ]
    a.connect()
    a.send("b", "m4")
    await turns()
    a.disconnect()
    await turns()
    b.connect()
    await turns()
    a.connect()
    await asyncio.sleep(20)
    assert a.events == [redelivered("b", 4), redelivered("c", 4), redelivered("b", 1)]
    assert b.events == c.events == []
    assert await office.waiting("a") == []
    mailboxed = [one.mailboxed for one in office.of(PeerRedelivered)]
    assert mailboxed == [True, True, True]
    await office.close()


@virtual_time
async def test_reports_are_merged():
    """Two reports for the same target become one, with the counts added."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False, online=False)
    a.send("b", "m1")
    a.send("b", "m2")
    await turns()
    a.disconnect()
    b.connect()
    await turns()
    b.ack("m1")
    await asyncio.sleep(4)
    b.ack("m2")
    await asyncio.sleep(4)
    assert [(one.about, one.count) for one in await office.waiting("a")] == [("b", 2)]
    a.connect()
    await turns()
    assert a.events == [redelivered("b", 2)]
    await office.close()


@virtual_time
@pytest.mark.parametrize("peer_ack", [False, True])
async def test_a_sender_that_does_not_acknowledge_events(peer_ack):
    """A report is sent once, also to a device that acknowledges messages but knows nothing of acknowledging events."""
    office = await open_office()
    a, b = office.device("a", peer_ack=peer_ack, acks=False), office.device("b", online=False)
    a.send("b", "m1")
    await turns()
    b.connect()
    await asyncio.sleep(100)
    assert a.events == [redelivered("b", 1)]
    assert ("id" in a.frames[-1]) == peer_ack
    a.disconnect()
    a.connect()
    await asyncio.sleep(100)
    assert a.events == [redelivered("b", 1)]
    await office.close()


@virtual_time
async def test_a_report_that_does_not_reach_its_sender():
    """A report that TCP could not deliver waits in the mailbox for the sender's return."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", online=False)
    a.send("b", "m1")
    await turns()
    a.wire.stalled = True
    b.connect()
    await asyncio.sleep(5)
    assert a.events == []
    a.disconnect()
    a.connect()
    await turns()
    assert a.events == [redelivered("b", 1)]
    await office.close()


@virtual_time
async def test_reports_with_a_failing_mailbox():
    """A report that cannot be stored is kept until it can be."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", online=False)
    a.send("b", "m1")
    await turns()
    a.disconnect()
    office.mailbox.failing = {"add_event"}
    b.connect()
    await asyncio.sleep(100)
    office.mailbox.failing = set()
    await asyncio.sleep(31)
    a.connect()
    await turns()
    assert a.events == [redelivered("b", 1)]
    await office.close()


@virtual_time
@pytest.mark.parametrize("acks", [False, True])
async def test_confirm(acks):
    """A sender that asks for it hears of each delivery out of the mailbox, by the message's own id."""
    office = await open_office()
    a, b = office.device("a", acks=acks), office.device("b", online=False)
    a.send(["b", "c"], "m1", confirm=True)
    a.send("b", "m2")
    await turns()
    b.connect()
    c = office.device("c")
    await asyncio.sleep(100)
    assert c.texts == ["m1"]
    delivered = [event for event in a.events if event["event"] == "delivered"]
    assert delivered == [
        {"type": "peer", "event": "delivered", "to": "b", "id": "m1"},
        {"type": "peer", "event": "delivered", "to": "c", "id": "m1"},
    ]
    assert len(a.events) == 4
    a.send("b", "m3", confirm=True)
    await asyncio.sleep(10)
    assert a.outcome("m3") == {"delivered": ["b"]}
    assert len(a.events) == 4  # its receipt has said it
    assert office.of(AckIgnored) == []
    await office.close()


@virtual_time
async def test_confirm_without_an_id():
    """The receipt names the message as the later event does, though its sender gave it no name; else it does not."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", online=False)
    a.send("b", confirm=True)
    await turns()
    b.connect()
    await turns()
    (event,) = [event for event in a.events if event["event"] == "delivered"]
    assert a.receipts[0]["id"] == event["id"] == b.messages[0]["id"]
    a.send("b")
    await turns()
    assert "id" not in a.receipts[1]
    await office.close()


@virtual_time
async def test_confirm_to_a_sender_that_is_away():
    """Confirmations wait for their sender, each of them."""
    office = await open_office()
    a, b, c = office.device("a"), office.device("b", online=False), office.device("c", online=False)
    a.send(["b", "c"], "m1", confirm=True)
    a.send("b", "m2", confirm=True)
    await turns()
    a.disconnect()
    b.connect()
    c.connect()
    await turns()
    a.connect()
    await asyncio.sleep(1)
    told = sorted((event["to"], event["id"]) for event in a.events if event["event"] == "delivered")
    assert told == [("b", "m1"), ("b", "m2"), ("c", "m1")]
    await office.close()
