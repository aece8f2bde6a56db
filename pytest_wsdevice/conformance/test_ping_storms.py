"""Pings: each is answered within the budget, a storm gets no more than that, and nobody else notices it."""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest
from websockets.frames import Opcode

from harness.fakes.storm import storm
from harness.simulation.loop import SimulatedLoop
from pytest_wsdevice.conformance.loopback_dialogue import listen
from pytest_wsdevice.conformance.verdicts import or_else
from pytest_wsdevice.types import Devices, FakeDevice, Gateway, Timeline

pytestmark = pytest.mark.asyncio

Storm: TypeAlias = Callable[..., Coroutine[Any, Any, int]]
"""Has a device storm for so many seconds, so many times a second, and returns how many pings it sent."""

PING, CONTROL = {"type": "ping"}, b"there?"
PER_SECOND = 1000
"""Pings of a storm that is over before the gateway reads it more slowly."""
STEADILY = 500
"""Of one that goes on."""
BUSY = 2.0
"""Seconds by which a busy machine may be late."""
ABSENT = 0.1
"""Seconds in which what must not come would have come."""
SOON_CLOSED = pytest.mark.ws_gateway_config(adapts=True, heartbeat={"storm_close_after": 0.2})
CLOSING = 1.0
"""Seconds from a Close to the end of the socket, whether or not the device reads it."""
SILENCE = 30.0
"""Seconds without audio after which a dictation is given up; a limit of the protocol, no setting."""


async def of_pings(device: FakeDevice, seconds: float, per_second: float = PER_SECOND) -> int:
    """Storm with ``ping`` messages."""
    return await storm(device, PING, per_second=per_second, seconds=seconds)


async def of_control_pings(device: FakeDevice, seconds: float, per_second: float = PER_SECOND) -> int:
    """Storm with pings of RFC 6455."""
    return await storm(device, CONTROL, per_second=per_second, seconds=seconds)


async def of_both(device: FakeDevice, seconds: float) -> int:
    """Storm with the one, then with the other."""
    return await of_pings(device, seconds / 2) + await of_control_pings(device, seconds / 2)


# --- one heartbeat ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ping", "keepalive"])
async def test_a_heartbeat_is_answered_once(ws_devices: Devices, kind: str) -> None:
    """``ping`` and ``keepalive`` are answered with exactly ``{"type":"pong"}``, once each."""
    device = await ws_devices("device")

    await device.send({"type": kind})

    with or_else(f"a {kind} was not answered"):
        pong = await device.expect("pong")
    assert pong == {"type": "pong"}, f"the answer to {kind} has more in it than a pong: {pong}"
    with or_else(f"a {kind} was answered more than once"):
        await device.expect_nothing("pong", ABSENT)


async def test_a_control_ping_is_answered_once(ws_devices: Devices, ws_timeline: Timeline) -> None:
    """A ping of RFC 6455 is answered with one pong that has its payload, and with no message."""
    device = await ws_devices("device")

    await device.send_ping(b"payload")
    await caught_up(device)

    pongs = [frame.payload for frame in ws_timeline.frames("device", sent=False) if frame.opcode is Opcode.PONG]
    assert pongs, "a control ping was not answered"
    assert pongs == [b"payload"], f"a control ping was answered more than once, or with another payload: {pongs}"


async def test_a_heartbeat_before_hello_is_answered(ws_devices: Devices) -> None:
    """Heartbeats come before any gate: a client that has not said hello, and may never, is answered, too."""
    device = await ws_devices("device", online=False)
    await device.connect()

    await device.send(PING)

    with or_else("a heartbeat before hello was not answered"):
        await device.expect("pong")


