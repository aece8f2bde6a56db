"""What is in flight to one device: when it is sent again, what confirms it, and when the kernel is asked."""

from __future__ import annotations

import asyncio

import pytest

from gateway.config import PeerConfig
from gateway.device.session import Session
from gateway.identity import DeviceId
from gateway.observe.events import Observers, PeerRetried
from gateway.peer.acknowledgers import Acknowledgers
from gateway.peer.attempts import Attempts
from gateway.peer.delivery import Delivery
from gateway.peer.flight import Flight, Keeping
from gateway.peer.mailbox import Letter
from tests.peer.post_office import FakeChannel, changed
from tests.virtual_time import timers, virtual_time

B = DeviceId("bb")


class Desk:
    """A delivery to one device, and what it tells the courier.

    Attributes:
        told: what it told, with the loop time; the ids of the messages it was about.
        got: ids of the frames the device got.
    """

    def __init__(self, *, peer_ack: bool = True, config: PeerConfig | None = None) -> None:
        self.told: list[tuple[float, str, list[str]]] = []
        self.got: list[str] = []
        self.flights: dict[str, Flight] = {}
        self.records: list = []
        self.id = B
        self.office = self
        self.observers = Observers([self.records.append])
        self.channel = self.new_channel(peer_ack=peer_ack)
        self.session = Session(B, self.channel, self.observers, 0.0)
        self.everywhere: dict[str, int] = {}
        self.attempts = Attempts()
        self.acknowledgers = Acknowledgers()
        self.config = config or PeerConfig()
        self.delivery = self.new_delivery()

    def new_delivery(self) -> Delivery:
        """Begin a session."""
        return Delivery(self.session, self.config, self, self.everywhere, self.attempts, self.acknowledgers)

    # --- as a device ---

    def new_channel(self, *, peer_ack: bool) -> FakeChannel:
        """Make a channel of the device."""
        return FakeChannel(self, {"peer_ack": peer_ack})

    def take(self, channel, frame) -> None:
        """A frame came."""
        self.got.append(frame["id"])

    def replace(self, *, peer_ack: bool = True) -> None:
        """The device has a newer channel."""
        self.session.channel = self.channel = self.new_channel(peer_ack=peer_ack)
        self.delivery.send_all_again()

    # --- as a courier ---

    def note(self, what, *flights) -> None:
        """Note what was told."""
        now = round(asyncio.get_running_loop().time(), 6)
        self.told.append((now, what, [flight.wire_id for flight in flights]))

    def confirmed(self, flight) -> None:
        """As `Post.confirmed`."""
        self.note(flight.confirm, flight)
        self.delivery.remove(flight)

    def unconfirmed_in_time(self, flights) -> None:
        """As `Post.unconfirmed_in_time`."""
        self.note("late", *flights)
        for flight in flights:
            flight.keeping = Keeping.STORING

    def given_up(self, flight) -> None:
        """As `Post.given_up`."""
        self.note("given up", flight)
        self.delivery.leave_share(flight, delivered=False)

    def report(self, delivery) -> None:
        """As `Post.report`."""
        for sender, count in delivery.rounds.due(asyncio.get_running_loop().time(), more_waiting=False):
            self.told.append((round(asyncio.get_running_loop().time(), 6), f"report to {sender}", [str(count)]))

    # --- what tests do ---

    def send(self, *ids: str, keeping: Keeping = Keeping.MEMORY, sender: str = "aa", kind: str = "peer") -> None:
        """Send messages."""
        for one in ids:
            letter = Letter(B, sender, one, kind, b"{}", 1.0, 2e9, about="cc", count=1)
            flight = self.flights[one] = Flight(letter, None, keeping)
            self.delivery.send(flight)

    def stored(self, *ids: str) -> None:
        """The mailbox has taken messages."""
        for one in ids:
            self.flights[one].keeping = Keeping.STORED
            self.delivery.stored(self.flights[one])


