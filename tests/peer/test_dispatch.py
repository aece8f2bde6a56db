"""Letters on their way: live, or by the mailbox, in order and within bounds."""

from __future__ import annotations

import asyncio

from gateway.observe.events import AckIgnored, PeerAccepted, PeerDelivered, PeerEnqueued
from tests.peer.post_office import QUIET, changed, open_office, redelivered, turns
from tests.virtual_time import virtual_time

# --- the live path ----------------------------------------------------------------------------------------------------


@virtual_time
async def test_live_and_acknowledged():
    """A target that is there gets the message at once, and after its acknowledgement the receipt says delivered."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False)
    await turns()
    office.mailbox.calls.clear()
    a.send("b", "m1")
    assert b.texts == ["m1"]
    assert a.receipts == []
    await asyncio.sleep(0.1)
    b.ack("m1")
    (receipt,) = a.receipts
    assert receipt == {
        "type": "peer",
        "status": "done",
        "id": "m1",
        "delivered": ["b"],
        "enqueued": [],
        "failed": [],
        "summary": "1 delivered",
        "elapsedMs": 100,
        "targetsCount": 1,
    }
    await asyncio.sleep(10)
    assert set(office.mailbox.calls) <= QUIET
    assert (office.courier.in_memory, office.courier.unconfirmed) == (0, 0)
    assert a.events == []
    assert len(b.messages) == 1
    (accepted,) = office.of(PeerAccepted)
    assert (accepted.device, accepted.message, accepted.targets) == ("a", "m1", 1)
    (delivered,) = office.of(PeerDelivered)
    assert (delivered.device, delivered.sender, delivered.confirm, delivered.redelivered) == ("b", "a", "ack", False)
    await office.close()


@virtual_time
async def test_no_acknowledgement_in_time():
    """After 250 ms the message is stored, then its sender hears enqueued; a later ack settles and is reported."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False)
    await turns()
    office.mailbox.seconds = 0.1
    a.send("b", "m1")
    await asyncio.sleep(0.249)
    assert await office.texts("b") == []
    await asyncio.sleep(0.1)
    assert a.receipts == []  # the commit has not come back
    await asyncio.sleep(0.01)
    assert a.outcome() == {"enqueued": ["b"]}
    assert await office.texts("b") == ["m1"]
    assert [one.message for one in office.of(PeerEnqueued)] == ["m1"]
    b.ack("m1")
    await asyncio.sleep(0.5)
    assert await office.texts("b") == []
    assert a.events == [redelivered("b", 1)]
    assert len(b.messages) == 1
    assert len(a.receipts) == 1
    await office.close()


@virtual_time
async def test_acknowledged_during_the_commit():
    """An acknowledgement that comes while the message is being stored makes the receipt say delivered, once."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False)
    await turns()
    office.mailbox.seconds = 0.2
    a.send("b", "m1", confirm=True)
    await asyncio.sleep(0.3)
    b.ack("m1")
    assert a.receipts == []
    await asyncio.sleep(5)
    assert a.outcome() == {"delivered": ["b"]}
    assert "confirm" not in a.receipts[0]
    assert await office.texts("b") == []
    assert a.events == []
    assert b.texts == ["m1"]
    assert len(office.of(PeerDelivered)) == 1
    await office.close()


@virtual_time
async def test_acknowledged_during_the_commit_beside_a_share():
    """A message that was delivered after all is not counted among those that were enqueued."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False)
    a.send("b", "m1")
    await asyncio.sleep(1)
    assert a.outcome() == {"enqueued": ["b"]}
    office.mailbox.seconds = 0.2
    a.send("b", "m2")
    await asyncio.sleep(0.3)
    b.ack("m2", "m1")
    await asyncio.sleep(5)
    assert a.outcome("m2") == {"delivered": ["b"]}
    assert a.events == [redelivered("b", 1)]
    await office.close()


