"""A board as a device, and what the rig does to it: power, reset, settings; what its firmware makes of that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from harness.bench.front import Front
from harness.board.device import BoardDevice
from harness.board.orders import OrderFailed
from harness.device import Settings
from harness.errors import ExpectationFailed, Misuse
from harness.fakes.device import client_id_of
from tests.harness.board.conftest import Made
from tests.harness.board.firmware import MAC, BoardInLoop

SOON = 5.0


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what the loop will do."""
    async with asyncio.timeout(SOON):
        while not holds():  # noqa: ASYNC110 - of what passes, and has no event
            await asyncio.sleep(0.005)


async def test_power(device: BoardDevice, board: BoardInLoop, made: Made):
    """Without power it is silent, and the gateway not told; with power it can go online again. Twice is once."""
    await device.power_off()
    await device.power_off()
    assert device.link.present
    assert device.link.connections == 1
    assert not device.is_online

    await device.power_on()
    await device.power_on()
    await device.go_online()

    assert device.is_online
    assert device.link.arrivals == 2
    assert [what for what in made.happened if "power" in what] == ["loses power", "has power"]


async def test_power_on_is_no_news_to_a_device_that_has_it(device: BoardDevice, board: BoardInLoop):
    """It goes online anew afterwards, as any device does."""
    session = device.session_id
    await device.power_on()
    await device.go_online()

    assert device.session_id != session


async def test_firmware_that_connects_by_itself(board: BoardInLoop, made: Made):
    """After power came back it is left as it is; the answer to its own hello is not taken for that of another."""
    device = made(client_id=client_id_of(MAC))
    await device.go_online()
    board.automatic = True
    await device.send({"type": "ping"})
    await device.expect("pong", timeout=SOON)
    await device.send({"type": "ping", "id": "stale"})
    await until(lambda: len(device.received) == 3)
    await device.power_off()
    await device.power_on()
    session = device.session_id
    await device.go_online()

    assert device.session_id == session
    assert board.verbs_written().count("connect") == 1
    with pytest.raises(ExpectationFailed, match="nothing else arrived"):
        await device.expect("hello", timeout=0)


@pytest.mark.parametrize(
    "other",
    [
        {"framing": 3},
        {"client_id": "another"},
        {"token": "secret"},
        {"token": "Basic secret"},
        {"features": {}},
        {"acks": False},
        {"reads_bytes_per_second": 1e6},
        {"headers": {"X": "y"}},
    ],
)
async def test_firmware_that_connects_by_itself_is_to_be_other(board: BoardInLoop, made: Made, other: dict[str, Any]):
    """A device with settings of its own is told them, and connects anew."""
    board.automatic = True
    device = made(**{"client_id": client_id_of(MAC), **other})
    await device.power_off()
    await device.power_on()
    await device.go_online()

    fake = board.connection.device
    assert fake is not None
    assert {name: getattr(fake, name) for name in other} == other
    assert board.verbs_written().count("connect") == 1


@pytest.mark.parametrize("token", ["secret", "Basic secret"])
async def test_firmware_that_has_a_token_by_itself(board: BoardInLoop, made: Made, token: str):
    """What the OTA endpoint has given it is what the device is to have: it is left as it is."""
    board.automatic, board.token = True, token
    device = made(client_id=client_id_of(MAC), token=token)
    await device.power_off()
    await device.power_on()
    await device.go_online()

    assert device.is_online
    assert board.written == []


@pytest.mark.parametrize("automatic", [True, False])
async def test_reset(board: BoardInLoop, made: Made, automatic: bool):
    """It is online again, by itself or told to; the connection it had is left to the gateway."""
    device = made(client_id=client_id_of(MAC))
    await device.go_online()
    board.automatic = automatic
    await device.reset()

    assert device.is_online
    assert device.link.arrivals == 2
    assert "is reset" in made.happened
    await device.send({"type": "ping"})
    await device.expect("pong")


async def test_provision(device: BoardDevice, board: BoardInLoop, front: Front, made: Made):
    """Settings are written to its NVS, and in force from the next connection; its way stays its own."""
    await device.provision(Settings("ws://elsewhere/", "secret", 3))
    assert (device.token, device.framing, device.url) == ("secret", 3, "ws://gateway/")
    asked = [(one["key"], one["value"]) for one in board.channel.of("nvs_set")]
    assert asked == [("url", front.url), ("token", "secret"), ("version", 3)]
    assert made.happened[-1] == "is provisioned: framing 3, a token"

    await device.go_online()
    fake = board.connection.device
    assert fake is not None
    assert (fake.token, fake.framing) == ("secret", 3)


async def test_settings_that_are_not_taken(device: BoardDevice, board: BoardInLoop):
    """Where the firmware could not write them, the device keeps those it had."""
    board.answers["provision"] = 'E (1) wsdevice: {number} failed BoardRefused {{"text":"NVS is full"}}'
    with pytest.raises(OrderFailed, match="BoardRefused: NVS is full"):
        await device.provision(Settings("ws://elsewhere/", "secret", 3))

    assert (device.token, device.framing) == ("", 1)


async def test_firmware_without_orders(board: BoardInLoop, made: Made):
    """It is woken, and connects; it can be asked for what the rig can, and nothing else."""
    board.deaf = True
    device = made(frozenset())
    await device.go_online()
    assert device.is_online
    assert device.capabilities == {"power", "reset"}
    assert "is woken" in made.happened

    await device.reset()
    assert device.link.arrivals == 2
    for refused in (
        device.send({}),
        device.send_audio(b""),
        device.send_ping(),
        device.send_bytes(b""),
        device.close(),
    ):
        with pytest.raises(Misuse, match=r"board can be asked for power, reset; say @pytest\.mark\.ws_needs"):
            await refused
    with pytest.raises(Misuse, match=r"takes the order 'hello' on its test console, that of board takes none"):
        await device.hello()
    with pytest.raises(Misuse, match="'configure'"):
        await device.connect()
    assert board.written == []


async def test_a_rig_that_cannot(board: BoardInLoop, made: Made):
    """What the rig has not is refused before anything is done."""
    board.capabilities = frozenset()
    device = made(frozenset())
    for refused in (device.power_off(), device.power_on(), device.reset()):
        with pytest.raises(Misuse, match="board can be asked for nothing"):
            await refused
