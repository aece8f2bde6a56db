"""The courier with its devices and its mailbox, on virtual time: what senders are told, and whether it is true."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.errors import MailboxFailed
from gateway.identity import DeviceId
from gateway.observe.events import PeerLost, PeerRetried
from gateway.protocol.messages import MeetingSummary, encode
from tests.peer.post_office import changed, now, open_office, redelivered, turns
from tests.virtual_time import timers, virtual_time

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


# --- who acknowledges -------------------------------------------------------------------------------------------------


@virtual_time
async def test_a_black_hole_after_a_restart():
    """A device that has acknowledged in an earlier life does not have what only TCP has taken before its hello."""
    office = await open_office()
    a, b = office.device("a"), office.device("b")
    await turns()
    await office.restart()
    a.connect()
    a.send("b", "m1")
    await turns()
    b.connect(hello=False)
    b.acks = False
    await asyncio.sleep(60)
    assert await office.texts("b") == ["m1"]
    b.disconnect()
    b.acks = True
    b.connect()
    await asyncio.sleep(3)

    assert await office.texts("b") == []
    assert a.events == [redelivered("b", 1)]
    await office.close()


@virtual_time
async def test_who_acknowledges_is_noted_once():
    """A hello that says the same again costs no write; another one does, and holds after a restart."""
    office = await open_office()
    b = office.device("b")
    for _ in range(3):
        await turns()
        b.connect()
    assert office.mailbox.calls.count("note_acknowledger") == 1
    assert await office.mailbox.acknowledgers() == [b.id]

    b.features = {}
    b.connect()
    await turns()
    assert await office.mailbox.acknowledgers() == []
    await office.restart()
    await turns()
    b.connect(hello=False)
    a = office.device("a")
    a.send("b", "m1")
    await asyncio.sleep(3)
    assert await office.texts("b") == []
    await office.close()


@virtual_time
async def test_who_acknowledges_with_a_failing_mailbox():
    """What cannot be noted is tried again, with what the device says by then; so is what cannot be read."""
    office = await open_office()
    office.mailbox.failing = {"note_acknowledger"}
    b, c = office.device("b"), office.device("c")
    await turns()
    b.features = {}
    b.connect()
    office.mailbox.failing = set()
    await asyncio.sleep(5)
    assert await office.mailbox.acknowledgers() == [c.id]

    office.mailbox.failing = {"acknowledgers"}
    await office.restart()
    await turns()
    assert c.id not in office.courier._acknowledgers
    office.mailbox.failing = set()
    await asyncio.sleep(5)
    assert c.id in office.courier._acknowledgers
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
