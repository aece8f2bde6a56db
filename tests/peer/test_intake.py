"""Requests and acknowledgements of devices, and the receipts that requests get."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

import pytest

from gateway.observe.events import AckIgnored, PeerFailed
from tests.peer.post_office import changed, open_office, redelivered, turns
from tests.virtual_time import virtual_time

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
    assert len(office.courier._intake.turns) == 0
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
    assert len(office.courier._intake.senders) == 1
    await asyncio.sleep(7)
    assert len(office.courier._intake.senders) == 0
    assert office.courier._intake.senders._departed == {}
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
