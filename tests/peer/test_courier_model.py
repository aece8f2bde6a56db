"""The courier under anything that can happen: what it says is true, whatever is lost, slow, full or fails."""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.config import PeerConfig
from gateway.observe.events import PeerEnqueued, PeerLost, PeerRedelivered
from tests.peer.post_office import FakeChannel, FakeDevice, Office, changed, open_office
from tests.virtual_time import VirtualTimeLoop, timers, wall

EXAMPLES = int(os.environ.get("WSDEVICE_TEST_EXAMPLES", "60"))
"""Sequences of steps per run; thousands of them for an hour's search."""

CONFIG = changed(
    PeerConfig(),
    per_second=1000.0,
    burst=1000,
    broadcast_every=0.0,
    in_flight=3,
    attempts=4,
    dedupe=30.0,
    waiting_total=8,
    retry_first=0.5,
)
PER_DEVICE = 8
STUCK = 25.0
"""Seconds after which a line on which nothing moves is lost; acknowledgements are not that late."""
RETIRED = 1.8
"""Seconds that a replaced connection lives."""
FLAKY = ("b", "c", "n")
NAMES = ("a", *FLAKY)


class Courier(RuleBasedStateMachine):
    """A house of four: ``a`` has a good line, the others lose frames, acknowledgements and connections.

    ``b`` acknowledges all it gets, ``c`` only messages, ``n`` nothing. Frames to them, and their acknowledgements, are
    on the way until a step lets them arrive. All devices count their own messages, so that their ids collide.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        asyncio.set_event_loop(self.loop)
        self.office: Office = self.run(open_office(CONFIG, per_device=PER_DEVICE))
        self.devices: dict[str, FakeDevice] = {}
        for name in NAMES:
            device = self.office.device(name, peer_ack=name != "n", acks=name == "a", online=False)
            device.stalled = name in FLAKY
            self.devices[name] = device
        self.acks: dict[FakeChannel, list[str]] = defaultdict(list)  # on the way to the gateway
        self.channels: dict[str, list[FakeChannel]] = {name: [] for name in NAMES}  # of the session, newest first
        self.replaced = dict.fromkeys(NAMES, 0.0)  # when the newest one came
        self.stuck: dict[FakeChannel, float] = {}  # since when something is on the way, in either direction
        self.read: dict[str, int] = dict.fromkeys(NAMES, 0)  # frames of the inbox that were looked at
        self.sent: Counter[str] = Counter()  # messages by sender, for their ids
        self.accepted: dict[str, int] = {}  # text -> when it was accepted
        self.noted = True  # what the device with the good line has got was noted by the mailbox at once
        self.crashed = False

    def run(self, coroutine):
        """Run the loop for one step."""
        return self.loop.run_until_complete(coroutine)

    @initialize()
    def begin(self):
        """The device with the good line is there from the beginning."""
        self.connect("a")

    # --- connections ---

    def connect(self, name: str) -> None:
        """Connect, or connect anew."""

        async def connect() -> None:
            self.devices[name].connect()

        self.run(connect())
        del self.channels[name][1:]  # of two at most, the older one is aborted
        self.channels[name].insert(0, self.devices[name].channel)
        self.replaced[name] = self.loop.time()

    @rule(name=st.sampled_from(FLAKY))
    def connects(self, name):
        """A device connects; if it is connected already, its older connection is replaced."""
        self.connect(name)

    @rule(name=st.sampled_from(FLAKY), lost=st.integers(0, 2))
    def disconnects(self, name, lost):
        """A connection is lost, with all that is on the way, in both directions; not at every opportunity."""
        if self.devices[name].session is not None and not lost:
            self.disconnect(name)

    def disconnect(self, name: str) -> None:
        """Lose a connection."""

        async def disconnect() -> None:
            self.devices[name].disconnect()

        for channel in self.channels[name]:
            channel.connection.on_the_way.clear()
            self.acks.pop(channel, None)
        self.channels[name].clear()
        self.run(disconnect())

    @precondition(lambda self: any(self.channels[name] for name in FLAKY))
    @rule(name=st.sampled_from(FLAKY), count=st.integers(1, 6), which=st.sampled_from((0, 0, 1)))
    def frames_arrive(self, name, count, which):
        """Some frames arrive at a device, by its present channel or a replaced one."""
        if not self.channels[name]:
            return
        channel = self.channels[name][which % len(self.channels[name])]

        async def arrive() -> None:
            channel.arrive(count)

        self.run(arrive())
        self.look(name, channel)

    def look(self, name: str, channel: FakeChannel) -> None:
        """A device looks at what is new, and acknowledges it as it does."""
        device = self.devices[name]
        new = device.frames[self.read[name] :]
        self.read[name] += len(new)
        if name in ("b", "c"):
            wanted = [frame["id"] for frame in new if "from" in frame or (name == "b" and "event" in frame)]
            self.acks[channel] += wanted

    @rule(
        name=st.sampled_from(("b", "c")),
        count=st.integers(1, 6),
        which=st.sampled_from((0, 0, 1)),
        lost=st.integers(0, 9),
    )
    def acks_arrive(self, name, count, which, lost):
        """Some acknowledgements arrive at the gateway, by the present channel or a replaced one; or are lost."""
        if not self.channels[name]:
            return
        channel = self.channels[name][which % len(self.channels[name])]
        ids, self.acks[channel] = self.acks[channel][:count], self.acks[channel][count:]

        async def ack() -> None:
            self.devices[name].ack(*ids)

        if lost and ids:
            self.run(ack())

    # --- messages ---

    @rule(
        sender=st.sampled_from(NAMES),
        to=st.lists(st.sampled_from((*NAMES, "a", "b", "b", "c")), min_size=1, max_size=3),
        ttl_ms=st.sampled_from((None, None, None, 1, 3000, 20_000)),
        repeat=st.integers(0, 5),
        confirm=st.booleans(),
        broadcast=st.integers(0, 7),
        count=st.integers(1, 3),
    )
    def sends(self, sender, to, ttl_ms, repeat, confirm, broadcast, count):
        """A device sends messages, or repeats the last one under the same id."""
        device = self.devices[sender]
        if device.session is None:
            return
        more = {} if ttl_ms is None else {"ttl_ms": ttl_ms}

        async def send() -> None:
            for _ in range(count):
                if repeat != 1 or not self.sent[sender]:
                    self.sent[sender] += 1
                number = self.sent[sender]
                text = f"{sender}{number}#{len(self.accepted)}"
                self.accepted[text] = len(self.accepted)
                whom = "broadcast" if broadcast == 7 else to
                device.say(to=whom, payload={"text": text}, id=f"m{number}", confirm=confirm, **more)

        self.run(send())

    # --- everything else ---

    @rule(seconds=st.sampled_from((0.0, 0.01, 0.05, 0.25, 0.3, 1.0, 3.0, 10.0, 31.0)))
    def time_passes(self, seconds):
        """Nothing happens for a while; lines that are stuck for too long are lost."""
        end = self.loop.time() + seconds
        for name in FLAKY:
            if any(self.stuck.get(channel, end) < end - STUCK for channel in self.channels[name]):
                self.disconnect(name)
            elif self.replaced[name] < end - RETIRED:
                del self.channels[name][1:]
        self.run(asyncio.sleep(seconds))

    @rule(
        failing=st.sampled_from(((), (), ("*",), ("store",), ("settle",), ("waiting",), ("add_event", "set_aside"))),
        seconds=st.sampled_from((0.0, 0.0, 0.03, 0.4)),
    )
    def mailbox_changes(self, failing, seconds):
        """The mailbox begins or ceases to fail, or to be slow."""
        self.office.mailbox.failing = set(failing)
        self.office.mailbox.seconds = seconds
        self.noted = self.noted and not seconds and not {"*", "settle"} & set(failing)

    @rule(what=st.sampled_from((*("nothing",) * 12, "stop", "stop", "crash")))
    def gateway_restarts(self, what):
        """The gateway stops, or is killed, and begins anew with the same mailbox; not often."""
        if what != "nothing":
            self.run(self.restart(graceful=what == "stop"))

    async def restart(self, *, graceful: bool) -> None:
        """Restart the courier."""
        for name in NAMES:
            for channel in self.channels[name]:
                channel.connection.on_the_way.clear()
            self.channels[name].clear()
        self.acks.clear()
        old = self.office.courier
        self.noted = False
        if graceful:
            self.office.mailbox.failing = set()
            await self.office.restart()
        else:
            self.crashed = True
            for task in (*old._tasks._tasks, *old._clerk._tasks):
                task.cancel()
            for delivery in old._deliveries.values():
                delivery.end()
            for device in self.devices.values():
                device.session = None
            await asyncio.sleep(0)
            new = self.office.courier = type(old)(CONFIG, self.office.mailbox, self.office.observers, wall)
            await new.start()
        self.devices["a"].connect()
        self.channels["a"].append(self.devices["a"].channel)

    # --- what holds at any time ---

    @invariant()
    def note_what_is_stuck(self):
        """Note since when something is on the way."""
        channels = [channel for name in FLAKY for channel in self.channels[name]]
        moving = [one for one in channels if one.connection.on_the_way or self.acks.get(one)]
        self.stuck = {channel: self.stuck.get(channel, self.loop.time()) for channel in moving}

    @invariant()
    def bounds_hold(self):
        """Never more in flight than is allowed, and the counts are what they count."""
        courier = self.office.courier
        for delivery in courier._deliveries.values():
            assert len(delivery) <= CONFIG.in_flight
        assert courier.in_memory >= 0
        in_flight = Counter(flight for delivery in courier._deliveries.values() for flight in delivery._flights)
        assert in_flight == courier._everywhere

    @invariant()
    def receipts_are_whole(self):
        """Every target is in exactly one list, and every message has one receipt that is not a duplicate."""
        for device in self.devices.values():
            for receipt in device.receipts:
                if receipt["status"] == "done":
                    listed = receipt["delivered"] + receipt["enqueued"] + receipt["failed"]
                    assert len(listed) == len(set(listed)) == receipt["targetsCount"]

    # --- and in the end ---

    def teardown(self):
        """All lines become good; then everything ends well, and nothing is left."""
        try:
            self.run(self.end())
        finally:
            for task in asyncio.all_tasks(self.loop):  # where it has not ended well
                task.cancel()
            self.run(asyncio.sleep(0))
            self.loop.close()
            asyncio.set_event_loop(None)

    async def end(self) -> None:
        """Let everything become quiet, and compare."""
        office = self.office
        office.mailbox.failing, office.mailbox.seconds = set(), 0.0
        for name in FLAKY:
            self.devices[name].stalled, self.devices[name].acks = False, True
            self.devices[name].connect()  # anew: what was on the way is lost
        await asyncio.sleep(100)
        told = {name: self.told(device) for name, device in self.devices.items()}
        self.check_arrivals()
        self.check_order()
        self.check_counts(told["a"])
        for name in NAMES:
            assert await office.waiting(name) == []
        assert office.courier._settling._leaving == {}
        assert office.courier.in_memory == office.courier.unconfirmed == 0
        assert len(timers()) <= 1  # the look for expired letters
        await office.close()

    @staticmethod
    def told(device: FakeDevice) -> Counter[str]:
        """How many of its enqueued messages a device was told the end of, by target."""
        counts: Counter[str] = Counter()
        for event in device.events:
            if event["event"] != "delivered":
                counts[event["to"]] += event["count"]
        return counts

    def check_arrivals(self) -> None:
        """What a receipt calls delivered has arrived; what it calls enqueued has, too, or was told lost."""
        lost = Counter[tuple[str, str]]()
        for event in self.office.of(PeerLost):
            lost[event.sender, event.device] += event.count
        missing = Counter[tuple[str, str]]()
        for sender, device in self.devices.items():
            for receipt in device.receipts:
                if receipt["status"] != "done":
                    continue
                for target in receipt["delivered"]:
                    assert self.has_arrived(sender, receipt["id"], target), (sender, target, receipt)
                if not receipt.get("duplicate"):
                    for target in receipt["enqueued"]:
                        missing[sender, target] += not self.has_arrived(sender, receipt["id"], target)
        assert not (missing - lost), (missing, lost)

    def has_arrived(self, sender: str, wire_id: str, target: str) -> bool:
        """Whether a message is among those that a device got."""
        return any((one["from"], one["id"]) == (sender, wire_id) for one in self.devices[target].messages)

    def check_order(self) -> None:
        """What comes for the first time comes in the order in which it was accepted from its sender."""
        for device in self.devices.values():
            latest: Counter[str] = Counter()
            for text in dict.fromkeys(device.texts):
                sender, when = text[0], self.accepted[text]
                assert when >= latest[sender], (device.id, device.texts)
                latest[sender] = when

    def check_counts(self, told: Counter[str]) -> None:
        """Every message that was enqueued ended in one report; who has a good line heard of all of them."""
        if self.crashed:
            return  # a report may be lost with the process that was about to write it
        balance, expired = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for event in self.office.of(PeerEnqueued):
            balance[event.sender, event.device] += 1
        for event in (*self.office.of(PeerRedelivered), *self.office.of(PeerLost)):
            balance[event.sender, event.device] -= event.count
            expired[event.sender, event.device] += event.count if getattr(event, "reason", "") == "ttl" else 0
        for pair, open_ in balance.items():
            # what was acknowledged during its commit, but could not be noted before it expired, is told twice
            assert open_ == 0 or (not self.noted and -expired[pair] <= open_ < 0), (pair, balance)
        enqueued = Counter(event.device for event in self.office.of(PeerEnqueued) if event.sender == "a")
        if self.noted:
            assert told == enqueued
        else:  # what was told may be told again
            assert not enqueued - told


TestCourier = Courier.TestCase
TestCourier.settings = settings(deadline=None, max_examples=EXAMPLES, stateful_step_count=50)
