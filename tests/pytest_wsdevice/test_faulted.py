"""``ws_faults``: in async and plain tests, over sockets and in virtual time, with what a ground lacks."""

from __future__ import annotations

import pytest

from tests.pytest_wsdevice.conftest import Run

ASYNC = """
import asyncio
import pytest
from harness.errors import CannotConnect

pytestmark = pytest.mark.asyncio

async def test_faults(ws_gateway, ws_devices, ws_faults, ws_timeline):
    now = asyncio.get_running_loop().time
    kitchen, hall = await ws_devices("kitchen"), await ws_devices("hall")
    await ws_faults.latency(0.1, on=kitchen)
    began = now()
    await kitchen.send({"type": "ping"})
    await kitchen.expect("pong")
    assert 0.2 <= now() - began < 0.6
    await hall.send({"type": "ping"})
    await hall.expect("pong")
    await ws_faults.heal()

    await ws_faults.cut(kitchen)
    assert await kitchen.expect_close() == 1006
    assert hall.link.present
    await kitchen.go_online()
    await ws_faults.half_open("kitchen")
    twin = await ws_devices("twin", like=kitchen)
    await twin.send({"type": "ping"})
    await twin.expect("pong")
    await ws_faults.wifi_off(hall)
    with pytest.raises(CannotConnect, match="Network is unreachable"):
        await hall.connect(timeout=0.5)
    await ws_faults.wifi_on(hall)
    await hall.go_online()

    faults = [row["what"] for row in ws_timeline.rows() if row["kind"] == "fault" and row["source"] == "test"]
    assert faults == [
        "latency seconds=0.1 on kitchen", "heal on all devices", "cut on kitchen", "half_open on kitchen",
        "wifi_off on hall", "wifi_on on hall",
    ]

async def test_power(ws_device, ws_faults, ws_timeline):
    await ws_faults.power_cut(ws_device)
    assert not ws_device.has_power
    await ws_faults.power_on(ws_device)
    await ws_device.go_online()
    await ws_faults.power_cut(ws_device)  # and it stays off

async def test_names(ws_devices, ws_faults):
    from harness.errors import Misuse
    await ws_devices("kitchen", online=False)
    with pytest.raises(Misuse, match="a name of its own, got 'kitchen'"):
        await ws_devices("kitchen", online=False)
    with pytest.raises(Misuse, match="on a device of this test"):
        await ws_faults.cut("cellar")

async def test_second_gateway(ws_gateway, ws_gateways, ws_devices, ws_faults):
    other = await ws_gateways()
    guest = await ws_devices("guest", url=other.url)
    await ws_faults.latency(0.1)
    began = asyncio.get_running_loop().time()
    await guest.send({"type": "ping"})
    await guest.expect("pong")
    assert asyncio.get_running_loop().time() - began >= 0.2
"""
SIMULATED = """
import asyncio
import pytest

@pytest.mark.asyncio
@pytest.mark.ws_needs("kill_gateway", "loss", "clock_step", "slow_disk")
async def test_gateway_dies(ws_gateway, ws_devices, ws_faults):
    kitchen = await ws_devices("kitchen")
    await kitchen.send({"type": "peer", "to": ["hall"], "payload": {"text": "tea"}, "id": "m-1"})
    await kitchen.expect("peer", status="done")
    await ws_faults.slow_disk(0.05)
    await ws_faults.kill_gateway()
    assert await kitchen.expect_close() == 1006
    await ws_faults.start_gateway()
    await kitchen.go_online()
    hall = await ws_devices("hall", device_id="hall")
    assert (await hall.expect("peer"))["id"] == "m-1"
    await ws_faults.power_cut("gateway")
    await asyncio.sleep(60)
    assert not kitchen.closed.is_set()

@pytest.mark.asyncio
@pytest.mark.ws_needs("kill_gateway")
async def test_schedule(ws_devices, ws_faults, ws_timeline):
    from harness.faults.schedule import Schedule, Step
    from harness.faults.vocabulary import Cut, KillGateway, Latency
    kitchen, hall = await ws_devices("kitchen"), await ws_devices("hall")
    assert {step.fault.on for step in ws_faults.draw("swizzle_clog", 5).steps} == {"kitchen", "hall"}
    steps = (
        Step(0.25, Cut(on="hall"), "event:PongSent kitchen", 2),
        Step(0.0, Latency(0.1, on="hall"), "received:pong kitchen"),
        Step(1.0, KillGateway(), "fault:cut"),
    )
    task = asyncio.create_task(ws_faults.play(Schedule("mine", 1, steps, 20.0)))
    for _ in range(2):
        await asyncio.sleep(1)
        await kitchen.send({"type": "ping"})
        await kitchen.expect("pong")
    assert await hall.expect_close() == 1006
    assert await kitchen.expect_close() == 1006
    player = await task
    assert [fault.name for _, fault in player.done[:3]] == ["latency", "cut", "kill_gateway"]
    assert player.never == []
    await kitchen.go_online()
    assert "kill_gateway" in ws_timeline.listing(seconds=60)
"""
PLAIN = """
import time
import pytest

def test_plain(ws_device, ws_faults, ws_timeline):
    ws_faults.latency(0.1, direction="to_device")
    began = time.monotonic()
    ws_device.send({"type": "ping"})
    ws_device.expect("pong")
    assert time.monotonic() - began >= 0.1
    ws_faults.reset_peer(on=ws_device)
    assert ws_device.expect_close() == 1006
    assert any(row["what"] == "reset_peer on device" for row in ws_timeline.rows() if row["kind"] == "fault")

@pytest.mark.ws_needs("loss")
def test_lacks(ws_device, ws_faults):
    raise AssertionError("not to be run")
"""