@virtual_time
async def test_link_lost_before_the_acknowledgement():
    """The message is stored under the same id, then the sender hears enqueued; it is sent again when b is back."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False)
    a.send("b", "m1")
    await asyncio.sleep(0.05)
    b.disconnect()
    assert a.receipts == []
    await turns()
    assert a.outcome() == {"enqueued": ["b"]}
    assert [(one.sender, one.id) for one in await office.waiting("b")] == [("a", "m1")]
    b.acks = True
    b.connect()
    await asyncio.sleep(0.1)
    assert b.texts == ["m1", "m1"]
    assert [one.get("redelivered") for one in b.messages] == [None, True]
    assert a.events == [redelivered("b", 1)]
    assert await office.waiting("b") == []
    await office.close()


@virtual_time
async def test_many_at_once_keep_their_own_deadlines():
    """What is not overdue yet is not stored only because something earlier is."""
    office = await open_office()
    a, b, c = office.device("a"), office.device("b", acks=False), office.device("c")
    a.send("b", "m1")
    await asyncio.sleep(0.2)
    c.send("b", "m2")
    await asyncio.sleep(0.1)
    assert await office.texts("b") == ["m1"]
    b.ack("m2")
    assert c.outcome() == {"delivered": ["b"]}
    await office.close()


# --- devices that do not acknowledge ----------------------------------------------------------------------------------


@virtual_time
async def test_taken_by_tcp():
    """Without acknowledgements a message is delivered when TCP has taken it, which is looked at after 50 ms."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", peer_ack=False)
    await turns()
    office.mailbox.calls.clear()
    a.send("b", "m1")
    await asyncio.sleep(0.049)
    assert a.receipts == []
    await asyncio.sleep(0.002)
    assert a.outcome() == {"delivered": ["b"]}
    assert a.receipts[0]["confirm"] == "written"
    assert set(office.mailbox.calls) <= QUIET
    assert [one.confirm for one in office.of(PeerDelivered)] == ["written"]
    assert b.texts == ["m1"]
    await office.close()


@virtual_time
async def test_stalled_tcp():
    """What TCP has not taken in 2 s is enqueued; once it is taken the sender hears of it. It is sent once."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", peer_ack=False)
    b.wire.stalled = True
    a.send("b", "m1")
    await asyncio.sleep(1.99)
    assert a.receipts == []
    await asyncio.sleep(0.02)
    assert a.outcome() == {"enqueued": ["b"]}
    await asyncio.sleep(60)
    assert await office.texts("b") == ["m1"]
    b.channel.arrive()
    await asyncio.sleep(3)
    assert b.texts == ["m1"]
    assert a.events == [redelivered("b", 1)]
    assert await office.waiting("b") == []
    await office.close()


@virtual_time
async def test_stalled_for_a_moment():
    """A queue that drains in between is seen within 50 ms, and nothing is stored."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", peer_ack=False)
    await turns()
    office.mailbox.calls.clear()
    b.wire.stalled = True
    a.send("b", "m1")
    await asyncio.sleep(1.01)
    b.channel.arrive()
    await asyncio.sleep(0.05)
    assert a.outcome() == {"delivered": ["b"]}
    assert set(office.mailbox.calls) <= QUIET
    await office.close()


@virtual_time
async def test_a_closing_channel_confirms_nothing():
    """An empty send queue of a connection that is closing proves nothing: what was queued may have been dropped."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", peer_ack=False)
    await turns()
    b.wire.stalled = True
    a.send("b", "m1")
    assert b.wire.on_the_way
    b.wire.is_open = False
    b.wire.on_the_way.clear()
    await asyncio.sleep(0.5)
    assert a.receipts == []
    b.disconnect()
    await turns()
    assert a.outcome() == {"enqueued": ["b"]}
    await office.close()


@virtual_time
async def test_a_message_the_channel_refused_is_not_confirmed():
    """What a closing channel did not take is stored when the device is gone, however empty the queue."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", peer_ack=False)
    await turns()
    b.wire.is_open = False
    a.send("b", "m1")
    b.wire.is_open = True  # whatever it says now
    await asyncio.sleep(0.2)
    assert a.receipts == []
    b.disconnect()
    await turns()
    assert a.outcome() == {"enqueued": ["b"]}
    await office.close()


@virtual_time
async def test_where_the_kernel_cannot_be_asked():
    """Where the system does not tell, what has left the process has to do."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", peer_ack=False)
    b.wire.unknown = True
    a.send("b", "m1")
    await asyncio.sleep(0.06)
    assert a.outcome() == {"delivered": ["b"]}
    await office.close()


@virtual_time
async def test_mail_to_a_device_that_does_not_acknowledge():
    """Mail out of the mailbox is settled when TCP has taken it."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", peer_ack=False, online=False)
    a.send("b", "m1")
    a.send("b", "m2")
    await turns()
    b.connect()
    await asyncio.sleep(0.2)
    assert b.texts == ["m1", "m2"]
    assert a.events == [redelivered("b", 2)]
    assert await office.waiting("b") == []
    await office.close()


# --- a mailbox that is full, or fails ---------------------------------------------------------------------------------


