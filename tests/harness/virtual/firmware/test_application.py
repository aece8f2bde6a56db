"""The firmware as a whole: what ends it, and what it is told to do wrong."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from gateway.protocol.messages import HANDOVER_NOTICE
from harness.fakes.device import FakeDevice
from harness.virtual.firmware import application, life
from tests.harness.fakes.conftest import Watched
from tests.harness.fakes.stub import Stub, Stubs
from tests.harness.virtual.firmware.alive import Start, greeted
from tests.harness.virtual.firmware.stage import MAC, Board, Uart
from tests.harness.virtual.firmware.web import Web


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for."""
    monkeypatch.setattr(application, "_REBOOT_SECONDS", 0)
    monkeypatch.setattr(application, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(life, "RECONNECT_SECONDS", (0.01, 0.02))


async def online(start: Start, stubs: Stubs, web: Web, *options: str) -> Stub:
    """Have it connect to a gateway that the test plays."""
    start(*options, ota_url=f"{web.url}/ota")
    return await greeted(stubs)


async def until_silent(stub: Stub) -> None:
    """Wait until nothing has come for a while; fail if it goes on."""
    async with asyncio.timeout(2):
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0.1):
                    await stub.read_message()


async def panicked(board: Board) -> Any:
    """Wait until it asks for a panic; of which kind."""
    asked = await board.until("misbehave")
    assert asked["what"] == "panic"
    return asked["how"]["kind"]


async def test_reboot_command(start: Start, gateway_of_stubs: Stubs, web: Web, uart: Uart):
    """The gateway can have it restart."""
    living = start(ota_url=f"{web.url}/ota")
    stub = await greeted(gateway_of_stubs)
    stub.send({"type": "system", "command": "reboot"})

    assert await living.ended() == 70
    assert "Application: Rebooting..." in uart.text


async def test_board_has_gone(start: Start, board: Board, uart: Uart):
    """When whoever runs the board is gone, it ends, too."""
    living = start()
    await uart.until("Session ID")
    board.vanish()

    assert await living.ended() == 1


async def test_crashes(start: Start, gateway_of_stubs: Stubs, web: Web, board: Board):
    """What no firmware can take makes it panic."""
    stub = await online(start, gateway_of_stubs, web)
    stub.send([])

    assert await panicked(board) == "LoadProhibited"


async def test_boot_delay(start: Start, uart: Uart):
    """It can be slow to say anything."""
    start("boot_delay_seconds=0.1")
    await asyncio.sleep(0.05)
    assert uart.text == ""
    await uart.until("UUID")


@pytest.mark.parametrize(
    ("option", "what", "how"),
    [
        ("panic_after_seconds=0.01", "panic", {"kind": "StoreProhibited"}),
        ("brown_out_after_seconds=0.01", "brown_out", {}),
        ("watchdog_after_seconds=0.01", "task_watchdog", {}),
        ("hang_after_seconds=0.01", "hang", {}),
    ],
)
async def test_timed(start: Start, board: Board, option: str, what: str, how: dict[str, str]):
    """A build can be made to fail after a time."""
    start(option, "panic_kind=StoreProhibited")

    assert await board.until("misbehave") == {"do": "misbehave", "what": what, "how": how}


async def test_heap_leak(start: Start, board: Board, uart: Uart, monkeypatch: pytest.MonkeyPatch):
    """Memory is lost until there is none; that is the end."""
    monkeypatch.setattr(application, "REPORT_TICKS", 1)
    start("heap=3000", "heap_leak=30000")
    await uart.until("SystemInfo: free sram", count=2)

    assert await panicked(board) == "abort"


async def test_ping_storm(start: Start, gateway_of_stubs: Stubs, web: Web, board: Board):
    """It storms from its first hello on, and can be told to stop."""
    stub = await online(start, gateway_of_stubs, web, "ping_storm=200")
    for _ in range(20):
        assert await stub.read_message() == {"type": "ping"}
    board.say({"event": "misbehave", "what": "ping_storm", "per_second": 0})
    await until_silent(stub)


async def test_panic_on_handover(start: Start, board: Board, gateway: Watched, uart: Uart):
    """The notice of a newer connection throws it into a panic."""
    start("panic_on_handover=assert")
    await uart.until("Session ID")
    async with FakeDevice(gateway.websocket_url, MAC):
        assert await panicked(board) == "assert"


async def test_told_while_it_runs(start: Start, gateway_of_stubs: Stubs, web: Web, board: Board):
    """It can be told at any time."""
    notice = {"type": "system", "message": HANDOVER_NOTICE.message}
    stub = await online(start, gateway_of_stubs, web)
    stub.send(notice)
    await asyncio.sleep(0.05)
    board.say({"event": "misbehave", "what": "panic_on_handover", "kind": "abort"})
    board.say({"event": "what nobody knows"})
    await asyncio.sleep(0.05)
    assert board.of("misbehave") == []
    stub.send(notice)

    assert await panicked(board) == "abort"


async def test_told_to_leak_and_not_to_acknowledge(start: Start, board: Board, uart: Uart, gateway_of_stubs: Stubs):
    """So can its heap, and its acknowledgements, from the next configuration on."""
    living = start("automatic=false")
    await uart.until("test console 1")
    board.say({"event": "misbehave", "what": "heap_leak", "bytes_per_second": 10**6})
    board.say({"event": "misbehave", "what": "acknowledge", "peer_messages": False})
    assert await panicked(board) == "abort"
    living.type(f'wsdevice 1 configure {{"acks":true,"url":"{gateway_of_stubs.url}"}}')
    await uart.until("wsdevice: 1 ok")
    living.type("wsdevice 2 connect {}")
    stub = await gateway_of_stubs.connections.get()
    await stub.accept()
    living.type("wsdevice 3 hello {}")

    assert "peer_ack" not in (await stub.read_message())["features"]