@virtual_time
async def test_late():
    """Without an acknowledgement within 250 ms a message is late, once, and with it all that were sent before it."""
    desk = Desk()
    desk.send("m1")
    await asyncio.sleep(0.1)
    desk.send("m2")
    await asyncio.sleep(0.5)
    assert desk.told == [(0.25, "late", ["m1"]), (0.35, "late", ["m2"])]
    desk.delivery.end()


@virtual_time
@pytest.mark.parametrize("speaks", [True, False])
async def test_not_written_before_it_has_said_something(speaks: bool):
    """The kernel is not asked before it is known whether the device acknowledges, or 2.5 s are over."""
    desk = Desk(peer_ack=False)
    desk.channel.introduced = False
    desk.channel.connection.opened_at = 0.0
    desk.send("m1")
    await asyncio.sleep(1)
    assert desk.told == []
    desk.channel.introduced = speaks
    await asyncio.sleep(4)
    (when,) = [when for when, what, _ in desk.told if what == "written"]
    assert 1.0 <= when <= 1.1 if speaks else when >= 2.5
    desk.delivery.end()


@virtual_time
async def test_late_in_order():
    """A message is not stored before one that was sent earlier, though it may have to wait less long."""
    desk = Desk(peer_ack=False)
    desk.channel.connection.stalled = True
    desk.send("m1")  # to a device that has not said yet that it acknowledges
    await asyncio.sleep(0.1)
    desk.channel.hello.features["peer_ack"] = True
    desk.send("m2")
    await asyncio.sleep(1)
    assert desk.told == [(0.35, "late", ["m1", "m2"])]
    desk.delivery.end()


@virtual_time
async def test_retries():
    """What is stored is repeated after 2, 4, 8 s, and so on to 30 s; ten times in all, then it is given up."""
    desk = Desk()
    desk.send("m1", keeping=Keeping.STORED)
    await asyncio.sleep(209)
    assert desk.got == ["m1"] * 10
    assert desk.told == []
    await asyncio.sleep(2)
    assert desk.told == [(210, "given up", ["m1"])]
    assert "m1" not in desk.delivery
    assert [record.attempt for record in desk.records if type(record) is PeerRetried] == list(range(2, 11))
    await asyncio.sleep(1000)
    assert len(desk.got) == 10
    assert timers() == []


@virtual_time
async def test_no_repeat_during_the_commit():
    """A message whose commit is under way is neither sent again nor late a second time, however long that takes."""
    desk = Desk()
    desk.send("m1")
    await asyncio.sleep(60)
    assert desk.got == ["m1"]
    assert desk.told == [(0.25, "late", ["m1"])]
    desk.stored("m1")
    await asyncio.sleep(2.1)
    assert desk.got == ["m1", "m1"]
    desk.delivery.end()


@virtual_time
async def test_very_many_attempts():
    """However often a message may be sent, the wait between two stays what it is."""
    desk = Desk(config=changed(attempts=2000, retry_max=1.0, retry_first=1.0))
    desk.send("m1", keeping=Keeping.STORED)
    await asyncio.sleep(1500)
    assert len(desk.got) == 1501 or len(desk.got) == 1500
    desk.delivery.end()


@virtual_time
async def test_written():
    """The kernel is asked every 50 ms; when it has nothing left, all that was sent is confirmed."""
    desk = Desk(peer_ack=False)
    desk.channel.connection.stalled = True
    desk.send("m1")
    await asyncio.sleep(0.12)
    desk.channel.arrive()
    desk.send("m2")
    await asyncio.sleep(0.1)
    assert desk.told == []
    desk.channel.arrive()
    await asyncio.sleep(0.1)
    assert desk.told == [(0.25, "written", ["m1"]), (0.25, "written", ["m2"])]
    await asyncio.sleep(1)
    assert timers() == []