@virtual_time
async def test_a_full_mailbox():
    """The new message fails, the old ones stay."""
    office = await open_office(changed(burst=100), per_device=3)
    a = office.device("a")
    for number in range(5):
        a.send("b", f"m{number}")
    a.send(["b", "c"], "m5")
    await turns()
    assert await office.texts("b") == ["m0", "m1", "m2"]
    assert a.outcome("m2") == {"enqueued": ["b"]}
    assert a.outcome("m3") == {"failed": ["b"]}
    assert a.outcome("m5") == {"enqueued": ["c"], "failed": ["b"]}
    assert [one["reasons"] for one in a.receipts if "reasons" in one] == [{"b": "MAILBOX_FULL"}] * 3
    b = office.device("b")
    await turns()
    assert b.texts == ["m0", "m1", "m2"]
    assert a.events == [redelivered("b", 3)]
    a.send("b", "m4")  # it failed as a whole, so this is a new attempt
    await turns()
    assert a.outcome("m4") == {"delivered": ["b"]}
    await office.close()


@virtual_time
async def test_a_full_mailbox_and_a_present_target():
    """What a present device was sent and the mailbox refuses has failed if it is not acknowledged within 2 s more."""
    office = await open_office(per_device=1)
    a, b = office.device("a"), office.device("b", acks=False)
    await turns()
    for number in range(1, 4):
        a.send("b", f"m{number}")
    await asyncio.sleep(2.2)
    assert a.outcome() == a.outcome("m1") == {"enqueued": ["b"]}
    b.ack("m2")
    assert a.outcome("m2") == {"delivered": ["b"]}
    await asyncio.sleep(0.1)
    assert a.outcome("m3") == {"failed": ["b"]}
    assert a.receipts[-1]["reasons"] == {"b": "MAILBOX_FULL"}
    assert office.courier.in_memory == 0
    b.ack("m1", "m3")  # too late, and harmless
    await asyncio.sleep(1)
    assert a.events == [redelivered("b", 1)]
    assert len(a.receipts) == 3
    assert office.of(AckIgnored) == []
    await office.close()


@virtual_time
async def test_a_full_mailbox_that_gets_room():
    """A message that was refused once is stored when the mailbox has room at the end of its time, in order."""
    office = await open_office(per_device=1)
    a, c, b = office.device("a"), office.device("c"), office.device("b", acks=False)
    await turns()
    c.send("b", "m1")
    a.send("b", "m2")
    await asyncio.sleep(1)
    b.ack("m1")
    await asyncio.sleep(2)
    assert a.outcome("m2") == {"enqueued": ["b"]}
    b.ack("m2")
    await asyncio.sleep(1)
    assert a.events == [redelivered("b", 1)]
    await office.close()


@virtual_time
async def test_a_full_mailbox_and_a_target_that_goes():
    """What the mailbox has refused fails at once when its device goes without an acknowledgement."""
    office = await open_office(per_device=1)
    a, b = office.device("a"), office.device("b", acks=False)
    await turns()
    a.send("b", "m1")
    a.send("b", "m2")
    await asyncio.sleep(1)
    b.disconnect()
    await turns()
    assert a.outcome("m1") == {"enqueued": ["b"]}
    assert a.outcome("m2") == {"failed": ["b"]}
    await office.close()


@virtual_time
async def test_a_failing_mailbox():
    """What cannot be stored fails as INTERNAL_ERROR, never as enqueued; when the disk is well a repeat is stored."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False)
    await turns()
    office.mailbox.failing = {"*"}
    a.send("c", "m1")
    a.send("b", "m2")
    await asyncio.sleep(2.3)
    assert a.outcome("m1") == a.outcome("m2") == {"error": ["INTERNAL_ERROR"]}
    assert office.courier.in_memory == 0
    assert office.of(PeerEnqueued) == []
    office.mailbox.failing = set()
    a.send("c", "m1")
    await turns()
    assert a.outcome("m1") == {"enqueued": ["c"]}
    assert "duplicate" not in a.receipts[-1]
    b.ack("m2")
    a.send("b", "m2")  # the target is there, and has it twice now
    b.ack("m2")
    await turns()
    assert a.outcome("m2") == {"delivered": ["b"]}
    assert b.texts == ["m2", "m2"]
    await office.close()


@virtual_time
async def test_a_failing_mailbox_and_an_acknowledgement():
    """A message that cannot be stored, but that its device acknowledges meanwhile, is delivered."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False)
    await turns()
    office.mailbox.seconds = 0.5
    office.mailbox.failing = {"store"}
    a.send("b", "m1")
    await asyncio.sleep(0.3)
    b.ack("m1")
    await asyncio.sleep(2)
    assert a.outcome() == {"delivered": ["b"]}
    assert [one.message for one in office.of(PeerDelivered)] == ["m1"]
    await office.close()