@pytest.mark.ws_gateway_config(adapts=True, heartbeat={"pongs_per_second": 200.0})
async def test_a_slow_but_honest_pinger_is_never_limited(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """A burst at the beginning, then a bit less than the rate, for as long as it likes: every ping is answered."""
    beat = ws_gateway.config.heartbeat
    device = await ws_devices("device")

    with or_else("an honest pinger was limited: a ping within the budget was not answered"):
        for _ in range(beat.pong_burst):
            await device.send(PING)
        for _ in range(beat.pong_burst):
            await device.expect("pong")
        for _ in range(beat.pong_burst):
            await asyncio.sleep(1.2 / beat.pongs_per_second)
            await device.send(PING)
            await device.expect("pong")
    limited = [message for message in device.received if message["type"] == "error"]
    assert not limited, f"an honest pinger was limited: it was told {limited}"


# --- a storm ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storming", [of_pings, of_control_pings, of_both])
async def test_a_storm_is_answered_within_its_budget(
    ws_gateway: Gateway, ws_devices: Devices, ws_timeline: Timeline, storming: Storm
) -> None:
    """In any time ``t`` at most ``burst + rate * t`` pings are answered, messages and control pings together."""
    beat = ws_gateway.config.heartbeat
    device = await ws_devices("storm")
    began = now()

    sent = await storming(device, 0.1)
    await caught_up(device)

    pongs, seconds = pongs_of(ws_timeline, device), now() - began
    most = int(beat.pong_burst + beat.pongs_per_second * seconds) + 1
    assert pongs <= most, f"the pings over the budget were answered: {pongs} pongs to {sent}, at most {most} expected"
    least = min(sent, beat.pong_burst)
    assert pongs >= least, f"pings within the budget were not answered: {pongs} pongs, at least {least} expected"


async def test_a_storm_is_told_once_that_it_is_limited(ws_devices: Devices) -> None:
    """One ``error`` RATE_LIMITED in ten seconds, however many pings are over the budget."""
    device = await ws_devices("storm")

    await of_both(device, 0.1)
    await caught_up(device)

    told = [message for message in device.received if message.get("code") == "RATE_LIMITED"]
    assert told, "a device was not told that its pings are limited"
    assert len(told) == 1, f"a device was told {len(told)} times in one storm that its pings are limited, once expected"


@pytest.mark.ws_gateway_config(adapts=True, heartbeat={"pongs_per_second": 80.0})
async def test_a_device_that_calms_down_is_answered_again(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """A storm that ends in time costs nothing but its own pongs."""
    device = await ws_devices("storm")
    await of_pings(device, 0.1)
    await caught_up(device)
    device.forget_unread()

    await asyncio.sleep(4 / ws_gateway.config.heartbeat.pongs_per_second)
    await device.send(PING)

    with or_else("a device that has calmed down is not answered any more"):
        await device.expect("pong")


@pytest.mark.parametrize("storming", [of_pings, of_control_pings])
@SOON_CLOSED
async def test_a_storm_that_goes_on_is_closed_with_4008(
    ws_gateway: Gateway, ws_devices: Devices, storming: Storm
) -> None:
    """After ``storm_close_after`` seconds of continuous excess, and not at the first ping that is too much."""
    patience = ws_gateway.config.heartbeat.storm_close_after
    device = await ws_devices("storm")
    began = now()

    await storming(device, patience + BUSY, STEADILY)
    seconds = now() - began

    with or_else(f"a storm was not closed after {seconds:.1f} s, {patience:g} s expected"):
        code = await device.expect_close(ABSENT)
    assert code == 4008, f"a storm was closed with {code}, not with 4008"
    assert seconds > patience / 2, f"a storm was closed after {seconds:.1f} s of excess, {patience:g} s expected"


@SOON_CLOSED
async def test_a_storm_from_a_device_that_does_not_read_is_ended_in_bounded_time(
    ws_gateway: Gateway, ws_devices: Devices
) -> None:
    """It will never read the Close, let alone answer it; its socket is gone all the same."""
    patience = ws_gateway.config.heartbeat.storm_close_after
    device = await ws_devices("storm", online=False, reads_bytes_per_second=1.0)
    await device.connect()  # and has read for the next minutes

    await of_control_pings(device, patience + CLOSING + BUSY, STEADILY)

    with or_else(f"a storm from a device that does not read was not ended, {patience + CLOSING:g} s expected"):
        await device.expect_close(ABSENT)


# --- neighbours -------------------------------------------------------------------------------------------------


async def test_a_storm_takes_nothing_from_its_neighbours_budget(ws_devices: Devices) -> None:
    """Each device has a budget of its own: while one is limited, its neighbour's pings are all answered."""
    device, neighbour = await ws_devices("storm"), await ws_devices("neighbour")

    async with during(of_pings(device, 0.3)):
        await asyncio.sleep(0.1)
        with or_else("a neighbour's ping was not answered during a storm"):
            for _ in range(5):
                await neighbour.send(PING)
                await neighbour.expect("pong")


@pytest.mark.ws_needs("tcp")  # virtual time does not pass while a gateway works
async def test_a_storm_does_not_delay_its_neighbours_pongs(ws_devices: Devices) -> None:
    """While one device sends 3000 pings a second, the others' are answered in less than 50 ms."""
    device = await ws_devices("storm")
    neighbours = [await ws_devices(f"neighbour {number}") for number in range(3)]
    taken: list[float] = []

    async with during(of_pings(device, 5.0, 3000)):
        for _ in range(6):
            for neighbour in neighbours:
                began = now()
                await neighbour.send(PING)
                with or_else("a neighbour's ping was not answered during a storm"):
                    await neighbour.expect("pong")
                taken.append(now() - began)
            await asyncio.sleep(0.03)

    median = statistics.median(taken)  # a machine that stops for a moment moves the slowest ones, and not this
    assert median < 0.05, f"a storm delays its neighbours: half of their pongs took more than {median * 1000:.0f} ms"


# --- what pings keep alive, and what they do not ----------------------------------------------------------------


@pytest.mark.ws_gateway_config(heartbeat={"idle_close": 0.5})
async def test_a_silent_device_is_closed_with_4003_and_one_that_pings_is_not(
    ws_gateway: Gateway, ws_devices: Devices
) -> None:
    """Any frame is a sign of life, and pings are what devices send when they have nothing to say."""
    idle_close = ws_gateway.config.heartbeat.idle_close
    silent, pinging = await ws_devices("silent"), await ws_devices("pinging")

    with or_else("a device that pings was closed as idle"):
        for _ in range(5):
            await asyncio.sleep(idle_close / 4)
            await pinging.send(PING)
            await pinging.expect("pong")
    with or_else("a silent device was not closed as idle"):
        code = await silent.expect_close(BUSY)
    assert code == 4003, f"a silent device was closed with {code}, not with 4003"


@pytest.mark.ws_gateway_config(handshake={"alive_after": 0.1}, heartbeat={"keepalive_after": 0.2})
async def test_a_device_that_is_told_nothing_is_sent_a_keepalive(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """Firmware takes a channel for dead after 120 s without a data frame: there is one in time."""
    device = await ws_devices("device")

    with or_else("a device that was told nothing was not sent a keepalive"):
        keepalive = await device.expect("keepalive", ws_gateway.config.heartbeat.keepalive_after + BUSY)
    assert keepalive == {"type": "keepalive"}, f"a keepalive has more in it than its type: {keepalive}"


async def test_pings_do_not_keep_a_dead_dictation_busy(ws_devices: Devices) -> None:
    """A device that still pings, but has sent no audio for half a minute, is not dictating any more."""
    if not isinstance(asyncio.get_running_loop(), SimulatedLoop):
        pytest.skip("takes half a minute in real time, and none with --ws-network sim")
    device = await ws_devices("device")
    await listen(device, "start")
    await device.send_audio(b"a frame")

    for _ in range(int(SILENCE) + 5):
        await asyncio.sleep(1.0)
        await device.send(PING)
    await listen(device, "stop")

    with or_else("pings have kept a dictation busy whose audio had ended long before"):
        await device.expect_nothing("stt", ABSENT)


# --- what devices do, and what is looked at ---------------------------------------------------------------------


def now() -> float:
    """Loop time."""
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def during(storming: Coroutine[Any, Any, int]) -> AsyncIterator[None]:
    """Have a storm go on meanwhile."""
    task = asyncio.create_task(storming)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def caught_up(device: FakeDevice) -> None:
    """Have the gateway say something that is no pong: it has seen all pings that were sent before."""
    with or_else("a short burst of pings has cost a device its connection"):
        await device.hello()


def pongs_of(timeline: Timeline, device: FakeDevice) -> int:
    """Count the pongs that a device was sent, messages and control frames."""
    return sum(
        frame.opcode is Opcode.PONG or (frame.opcode is Opcode.TEXT and json.loads(frame.payload)["type"] == "pong")
        for frame in timeline.frames(device.name, sent=False)
    )
