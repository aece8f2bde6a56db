"""The courier with its devices and its mailbox, on virtual time: what senders are told, and whether it is true."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from itertools import pairwise

import pytest

from gateway.errors import MailboxFailed
from gateway.identity import DeviceId
from gateway.observe.events import (
    AckIgnored,
    PeerAccepted,
    PeerDelivered,
    PeerEnqueued,
    PeerFailed,
    PeerLost,
    PeerRedelivered,
    PeerRetried,
)
from gateway.protocol.messages import MeetingSummary, encode
from tests.peer.post_office import changed, open_office, turns
from tests.virtual_time import timers, virtual_time

QUIET = {"take_expired"}  # what an idle courier asks of its mailbox


def now() -> float:
    """Loop time."""
    return round(asyncio.get_running_loop().time(), 6)


def redelivered(to, count):
    """The event a sender gets."""
    return {"type": "peer", "event": "redelivered", "to": to, "count": count}


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


# --- devices that do not acknowledge --------------------------------------------------------------------------------


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


# --- targets ----------------------------------------------------------------------------------------------------------


@virtual_time
async def test_an_offline_target():
    """A message to a device that is not there is stored, then its sender hears enqueued."""
    office = await open_office()
    a = office.device("a")
    a.send("b", "m1")
    assert a.receipts == []
    await turns()
    assert a.outcome() == {"enqueued": ["b"]}
    assert await office.texts("b") == ["m1"]
    await office.close()


@virtual_time
async def test_several_targets():
    """One receipt for all targets, when the last one is known; each is in exactly one list."""
    office = await open_office(may_write=lambda sender, target: target != "x")
    a = office.device("a")
    office.device("b")
    office.device("c", peer_ack=False)
    office.device("d", acks=False)
    a.send(["b", "c", "d", "e", "x", "a", "B"], "m1")
    await asyncio.sleep(0.2)
    assert a.receipts == []
    await asyncio.sleep(0.1)
    (receipt,) = a.receipts
    assert a.outcome() == {"delivered": ["b", "c"], "enqueued": ["e", "d"], "failed": ["x", "a"]}
    assert receipt["reasons"] == {"a": "INVALID_TARGET", "x": "UNAUTHORIZED"}
    assert receipt["targetsCount"] == 6
    assert receipt["confirm"] == "written"
    assert Counter(one.code for one in office.of(PeerFailed)) == {"INVALID_TARGET": 1, "UNAUTHORIZED": 1}
    await office.close()


@virtual_time
async def test_oneself_and_nobody_else():
    """A message to oneself alone is answered at once."""
    office = await open_office()
    a = office.device("a")
    a.send("a", "m1")
    assert a.outcome() == {"failed": ["a"]}
    assert len(a.receipts) == 1
    await office.close()


@virtual_time
async def test_broadcast():
    """A broadcast goes to all who are online but the sender, and is kept for nobody else."""
    office = await open_office()
    a, b, c = office.device("a"), office.device("b"), office.device("c", peer_ack=False)
    office.device("d", online=False)
    a.send(["broadcast"], "m1")
    await asyncio.sleep(0.1)
    assert b.texts == c.texts == ["m1"]
    assert a.texts == []
    assert a.outcome() == {"delivered": ["b", "c"]}
    assert await office.waiting("d") == []
    await office.close()


@virtual_time
async def test_a_large_broadcast_holds_up_nobody():
    """Two hundred devices a turn; what its sender says meanwhile comes after it, and there is one receipt for all."""
    office = await open_office(changed(waiting_total=100_000))
    a = office.device("a")
    others = [office.device(f"b{number:03}") for number in range(600)]
    await asyncio.sleep(0.1)
    a.send("broadcast", "m1")
    a.send("b599", "m2")
    a.send("b000", "m3")
    sizes = [0]
    for _ in range(5):
        sizes.append(sum("m1" in other.texts for other in others))
        await asyncio.sleep(0)
    assert max(after - before for before, after in pairwise(sizes)) == 200
    assert sizes[-1] == 600
    await turns()
    assert others[0].texts == ["m1", "m3"]
    assert others[599].texts == ["m1", "m2"]
    assert [(one["id"], one["summary"]) for one in a.receipts] == [
        ("m1", "600 delivered"),
        ("m2", "1 delivered"),
        ("m3", "1 delivered"),
    ]
    assert len(office.courier._turns) == 0
    await office.close()


@virtual_time
async def test_a_large_broadcast_in_the_moment_of_the_stop():
    """Of a broadcast that is under way nothing is lost: what was not sent yet is in the mailbox."""
    office = await open_office(changed(waiting_total=100_000))
    a = office.device("a")
    others = [office.device(f"b{number:03}", acks=False) for number in range(401)]
    await asyncio.sleep(0.1)
    a.send("broadcast", "m1")
    await office.courier.stop()
    for other in others:
        assert await office.texts(other.id) == ["m1"]
        other.disconnect()
    a.disconnect()
    await office.close()


@virtual_time
async def test_broadcast_to_nobody():
    """Alone, a broadcast is done at once."""
    office = await open_office()
    a = office.device("a")
    a.send("broadcast", "m1")
    assert a.receipts[0]["summary"] == "no targets"
    assert a.receipts[0]["targetsCount"] == 0
    await office.close()


@virtual_time
async def test_broadcast_within_the_reach():
    """A broadcast is for those the sender may write to, and does not name the others."""
    office = await open_office(changed(reach="group"))
    a, near, far = office.device("aaaaaaaa-1"), office.device("aaaaaaaa-2"), office.device("bbbbbbbb-1")
    a.send("broadcast", "m1")
    await turns()
    assert near.texts == ["m1"]
    assert far.texts == []
    assert a.outcome() == {"delivered": ["aaaaaaaa-2"]}
    assert a.receipts[0]["targetsCount"] == 1
    a.send("bbbbbbbb-1", "m2")
    assert a.outcome() == {"error": ["UNAUTHORIZED"]}
    await office.close()


@virtual_time
async def test_broadcasts_five_seconds_apart():
    """A second broadcast within five seconds is refused, also over a new connection; other messages are not."""
    office = await open_office()
    a, b = office.device("a"), office.device("b")
    a.send("broadcast", "m1")
    await asyncio.sleep(4.9)
    a.send("broadcast", "m2")
    assert a.outcome() == {"error": ["RATE_LIMITED"]}
    a.send("b", "m3")
    a.disconnect()
    a.connect()
    a.send("broadcast", "m4")
    assert a.outcome() == {"error": ["RATE_LIMITED"]}
    await asyncio.sleep(0.1)
    a.send("broadcast", "m5")
    await turns()
    assert b.texts == ["m1", "m3", "m5"]
    await office.close()


@virtual_time
async def test_a_repeated_broadcast_gets_its_receipt():
    """A sender who repeats a broadcast because it lost the receipt gets it, within the five seconds, too."""
    office = await open_office()
    a, b = office.device("a"), office.device("b")
    a.send("broadcast", "m1")
    await turns()
    a.send("broadcast", "m1")
    assert [one.get("duplicate") for one in a.receipts] == [None, True]
    assert b.texts == ["m1"]
    await office.close()


@virtual_time
async def test_a_rule_that_fails_leaves_nothing_behind():
    """When an application's rule raises, the message is not half sent, and a repeat is a new attempt."""
    broken = True

    def rule(sender, target):
        if target == "c" and broken:
            raise ZeroDivisionError
        return True

    office = await open_office(may_write=rule)
    a, b, c = office.device("a"), office.device("b"), office.device("c")
    with pytest.raises(ZeroDivisionError):
        a.send(["b", "c"], "m1")
    assert b.texts == []
    broken = False
    a.send(["b", "c"], "m1")
    await turns()
    assert b.texts == c.texts == ["m1"]
    assert a.outcome() == {"delivered": ["b", "c"]}
    await office.close()


