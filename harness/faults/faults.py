"""What a test does faults with: one verb for each, for async and for plain tests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, Protocol, TypeAlias, TypeVar

from harness.blocking import LoopThread
from harness.errors import Misuse
from harness.faults.ground import Ground
from harness.faults.playing import DONE_SECONDS, Player
from harness.faults.schedule import Schedule
from harness.faults.schedules import draw_schedule
from harness.faults.vocabulary import (
    Bandwidth,
    Both,
    ClockStep,
    Cut,
    Fault,
    HalfOpen,
    Heal,
    KillGateway,
    Latency,
    LimitData,
    Loss,
    Partition,
    PowerCut,
    PowerOn,
    ResetPeer,
    Slicer,
    SlowClose,
    SlowDisk,
    StartGateway,
    Timeout,
    WifiOff,
    WifiOn,
)

R = TypeVar("R")


class _Device(Protocol):
    @property
    def name(self) -> str: ...


Whom: TypeAlias = _Device | str | None
"""A device, or its name, or `GATEWAY`; None: all devices."""


class Verbs(ABC, Generic[R]):
    """The faults as calls; what each does, and its units, stand with its record in `harness.faults.vocabulary`.

    All raise `harness.faults.errors.Lacks` where the ground cannot do it, and `BadFault` for what makes no sense.
    """

    @abstractmethod
    def do(self, fault: Fault) -> R:
        """Do a fault, and write it on the timeline."""

    def cut(self, on: Whom = None) -> R:
        """See `Cut`."""
        return self.do(Cut(on=_name(on)))

    def reset_peer(self, seconds: float = 0.0, *, on: Whom = None) -> R:
        """See `ResetPeer`."""
        return self.do(ResetPeer(seconds, on=_name(on)))

    def half_open(self, on: Whom = None) -> R:
        """See `HalfOpen`."""
        return self.do(HalfOpen(on=_name(on)))

    def latency(self, seconds: float, *, jitter: float = 0.0, direction: Both = "both", on: Whom = None) -> R:
        """See `Latency`."""
        return self.do(Latency(seconds, jitter, direction, on=_name(on)))

    def bandwidth(self, bytes_per_second: float, *, direction: Both = "both", on: Whom = None) -> R:
        """See `Bandwidth`."""
        return self.do(Bandwidth(bytes_per_second, direction, on=_name(on)))

    def slicer(
        self,
        average_bytes: int,
        *,
        variation_bytes: int = 0,
        seconds: float = 0.0,
        direction: Both = "both",
        on: Whom = None,
    ) -> R:
        """See `Slicer`."""
        return self.do(Slicer(average_bytes, variation_bytes, seconds, direction, on=_name(on)))

    def loss(self, chance: float, *, direction: Both = "both", on: Whom = None) -> R:
        """See `Loss`."""
        return self.do(Loss(chance, direction, on=_name(on)))

    def limit_data(self, bytes: int, *, direction: Both = "both", on: Whom = None) -> R:  # noqa: A002 - the record's word
        """See `LimitData`."""
        return self.do(LimitData(bytes, direction, on=_name(on)))

    def timeout(self, seconds: float = 0.0, *, direction: Both = "both", on: Whom = None) -> R:
        """See `Timeout`."""
        return self.do(Timeout(seconds, direction, on=_name(on)))

    def slow_close(self, seconds: float, *, direction: Both = "both", on: Whom = None) -> R:
        """See `SlowClose`."""
        return self.do(SlowClose(seconds, direction, on=_name(on)))

    def partition(self, on: Whom = None, *, direction: Both = "both") -> R:
        """See `Partition`."""
        return self.do(Partition(direction, on=_name(on)))

    def heal(self, on: Whom = None, *, what: str = "") -> R:
        """See `Heal`."""
        return self.do(Heal(what, on=_name(on)))

    def wifi_off(self, on: Whom = None) -> R:
        """See `WifiOff`."""
        return self.do(WifiOff(on=_name(on)))

    def wifi_on(self, on: Whom = None, *, new_address: bool = False) -> R:
        """See `WifiOn`."""
        return self.do(WifiOn(new_address, on=_name(on)))

    def power_cut(self, on: Whom = None) -> R:
        """See `PowerCut`."""
        return self.do(PowerCut(on=_name(on)))

    def power_on(self, on: Whom = None) -> R:
        """See `PowerOn`."""
        return self.do(PowerOn(on=_name(on)))

    def kill_gateway(self) -> R:
        """See `KillGateway`."""
        return self.do(KillGateway())

    def start_gateway(self) -> R:
        """See `StartGateway`."""
        return self.do(StartGateway())

    def clock_step(self, seconds: float, *, on: Whom = None) -> R:
        """See `ClockStep`."""
        return self.do(ClockStep(seconds, on=_name(on)))

    def slow_disk(self, seconds: float) -> R:
        """See `SlowDisk`."""
        return self.do(SlowDisk(seconds))


class Faults(Verbs[Awaitable[None]]):
    """The faults of an async test; each call is to be awaited.

    Args:
        ground: where they happen.
        note: is told of each, in words, before it is done.

    Attributes:
        ground: as given.
    """

    def __init__(self, ground: Ground, note: Callable[[str], None]) -> None:
        self.ground = ground
        self._note = note
        self._player: Player | None = None

    @property
    def capabilities(self) -> frozenset[str]:
        """The names of the faults that can be done here."""
        return self.ground.capabilities

    async def do(self, fault: Fault) -> None:
        """Do a fault, and write it on the timeline."""
        self.ground.check(fault)
        self._note(str(fault))
        await self.ground.do(fault)

    def draw(self, name: str, seed: int) -> Schedule:
        """Draw a schedule for the devices that there are by now, of faults that can be done here.

        Raises:
            Misuse: there is no such kind (`harness.faults.schedules.SCHEDULES`), or no device yet.
        """
        return draw_schedule(name, seed, self.ground.devices, self.capabilities)

    async def play(self, schedule: Schedule) -> Player:
        """Play a schedule, then make everything good; returns when its quiet phase begins.

        Raises:
            Misuse: another one is being played.
            HarnessError, GatewayError: as of `Player.play`.
        """
        if self._player is not None:
            raise Misuse(f"expected one schedule at a time; {self._player.schedule.name} is being played")
        self._note(str(schedule).partition("\n")[0])
        player = self._player = Player(schedule, self.ground, self._note)
        try:
            await player.play()
        finally:
            self._player = None
        return player

    def moment(self, names: Iterable[str]) -> None:
        """Take note of a moment that a schedule may wait for; see `Player.moment`."""
        if self._player is not None:
            self._player.moment(names)


class BlockingFaults(Verbs[None]):
    """The faults of a plain test: each call returns when it is done."""

    def __init__(self, faults: Faults, thread: LoopThread) -> None:
        self.faults = faults
        self._thread = thread

    @property
    def capabilities(self) -> frozenset[str]:
        """The names of the faults that can be done here."""
        return self.faults.capabilities

    def do(self, fault: Fault) -> None:
        """Do a fault, and write it on the timeline."""
        self._thread.run(self.faults.do(fault))

    def draw(self, name: str, seed: int) -> Schedule:
        """Draw a schedule; see `Faults.draw`."""
        return self._thread.call(lambda: self.faults.draw(name, seed))

    def play(self, schedule: Schedule) -> Player:
        """Play a schedule; see `Faults.play`."""
        return self._thread.run(self.faults.play(schedule), schedule.seconds + 2 * DONE_SECONDS)


def _name(on: Whom) -> str:
    if on is None:
        return ""
    return on if isinstance(on, str) else on.name
