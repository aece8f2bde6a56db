"""Audio frames: versions 1, 2 and 3 both ways, when audio comes and how fast, and what is not audio."""

from __future__ import annotations

import struct

import pytest
from websockets.frames import Frame, Opcode

from harness.records import FramePassed
from pytest_wsdevice.conformance.loopback_dialogue import begin, check_packets, dictate, heard, listen, reply_to
from pytest_wsdevice.conformance.verdicts import or_else
from pytest_wsdevice.types import Devices, FakeDevice, Gateway, Timeline

pytestmark = pytest.mark.asyncio

# What comes back is known only of our loopback engine, so these run only where the test may choose the gateway.
needs_loopback = pytest.mark.ws_needs("config")

FRAMINGS = (1, 2, 3)
PACKETS = [b"\x01", bytes(range(100)), b"\xff" * 200, b"\0" * 300, b"last"]
"""Of all lengths; the fourth needs both bytes of version 3's size."""
DECODE_QUEUE = 40  # packets in a device; what comes past it is not heard
LATE = 8  # packets: a busy machine may see the first one half a second late, and the others seem early by that much

BAD_FRAMES: dict[int, dict[str, bytes]] = {
    2: {
        "size too large": struct.pack(">HHIII", 2, 0, 0, 0, 60_000) + b"too large",
        "size too small": struct.pack(">HHIII", 2, 0, 0, 0, 3) + b"too small",
        "header cut short": b"\0\x02\0\0",
        "header alone": struct.pack(">HHIII", 2, 0, 0, 0, 0),
        "another version": struct.pack(">HHIII", 1, 0, 0, 0, 5) + b"wrong",
        "unknown type": struct.pack(">HHIII", 2, 9, 0, 0, 5) + b"wrong",
    },
    3: {
        "size too large": struct.pack(">BBH", 0, 0, 60_000) + b"too large",
        "size too small": struct.pack(">BBH", 0, 0, 3) + b"too small",
        "header cut short": b"\0\0",
        "header alone": struct.pack(">BBH", 0, 0, 0),
        "unknown type": struct.pack(">BBH", 9, 0, 5) + b"wrong",
    },
}


@needs_loopback
@pytest.mark.parametrize("framing", FRAMINGS)
async def test_what_is_said_comes_back_in_the_devices_framing(ws_devices: Devices, framing: int) -> None:
    """A header of version 2 or 3 is no part of what is heard; the reply is framed for the device, to the byte."""
    device = await ws_devices("device", online=False, framing=framing)
    await begin(device)

    await dictate(device, PACKETS)

    check_packets(await reply_to(device), PACKETS)


@needs_loopback
async def test_audio_comes_only_between_tts_start_and_stop(ws_devices: Devices, ws_timeline: Timeline) -> None:
    """The firmware plays nothing outside of them."""
    device = await ws_devices("device", online=False)
    await begin(device)

    for packets in (PACKETS, PACKETS[:2]):
        await dictate(device, packets)
        await reply_to(device)
    await device.expect_nothing("tts", 0.1, state="stop")

    check_order(ws_timeline.frames(device.name, sent=False))


@needs_loopback
async def test_an_abort_ends_the_audio(ws_devices: Devices, ws_timeline: Timeline) -> None:
    """``abort`` is answered with ``tts stop`` at once, and no audio comes after it."""
    device = await ws_devices("device", online=False)
    await begin(device, frame_duration=60)
    await dictate(device, [b"packet"] * 45)  # 2.7 s

    await device.send({"type": "abort"})

    with or_else("abort did not stop the speech"):
        await device.expect("tts", 1.5, state="stop")
    await device.expect_nothing("tts", 0.2, state="stop")  # three packets' time
    check_order(ws_timeline.frames(device.name, sent=False))


@needs_loopback
async def test_speech_is_paced_by_the_clock(ws_gateway: Gateway, ws_devices: Devices, ws_timeline: Timeline) -> None:
    """Some packets come at once, the others as they are heard: the queue of a device does not overflow."""
    device = await ws_devices("device", online=False)
    await begin(device, frame_duration=60)

    await dictate(device, [b"packet"] * 20)
    await reply_to(device)

    audio = [frame for frame in ws_timeline.frames(device.name, sent=False) if frame.opcode is Opcode.BINARY]
    most, allowed = most_waiting(audio, 0.060), min(ws_gateway.config.speech.audio_ahead + LATE, DECODE_QUEUE)
    assert most <= allowed, (
        f"speech is not paced by the clock: {most} packets of {len(audio)} waited in the device, at most {allowed} "
        "are to be sent ahead"
    )