# --- what is refused --------------------------------------------------------------------------------------------------


@virtual_time
async def test_rate():
    """Five at once, then five in each second; what is over is refused, and is no offence."""
    office = await open_office()
    a, b = office.device("a"), office.device("b")
    for number in range(7):
        a.send("b", f"m{number}")
    await turns()
    assert b.texts == [f"m{number}" for number in range(5)]
    assert [one["code"] for one in a.receipts if one["status"] == "error"] == ["RATE_LIMITED"] * 2
    assert {one["id"] for one in a.receipts if one["status"] == "error"} == {"m5", "m6"}
    await asyncio.sleep(0.2)
    a.send("b", "m7")
    a.send("b", "m8")
    await turns()
    assert b.texts[5:] == ["m7"]
    a.disconnect()
    a.connect()
    a.send("b", "m9")
    await turns()
    assert b.texts[5:] == ["m7"]  # a new connection is no new bucket
    assert [event for event in office.records if type(event).__name__ == "MessageRejected"] == []
    await office.close()


@virtual_time
async def test_rates_are_forgotten():
    """What a device may send is not kept longer than it matters after it has gone."""
    office = await open_office()
    office.device("a").disconnect()
    assert len(office.courier._senders) == 1
    await asyncio.sleep(7)
    assert len(office.courier._senders) == 0
    assert office.courier._senders._departed == {}
    await office.close()


