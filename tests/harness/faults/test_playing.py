"""Playing schedules: each fault in its time, moments, the end, and what goes wrong with that."""

from __future__ import annotations

import asyncio

import pytest

from harness.errors import Misuse
from harness.faults import playing
from harness.faults.errors import NotDone
from harness.faults.playing import Player
from harness.faults.schedule import CALM, Schedule, Step
from harness.faults.vocabulary import Cut, Fault, HalfOpen, KillGateway, Latency, Loss, Partition, StartGateway
from tests.harness.faults.test_ground import Paper, paper
from tests.harness.simulation.stage import host, sim, simulated


def player(*steps: Step, seconds: float = 10.0, ground: Paper | None = None, **options: object) -> Player:
    """One that plays these steps."""
    return Player(Schedule("test", 1, steps, seconds), ground or paper(), **options)  # type: ignore[arg-type]


def done(played: Player) -> list[tuple[float, Fault]]:
    """What was done before everything was made good."""
    return [(round(at, 6), fault) for at, fault in played.done[: -len(CALM)]]


@simulated
async def test_times():
    """Each fault is done in its time; at the end everything is made good."""
    notes: list[str] = []
    plays = player(Step(0.5, Cut(on="a")), Step(3.25, Latency(0.1)), note=notes.append)
    await plays.play()

    assert done(plays) == [(0.5, Cut(on="a")), (3.25, Latency(0.1))]
    assert [fault for _, fault in plays.done[-len(CALM) :]] == list(CALM)
    assert {at for at, _ in plays.done[-len(CALM) :]} == {10.0}
    assert notes == [str(fault) for _, fault in plays.done]
    assert sim().time() == 10.0


@simulated
async def test_moments():
    """A step waits for its moment, the how-manieth of its kind, and then its time."""
    plays = player(
        Step(0.25, Cut(on="a"), "event:X", 2),
        Step(0.0, HalfOpen(on="b"), "event:X b"),
        Step(0.0, Partition(), "event:never"),
    )
    plays.moment(["event:X"])  # before the beginning: it does not count
    task = sim().create_task(plays.play())
    await asyncio.sleep(1)
    plays.moment(["event:X", "event:X a"])
    await asyncio.sleep(1)
    plays.moment(["event:X", "event:X b"])
    plays.moment(["event:X", "event:X b"])
    await task
    plays.moment(["event:never"])
    await asyncio.sleep(1)

    assert done(plays) == [(2.0, HalfOpen(on="b")), (2.25, Cut(on="a"))]
    assert [step.fault for step in plays.never] == [Partition()]


@simulated
async def test_moments_since():
    """Moments before a time are not counted."""
    plays = player(Step(0.0, Cut(on="a"), "event:X", 2, since=3.0), Step(0.0, Cut(on="b"), "event:X", 2))
    task = sim().create_task(plays.play())
    for _ in range(5):
        await asyncio.sleep(1)
        plays.moment(["event:X"])
    await task

    assert done(plays) == [(2.0, Cut(on="b")), (4.0, Cut(on="a"))]


@simulated
async def test_faults_are_moments():
    """A fault can be what another one waits for."""
    plays = player(Step(1.0, KillGateway()), Step(0.5, StartGateway(), "fault:kill_gateway"))
    await plays.play()
    assert done(plays) == [(1.0, KillGateway()), (1.5, StartGateway())]


@simulated
async def test_what_the_ground_cannot_do():
    """It is left out, and said to be; what makes all good is done as far as the ground can."""
    plays = player(Step(0.5, Loss(0.1)), Step(1.0, Cut()), ground=paper("loss", "start_gateway"))
    await plays.play()
    assert [step.fault for step in plays.left_out] == [Loss(0.1)]
    assert [fault.name for _, fault in plays.done] == ["cut", "heal", "wifi_on", "power_on", "power_on"]


@simulated
async def test_moment_on_a_machine_that_dies():
    """What a moment brings about is done even if the machine on which it was noticed dies of it."""
    plays = player(Step(0.001, Cut(on="a"), "event:X"))
    task = sim().create_task(plays.play())
    await asyncio.sleep(1)

    async def notices() -> None:
        plays.moment(["event:X"])

    await host("gw").spawn(notices())
    host("gw").kill()
    await task
    assert done(plays) == [(1.001, Cut(on="a"))]


@simulated
async def test_step_past_the_end():
    """What would come after the end is not done."""
    plays = player(Step(9.0, Cut(), "event:X"), Step(11.0, HalfOpen()), seconds=5.0)
    task = sim().create_task(plays.play())
    await asyncio.sleep(1)
    plays.moment(["event:X"])
    await task
    assert all(timer.cancelled() for timer in plays._timers)
    await asyncio.sleep(20)
    assert done(plays) == []


class Slow(Paper):
    """A ground whose cuts take their time, and whose latencies fail."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.add_device("a")

    async def _strike(self, fault: Fault, devices: list[str]) -> None:
        if isinstance(fault, Cut):
            await asyncio.sleep(self.seconds)
        await super()._strike(fault, devices)

    async def _begin(self, fault: Fault, devices: list[str]) -> None:  # type: ignore[override]
        raise Misuse("this ground is broken")


@simulated
async def test_what_takes_its_time():
    """What has begun is waited for before everything is made good; others go on meanwhile."""
    ground = Slow(5.0)
    plays = player(Step(8.0, Cut()), Step(9.0, HalfOpen()), ground=ground)
    await plays.play()
    assert [told[1] for told in ground.told if told[0] == "strike"][:2] == ["half_open", "cut"]
    assert sim().time() == 13.0


@simulated
async def test_what_never_ends():
    """What does not end within its time is given up, and named."""
    ground = Slow(1000.0)
    plays = player(Step(8.0, Cut(on="a")), ground=ground)
    with pytest.raises(NotDone, match="within 30 s: cut on a"):
        await plays.play()
    assert sim().time() == 10.0 + playing.DONE_SECONDS
    assert ("heal", ["a"]) in ground.told


@simulated
async def test_failure():
    """A fault that fails is raised at the end, when everything has been made good."""
    ground = Slow(0.0)
    plays = player(Step(1.0, Latency(0.1)), Step(2.0, Cut()), ground=ground)
    with pytest.raises(Misuse, match="this ground is broken"):
        await plays.play()
    assert ("strike", "cut", ["a"]) in ground.told
    assert ("heal", ["a"]) in ground.told


@simulated
async def test_cancelled():
    """Given up in the middle, it still makes everything good, and does nothing later."""
    ground = paper()
    plays = player(Step(1.0, Cut()), Step(3.0, HalfOpen()), ground=ground)
    task = sim().create_task(plays.play())
    await asyncio.sleep(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(20)
    assert ("heal", ["a", "b"]) in ground.told
    assert done(plays) == [(1.0, Cut())]


@simulated
async def test_moments_past_the_end():
    """What happens while everything is made good brings about nothing any more, then or in the quiet phase."""
    ground = Slow(5.0)
    plays = player(
        Step(8.0, Cut(on="a")),
        Step(0.001, KillGateway(), "event:X"),
        Step(0.0, HalfOpen(), "fault:heal"),
        ground=ground,
    )
    task = sim().create_task(plays.play())
    await asyncio.sleep(11)
    plays.moment(["event:X"])
    await task
    await asyncio.sleep(20)

    assert [fault for _, fault in plays.done] == [Cut(on="a"), *CALM]
    assert [step.fault for step in plays.never] == [KillGateway(), HalfOpen()]