@virtual_time
async def test_not_written():
    """After two seconds a message is late; it is not sent again, and the kernel is asked less often from there on."""
    desk = Desk(peer_ack=False)
    desk.channel.connection.stalled = True
    asked = []
    unsent = desk.channel.connection.unsent
    desk.channel.connection.unsent = lambda: asked.append(1) or unsent()
    desk.send("m1")
    await asyncio.sleep(2.01)
    assert desk.told == [(2, "late", ["m1"])]
    assert 38 <= len(asked) <= 42
    desk.stored("m1")
    await asyncio.sleep(2)
    asked.clear()
    await asyncio.sleep(600)
    assert len(asked) < 600
    assert desk.got == []
    desk.channel.arrive()
    await asyncio.sleep(2)
    assert desk.told[1:] == [(desk.told[1][0], "written", ["m1"])]
    desk.delivery.end()


@virtual_time
async def test_the_gateways_own_are_confirmed_by_either():
    """To a device that acknowledges, an event is confirmed by its acknowledgement or by TCP, whichever comes first."""
    desk = Desk()
    desk.send("e1", "e2", sender="", kind="redelivered")
    assert desk.delivery.acknowledge("e1")
    await asyncio.sleep(1)
    assert desk.told == [(0, "ack", ["e1"]), (0.05, "written", ["e2"])]
    assert desk.delivery.acknowledge("e2")  # late, but known
    assert not desk.delivery.acknowledge("e2")
    assert timers() == []


@virtual_time
async def test_events_do_not_confirm_messages():
    """An empty send queue says nothing about a message to a device that acknowledges."""
    desk = Desk()
    desk.send("m1")
    desk.send("e1", sender="", kind="expired")
    await asyncio.sleep(0.2)
    assert desk.told == [(0.05, "written", ["e1"])]
    desk.delivery.end()


@virtual_time
async def test_acknowledgements():
    """An acknowledgement confirms once; what is not in flight cannot be acknowledged."""
    desk = Desk()
    desk.send("m1")
    assert desk.delivery.acknowledge("m1")
    assert not desk.delivery.acknowledge("m1")
    assert not desk.delivery.acknowledge("m2")
    assert desk.told == [(0, "ack", ["m1"])]
    await asyncio.sleep(1)
    assert timers() == []


@virtual_time
async def test_a_second_acknowledgement_during_the_commit():
    """While a message is being stored, further acknowledgements are known and change nothing."""
    desk = Desk()
    desk.confirmed = lambda flight: desk.note(flight.confirm, flight)  # as with a message whose commit is under way
    desk.send("m1")
    assert desk.delivery.acknowledge("m1")
    assert desk.delivery.acknowledge("m1")
    assert desk.told == [(0, "ack", ["m1"])]
    desk.delivery.end()


@virtual_time
async def test_owed_acknowledgements():
    """Each copy's acknowledgement is expected for thirty seconds, and is taken for no other message."""
    desk = Desk()
    desk.send("m1", keeping=Keeping.STORED)
    await asyncio.sleep(7)
    assert desk.got == ["m1"] * 3
    assert desk.delivery.acknowledge("m1")
    desk.send("m1", sender="cc")
    assert desk.delivery.acknowledge("m1")
    assert desk.delivery.acknowledge("m1")
    assert [what for _, what, _ in desk.told] == ["ack", "report to aa"][: len(desk.told)]
    assert desk.delivery.acknowledge("m1")
    assert sum(what == "ack" for _, what, _ in desk.told) == 2
    desk.send("m2", keeping=Keeping.STORED)
    await asyncio.sleep(3)
    desk.delivery.acknowledge("m2")
    await asyncio.sleep(30)
    assert not desk.delivery.acknowledge("m2")
    desk.delivery.end()


@virtual_time
async def test_owed_acknowledgements_are_bounded():
    """Of a hundred messages at most is known that an acknowledgement may still come."""
    desk = Desk(config=changed(in_flight=1000))
    for number in range(150):
        desk.send(f"m{number}")
        desk.delivery.remove(desk.flights[f"m{number}"])
    assert len(desk.delivery._owed) == 100
    assert not desk.delivery.acknowledge("m49")
    assert desk.delivery.acknowledge("m50")
    assert not desk.delivery.acknowledge("m50")
    desk.delivery.end()