@virtual_time
async def test_a_failing_mailbox_and_devices_that_are_there():
    """With a disk that takes nothing, devices that acknowledge still get their messages, and their waiting mail."""
    office = await open_office(changed(burst=200), per_device=200)
    a = office.device("a")
    for number in range(120):
        a.send("b", f"m{number}")
    await turns()
    office.mailbox.failing = {"store", "add_event", "settle", "set_aside", "take_expired"}
    b = office.device("b")
    await asyncio.sleep(1)
    assert b.texts == [f"m{number}" for number in range(120)]
    a.send("b", "live")
    await turns()
    assert a.outcome("live") == {"delivered": ["b"]}
    assert a.events == []
    b.disconnect()
    b.connect()
    await asyncio.sleep(1)
    assert len(b.texts) == 121  # that the mailbox has not noted it is no reason to send it again
    office.mailbox.failing = set()
    await asyncio.sleep(60)
    assert sum(event["count"] for event in a.events) == 120
    assert await office.waiting("b") == []
    await office.close()


@virtual_time
async def test_mail_that_cannot_be_read():
    """Nothing overtakes mail that cannot be read: new messages fail until it can, then all is in order."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", online=False)
    a.send("b", "m1")
    await turns()
    office.mailbox.failing = {"*"}
    b.connect()
    a.send("b", "m2")
    await asyncio.sleep(1)
    a.send("b", "m3")
    await turns()
    assert a.outcome("m2") == a.outcome("m3") == {"error": ["INTERNAL_ERROR"]}
    assert b.texts == []
    office.mailbox.failing = set()
    await asyncio.sleep(2)
    a.send("b", "m4")
    await turns()
    assert b.texts == ["m1", "m4"]
    assert a.outcome("m4") == {"delivered": ["b"]}
    await office.close()


# --- what waits -------------------------------------------------------------------------------------------------------


@virtual_time
async def test_order_of_each_sender():
    """Mail comes in the order in which it was accepted from each sender, and what is said meanwhile after it."""
    office = await open_office(changed(burst=100))
    a, c, b = office.device("a"), office.device("c"), office.device("b", online=False)
    for number in range(30):
        a.send("b", f"a{number}")
        c.send("b", f"c{number}")
    await turns()
    office.mailbox.seconds = 0.01
    b.connect()
    for number in range(30, 60):
        a.send("b", f"a{number}")
        await asyncio.sleep(0.003)
    await asyncio.sleep(2)
    for sender, count in (("a", 60), ("c", 30)):
        assert [text for text in b.texts if text[0] == sender] == [f"{sender}{number}" for number in range(count)]
    assert sum(event["count"] for event in c.events) == 30
    enqueued = sum("b" in one["enqueued"] for one in a.receipts)
    assert sum(event["count"] for event in a.events) == enqueued
    await office.close()


@virtual_time
async def test_fifty_in_flight():
    """Of a hundred that wait, fifty are in flight; each one that is acknowledged lets another one go."""
    office = await open_office(changed(burst=200))
    a, b = office.device("a"), office.device("b", acks=False, online=False)
    for number in range(100):
        a.send("b", f"m{number}")
    await turns()
    b.connect()
    await asyncio.sleep(1)
    assert b.texts == [f"m{number}" for number in range(50)]
    a.send("b", "live")
    await turns()
    assert a.outcome("live") == {"failed": ["b"]}  # the mailbox has room for a hundred
    b.ack("m3", "m0")
    await turns()
    assert b.texts[50:] == ["m50", "m51"]
    b.acks = True
    b.ack(*(f"m{number}" for number in range(100)))
    await turns(100)
    assert b.texts == [f"m{number}" for number in range(100)]
    await asyncio.sleep(3)
    assert sum(event["count"] for event in a.events) == 100
    await office.close()


@virtual_time
async def test_room_that_live_messages_leave():
    """A message that found no room, as all of it was taken by other senders' live messages, is sent when there is."""
    office = await open_office(changed(in_flight=2))
    a, c, b = office.device("a"), office.device("c"), office.device("b", acks=False)
    await turns()
    a.send("b", "m1")
    a.send("b", "m2")
    c.send("b", "m3")
    await turns()
    assert c.outcome() == {"enqueued": ["b"]}
    b.ack("m1", "m2")
    await turns()
    assert a.outcome("m1") == a.outcome("m2") == {"delivered": ["b"]}
    assert b.texts == ["m1", "m2", "m3"]
    b.ack("m3")
    await turns()
    assert c.events == [redelivered("b", 1)]
    a.send("b", "m4")
    b.ack("m4")
    assert a.outcome("m4") == {"delivered": ["b"]}
    await office.close()