@needs_loopback
@pytest.mark.parametrize("framing", BAD_FRAMES)
async def test_a_frame_that_is_not_as_its_header_says_is_dropped(ws_devices: Devices, framing: int) -> None:
    """It is not heard, nor anything behind its end; what comes before and after it is."""
    device = await ws_devices("device", online=False, framing=framing)
    await begin(device)
    between = [f"before: {name}".encode() for name in BAD_FRAMES[framing]]

    await listen(device, "start")
    for packet, bad in zip(between, BAD_FRAMES[framing].values(), strict=True):
        await device.send_audio(packet)
        await send_binary(device, bad)
    await device.send_audio(b"the last")
    await listen(device, "stop")
    await heard(device)

    check_packets(await reply_to(device), [*between, b"the last"])


async def test_a_device_that_goes_on_framing_wrongly_is_closed(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """The last of so many bad frames within 10 s closes its connection with 1003, and no other's."""
    neighbour = await ws_devices("neighbour", framing=2)
    device = await ws_devices("device", framing=2)
    most = ws_gateway.config.limits.bad_frames

    for _ in range(most - 1):
        await send_binary(device, BAD_FRAMES[2]["size too large"])
    await check_open(device, f"{most - 1} bad frames ended the connection, {most} may")
    await send_binary(device, BAD_FRAMES[2]["size too large"])

    with or_else(f"{most} bad frames within 10 s did not end the connection"):
        code = await device.expect_close()
    assert code == 1003, f"{most} bad frames ended the connection with {code}, not with 1003"
    await send_binary(neighbour, BAD_FRAMES[2]["size too large"])
    await check_open(neighbour, "the bad frames of one device ended the connection of another")


@needs_loopback
async def test_audio_before_hello_is_dropped(ws_devices: Devices) -> None:
    """A device that has not introduced itself is not heard; its connection stays, and hello is answered."""
    device = await ws_devices("device", online=False)
    await device.connect()

    with or_else("audio before hello ended the connection"):
        await device.send_audio(b"too early")
        await device.hello()

    await listen(device, "start")
    await device.send_audio(b"in time")
    await listen(device, "stop")
    await heard(device)
    check_packets(await reply_to(device), [b"in time"])


async def test_json_in_a_binary_frame_of_version_2_is_a_message(ws_devices: Devices) -> None:
    """Version 2 has a type for it; it is handled as if it had come as text."""
    device = await ws_devices("device", framing=2)
    text = b'{"type":"ping"}'

    await send_binary(device, struct.pack(">HHIII", 2, 1, 0, 0, len(text)) + text)

    with or_else("a JSON message in a binary frame of version 2 was not taken for a message"):
        await device.expect("pong")


async def send_binary(device: FakeDevice, payload: bytes) -> None:
    """Send a binary message, whatever it is."""
    await device.send_bytes(Frame(Opcode.BINARY, payload).serialize(mask=True))


async def check_open(device: FakeDevice, defect: str) -> None:
    """See that a device is still served."""
    with or_else(defect):
        await device.send({"type": "ping"})
        await device.expect("pong")


def check_order(frames: list[FramePassed]) -> None:
    """See that all audio lies between a tts start and its stop."""
    speaking = False
    for frame in frames:
        if frame.opcode is Opcode.TEXT and b'"tts"' in frame.payload:
            speaking = b'"stop"' not in frame.payload
        elif frame.opcode is Opcode.BINARY:
            assert speaking, "audio came outside of tts start and stop: the firmware does not play it"


def most_waiting(audio: list[FramePassed], seconds: float) -> int:
    """Return how many packets of so many seconds waited in the device at most: what had come, and was not heard."""
    most, waiting, last = 0.0, 0.0, 0.0
    for frame in audio:
        waiting = max(0.0, waiting - (frame.at - last) / seconds) + 1
        most, last = max(most, waiting), frame.at
    return round(most)
