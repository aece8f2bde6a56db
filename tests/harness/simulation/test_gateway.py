"""The real gateway and the real fake devices, neither of which knows that it is simulated."""

from __future__ import annotations

import asyncio

import pytest

from gateway.observe.events import ConnectionClosed, HandoverEnded
from tests.harness.simulation.houses import MAC, House, device_on
from tests.harness.simulation.stage import host, sim, simulated

BB = "02:00:00:00:00:02"


@simulated
async def test_handover_from_a_healthy_device():
    """The older connection is told at once, closed with 4001 after 1.5 s, and gone 0.3 s later."""
    house = House()
    await house.boot()
    old = await device_on("old")
    began = sim().time()
    new = await device_on("new")

    await old.expect("system")
    assert sim().time() - began < 0.02
    assert await old.expect_close() == 4001
    assert sim().time() - began == pytest.approx(1.5, abs=0.02)
    await old.closed.wait()
    assert sim().time() - began == pytest.approx(1.8, abs=0.02)
    await new.send({"type": "ping"})
    assert await new.expect("pong") == {"type": "pong"}


@pytest.mark.parametrize("how", ["vanished", "cut off", "without power", "stuck"])
def test_handover_from_one_that_is_gone(how: str):
    """Whatever has become of the older device, two channels live 1.8 s, and the newer one is served at once."""

    @simulated
    async def scenario() -> None:
        house = House()
        gateway = await house.boot()
        old = await device_on("old")
        match how:
            case "vanished":
                old.vanish()
            case "cut off":
                sim().network.partition("old", "gw")
            case "without power":
                host("old").power_off()
            case "stuck":
                old.vanish()
                session = gateway.registry.get(MAC)
                assert session is not None
                for _ in range(80):
                    session.channel.send_json({"type": "x", "text": "y" * 8000})
        await asyncio.sleep(0.5)
        began = sim().time()
        new = await device_on("new")
        await new.send({"type": "ping"})
        await new.expect("pong")

        assert sim().time() - began < 0.02
        await asyncio.sleep(5)
        ((_, ended),) = house.of(HandoverEnded)
        assert 1.5 <= ended.seconds <= 1.81
        await new.send({"type": "ping"})
        await new.expect("pong")

    scenario()


@simulated
async def test_mailbox_outlives_a_kill():
    """What the gateway has said to have enqueued is there after a kill, and is delivered by the next one."""
    house = House()
    await house.boot()
    sender = await device_on("a", MAC)
    await sender.send({"type": "peer", "to": BB, "payload": {"text": "dinner"}, "id": "m-17"})
    receipt = await sender.expect("peer")
    assert receipt["enqueued"] == [BB]

    house.host.kill()
    await asyncio.wait_for(sender.closed.wait(), 1)
    await house.boot()
    receiver = await device_on("b", BB)

    letter = await receiver.expect("peer")
    assert (letter["id"], letter["payload"], letter["redelivered"]) == ("m-17", {"text": "dinner"}, True)


@simulated
async def test_mailbox_outlives_a_power_cut():
    """The same without a FIN for the devices: they find out when the next gateway resets what they send."""
    house = House()
    await house.boot()
    sender = await device_on("a", MAC)
    await sender.send({"type": "peer", "to": BB, "payload": {"text": "dinner"}, "id": "m-17"})
    assert (await sender.expect("peer"))["enqueued"] == [BB]

    house.host.power_off()
    await asyncio.sleep(10)
    assert not sender.closed.is_set()
    await house.boot()
    await sender.send({"type": "ping"})
    await asyncio.wait_for(sender.closed.wait(), 1)
    receiver = await device_on("b", BB)

    assert (await receiver.expect("peer"))["id"] == "m-17"


@simulated
async def test_device_without_power_is_noticed():
    """A device that lost its power is gone for the gateway once its time without a sign of life is over."""
    house = House()
    gateway = await house.boot()
    await device_on("old")
    assert len(gateway.registry) == 1

    host("old").power_off()
    await asyncio.sleep(3600)

    assert len(gateway.registry) == 0
    assert len(house.of(ConnectionClosed)) == 1


@simulated
async def test_short_partition_loses_nothing():
    """After two seconds without a link the device goes on with the connection it had."""
    house = House()
    await house.boot()
    device = await device_on("d")
    sim().network.partition("d", "gw")
    await device.send({"type": "ping"})
    await asyncio.sleep(2)
    sim().network.heal("d", "gw")
    healed = sim().time()

    await device.expect("pong")

    assert 1.0 < sim().time() - healed < 3.0  # lwIP tries after 1.5 s, then after 3 s more


@simulated
async def test_stop_with_devices():
    """A gateway that is stopped in the simulation closes its devices and leaves no task behind."""
    house = House()
    gateway = await house.boot()
    devices = [await device_on(f"d{number}", f"02:00:00:00:01:{number:02x}") for number in range(20)]

    await gateway.stop()
    await asyncio.sleep(1)

    assert [device.close_code for device in devices] == [1001] * 20
    assert asyncio.all_tasks() == {asyncio.current_task()}