@virtual_time
async def test_just_connected():
    """A message to a device that has just connected does not take the way through the mailbox."""
    office = await open_office()
    a = office.device("a")
    await turns()
    office.mailbox.seconds = 0.01
    b = office.device("b")
    a.send("b", "m1")
    a.send("b", "m2")
    assert b.texts == []
    await asyncio.sleep(0.02)
    assert b.texts == ["m1", "m2"]
    assert a.outcome("m1") == a.outcome("m2") == {"delivered": ["b"]}
    assert "store" not in office.mailbox.calls
    await office.close()


@virtual_time
async def test_just_connected_and_gone():
    """What was held for a device that has just connected is stored when it is gone again, in order."""
    office = await open_office()
    a = office.device("a")
    await turns()
    office.mailbox.seconds = 0.01
    b = office.device("b")
    a.send("b", "m1")
    a.send("b", "m2")
    b.disconnect()
    await asyncio.sleep(0.1)
    assert a.outcome("m1") == a.outcome("m2") == {"enqueued": ["b"]}
    assert await office.texts("b") == ["m1", "m2"]
    b.connect()
    await asyncio.sleep(0.1)
    assert b.texts == ["m1", "m2"]
    await office.close()


@virtual_time
async def test_what_is_held_is_not_stored_before_what_is_in_flight():
    """A held message that has to be stored takes its sender's earlier ones with it; so their order is kept."""
    office = await open_office(changed(in_flight=3))
    a, c, b = office.device("a"), office.device("c"), office.device("b", acks=False)
    await turns()
    office.mailbox.seconds = 0.05
    a.send("b", "m1")
    a.send("b", "m2")
    c.send("b", "x1")
    c.send("b", "x2")  # no room: stored with x1; then the mailbox is asked what waits
    await asyncio.sleep(0.06)
    b.ack("m2")
    a.send("b", "m3")
    await asyncio.sleep(0.06)
    assert b.texts[:3] == ["m1", "m2", "x1"]
    b.disconnect()
    await asyncio.sleep(1)
    b.acks = True
    b.inbox.clear()
    b.connect()
    await asyncio.sleep(1)
    assert sorted(b.texts) == ["m1", "m3", "x1", "x2"]
    assert b.texts.index("m1") < b.texts.index("m3")
    assert b.texts.index("x1") < b.texts.index("x2")
    await office.close()


@virtual_time
async def test_memory_is_bounded():
    """Past the bound of what waits in memory messages go straight to the mailbox, and are sent from there."""
    office = await open_office(changed(waiting_total=2))
    a, b, c = office.device("a"), office.device("b", acks=False), office.device("c", acks=False)
    await turns()
    a.send("b", "m1")
    a.send("c", "m2")
    assert b.texts == ["m1"]
    a.send("c", "m3")
    await turns()
    assert a.outcome("m3") == a.outcome("m2") == {"enqueued": ["c"]}
    assert c.texts == ["m2", "m3"]
    assert office.courier.in_memory == 1
    b.ack("m1")
    c.ack("m2", "m3")
    await turns()
    assert a.outcome("m1") == {"delivered": ["b"]}
    assert a.events == [redelivered("c", 2)]
    await office.close()


@virtual_time
async def test_the_queue_is_off():
    """Without a queue what is not delivered fails as TARGET_OFFLINE, once, and nothing is stored."""
    office = await open_office(changed(queue=False))
    a, b = office.device("a"), office.device("b", acks=False)
    await turns()
    a.send("c", "m1")
    assert [one["code"] for one in a.receipts] == ["TARGET_OFFLINE"]
    a.send("b", "m2")
    a.send(["a", "c"], "m3")
    assert a.outcome("m3") == {"failed": ["a", "c"]}
    await asyncio.sleep(0.3)
    assert a.outcome("m2") == {"error": ["TARGET_OFFLINE"]}
    a.send("b", "m2")
    b.ack("m2")  # of the first copy, or the second: who can tell
    b.ack("m2")
    assert a.outcome("m2") == {"delivered": ["b"]}
    a.send("b", "m4")
    b.disconnect()
    assert a.outcome("m4") == {"error": ["TARGET_OFFLINE"]}
    await asyncio.sleep(10)
    assert len(a.receipts) == 5
    assert a.events == []
    assert not {"store", "add_event"} & set(office.mailbox.calls)
    await office.close()