@virtual_time
async def test_nothing_is_owed_by_a_device_that_does_not_acknowledge():
    """A device that never acknowledges leaves nothing to wait for."""
    desk = Desk(peer_ack=False)
    desk.send("m1")
    await asyncio.sleep(1)
    assert desk.delivery._owed == {}


@virtual_time
async def test_room():
    """No more than fifty at a time, and every id once."""
    desk = Desk()
    desk.send(*(f"m{number}" for number in range(49)))
    assert desk.delivery.room == 1
    assert desk.delivery.takes_live("other")
    assert not desk.delivery.takes_live("m1")
    desk.send("m49")
    assert len(desk.delivery) == 50
    assert not desk.delivery.takes_live("other")
    desk.delivery.acknowledge("m1")
    assert desk.delivery.takes_live("m1")
    desk.delivery.end()
    assert not desk.delivery.takes_live("m1")


@virtual_time
async def test_nothing_overtakes():
    """While earlier mail may wait, or is on its way into the mailbox, no new message is sent ahead of it."""
    desk = Desk()
    for blocked in ("pumping", "more_waiting"):
        setattr(desk.delivery, blocked, True)
        assert not desk.delivery.takes_live("m1")
        setattr(desk.delivery, blocked, False)
    flight = Flight(Letter(B, "aa", "m0", "peer", b"{}", 1.0, 2.0), None, Keeping.STORING)
    desk.delivery.storing.add(flight)
    assert not desk.delivery.takes_live("m1")
    desk.delivery.storing.discard(flight)
    assert desk.delivery.takes_live("m1")
    desk.delivery.end()


@virtual_time
async def test_holding():
    """New messages are held only while the mailbox is being asked, as many as there is room for."""
    desk = Desk(config=changed(in_flight=3))
    flights = [Flight(Letter(B, "aa", f"m{n}", "peer", b"{}", 1.0, 2.0), None, Keeping.MEMORY) for n in range(5)]
    assert not desk.delivery.hold(flights[0])
    desk.delivery.pumping = True
    desk.send("m9")
    assert desk.delivery.hold(flights[0])
    assert desk.delivery.hold(flights[1])
    assert not desk.delivery.hold(flights[2])
    assert desk.delivery.release() == flights[:2]
    assert desk.delivery.release() == []
    desk.delivery.more_waiting = True
    assert not desk.delivery.hold(flights[2])
    desk.delivery.more_waiting = False
    assert desk.delivery.hold(flights[3])
    assert desk.delivery.end() == [desk.flights["m9"], flights[3]]
    assert not desk.delivery.hold(flights[4])


@virtual_time
async def test_the_end():
    """When the device has gone, what is kept nowhere else is handed back in order; no timer and no trace stays."""
    desk = Desk()
    desk.send("m1", keeping=Keeping.STORED)
    desk.send("m2", "m3", "m4")
    desk.flights["m3"].keeping = Keeping.STORING
    assert [flight.wire_id for flight in desk.delivery.end()] == ["m2", "m4"]
    assert desk.everywhere == {}
    assert len(desk.delivery) == 0
    assert timers() == []
    desk.delivery.wake_for_report()
    assert timers() == []


@virtual_time
async def test_everywhere():
    """Ids in flight are counted over all devices."""
    one, other = Desk(), Desk()
    other.delivery._everywhere = one.everywhere
    one.send("m1")
    other.send("m1")
    assert one.everywhere == {"m1": 2}
    one.delivery.acknowledge("m1")
    assert one.everywhere == {"m1": 1}
    other.delivery.end()
    assert one.everywhere == {}
    one.delivery.end()


@virtual_time
async def test_a_newer_channel():
    """What is unconfirmed is sent to the newer channel, in order, with a new deadline."""
    desk = Desk()
    desk.send("m1", "m2", "m3")
    await asyncio.sleep(0.2)
    desk.delivery.acknowledge("m2")
    desk.got.clear()
    desk.replace()
    assert desk.got == ["m1", "m3"]
    assert all(desk.flights[one].redelivered for one in ("m1", "m3"))
    await asyncio.sleep(1)
    assert desk.told[1:] == [(0.45, "late", ["m1", "m3"])]
    desk.delivery.end()