@virtual_time
async def test_bad_requests():
    """A wrong request is answered with its code and id, in the shape of peer errors, and counts as an error."""
    office = await open_office()
    a = office.device("a")
    a.say(to=["b"], payload=[], id="m1")
    a.say(to=7, payload={}, id="m2")
    a.say(to="b", payload={}, id=7)
    a.say(event="redelivered", id="x" * 129)
    a.say(event="ack", ids=7)
    codes = ["SCHEMA_INVALID", "INVALID_REQUEST", "INVALID_REQUEST", "INVALID_REQUEST", "INVALID_REQUEST"]
    assert [one["code"] for one in a.receipts] == codes
    assert [one.get("id") for one in a.receipts] == ["m1", "m2", None, None, None]
    assert all(set(one) <= {"type", "status", "code", "message", "id"} for one in a.receipts)
    rejected = [event.code for event in office.records if type(event).__name__ == "MessageRejected"]
    assert rejected == codes
    await office.close()


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


# --- repeats ----------------------------------------------------------------------------------------------------------


@virtual_time
async def test_a_repeat_gets_the_first_receipt():
    """Within ten minutes a repeated id is answered with the first receipt, and nobody gets the message twice."""
    office = await open_office()
    a, b = office.device("a"), office.device("b")
    a.send(["b", "c"], "m1")
    await turns()
    first = a.receipts[0]
    await asyncio.sleep(599)
    a.say(to="d", payload={"other": True}, id="m1")
    assert a.receipts[1] == {**first, "duplicate": True}
    assert b.texts == ["m1"]
    assert await office.texts("c") == ["m1"]
    assert await office.waiting("d") == []
    await asyncio.sleep(2)
    a.send("b", "m1")
    await turns()
    assert b.texts == ["m1", "m1"]
    assert "duplicate" not in a.receipts[2]
    await office.close()


@virtual_time
async def test_a_repeat_while_the_first_is_open():
    """A repeat that comes before the receipt is answered by the receipt, on whatever connection the sender has then."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False)
    await turns()
    a.send("b", "m1")
    a.send("b", "m1")
    a.disconnect()
    a.connect()
    a.send("b", "m1")
    await turns()
    assert a.receipts == []
    b.ack("m1")
    assert len(a.receipts) == 1
    assert b.texts == ["m1"]
    await office.close()


@virtual_time
async def test_a_repeat_over_a_restart_waiting():
    """A message that the mailbox still has from before a restart is not stored twice."""
    office = await open_office()
    a = office.device("a")
    a.send("b", "m1")
    await turns()
    await office.restart()
    a.connect()
    a.send("b", "m1")
    await turns()
    assert a.outcome() == {"enqueued": ["b"]}
    assert a.receipts[-1]["duplicate"] is True
    assert await office.texts("b") == ["m1"]
    b = office.device("b")
    await turns()
    assert b.texts == ["m1"]
    assert a.events == [redelivered("b", 1)]
    await office.close()


@virtual_time
async def test_a_repeat_over_a_restart_settled():
    """What was delivered out of the mailbox before a restart is not sent again: its receipt says delivered."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", online=False)
    a.send("b", "m1")
    await turns()
    b.connect()
    await turns()
    assert b.texts == ["m1"]
    await office.restart()
    a.connect()
    a.send("b", "m1")
    await turns()
    assert a.outcome() == {"delivered": ["b"]}
    assert a.receipts[-1]["duplicate"] is True
    assert await office.waiting("b") == []
    b.connect()
    await turns()
    assert b.texts == ["m1"]
    assert a.events == [redelivered("b", 1)]
    await office.close()


