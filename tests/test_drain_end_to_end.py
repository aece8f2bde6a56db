"""The gateway goes down over real sockets as on SIGTERM: whoever comes is turned away, whoever speaks may finish."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.config import Config, DrainConfig
from gateway.identity import DeviceId
from gateway.observe.events import ConnectionClosed, DrainBegan, GatewayStopped, SpeechEnded
from harness.errors import CannotConnect, UpgradeRefused
from harness.fakes.device import FakeDevice
from tests.raw_peer import RawPeer, upgrade
from tests.running import Peers, Running, loopback, nothing_is_left, running, until

MAC = "02:00:00:00:00:01"
PACKET = 0.06
"""Seconds of one packet of the fake firmware."""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Loopback, free ports; idle devices are closed at once."""
    return loopback(tmp_path, drain=DrainConfig(spread=0, grace=10))


async def speaking(house: Running, packets: int, name: str = MAC) -> FakeDevice:
    """Connect a device that is being told something, of so many packets."""
    device = FakeDevice(house.url, name)
    await device.connect()
    await device.hello()
    await device.send({"type": "listen", "state": "start", "mode": "manual"})
    for number in range(packets):
        await device.send_audio(b"packet %d" % number)
    await device.send({"type": "listen", "state": "stop"})
    await device.expect("tts", state="start")
    return device


async def test_whoever_comes_is_turned_away(config: Config):
    """While it drains: not ready, OTA and upgrades 503 with a time to come back; it still says that it lives."""
    async with running(config) as house:
        device, url = await speaking(house, 12), house.url
        assert (await house.get("/readyz")).status == 200
        drain = asyncio.create_task(house.gateway.drain())
        await until(lambda: house.records.of(DrainBegan))

        ready = await house.get("/readyz")
        assert (ready.status, json.loads(ready.body)) == (503, {"status": "not ready", "reasons": ["draining"]})
        for answer in (
            await house.get("/xiaozhi/ota/", Device_Id=MAC),
            await house.post("/xiaozhi/ota/", b"{}", Device_Id=MAC),
        ):
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.headers["Connection"] == "close"
        with pytest.raises(UpgradeRefused) as refusal:
            await FakeDevice(house.url, "02:00:00:00:00:02").connect()
        assert refusal.value.status == 503
        assert int(refusal.value.headers["Retry-After"]) > 0
        assert (await house.get("/healthz")).status == 200
        assert b"wsdevice_draining 1" in (await house.get("/metrics")).body
        assert not drain.done()
        await device.aclose()
        await drain
        with pytest.raises(CannotConnect):
            await FakeDevice(url, MAC).connect()
    await nothing_is_left()


async def test_idle_devices_leave(config: Config):
    """Idle devices get Close 1012, spread over the time that is configured; none of them is aborted before."""
    config = msgspec.structs.replace(config, drain=DrainConfig(spread=0.5, grace=1))
    async with running(config) as house:
        devices = [FakeDevice(house.url, f"02:00:00:00:00:{number:02x}") for number in range(10)]
        for device in devices:
            await device.connect()
            await device.hello()
        began = asyncio.get_running_loop().time()
        await house.gateway.drain()

        assert [device.close_code for device in devices] == [1012] * 10
        assert asyncio.get_running_loop().time() - began < 0.5 + 0.1 + 1 + 0.3
        assert {one.code for one in house.records.of(ConnectionClosed)} == {1012}
        assert [one.devices for one in house.records.of(DrainBegan)] == [10]
        assert [one.clean for one in house.records.of(GatewayStopped)] == [True]
        for device in devices:
            await device.aclose()
    await nothing_is_left()


async def test_a_sentence_is_finished(config: Config):
    """A device that is being told something hears all of it, up to its ``tts stop``, and is closed after that."""
    async with running(config) as house, Peers(house) as peers:
        idle = await peers.device("02:00:00:00:00:02")
        device = await speaking(house, 16)
        loop = asyncio.get_running_loop()
        began = loop.time()
        drain = asyncio.create_task(house.gateway.drain())

        assert await asyncio.wait_for(idle.closed(), 2) == 1012
        await device.expect("tts", state="stop")
        assert loop.time() - began > 10 * PACKET
        assert await device.expect_close() == 1012
        assert list(device.audio) == [b"packet %d" % number for number in range(16)]
        assert [one.complete for one in house.records.of(SpeechEnded)] == [True]
        await drain
        await device.aclose()


