"""A dialogue with the gateway's loopback speech engine, which says how many packets it heard and replays them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pytest_wsdevice.conformance.verdicts import or_else
from pytest_wsdevice.types import FakeDevice

FRAME_DURATION_MS = 10
"""Of the packets in a dialogue where their pace is not the point: a sixth of the firmware's, so that it is short."""
_FOREVER = 10.0  # seconds: several times longer than the longest reply here


async def begin(device: FakeDevice, frame_duration: int = FRAME_DURATION_MS, **fields: Any) -> None:
    """Connect and say hello, with packets of so many milliseconds."""
    audio = {"format": "opus", "sample_rate": 16000, "channels": 1, "frame_duration": frame_duration}
    await device.connect()
    await device.hello(audio_params=audio, **fields)


async def listen(device: FakeDevice, state: str) -> None:
    """Begin to speak (``start``), or have spoken (``stop``), with a finger on the button."""
    await device.send({"type": "listen", "state": state, "mode": "manual"})


async def dictate(device: FakeDevice, packets: Iterable[bytes]) -> None:
    """Speak these packets; the reply is under way when it returns."""
    await listen(device, "start")
    for packet in packets:
        await device.send_audio(packet)
    await listen(device, "stop")
    await heard(device)


async def heard(device: FakeDevice) -> None:
    """Wait until what was said is recognized, and the reply begins."""
    with or_else(f"nothing was heard of what {device.name} said in framing version {device.framing}"):
        await device.expect("stt")
    with or_else("audio is coming, or was to come, and no tts start before it: the firmware plays nothing"):
        await device.expect("tts", state="start")


async def reply_to(device: FakeDevice) -> list[bytes]:
    """Wait for the end of the reply, and return its packets, out of their frames."""
    with or_else(f"the reply was not framed for version {device.framing} of the device, or has no end"):
        await device.expect("tts", _FOREVER, state="stop")
    return list(device.audio)


def check_packets(came: list[bytes], said: list[bytes]) -> None:
    """See that the packets which came back are those that were said."""
    assert came == said, (
        f"other audio came back than was said, or not all of it: {[len(packet) for packet in came]} bytes, "
        f"of {[len(packet) for packet in said]}; the first that differs: "
        f"{next((one[:24] for one, other in zip(came, said, strict=False) if one != other), b'')!r}"
    )
