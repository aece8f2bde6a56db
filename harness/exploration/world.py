"""The model: a gateway and its devices on a simulated network, and what is done to them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence

from gateway.config import Config, HandoverConfig, HeartbeatConfig, MeetingConfig, PeerConfig, WorkflowConfig
from gateway.identity import DeviceId
from gateway.observe.events import Event
from harness.exploration.chronicle import Chronicle
from harness.exploration.habits import Habits
from harness.exploration.house import House
from harness.exploration.noted_ground import NotedGround
from harness.exploration.resident import Connections, Resident
from harness.faults import moments
from harness.faults.playing import Player
from harness.faults.schedule import Schedule
from harness.invariants.facts import Emptied, FaultsOver, Healed, Hit, Quiet
from harness.records import FramePassed, Happened
from harness.simulation.links import Link
from harness.simulation.loop import SimulatedLoop
from harness.simulation.profiles import ESP32
from harness.simulation.waiting import in_words
from harness.timeline import Timeline

GATEWAY_HOST = "gw"
_SLOW = "slow_reader"
WIFI = Link(latency=0.01, jitter=0.02)
"""Each way between a device and the gateway: a Wi-Fi that is not quiet. There and back is less than a live
acknowledgement may take (0.25 s), and more than a commit does (3 ms)."""

CONFIG = Config(
    # rates are not what this is about, and a device that is refused for flapping is not online in time
    handover=HandoverConfig(replacements=1_000_000),
    peer=PeerConfig(per_second=1000.0, burst=1000),
    # what is half-open shall be found out within a run
    heartbeat=HeartbeatConfig(idle_close=60.0),
    meeting=MeetingConfig(resume=600.0),
    workflow=WorkflowConfig(test_mode=True),
)
"""Of the model's gateway."""


class World:
    """One run's gateway and devices; to be made in the running loop.

    Args:
        loop: of the run.
        habits: of each device.
        link: each way between a device and the gateway.
        config: of the gateway.
        watched: keep a timeline, for a report.

    Attributes:
        loop: as given.
        chronicle: what happens, and what is wrong with it.
        timeline: the same, for people; None, unless it is watched.
        chance: what the scenario draws from.
        residents: the devices; their hosts are ``d0``, ``d1`` and so on.
        house: the gateway's machine.
        ground: where faults happen.
    """

    def __init__(
        self,
        loop: SimulatedLoop,
        habits: Sequence[Habits],
        *,
        link: Link = WIFI,
        config: Config = CONFIG,
        watched: bool = False,
    ) -> None:
        self.loop = loop
        loop.network.default_link = link
        self.chance: random.Random = loop.stream("scenario")
        self.chronicle = Chronicle(loop)
        self.timeline = Timeline() if watched else None
        self._before = asyncio.all_tasks()
        self._player: Player | None = None
        self._frames_matter = False
        self._names: dict[str, str] = {}
        self.house = House(loop.network.host(GATEWAY_HOST), config, self.chronicle, self._event, self._moment)
        self.ground = NotedGround(self.chronicle)
        self.ground.add_gateway(self.house)
        ids = [DeviceId(f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}") for number in range(len(habits))]
        numbers = Connections()
        self.residents = [
            Resident(
                loop.network.host(f"d{number}", ESP32),
                ids[number],
                self.house.url,
                habit,
                [other for other in ids if other != ids[number]],
                numbers,
                self.chronicle,
                self._record,
            )
            for number, habit in enumerate(habits)
        ]
        for resident in self.residents:
            self._introduce(resident)

    def _introduce(self, resident: Resident) -> None:
        name = resident.host.name
        self._names[resident.id] = name
        self.ground.name(name, resident.id)
        self.ground.add_device(name, resident)
        if self.timeline is not None:
            self.timeline.name(resident.id, name)

    # --- its course ---------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Start the gateway, then all devices."""
        await self.house.start()
        slow = tuple(resident.id for resident in self.residents if resident.reads_slowly)
        if slow:
            self.chronicle.add(Hit(at=self.loop.time(), what=_SLOW, whom=slow, lasts=True))
        for resident in self.residents:
            await resident.power_on()

    async def play(self, schedule: Schedule) -> None:
        """Have faults, and make everything good again."""
        player = self._player = Player(schedule, self.ground, self.note)
        self._frames_matter = any(step.after.startswith(("sent:", "received:")) for step in schedule.steps)
        await player.play()
        self._player = None

    async def recover(self) -> None:
        """Let everything come to rest, and see that it has; what lasts has been healed before."""
        self.chronicle.add(FaultsOver(at=self.loop.time()))
        self.chronicle.add(Healed(at=self.loop.time(), what=_SLOW, whom=tuple(one.id for one in self.residents)))
        for resident in self.residents:
            resident.settle()
        await asyncio.sleep(self.chronicle.budgets.recovery)
        glances = self.house.glances
        self.chronicle.add(glances.now())  # the last record may be long ago
        self.chronicle.add(
            Quiet(
                at=self.loop.time(),
                residents=frozenset(one.id for one in self.residents),
                online=frozenset(one.id for one in self.residents if one.is_online),
                owners=frozenset(glances.now().owners),
                letters=self.house.letters(),
                unreceipted=sum(len(one.pending) for one in self.residents),
                unconfirmed=glances.unconfirmed,
                counted=glances.counted,
            )
        )

    async def empty(self) -> None:
        """Have all devices leave, then stop the gateway, and see what is left."""
        for resident in self.residents:
            resident.host.kill()
        await asyncio.sleep(5.0)  # FIN, or RST, reaches the gateway in a moment; handovers end by themselves
        connections = self.house.glances.connections
        seconds = await self.house.stop()
        await asyncio.sleep(1.0)
        others = sorted(asyncio.all_tasks() - self._before - {asyncio.current_task()}, key=hash)
        tasks = tuple(in_words(task) for task in others)
        timers = tuple(repr(timer) for timer in self.loop.timers())
        self.chronicle.add(
            Emptied(at=self.loop.time(), seconds=seconds, connections=connections, tasks=tasks, timers=timers)
        )

    # --- what happens -------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Write on the timeline what is done to them."""
        if self.timeline is not None:
            self.timeline.note(text, fault=True)

    def _event(self, event: Event) -> None:
        if self.timeline is not None:
            self.timeline.event(event)
        if self._player is not None:
            self._player.moment(moments.of_event(event, self._names.get(event.device, "")))

    def _record(self, record: FramePassed | Happened) -> None:
        if self.timeline is not None:
            self.timeline.record(record)
        if self._player is not None and self._frames_matter:
            self._player.moment(moments.of_frame(record))

    def _moment(self, names: Iterable[str]) -> None:
        if self._player is not None:
            self._player.moment(names)