@virtual_time
async def test_settled_while_it_is_in_flight_again():
    """A repeat over a restart that finds its target there, but is stored for want of an ack, ends as delivered."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", online=False)
    a.send("b", "m1")
    await turns()
    b.connect()
    await turns()
    await office.restart()
    b.acks = False
    a.connect()
    b.connect()
    await turns()
    a.send("b", "m1")
    await asyncio.sleep(0.3)
    assert a.outcome() == {"delivered": ["b"]}
    assert a.receipts[-1]["duplicate"] is True
    assert office.courier.unconfirmed == 0
    b.ack("m1")
    await asyncio.sleep(10)
    assert a.events == [redelivered("b", 1)]  # that of the first time
    assert office.of(AckIgnored) == []
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


# --- repeating --------------------------------------------------------------------------------------------------------


@virtual_time
async def test_attempts():
    """Unacknowledged mail is sent again after 2, 4, 8, 16, 30 s; after ten times it is set aside, and dropped."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False, online=False)
    a.send("b", "m1")
    await turns()
    b.connect()
    await asyncio.sleep(1000)
    assert b.times("from") == [0, 2, 6, 14, 30, 60, 90, 120, 150, 180]
    assert a.events == [{"type": "peer", "event": "dropped", "to": "b", "count": 1, "reason": "attempts"}]
    assert a.times("event") == [210]
    assert await office.waiting("b") == []
    assert (await office.mailbox.depth()).set_aside == 1
    (lost,) = office.of(PeerLost)
    assert (lost.device, lost.sender, lost.kind, lost.reason, lost.count) == ("b", "a", "dropped", "attempts", 1)
    assert [one.attempt for one in office.of(PeerRetried)] == list(range(2, 11))
    assert office.courier.unconfirmed == 0
    b.disconnect()
    b.connect()
    await asyncio.sleep(10)
    assert len(b.messages) == 10
    await office.close()


@virtual_time
async def test_attempts_of_a_live_message():
    """A live message is sent once, stored for want of an acknowledgement, and then repeated as any other."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False)
    a.send("b", "m1")
    await asyncio.sleep(20)
    assert b.times("from") == [0, 2.25, 6.25, 14.25]
    assert [one.get("redelivered") for one in b.messages] == [None, True, True, True]
    b.ack("m1")
    await asyncio.sleep(1000)
    assert len(b.messages) == 4
    assert a.events == [redelivered("b", 1)]
    await office.close()


@virtual_time
async def test_a_share_with_one_that_is_given_up():
    """The rest of a share is reported in time; the one that is never acknowledged ends as dropped."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False, online=False)
    for number in range(3):
        a.send("b", f"m{number}")
    await turns()
    b.connect()
    await turns()
    b.ack("m0", "m2")
    await asyncio.sleep(1000)
    assert a.events == [
        redelivered("b", 2),
        {"type": "peer", "event": "dropped", "to": "b", "count": 1, "reason": "attempts"},
    ]
    assert a.times("event") == [3, 210]
    await office.close()


@virtual_time
async def test_setting_aside_with_a_failing_mailbox():
    """While the mailbox fails a message that was given up is neither sent again nor reported; then it is, once."""
    office = await open_office(changed(attempts=2))
    a, b = office.device("a"), office.device("b", acks=False, online=False)
    a.send("b", "m1")
    await turns()
    b.connect()
    await turns()
    office.mailbox.failing = {"set_aside"}
    await asyncio.sleep(100)
    assert len(b.messages) == 2
    b.disconnect()
    b.connect()
    await asyncio.sleep(1)
    assert len(b.messages) == 2
    assert a.events == []
    office.mailbox.failing = set()
    await asyncio.sleep(60)
    assert a.events == [{"type": "peer", "event": "dropped", "to": "b", "count": 1, "reason": "attempts"}]
    await office.close()


@virtual_time
@pytest.mark.parametrize("comes_back", ["disconnect", "connect"])
async def test_attempts_outlive_a_session(comes_back):
    """A message on which its device crashes each time is set aside after ten times, over all its connections."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False, online=False)
    a.send("b", "poison")
    await turns()
    for _ in range(20):
        if comes_back == "disconnect" and b.session is not None:
            b.disconnect()  # else the gateway has not noticed
        b.connect()
        await asyncio.sleep(1)
    await turns()
    assert len(b.messages) == 10
    assert a.events == [{"type": "peer", "event": "dropped", "to": "b", "count": 1, "reason": "attempts"}]
    assert await office.waiting("b") == []
    assert (await office.mailbox.depth()).set_aside == 1
    assert len(office.courier._attempts) == 0
    await office.close()


@virtual_time
async def test_attempts_are_of_devices_that_acknowledge():
    """Without acknowledgements one sending does; a message waits for a link on which TCP takes it, however many."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", peer_ack=False, online=False)
    a.send("b", "m1")
    await turns()
    b.stalled = True
    for _ in range(12):
        b.connect()
        await asyncio.sleep(0.1)
        b.disconnect()
    b.stalled = False
    b.connect()
    await asyncio.sleep(1)
    assert a.events == [redelivered("b", 1)]
    await office.close()


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