@pytest.mark.parametrize("network", ["tcp", "sim"])
def test_async(run: Run, network: str):
    """An async test has the faults on the network that it runs on, and they stand on its timeline."""
    run(ASYNC, "--ws-network", network).assert_outcomes(passed=4)


def test_simulated(run: Run):
    """In virtual time its gateway can die, and schedules wait for what happens in it."""
    run(SIMULATED, "--ws-network=sim").assert_outcomes(passed=2)


def test_lacking(run: Run):
    """Over sockets a test that needs what cannot be had there is skipped, with all that it would take."""
    result = run(SIMULATED, "-rs", "--ws-network=tcp")

    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(
        ["*needs kill_gateway, which TCP through a proxy cannot do: it takes a gateway that runs as *; needs loss, *"]
    )


@pytest.mark.parametrize("network", ["tcp", "sim"])
def test_plain(run: Run, network: str):
    """A plain test has them over sockets, whatever the run simulates."""
    run(PLAIN, "--ws-network", network).assert_outcomes(passed=1, skipped=1)


def test_not_asked_for(run: Run):
    """Who gets at the fixture behind pytest's back is told how to ask for it."""
    test = """
def test_it(ws_device, request):
    request.getfixturevalue("ws_faults")
"""
    result = run(test)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*expected ws_faults among the arguments of the test*"])


def test_names_of_faults(run: Run):
    """The marker knows all faults, and no other."""
    test = """
import pytest

@pytest.mark.ws_needs("half-open")
def test_it(): pass
"""
    result = run(test)
    result.stderr.fnmatch_lines(["*expected one or more of *, half_open, *"])


BOARDS = """
import asyncio
import time
import pytest

@pytest.mark.asyncio
async def test_board(ws_device, ws_devices, ws_faults):
    now = asyncio.get_running_loop().time
    fake = await ws_devices("fake")
    await ws_faults.latency(0.2, on=ws_device)
    began = now()
    await ws_device.send({"type": "ping"})
    await ws_device.expect("pong")
    assert now() - began >= 0.4
    await ws_faults.heal()
    await ws_faults.partition()
    for device in (ws_device, fake):
        await device.send({"type": "ping"})
        await device.expect_nothing("pong", 0.1)
    await ws_faults.heal()
    for device in (ws_device, fake):
        await device.expect("pong")
    await ws_faults.power_cut(ws_device)
    assert ws_device.link.present
    await ws_faults.power_on(ws_device)
    await ws_faults.latency(0.5)

@pytest.mark.asyncio
@pytest.mark.ws_needs("wifi_off")
async def test_lacks(ws_device, ws_faults):
    raise AssertionError("not to be run")

def test_next(ws_device, ws_faults):
    began = time.monotonic()
    ws_device.send({"type": "ping"})
    ws_device.expect("pong")
    assert time.monotonic() - began < 0.5
    ws_faults.cut(ws_device)
    ws_device.expect_close()
"""


@pytest.mark.slow
def test_boards(run: Run):
    """Boards have them, too, on their way through the front; what one test has in force the next one has not."""
    result = run(BOARDS, "-m", "hil", "--ws-bench=virtual:1")
    result.assert_outcomes(passed=2, skipped=1)
