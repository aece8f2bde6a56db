"""Schedules of faults, drawn from a seed. Pure: the same seed, devices and faults give the same schedule everywhere.

`harness.faults.playing` plays them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from harness.errors import Misuse
from harness.faults.drawing import Draw
from harness.faults.moments import MAILBOX_WRITES
from harness.faults.schedule import Schedule
from harness.faults.vocabulary import (
    GATEWAY,
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

# --- kinds ------------------------------------------------------------------------------------------------------


def swizzle_clog(draw: Draw) -> float:
    """Devices lose their link one after the other, and get it back in another order (FoundationDB's swizzle)."""
    chance, at = draw.chance, 2.0
    for _ in range(3):
        clogged = draw.some()
        for device in clogged:
            at += chance.uniform(0.0, 1.5)
            draw.add(at, Partition(_way(draw), on=device))
        at += chance.uniform(0.0, 8.0)
        for device in chance.sample(clogged, len(clogged)):
            at += chance.uniform(0.0, 1.5)
            draw.add(at, Heal(on=device))
        at += chance.uniform(0.5, 3.0)
    return at


_SELDOM = ("purge", "note_acknowledger")
"""Writes that only an operator asks for, or that happen once for a device: a kill would wait for them in vain."""
WRITES = (
    *(f"mailbox:{call}" for call in MAILBOX_WRITES if call not in _SELDOM),
    "event:DeviceOnline",
    "event:HandoverBegan",
    "event:PeerAccepted",
    "event:PeerDelivered",
    "event:PeerEnqueued",
    "event:PeerRedelivered",
)
"""The kinds of writes: of the mailbox, which take some milliseconds; and what stands in a record just when its frames
have been handed to the network: hello, notice, receipts, messages."""
COMMIT = 0.003
"""Seconds that a call of the mailbox takes at most, in the simulation (`harness.simulation.loop.EXECUTOR_TIME`)."""
MILLISECOND = 0.001


def kill_after_write(draw: Draw) -> float:
    """The gateway is killed during each kind of write, or within a millisecond after it, and starts again.

    About one after the other, in a drawn order; a write that does not come in its turn may still come later.
    """
    chance, at = draw.chance, 1.0
    for write in chance.sample(WRITES, len(WRITES)):
        within = COMMIT + MILLISECOND if write.startswith("mailbox:") else MILLISECOND
        draw.add(chance.uniform(0.0, within), KillGateway(), write, chance.randint(1, 2), at)
        at += chance.uniform(1.0, 2.5)
    for number in range(1, len(WRITES) + 1):
        draw.add(chance.uniform(0.05, 0.7), StartGateway(), "fault:kill_gateway", number)
    # some writes only come about by faults: a device that comes back finds its mail, and its old connection
    away = 1.0
    while away < at:
        device = chance.choice(draw.devices)
        draw.add(away, PowerCut(on=device))
        draw.add(away + chance.uniform(0.3, 4.0), PowerOn(on=device))
        away += chance.uniform(2.0, 5.0)
    return at + 3.0


def partition_during_handover(draw: Draw) -> float:
    """Devices come back while their old connection still counts, and lose their link in the middle of the handover."""
    chance, at = draw.chance, 2.0
    for _ in range(4):
        device = chance.choice(draw.devices)
        draw.add(at, PowerCut(on=device))
        draw.add(at + chance.uniform(0.1, 1.0), PowerOn(on=device))
        at += chance.uniform(4.0, 8.0)
    for device in draw.devices:
        for nth in (1, 2):
            begins = chance.uniform(0.0, 2.0)  # the window is 1.5 s, the close behind it 0.3 s
            draw.add(begins, Partition(_way(draw), on=device), f"event:HandoverBegan {device}", nth)
            draw.add(begins + chance.uniform(0.2, 6.0), Heal(on=device), f"event:HandoverBegan {device}", nth)
    return at + 8.0


_REDELIVERY = {"event:DeviceOnline": 1, "event:PeerDelivered": 3, "event:PeerRedelivered": 1}
"""Moments of it, for a device that comes back, and how many of them come soon."""


def crash_during_redelivery(draw: Draw) -> float:
    """Devices come back to mail that has gathered, and the gateway dies while it is delivered."""
    chance, at = draw.chance, 1.0
    for _ in range(3):
        away = draw.some(0.5)
        for device in away:
            draw.add(at + chance.uniform(0.0, 0.5), PowerCut(on=device))
        at += chance.uniform(4.0, 8.0)
        for device in away:
            draw.add(at + chance.uniform(0.0, 0.5), PowerOn(on=device))
        moment, most = chance.choice(tuple(_REDELIVERY.items()))
        nth = chance.randint(1, most)
        draw.add(chance.uniform(0.0, 0.02), KillGateway(), f"{moment} {chance.choice(away)}", nth, at)
        at += chance.uniform(3.0, 6.0)
    for number in range(1, 4):
        draw.add(chance.uniform(0.05, 2.0), StartGateway(), "fault:kill_gateway", number)
    return at + 5.0


def everything_at_once(draw: Draw) -> float:
    """For a minute something goes wrong about twice a second, of every kind, with short pauses in between."""
    chance, at, end = draw.chance, 0.5, 60.0
    kinds = [make for kind, make in _RANDOM.items() if draw.can(kind)]
    if not kinds:
        raise Misuse("expected a ground with at least one fault that can be drawn")
    while at < end:
        chance.choice(kinds)(draw, at)
        at += chance.expovariate(2.0)
    return end


# --- single faults at chance, with their ends ---------------------------------------------------------------------


def _once(make: Callable[[Draw, str], Fault]) -> Callable[[Draw, float], None]:
    def add(draw: Draw, at: float) -> None:
        draw.add(at, make(draw, draw.chance.choice(draw.devices)))

    return add


def _for_a_while(make: Callable[[Draw, str], Fault], longest: float) -> Callable[[Draw, float], None]:
    def add(draw: Draw, at: float) -> None:
        fault = make(draw, draw.chance.choice(draw.devices))
        draw.add(at, fault)
        draw.add(at + draw.chance.uniform(0.1, longest), Heal(fault.name, on=fault.on))

    return add


_WAYS: tuple[Both, ...] = ("both", "to_gateway", "to_device")


def _way(draw: Draw) -> Both:
    return draw.chance.choice(_WAYS)


def _wifi(draw: Draw, at: float) -> None:
    device, back = draw.chance.choice(draw.devices), at + draw.chance.uniform(0.2, 12.0)
    draw.add(at, WifiOff(on=device))
    draw.add(back, WifiOn(draw.chance.random() < 0.5, on=device))


def _power(draw: Draw, at: float) -> None:
    device = draw.chance.choice(draw.devices)
    draw.add(at, PowerCut(on=device))
    draw.add(at + draw.chance.uniform(0.2, 12.0), PowerOn(on=device))


def _kill(draw: Draw, at: float) -> None:
    draw.add(at, KillGateway())
    draw.add(at + draw.chance.uniform(0.05, 3.0), StartGateway())


def _gateway_power(draw: Draw, at: float) -> None:
    if draw.can(KillGateway):  # a ground that cannot kill a gateway cannot take its power either
        draw.add(at, PowerCut(on=GATEWAY))
        draw.add(at + draw.chance.uniform(0.2, 5.0), PowerOn(on=GATEWAY))


def _slow_disk(draw: Draw, at: float) -> None:
    draw.add(at, SlowDisk(draw.chance.uniform(0.01, 0.1)))
    draw.add(at + draw.chance.uniform(0.5, 5.0), Heal("slow_disk"))


_RANDOM: dict[type[Fault], Callable[[Draw, float], None]] = {
    Cut: _once(lambda _, on: Cut(on=on)),
    ResetPeer: _once(lambda _, on: ResetPeer(on=on)),
    HalfOpen: _once(lambda _, on: HalfOpen(on=on)),
    Latency: _for_a_while(
        lambda draw, on: Latency(draw.chance.uniform(0.01, 0.5), draw.chance.uniform(0, 0.2), _way(draw), on=on), 10.0
    ),
    Bandwidth: _for_a_while(lambda draw, on: Bandwidth(draw.chance.uniform(2048, 65536), _way(draw), on=on), 10.0),
    Slicer: _for_a_while(lambda draw, on: Slicer(draw.chance.randint(1, 200), 0, 0.0, _way(draw), on=on), 10.0),
    Loss: _for_a_while(lambda draw, on: Loss(draw.chance.uniform(0.01, 0.3), _way(draw), on=on), 10.0),
    LimitData: _for_a_while(lambda draw, on: LimitData(draw.chance.randint(1, 5000), _way(draw), on=on), 5.0),
    Timeout: _for_a_while(lambda draw, on: Timeout(draw.chance.uniform(0, 5), _way(draw), on=on), 5.0),
    SlowClose: _for_a_while(lambda draw, on: SlowClose(draw.chance.uniform(0.1, 2.0), _way(draw), on=on), 10.0),
    Partition: _for_a_while(lambda draw, on: Partition(_way(draw), on=on), 12.0),
    WifiOff: _wifi,
    PowerCut: _power,
    KillGateway: _kill,
    PowerOn: _gateway_power,
    ClockStep: _once(lambda draw, _: ClockStep(draw.chance.uniform(-3600, 3600), on=GATEWAY)),
    SlowDisk: _slow_disk,
}


Kind: TypeAlias = Callable[[Draw], float]
"""Draws the steps, and returns the seconds that the faults take."""

SCHEDULES: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (swizzle_clog, kill_after_write, partition_during_handover, crash_during_redelivery, everything_at_once)
}
"""Every kind of schedule, by its name."""


def draw_schedule(name: str, seed: int, devices: Sequence[str], possible: frozenset[str] | None = None) -> Schedule:
    """Draw a schedule.

    Args:
        name: one of `SCHEDULES`.
        seed: the same gives the same.
        devices: their names.
        possible: names of the faults that the ground can do (`Ground.capabilities`); others are left out. None: all.

    Raises:
        Misuse: there is no such kind, or no device.
    """
    if name not in SCHEDULES:
        raise Misuse(f"expected one of the schedules {', '.join(SCHEDULES)}, got {name!r}")
    draw = Draw(seed, devices, possible)
    return draw.schedule(name, seed, SCHEDULES[name](draw))