# --- a mailbox that fails otherwise -----------------------------------------------------------------------------------


@virtual_time
async def test_an_application_s_mailbox_with_a_bug(caplog):
    """Whatever it raises: messages fail and are not kept in memory, and all goes on when it works again."""
    office = await open_office()
    a, _ = office.device("a"), office.device("b", acks=False)
    a.send("c", "old", ttl_ms=2000)
    await turns()
    office.mailbox.error = ZeroDivisionError("a bug")
    office.mailbox.failing = {"*"}
    a.send("c", "m1")
    a.send("b", "m2")
    await asyncio.sleep(3)
    assert a.outcome("m1") == a.outcome("m2") == {"error": ["INTERNAL_ERROR"]}
    assert office.courier.in_memory == 0
    assert "a bug" in caplog.text
    c = office.device("c")
    await asyncio.sleep(1)
    office.mailbox.failing = set()
    a.send("d", "m3")
    await asyncio.sleep(5)
    assert a.outcome("m3") == {"enqueued": ["d"]}
    assert a.events == [{"type": "peer", "event": "expired", "to": "c", "count": 1, "reason": "ttl"}]
    a.send("c", "m4")
    await turns()
    assert c.texts == ["m4"]
    office.mailbox.error = MailboxFailed("disk full")
    await office.close()


@virtual_time
async def test_settling_in_a_mailbox_with_a_bug():
    """A delivery that cannot be noted for whatever reason is noted later, and reported."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", online=False)
    a.send("b", "m1")
    await turns()
    office.mailbox.error = ZeroDivisionError("a bug")
    office.mailbox.failing = {"settle"}
    b.connect()
    await asyncio.sleep(10)
    office.mailbox.failing = set()
    await asyncio.sleep(40)
    assert a.events == [redelivered("b", 1)]
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


# --- handover ---------------------------------------------------------------------------------------------------------


@virtual_time
async def test_handover():
    """What the older channel has not confirmed goes to the newer one, in order; its late acknowledgements count."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False, online=False)
    for number in range(4):
        a.send("b", f"m{number}")
    await turns()
    b.connect()
    await turns()
    b.ack("m1")
    b.inbox.clear()
    old = b.connect()
    assert b.texts == ["m0", "m2", "m3"]
    assert all(one["redelivered"] for one in b.messages)
    assert old.send_json({}) is not None
    b.ack("m0")  # whichever channel it comes by: the session is the same
    await turns()
    b.ack("m2", "m3")
    await turns()
    assert a.events == [redelivered("b", 4)]
    assert await office.waiting("b") == []
    await office.close()


@virtual_time
async def test_handover_of_a_live_message():
    """A live message that was not acknowledged is sent to the newer channel, and marked as repeated."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False)
    a.send("b", "m1")
    await asyncio.sleep(0.1)
    b.acks = True
    b.connect()
    await asyncio.sleep(0.1)
    assert [one.get("redelivered") for one in b.messages] == [None, True]
    assert a.outcome() == {"delivered": ["b"]}
    await office.close()


@virtual_time
async def test_handover_to_a_channel_that_does_not_acknowledge():
    """The newer channel counts: without the feature, its TCP has the last word."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False)
    a.send("b", "m1")
    await asyncio.sleep(1)
    b.features = {}
    b.connect()
    await asyncio.sleep(0.1)
    assert a.events == [redelivered("b", 1)]
    assert await office.waiting("b") == []
    await office.close()


