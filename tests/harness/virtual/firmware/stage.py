"""A board for the firmware to run on, in the test's own loop: the channel's other end, and what is on the UART."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

from harness.firmware.descriptors import AppDescriptor
from harness.virtual.firmware.board_channel import BoardChannel
from harness.virtual.firmware.log import Log
from harness.virtual.firmware.surroundings import Surroundings

SOON = 5.0
MAC = "02:53:45:00:00:a1"
POINT = {"ssid": "lab", "bssid": "02:ac:ce:55:00:01", "channel": 6, "rssi": -42, "authmode": 3}


class Uart:
    """What the firmware prints, and the wait for it.

    Attributes:
        log: writes to it.
    """

    def __init__(self) -> None:
        self.text = ""
        self._news = asyncio.Event()
        self.log = Log(time.monotonic(), self._write)

    def _write(self, text: str) -> None:
        self.text += text
        self._news.set()

    @property
    def lines(self) -> list[str]:
        """Without level and time."""
        return [line.split(") ", 1)[1] for line in self.text.splitlines()]

    async def until(self, text: str, count: int = 1, seconds: float = SOON) -> str:
        """Wait until it was printed so often; return all there is."""
        try:
            async with asyncio.timeout(seconds):
                while self.text.count(text) < count:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"expected {count} x {text!r}, there is:\n{self.text}") from None
        return self.text


class Board:
    """Answers the firmware's requests; what is set in ``answers`` is answered instead of the usual.

    Attributes:
        asked: all requests, without their ids.
        answers: by what is asked: the answer, or a list of them, of which the last stays.
        channel: the firmware's end.
    """

    def __init__(self, channel: BoardChannel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.channel = channel
        self.asked: list[dict[str, Any]] = []
        self.answers: dict[str, Any] = {
            "wifi_scan": {"ok": [POINT]},
            "wifi_join": {"ok": {"address": "192.168.4.2"}},
            "ota_state": {"ok": {"partition": "ota_0", "state": "valid"}},
        }
        self._reader = reader
        self._writer = writer
        self._news = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._serve())

    @classmethod
    async def open(cls) -> Board:
        """Make a board and the channel to it."""
        own, its = socket.socketpair()
        return cls(await BoardChannel.open(its), *await asyncio.open_connection(sock=own))

    async def _serve(self) -> None:
        while line := await self._reader.readline():
            request = json.loads(line)
            number = request.pop("id")
            self.asked.append(request)
            answer = self.answers.get(request["do"], {"ok": None})
            if isinstance(answer, list):
                answer = answer.pop(0) if len(answer) > 1 else answer[0]
            if answer is not None:
                self.say({"id": number, **answer})
            self._news.set()

    def say(self, message: dict[str, Any]) -> None:
        """Send an answer or an event."""
        self._writer.write(json.dumps(message).encode() + b"\n")

    def of(self, do: str) -> list[dict[str, Any]]:
        """The requests of one kind."""
        return [request for request in self.asked if request["do"] == do]

    async def until(self, do: str, count: int = 1) -> dict[str, Any]:
        """Wait until it was asked so often; return the last of these requests."""
        async with asyncio.timeout(SOON):
            while len(self.of(do)) < count:
                self._news.clear()
                await self._news.wait()
        return self.of(do)[count - 1]

    def vanish(self) -> None:
        """Close its end."""
        self._writer.close()

    async def aclose(self) -> None:
        """End it."""
        self._task.cancel()
        await asyncio.wait([self._task])
        self._writer.close()
        await self.channel.aclose()


def surroundings(nvs: dict[str, dict[str, Any]] | None = None, *, version: str = "1.0.0") -> Surroundings:
    """What the firmware finds at its start."""
    return Surroundings(
        mac=MAC,
        chip="esp32s3",
        flash_size=4 << 20,
        reset_reason="power_on",
        reset_at=time.monotonic(),
        application=AppDescriptor("gateway_device", version, "v5.5", "Jan  1 2026", "00:00:00"),
        partition="ota_0",
        nvs={} if nvs is None else nvs,
        channel=-1,
    )
