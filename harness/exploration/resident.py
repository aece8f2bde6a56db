"""A device of the model: it goes online and stays there, over any number of connections and losses of power."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from websockets.frames import Opcode

from gateway.identity import DeviceId
from harness.device import Message
from harness.errors import HarnessError, NotConnected
from harness.exploration.chronicle import Chronicle
from harness.exploration.habits import Habits
from harness.fakes.device import FakeDevice
from harness.invariants.facts import Closed, Crashed, Framed, Opened, Silenced
from harness.records import FramePassed, Happened, Watch
from harness.simulation.hosts import Host

_SNAPSHOT_DELAYS = (0, 300, 2000, 5000)


class Connections:
    """Numbers of connections, over all devices of a run."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """Return a number that no connection has had."""
        self._last += 1
        return self._last


class Resident:
    """One device, on a host of its own; a `harness.faults.ground.Body`.

    What it has to send is in its NVS: it sends a message, with the same id, until it has a receipt.

    Args:
        host: its machine.
        device_id: its MAC.
        url: where it connects.
        habits: how it behaves.
        others: ids of those it may write to.
        numbers: of connections.
        chronicle: takes what happens.
        watch: is shown its frames, too, and what happens to it.

    Attributes:
        pending: messages without a receipt, by id, in the order in which they were sent.
        settled: it begins nothing new any more: no messages, no second connection.
    """

    def __init__(
        self,
        host: Host,
        device_id: DeviceId,
        url: str,
        habits: Habits,
        others: Sequence[DeviceId],
        numbers: Connections,
        chronicle: Chronicle,
        watch: Watch,
    ) -> None:
        self.host = host
        self.id = device_id
        self.pending: dict[str, Message] = {}
        self.settled = False
        self._url = url
        self._habits = habits
        self._others = tuple(others)
        self._numbers = numbers
        self._chronicle = chronicle
        self._also = watch
        self._chance: random.Random = host.loop.stream(f"device {host.name}")
        self._sent = 0
        self._version = 0
        self._pings = 0
        self._pongs: dict[int, float] = {}
        self._device: FakeDevice | None = None
        self._runs = False
        self._restless = asyncio.Event()
        self._own_ends: set[FakeDevice] = set()

    @property
    def reads_slowly(self) -> bool:
        """Whether the gateway may give it up for that."""
        return self._habits.reads is not None

    def settle(self) -> None:
        """Begin nothing new any more; and read what comes, on another connection."""
        self.settled = True
        if self._device is not None and self.reads_slowly:
            self._give_up(self._device)

    @property
    def is_online(self) -> bool:
        """Whether it has a connection that it takes for alive."""
        return self._device is not None and not self._device.closed.is_set()

    # --- its machine --------------------------------------------------------------------------------------------

    async def power_off(self) -> None:
        """Its machine is about to lose its power."""
        self._device = None
        self._runs = False
        self._chronicle.add(Silenced(at=self._now(), device=self.id))

    async def power_on(self) -> None:
        """Have its program run, on a machine that has power; nothing, while it does."""
        if not self._runs:
            self._runs = True
            self.host.spawn(self._live(), f"{self.host.name} lives")

    # --- what it is told to do ----------------------------------------------------------------------------------

    def write_soon(self, to: DeviceId) -> None:
        """Send a message to another device: at once where it is online, else when it is."""
        message = self._next_message([to])
        if self._device is not None and self.is_online:
            self.host.spawn(_while_connected(self._device.send(message)), f"{self.host.name} writes")

    def grow_restless(self) -> None:
        """Open a second connection beside the one it has; nothing, where it has none."""
        self._restless.set()

    # --- its life -----------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        while True:
            device = await self._connect()
            if device is not None:
                await self._stay(device)
            await asyncio.sleep(self._chance.uniform(*self._habits.pause))

    async def _connect(self) -> FakeDevice | None:
        """Go online on a connection of its own; None where that fails."""
        number = self._numbers.next()
        name = f"{self.host.name}#{number}"
        reads = None if self.settled else self._habits.reads
        device = FakeDevice(
            self._url,
            self.id,
            acks=self._habits.acks,
            reads_bytes_per_second=reads,
            name=name,
            watch=self._watch(number),
        )
        began = self._now()
        try:
            await device.connect(self._habits.patience)
            self._chronicle.add(Opened(at=self._now(), device=self.id, connection=number, began=began))
            self.host.spawn(self._see_out(device, number), f"the end of {name}")
            await device.hello(self._habits.patience)
        except HarnessError:
            pass
        else:
            return device
        self._give_up(device)
        return None

    async def _stay(self, device: FakeDevice) -> None:
        """Do what it has to do, until the connection ends, or it wants another one."""
        self._device = device
        habits = self._habits
        works = [self._ping(device), self._write(device)]
        works += [self._author(device)] if habits.writes_lists else []
        works += [self._ask(device)] if habits.asks else []
        works += [self._meet(device)] if habits.meets else []
        works += [self._storm(device)] if habits.storms else []
        tasks = [asyncio.create_task(_while_connected(work)) for work in works]
        self._restless.clear()
        ends = [asyncio.create_task(device.closed.wait()), asyncio.create_task(self._grows_restless())]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, *ends):
                task.cancel()
        if not device.closed.is_set():
            # it opens a second connection beside this one, which goes on to be read
            overlap = self._chance.uniform(*habits.overlap)
            asyncio.get_running_loop().call_later(overlap, self._give_up, device)

    async def _grows_restless(self) -> None:
        mean = self._habits.restless
        if mean and not self.settled:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._restless.wait(), self._chance.expovariate(1 / mean))
        else:
            await self._restless.wait()

    async def _see_out(self, device: FakeDevice, number: int) -> None:
        await device.closed.wait()
        code = 1006 if device.close_code is None else device.close_code
        own = device in self._own_ends
        self._own_ends.discard(device)
        self._chronicle.add(Closed(at=self._now(), device=self.id, connection=number, code=code, own=own))

    def _give_up(self, device: FakeDevice) -> None:
        if not device.closed.is_set():
            self._own_ends.add(device)
            device.cut()

    # --- what it does -------------------------------------------------------------------------------------------

    async def _ping(self, device: FakeDevice) -> None:
        self._pongs.clear()
        while True:
            self._pings += 1
            self._pongs[self._pings] = self._now()
            await device.send({"type": "ping", "id": self._pings})
            await asyncio.sleep(self._habits.ping_every)
            oldest = min(self._pongs.values(), default=self._now())
            if self._now() - oldest >= self._habits.patience:
                self._give_up(device)

    async def _write(self, device: FakeDevice) -> None:
        for message in tuple(self.pending.values()):
            await device.send(message)
        while not self.settled and self._sent < self._habits.messages and self._others:
            await asyncio.sleep(self._chance.uniform(*self._habits.writes_every))
            for _ in range(self._chance.randint(1, self._habits.burst)):
                if len(self.pending) < self._habits.unreceipted and self._sent < self._habits.messages:
                    to = self._chance.sample(self._others, self._chance.randint(1, min(2, len(self._others))))
                    await device.send(self._next_message(to))

    def _next_message(self, to: Sequence[DeviceId]) -> Message:
        self._sent += 1
        name = f"{self.host.name}-{self._sent}"
        text = f"message {self._sent} of {self.host.name} "
        payload = {"n": self._sent, "text": (text * self._habits.letters)[: self._habits.letters]}
        message: Message = {"type": "peer", "to": list(to), "payload": payload, "id": name}
        if self._chance.random() < 0.2:
            message["confirm"] = True
        self.pending[name] = message
        return message

    async def _author(self, device: FakeDevice) -> None:
        while not self.settled:
            self._version += 1
            tasks = [{"title": title, "version": self._version} for title in ("tea", "bread", "salt")]
            await device.send({"type": "workflow", "event": "update", "tasks": tasks})
            await asyncio.sleep(self._chance.uniform(0.3, 4.0))

    async def _ask(self, device: FakeDevice) -> None:
        while not self.settled:
            await asyncio.sleep(self._chance.uniform(0.3, 6.0))
            delay = self._chance.choice(_SNAPSHOT_DELAYS)
            await device.send({"type": "workflow", "event": "snapshot", "delay_ms": delay})

    async def _meet(self, device: FakeDevice) -> None:
        while not self.settled:
            self._version += 1
            items = [{"text": f"sentence {self._version}"}]
            await device.send({"type": "meeting", "phase": "snippet", "items": items})
            await asyncio.sleep(self._chance.uniform(0.2, 2.0))
            if self._chance.random() < 0.3:
                delay = self._chance.choice(_SNAPSHOT_DELAYS)
                await device.send({"type": "meeting", "phase": "snapshot", "delay_ms": delay})

    async def _storm(self, device: FakeDevice) -> None:
        while not self.settled:
            await device.send({"type": "ping"})
            await asyncio.sleep(1 / self._habits.storms)

    # --- what it is told ----------------------------------------------------------------------------------------

    def _watch(self, number: int) -> Callable[[FramePassed | Happened], None]:
        def watch(record: FramePassed | Happened) -> None:
            self._also(record)
            if isinstance(record, FramePassed):
                self._framed(record, number)
            elif record.what.startswith("would crash"):
                self._chronicle.add(Crashed(at=record.at, who=self.host.name, why=record.what))

        return watch

    def _framed(self, record: FramePassed, number: int) -> None:
        message = _decoded(record)
        if message is not None and not record.sent:
            self._take(message)
        self._chronicle.add(
            Framed(
                at=record.at,
                device=self.id,
                connection=number,
                sent=record.sent,
                opcode=record.opcode,
                payload=record.payload,
                message=message,
            )
        )

    def _take(self, message: Message) -> None:
        kind = message.get("type")
        if kind == "pong":
            self._pongs.pop(message.get("id", 0), None)
        elif kind == "peer" and "status" in message:
            self.pending.pop(message.get("id", ""), None)

    def _now(self) -> float:
        return self.host.loop.time()


async def _while_connected(work: Coroutine[Any, Any, None]) -> None:
    with suppress(NotConnected):  # whoever waits for the end of the connection sees it
        await work


def _decoded(record: FramePassed) -> Message | None:
    if record.opcode is not Opcode.TEXT:
        return None
    try:
        message = msgspec.json.decode(record.payload)
    except msgspec.DecodeError:
        return None  # the device says so itself
    return message if isinstance(message, dict) else None