@virtual_time
async def test_handover_from_a_stalled_channel():
    """What the older channel did not get out is sent to the newer one; what becomes of the older proves nothing."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", peer_ack=False)
    b.wire.stalled = True
    a.send("b", "m1")
    await asyncio.sleep(0.5)
    assert b.connect().connection.on_the_way
    assert b.texts == ["m1"]
    await asyncio.sleep(0.1)
    assert a.outcome() == {"delivered": ["b"]}
    await office.close()


# --- acknowledgements -------------------------------------------------------------------------------------------------


@virtual_time
async def test_unknown_and_foreign_acknowledgements():
    """What is not in flight to the device is ignored and recorded; apart, if it is in flight to somebody else."""
    office = await open_office()
    a, b, c = office.device("a"), office.device("b", acks=False), office.device("c", acks=False)
    await turns()
    a.send("b", "m1")
    c.ack("nonsense")
    c.ack("m1", "")
    await turns()
    assert [(one.device, one.foreign) for one in office.of(AckIgnored)] == [("c", False), ("c", True), ("c", False)]
    assert a.receipts == []
    assert c.receipts == []  # and no error
    b.ack("m1")
    assert a.outcome() == {"delivered": ["b"]}
    c.ack("m1")
    assert [one.foreign for one in office.of(AckIgnored)][3:] == [False]
    await office.close()


@virtual_time
async def test_the_same_id_from_two_senders():
    """While one is in flight the other waits, so an acknowledgement means one of them; both arrive."""
    office = await open_office()
    a, c, b = office.device("a"), office.device("c"), office.device("b", acks=False)
    a.send("b", "m1")
    c.send("b", "m1")
    c.send("b", "m2")
    await turns()
    assert [one["from"] for one in b.messages] == ["a"]
    assert c.outcome("m1") == c.outcome("m2") == {"enqueued": ["b"]}
    b.ack("m1")
    await turns()
    assert a.outcome() == {"delivered": ["b"]}
    assert [(one["from"], one["id"]) for one in b.messages] == [("a", "m1"), ("c", "m1"), ("c", "m2")]
    assert await office.texts("b") == ["m1", "m2"]
    b.ack("m1", "m2")
    await turns()
    assert c.events == [redelivered("b", 2)]
    await office.close()


@virtual_time
async def test_an_acknowledgement_of_a_copy_is_not_one_of_the_next_message():
    """Every copy is acknowledged; what is owed for the copies of one message is not taken for another's."""
    office = await open_office()
    a, c, b = office.device("a"), office.device("c"), office.device("b", acks=False)
    a.send("b", "m1")
    await asyncio.sleep(3)
    assert len(b.messages) == 2
    c.send("b", "m1")
    b.ack("m1")
    await turns()
    assert [one["from"] for one in b.messages] == ["a", "a", "c"]
    b.ack("m1")  # of the second copy; then the connection is lost with the third frame
    b.disconnect()
    await turns()
    assert [one.sender for one in await office.waiting("b")] == ["c"]
    b.acks = True
    b.connect()
    await turns()
    assert b.messages[-1]["from"] == "c"
    assert a.events == c.events == [redelivered("b", 1)]
    await office.close()