async def test_an_utterance_is_finished(config: Config):
    """A device that is in the middle of saying something may end it, and is answered, before it is closed."""
    async with running(config) as house:
        device = FakeDevice(house.url, MAC)
        await device.connect()
        await device.hello()
        await device.send({"type": "listen", "state": "start", "mode": "manual"})
        await device.send_audio(b"one")
        drain = asyncio.create_task(house.gateway.drain())
        await until(lambda: house.gateway.is_draining)
        await asyncio.sleep(0.25)  # two looks at those that are there
        await device.send_audio(b"two")
        await device.send({"type": "listen", "state": "stop"})

        assert (await device.expect("stt"))["text"] == "heard 2 packets, 0.1 s"
        await device.expect("tts", state="stop")
        assert await device.expect_close() == 1012
        assert list(device.audio) == [b"one", b"two"]
        await drain
        await device.aclose()


async def test_grace_is_bounded(config: Config):
    """A sentence that takes longer than the grace is cut: the process has to end."""
    config = msgspec.structs.replace(config, drain=DrainConfig(spread=0, grace=0.3))
    async with running(config) as house:
        device = await speaking(house, 60)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await house.gateway.drain()

        assert 0.3 <= loop.time() - began < 0.3 + 0.1 + 1 + 0.5
        assert device.close_code == 1012
        assert [one.complete for one in house.records.of(SpeechEnded)] == [False]
        await device.aclose()


async def test_the_mailbox_is_flushed(config: Config):
    """What a device had been sent and has not acknowledged is in the mailbox when the gateway is down."""
    async with running(config) as house, Peers(house) as peers:
        sender = await speaking(house, 150, "02:00:00:00:00:02")  # longer than any disk takes, or it is cut off
        target = await peers.device(MAC, peer_ack=True)
        await sender.send({"type": "peer", "to": MAC, "payload": {"n": 1}, "id": "m1"})
        assert (await target.message())["id"] == "m1"
        drain = asyncio.create_task(house.gateway.drain())
        receipt = await sender.expect("peer", id="m1")
        assert receipt["enqueued"] == [MAC]  # its link was lost, or the live wait was over
        await sender.send({"type": "abort"})
        await drain
        await sender.aclose()
    await nothing_is_left()
    async with running(config) as house, FakeDevice(house.url, MAC) as device:
        letter = await device.expect("peer")
        assert (letter["id"], letter["payload"], letter["redelivered"]) == ("m1", {"n": 1}, True)


async def test_a_message_in_the_moment_of_the_stop(config: Config):
    """A message whose receipt has not gone out as everything stops is in the mailbox, or its sender knows nothing."""
    async with running(config) as house, Peers(house) as peers:
        target = await peers.device(MAC, peer_ack=True)
        sender = FakeDevice(house.url, "02:00:00:00:00:02")
        await sender.connect()
        await sender.hello()
        await sender.send({"type": "peer", "to": MAC, "payload": {"n": 1}, "id": "m1"})
        assert (await target.message())["id"] == "m1"
        stop = asyncio.create_task(house.gateway.stop())
        assert (await target.frame()).code == 1001
        target.cut()
        await sender.aclose()
        await stop

    async with running(config) as house, FakeDevice(house.url, MAC) as device:
        assert (await device.expect("peer"))["id"] == "m1"


async def test_a_meeting_is_put_away(config: Config):
    """A meeting that runs goes on after the restart: nothing that was said in it is lost."""
    async with running(config) as house, FakeDevice(house.url, MAC) as device:
        await device.send({"type": "meeting", "phase": "snippet", "items": [{"tag": "a", "text": "what was said"}]})
        assert (await device.expect("meeting"))["status"] == "ok"
        await house.gateway.drain()

    async with running(config) as house, FakeDevice(house.url, MAC) as device:
        await device.send({"type": "meeting", "phase": "snapshot"})
        items: list[Any] = (await device.expect("meeting", phase="snapshot"))["items"]
        assert [item["text"] for item in items] == ["what was said"]


async def test_those_that_hang_in_the_handshake(config: Config):
    """Sockets without a complete upgrade request do not hold up the drain."""
    async with running(config) as house:
        half = await RawPeer.connect(house.port)
        await half.send(upgrade(Device_Id=MAC)[:40])
        loop = asyncio.get_running_loop()
        began = loop.time()
        await house.gateway.drain()

        assert loop.time() - began < 1
        assert await half.end() == b""
        half.cut()
    await nothing_is_left()


async def test_a_device_that_is_not_there_any_more(config: Config):
    """A device that has vanished from the network is closed like any other, and holds up nobody."""
    async with running(config) as house:
        gone = FakeDevice(house.url, MAC)
        await gone.connect()
        await gone.hello()
        gone.vanish()
        await house.gateway.drain()

        assert house.gateway.registry.get(DeviceId(MAC)) is None
        assert [one.code for one in house.records.of(ConnectionClosed)] == [1012]
        await gone.aclose()