@virtual_time
async def test_a_channel_that_takes_nothing():
    """What a closing channel refused counts as no attempt, and is no repeat on the next channel."""
    desk = Desk()
    desk.channel.connection.is_open = False
    desk.send("m1")
    assert desk.flights["m1"].attempts == 0
    desk.replace()
    assert desk.flights["m1"].attempts == 1
    assert not desk.flights["m1"].redelivered
    desk.delivery.end()


@virtual_time
@pytest.mark.parametrize("delivered", [1, 2])
async def test_reports(delivered):
    """A share is reported after three seconds if it is not whole before; in between there is one timer."""
    desk = Desk()
    desk.send("m1", "m2", keeping=Keeping.STORED)
    await asyncio.sleep(1)
    for one in ("m1", "m2")[:delivered]:
        desk.delivery.acknowledge(one)
        desk.delivery.leave_share(desk.flights[one], delivered=True)
        desk.delivery.leave_share(desk.flights[one], delivered=True)  # once is enough
    desk.delivery.wake_for_report()
    await asyncio.sleep(9)
    reports = [entry for entry in desk.told if entry[1] == "report to aa"]
    assert reports == [(1 if delivered == 2 else 3, "report to aa", [str(delivered)])]
    assert len(timers()) == (0 if delivered == 2 else 1)
    desk.delivery.end()


@virtual_time
async def test_refused():
    """What the mailbox refuses stays in flight for two seconds, in which it may be confirmed; then it is late again."""
    desk = Desk()
    desk.send("m1", "m2")
    await asyncio.sleep(0.3)
    assert all(desk.delivery.refused(desk.flights[one]) for one in ("m1", "m2"))
    desk.delivery.acknowledge("m1")
    await asyncio.sleep(1.9)
    assert desk.delivery.refused(desk.flights["m2"])  # asked in between: that is no more time
    await asyncio.sleep(0.5)
    assert desk.told == [(0.25, "late", ["m1", "m2"]), (0.3, "ack", ["m1"]), (2.3, "late", ["m2"])]
    assert not desk.delivery.refused(desk.flights["m2"])
    desk.delivery.end()


@virtual_time
async def test_refused_without_a_device():
    """What is not in flight, or not any more, has nobody to wait for."""
    desk = Desk()
    desk.send("m1")
    desk.delivery.end()
    assert not desk.delivery.refused(desk.flights["m1"])
    assert timers() == []


@virtual_time
async def test_attempts_of_earlier_sessions_count():
    """A message that was sent ten times, in whichever session, is given up instead of being sent once more."""
    desk = Desk()
    for _ in range(3):
        desk.send("m1", keeping=Keeping.STORED)
        await asyncio.sleep(7)  # it is sent at 0, 2 and 6 s
        desk.delivery.end()
        desk.delivery = desk.new_delivery()
    desk.send("m1", keeping=Keeping.STORED)
    assert desk.got == ["m1"] * 10
    desk.delivery.end()
    desk.delivery = desk.new_delivery()
    desk.send("m1", keeping=Keeping.STORED)
    assert desk.got == ["m1"] * 10
    assert desk.told == [(21, "given up", ["m1"])]
    assert len(desk.attempts) == len(desk.delivery) == 0
    desk.delivery.end()


@virtual_time
async def test_attempts_end_with_a_confirmation():
    """A message that was confirmed in the end leaves no count behind."""
    desk = Desk()
    desk.send("m1", keeping=Keeping.STORED)
    desk.delivery.end()
    assert len(desk.attempts) == 1
    desk.delivery = desk.new_delivery()
    desk.send("m1", keeping=Keeping.STORED)
    desk.delivery.acknowledge("m1")
    desk.delivery.end()
    assert len(desk.attempts) == 0