@virtual_time
async def test_an_acknowledgement_of_an_earlier_session():
    """A connection that outlives its session cannot settle what was sent in the next one."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False)
    earlier = b.session
    b.disconnect()
    b.connect()
    a.send("b", "m1")
    await turns()
    b.session, present = earlier, b.session
    b.ack("m1")
    b.session = present
    assert a.receipts == []
    assert [one.foreign for one in office.of(AckIgnored)] == [False]
    await office.close()


# --- summaries --------------------------------------------------------------------------------------------------------

SUMMARY = MeetingSummary("title", 60, [], [], [], [], [])


@virtual_time
async def test_a_summary_for_a_device_that_is_away():
    """It is durable on return, and sent when the device is back, once."""
    office = await open_office()
    a = office.device("a", acks=False, online=False)
    assert await office.courier.send_summary(a.id, SUMMARY)
    assert [one.kind for one in await office.waiting("a")] == ["summary"]
    a.connect()
    await asyncio.sleep(100)
    (frame,) = a.frames
    assert frame.pop("id")
    assert frame == _plain(SUMMARY)
    assert await office.waiting("a") == []
    await office.close()


def _plain(message):
    return json.loads(encode(message))


@virtual_time
@pytest.mark.parametrize("peer_ack", [False, True])
async def test_a_summary_for_a_device_that_is_there(peer_ack):
    """It is sent at once, whatever else waits for the device, and is safe when that has it; the disk is not touched."""
    office = await open_office(changed(in_flight=1))
    a, b = office.device("a", peer_ack=peer_ack, acks=peer_ack), office.device("b")
    await turns()
    a.wire.stalled = True
    for number in range(3):
        b.send("a", f"m{number}")
    await asyncio.sleep(3)
    a.wire.stalled = False
    office.mailbox.failing = {"*"}
    sending = asyncio.create_task(office.courier.send_summary(a.id, SUMMARY))
    await asyncio.sleep(0)
    *_, frame = a.frames
    assert ("id" in frame) == peer_ack
    assert frame == {**_plain(SUMMARY), **({"id": frame["id"]} if peer_ack else {})}
    assert await sending
    assert now() <= 3.06
    office.mailbox.failing = set()
    await asyncio.sleep(100)
    assert [one for one in a.frames if one.get("phase") == "summary"] == [frame]
    await office.close()


@virtual_time
async def test_a_summary_on_a_dead_link():
    """What the link has not taken in 2 s, or lost, is safe in the mailbox, and is sent when the device is back."""
    office = await open_office(changed(queue=False))  # which is about messages of devices
    a, b = office.device("a"), office.device("b", peer_ack=False)
    await turns()
    a.wire.stalled = b.wire.stalled = True
    sending = [asyncio.create_task(office.courier.send_summary(one.id, SUMMARY)) for one in (a, b)]
    await asyncio.sleep(1)
    b.disconnect()
    assert await sending[1]
    assert now() == 1
    assert await sending[0]
    assert now() == 2
    a.disconnect()
    for device in (a, b):
        device.connect()
        await asyncio.sleep(1)
        assert [one["phase"] for one in device.frames] == ["summary"]
        assert await office.waiting(device.id) == []
    await office.close()


@virtual_time
async def test_a_summary_that_cannot_be_kept():
    """It is not safe, so that the meeting can send it again."""
    office = await open_office()
    office.mailbox.failing = {"store"}
    assert not await office.courier.send_summary(DeviceId("a"), SUMMARY)
    office.mailbox.failing = set()
    office.mailbox.inner._tally._total = 0
    assert not await office.courier.send_summary(DeviceId("a"), SUMMARY)
    a = office.device("a", acks=False)
    a.wire.stalled = True
    assert not await office.courier.send_summary(a.id, SUMMARY)
    assert now() == 4  # 2 s for its TCP, and as long again since the mailbox had no room
    await office.close()


# --- the end ----------------------------------------------------------------------------------------------------------


@virtual_time
async def test_stop_stores_what_is_in_memory():
    """Whatever is unconfirmed when the gateway stops is in the mailbox; no task and no timer is left."""
    office = await open_office(changed(burst=100))
    a, b = office.device("a"), office.device("b", acks=False)
    for number in range(20):
        a.send(["b", "c"], f"m{number}")
    office.mailbox.seconds = 0.01
    assert office.courier.in_memory == 40
    await office.courier.stop()  # with the devices still there
    assert office.courier.in_memory == 0
    assert await office.texts("b") == await office.texts("c") == [f"m{number}" for number in range(20)]
    b.disconnect()
    a.disconnect()
    await office.close()


@virtual_time
async def test_stop_tells_what_was_settled():
    """An acknowledgement that came just before the end is noted, and its report is in the sender's mailbox."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False, online=False)
    a.send("b", "m1")
    await turns()
    b.connect()
    await turns()
    office.mailbox.seconds = 0.1
    b.ack("m1")
    await office.close()
    office.mailbox.seconds = 0
    assert await office.waiting("b") == []
    assert [(one.kind, one.count) for one in await office.waiting("a")] == [("redelivered", 1)]


@virtual_time
async def test_stop_is_bounded():
    """With a mailbox that never answers it ends within 11 s, and leaves nothing running."""
    office = await open_office()
    a, b = office.device("a"), office.device("b", acks=False)
    await turns()
    office.mailbox.seconds = 1e6
    a.send("c", "m1")
    a.send("b", "m2")
    await asyncio.sleep(1)
    a.disconnect()
    b.disconnect()
    began = now()
    await office.courier.stop()
    assert now() - began <= 12
    assert not office.courier._tasks
    assert timers() == []


@virtual_time
async def test_an_idle_courier_rests():
    """With nothing to do there is one timer, that of the look for expired letters."""
    office = await open_office()
    office.device("a")
    office.device("b", peer_ack=False)
    await asyncio.sleep(10.5)
    assert len(timers()) == 1
    await office.close()


@virtual_time
async def test_the_mailbox_shows_its_depth():
    """How full it is, as of a second ago at most."""
    office = await open_office()
    office.device("a").send("b", "m1")
    await asyncio.sleep(1.1)
    assert office.courier.depth.waiting == 1
    await office.close()
