"""What a board is told to send, and what it answers where it cannot."""

from __future__ import annotations

import asyncio

import pytest
from websockets.frames import CloseCode, Opcode

from harness.board import orders as orders_module
from harness.board.device import BoardDevice
from harness.board.orders import NoAnswer, OrderFailed
from harness.device import Device
from harness.errors import (
    CannotConnect,
    ExpectationFailed,
    FirmwareWouldFail,
    HarnessError,
    Misuse,
    NotConnected,
    UpgradeRefused,
)
from harness.gateways import OwnGateway
from harness.records import FramePassed
from tests.harness.board.conftest import Made
from tests.harness.board.firmware import BoardInLoop

SOON = 5.0


async def test_a_conversation(device: BoardDevice, gateway: OwnGateway, made: Made):
    """It connects, says hello, sends and receives; what passes is shown, and what the gateway knows of it."""
    await device.send({"type": "ping"})
    await device.expect("pong")

    assert device.is_online
    assert device.link.present
    assert device.link.session == device.session_id != ""
    assert device.close_code is None
    assert made.happened == ["connects", "is connected: 101"]
    passed = [(one.device, one.sent, one.opcode) for one in made.told if isinstance(one, FramePassed)]
    assert passed == [("board", sent, Opcode.TEXT) for sent in (True, False, True, False)]
    checked: Device = device
    assert checked.name == "board"


async def test_audio_both_ways(device: BoardDevice):
    """Opus packets come back from the loopback engine."""
    await device.send({"type": "listen", "state": "start", "mode": "manual"})
    for packet in (b"first", b"second"):
        await device.send_audio(packet, timestamp_ms=60)
    await device.send({"type": "listen", "state": "stop"})
    await device.expect("tts", state="stop")

    assert list(device.audio) == [b"first", b"second"]


async def test_frames_of_any_kind(device: BoardDevice, gateway: OwnGateway):
    """Text, pings and bytes that are no frames are put on the wire as they are."""
    await device.send_text('{"type":"ping"}')
    await device.send_text(b'{"type": "ping"}')
    for _ in range(2):
        await device.expect("pong")
    await device.send_ping(b"there?")
    await device.send_bytes(b"\xff" * 20)

    assert await device.expect_close() == CloseCode.PROTOCOL_ERROR
    async with asyncio.timeout(SOON):
        await device.closed.wait()


@pytest.mark.parametrize(
    ("said", "error", "text"),
    [
        ('UpgradeRefused {{"status":403,"reason":"no","headers":{{"a":"b"}}}}', UpgradeRefused, "refused with 403: no"),
        ('UpgradeRefused {{"status":"x","headers":1}}', UpgradeRefused, "refused with 0"),
        ('CannotConnect {{"why":"no network"}}', CannotConnect, "ws://127.0.0.1:.*: no network"),
        ('CannotConnect {{"text":"no network"}}', CannotConnect, "no network"),
        ('NotConnected {{"why":"it slept"}}', NotConnected, "^board cannot send: it slept"),
        ("NotConnected", NotConnected, "^board cannot send: its connection is open"),
        ('FirmwareWouldFail {{"text":"a frame"}}', FirmwareWouldFail, "^a frame$"),
        ('ExpectationFailed {{"text":"no pong"}}', ExpectationFailed, "an end to 'send', but after 0.0 s no pong"),
        ('Misuse {{"text":"expected base64"}}', Misuse, "^expected base64$"),
        ('Novelty {{"text":"news"}}', OrderFailed, "answered 'send' with Novelty: news"),
    ],
)
async def test_what_the_firmware_answers(
    device: BoardDevice, board: BoardInLoop, said: str, error: type[HarnessError], text: str
):
    """Its errors are those that fake devices raise, caused by what it said; unknown ones are told as they are."""
    board.answers["send"] = f"E (1) wsdevice: {{number}} failed {said}"
    with pytest.raises(error, match=text) as caught:
        await device.send({"type": "ping"})

    assert type(caught.value) is error
    if error is not OrderFailed:
        assert isinstance(caught.value.__cause__, OrderFailed)


async def test_firmware_that_is_deaf(made: Made, board: BoardInLoop, monkeypatch: pytest.MonkeyPatch):
    """It is said what was not answered."""
    monkeypatch.setattr(orders_module, "MARGIN", -4.8)
    board.deaf = True
    with pytest.raises(NoAnswer, match="an answer to 'configure'"):
        await made().connect()
