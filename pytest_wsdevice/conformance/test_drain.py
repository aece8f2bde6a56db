"""Going down for a restart: nobody is cut off in a sentence, nothing is lost, and nobody new is let in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.observe.events import DrainBegan, GatewayStopped
from harness.errors import UpgradeRefused
from harness.http import ask
from pytest_wsdevice.conformance.loopback_dialogue import begin, dictate, listen, reply_to
from pytest_wsdevice.conformance.own_gateways import from_inside, leave_when_told
from pytest_wsdevice.conformance.verdicts import or_else
from pytest_wsdevice.types import Devices, FakeDevice, Gateway, OwnGateway, Timeline

pytestmark = [pytest.mark.asyncio, pytest.mark.ws_needs("drain", "events")]

RESTARTS = 1012
LATE = 5.0  # seconds that a busy machine may take longer
OVER = 0.3  # seconds: longer than a drain takes that waits for nobody


@pytest.mark.ws_gateway_config(adapts=True, drain={"spread": 0.0, "grace": 20.0})
async def test_new_devices_are_refused_with_503_while_it_drains(
    ws_gateway: Gateway, ws_devices: Devices, ws_timeline: Timeline
) -> None:
    """And with ``Retry-After``; the one that is being waited for is not disturbed."""
    newcomer = await ws_devices("newcomer", online=False)
    async with draining(ws_gateway, ws_devices, ws_timeline):
        try:
            await newcomer.connect()
        except UpgradeRefused as error:
            refused = error
        else:
            raise AssertionError("a gateway that goes down has let a new device in")

    assert refused.status == 503, f"a new device was refused with {refused.status} during a drain, not with 503"
    after = {name.lower(): value for name, value in refused.headers.items()}.get("retry-after", "")
    assert after.strip("0").isdecimal(), f"a new device is not told when to come again: Retry-After {after!r}"


@pytest.mark.ws_gateway_config(adapts=True, drain={"spread": 0.0, "grace": 20.0})
async def test_the_http_port_says_that_it_drains(
    ws_gateway: Gateway, ws_devices: Devices, ws_timeline: Timeline
) -> None:
    """``/readyz`` says no and why, ``/healthz`` that it lives, and the OTA endpoint sends nobody here any more."""
    assert (await ask(f"{ws_gateway.http_url}/readyz")).status == 200, "a gateway that runs says that it is not ready"
    async with draining(ws_gateway, ws_devices, ws_timeline) as device:
        ready = await ask(f"{ws_gateway.http_url}/readyz")
        alive = await ask(f"{ws_gateway.http_url}/healthz")
        ids = {"Device-Id": device.device_id, "Client-Id": device.client_id}
        ota = await ask(f"{ws_gateway.http_url}{ws_gateway.config.ota.path}", "POST", headers=ids)

    assert ready.status == 503, f"/readyz answers {ready.status} while the gateway drains, not 503"
    assert b"draining" in ready.body, f"/readyz does not say why: {ready.body!r}"
    assert alive.status == 200, f"/healthz answers {alive.status} while the gateway drains, which is no illness"
    assert ota.status == 503, f"the OTA endpoint answers {ota.status} while the gateway drains, not 503"


@pytest.mark.ws_gateway_config(adapts=True, drain={"spread": 1.0, "grace": 5.0})
async def test_idle_devices_are_closed_one_after_the_other(
    ws_gateway: Gateway, ws_devices: Devices, ws_timeline: Timeline
) -> None:
    """With 1012, spread over ``drain.spread``: a fleet does not come back in one wave. Then the stop is clean."""
    fleet = [await ws_devices(f"device-{number}") for number in range(12)]
    spread = ws_gateway.config.drain.spread
    ended_at: list[float] = []

    async def end_of(device: FakeDevice) -> int:
        code = await leave_when_told(device, spread + LATE)
        ended_at.append(asyncio.get_running_loop().time())
        return code

    drain = asyncio.create_task(from_inside(ws_gateway).drain())
    codes = set(await asyncio.gather(*map(end_of, fleet)))
    await drain

    assert codes == {RESTARTS}, f"idle devices were closed with {sorted(codes)} in a drain, not with 1012"
    # of twelve moments in an interval, that all lie in a fifth of it happens once in five million runs
    apart = max(ended_at) - min(ended_at)
    assert apart >= spread / 5, f"idle devices were all closed within {apart:.2f} s of a drain, not over {spread:g} s"
    (stopped,) = ws_timeline.events(GatewayStopped)
    assert stopped.clean, "the stop at the end of a drain was not clean"


@pytest.mark.ws_gateway_config(adapts=True, drain={"spread": 0.0, "grace": 20.0})
async def test_a_device_that_dictates_finishes_its_sentence(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """It is heard to its end, and closed with 1012 then."""
    device = await ws_devices("device", online=False)
    await begin_to_dictate(device, b"before")
    drain = asyncio.create_task(from_inside(ws_gateway).drain())

    await asyncio.sleep(OVER)
    with or_else("a drain has cut a device off that was dictating"):
        await device.send_audio(b"after")
        await listen(device, "stop")
        heard = await device.expect("stt")

    assert heard["text"].startswith("heard 2 packets"), f"a dictation lost audio in a drain: {heard}"
    await expect_restart(device)
    await drain


@pytest.mark.ws_gateway_config(adapts=True, drain={"spread": 0.0, "grace": 20.0})
async def test_a_device_that_is_spoken_to_hears_the_end(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """Every packet of the sentence, and ``tts stop``; closed with 1012 then."""
    packets = [bytes([number]) for number in range(35)]  # 0.7 s
    device = await ws_devices("device", online=False)
    await begin(device)
    await dictate(device, packets)
    drain = asyncio.create_task(from_inside(ws_gateway).drain())

    with or_else("a drain has cut the sentence that a device was hearing"):
        played = await reply_to(device)

    assert played == packets, f"a drain has cut a sentence: {len(played)} of {len(packets)} packets were played"
    await expect_restart(device)
    await drain


@pytest.mark.ws_gateway_config(adapts=True, drain={"spread": 0.0, "grace": 0.3})
async def test_nobody_is_waited_for_longer_than_the_grace(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """A device that goes on dictating is closed with 1012 when ``drain.grace`` is over, and not before."""
    device = await ws_devices("device", online=False)
    await begin_to_dictate(device)
    grace = ws_gateway.config.drain.grace
    loop = asyncio.get_running_loop()
    began = loop.time()

    drain = asyncio.create_task(from_inside(ws_gateway).drain())
    with or_else(f"a drain waits for a device longer than drain.grace, {grace:g} s"):
        code = await leave_when_told(device, grace + LATE)
    seconds = loop.time() - began
    await drain

    assert code == RESTARTS, f"a device whose grace was over was closed with {code}, not with 1012"
    assert seconds >= grace, f"a device that was dictating was closed after {seconds:.2f} s, the grace is {grace:g} s"


@pytest.mark.ws_needs("restart")
@pytest.mark.ws_gateway_config(adapts=True, drain={"spread": 0.0, "grace": 0.0}, peer={"live_ack": 30.0})
async def test_what_is_in_flight_is_in_the_mailbox_after_a_drain(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """A message that its target has not acknowledged is there when the gateway is back."""
    sender = await ws_devices("sender")
    target = await ws_devices("target", acks=False, features={"peer_ack": True})
    await sender.send({"type": "peer", "to": [target.device_id], "payload": {"text": "tea"}})
    await target.expect("peer", payload={"text": "tea"})

    own = from_inside(ws_gateway)
    await asyncio.gather(own.drain(), *map(leave_when_told, (sender, target)))
    await own.start()
    await target.go_online()

    with or_else("a message that was in flight when the gateway went down is lost"):
        await target.expect("peer", payload={"text": "tea"})


# --- the drain ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def draining(gateway: Gateway, devices: Devices, timeline: Timeline) -> AsyncIterator[FakeDevice]:
    """Have the gateway drain, and wait for a device that dictates; it has finished at the end, and so has the drain."""
    device = await devices("speaking", online=False)
    await begin_to_dictate(device)
    own: OwnGateway = from_inside(gateway)
    drain = asyncio.create_task(own.drain())
    await timeline.expect_event(DrainBegan)
    yield device
    with or_else("a device that was waited for was disturbed in its drain"):
        await listen(device, "stop")
        await leave_when_told(device)
    await drain


async def begin_to_dictate(device: FakeDevice, *packets: bytes) -> None:
    """Connect and speak; the gateway has heard it when this returns."""
    await begin(device)
    await listen(device, "start")
    for packet in packets:
        await device.send_audio(packet)
    await device.send({"type": "ping"})
    await device.expect("pong")


async def expect_restart(device: FakeDevice) -> None:
    """Wait for the end of a device that has finished."""
    code = await leave_when_told(device)
    assert code == RESTARTS, f"a device that had finished in a drain was closed with {code}, not with 1012"
