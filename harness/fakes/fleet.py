"""Thousands of fake devices in one process, that connect, talk, and come back when they are closed.

::

    fleet = Fleet("ws://127.0.0.1:8000/xiaozhi/v1/", 1000)
    async with fleet:
        await asyncio.sleep(60)
    print(fleet.tally.latencies.percentile(99))
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self, TypeAlias

from websockets.frames import Opcode

from harness.errors import CannotConnect, ExpectationFailed, HarnessError, Misuse, NotConnected, UpgradeRefused
from harness.fakes.device import FakeDevice
from harness.fakes.latencies import Latencies
from harness.records import FramePassed, Happened

Traffic: TypeAlias = Literal["ping", "peer", "none"]
"""What each device does: a heartbeat, a message to the next device, or nothing."""

CONNECTS_PER_SECOND = 200.0
"""A gateway of this package takes 64 in one turn of its loop; what is asked of others may be less."""
EVERY = 5.0
"""Seconds between two messages of one device."""
ANSWER = 10.0
"""Seconds for an answer, after which it counts as missing."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a device connects again; doubles with each failure, with jitter, or as ``Retry-After`` says."""
ERRORS = 50
"""Kinds of errors that are told apart; further ones are counted together."""


class Tally:
    """What a fleet has done so far; counts say what happened.

    Attributes:
        connected: devices that are online now.
        arrivals: times a device went online.
        sent, received: data messages, both ways, hellos included.
        latencies: from a ping to its pong, or from a peer message to its receipt.
        errors: by kind, such as ``refused with 429`` or ``closed with 4008``.
    """

    def __init__(self) -> None:
        self.connected = 0
        self.arrivals = 0
        self.sent = 0
        self.received = 0
        self.latencies = Latencies()
        self.errors: Counter[str] = Counter()

    def count_error(self, kind: str) -> None:
        """Count one error."""
        self.errors[kind if kind in self.errors or len(self.errors) < ERRORS else "other errors"] += 1


class Fleet:
    """Devices with ids of their own, each of which lives its life in a task; ``async with`` starts and ends them.

    Args:
        url: where they connect.
        count: how many there are, at most 65,536.
        traffic: what they do.
        every: seconds between two messages of one device; their phases are spread evenly.
        connects_per_second: how many connect in a second, at first.
        prefix: first four bytes of their ids; locally administered, so that no real board has one.
        token: makes the token of a device, from its id and client id; None: none is sent.

    Attributes:
        devices: all of them.
        tally: what they have done so far.
    """

    def __init__(
        self,
        url: str,
        count: int,
        *,
        traffic: Traffic = "ping",
        every: float = EVERY,
        connects_per_second: float = CONNECTS_PER_SECOND,
        prefix: str = "02:fa:ce:00",
        token: Callable[[str, str], str] | None = None,
    ) -> None:
        if not 1 <= count <= 65_536:
            raise Misuse(f"expected from 1 to 65,536 devices, got {count}")
        if every <= 0 or connects_per_second <= 0:
            raise Misuse("expected times and rates above 0")
        self.tally = Tally()
        self.devices = [
            FakeDevice(url, f"{prefix}:{number >> 8:02x}:{number & 255:02x}", watch=self._watch)
            for number in range(count)
        ]
        if token is not None:
            for device in self.devices:
                device.token = token(device.device_id, device.client_id)
        self._traffic = traffic
        self._every = every
        self._connects_per_second = connects_per_second
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Begin to connect them."""
        self._tasks = [
            asyncio.create_task(self._live(number, device), name=f"fleet device {device.device_id}")
            for number, device in enumerate(self.devices)
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End them all; raises what one of them failed on, if that was a bug of ours."""
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        bugs = [result for result in results if isinstance(result, Exception)]
        if bugs and error is None:
            raise bugs[0]

    # --- one device ---------------------------------------------------------------------------------------------

    async def _live(self, number: int, device: FakeDevice) -> None:
        await asyncio.sleep(number / self._connects_per_second)
        pause = FIRST_PAUSE
        try:
            while True:
                try:
                    await device.go_online(ANSWER)
                except HarnessError as error:
                    self.tally.count_error(_kind(error))
                    await asyncio.sleep(_retry_after(error) or random.uniform(pause / 2, pause))  # noqa: S311
                    pause = min(2 * pause, LONGEST_PAUSE)
                    continue
                pause = FIRST_PAUSE
                await self._stay(number, device)
                self.tally.count_error(f"closed with {device.close_code}")
                await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter is no secret
        finally:
            await device.aclose()

    async def _stay(self, number: int, device: FakeDevice) -> None:
        """Talk until the connection has ended."""
        self.tally.connected += 1
        self.tally.arrivals += 1
        talking = asyncio.create_task(self._talk(number, device), name=f"talk of {device.device_id}")
        try:
            await device.closed.wait()
        finally:
            self.tally.connected -= 1
            talking.cancel()
            (result,) = await asyncio.gather(talking, return_exceptions=True)
            if isinstance(result, Exception):
                raise result

    async def _talk(self, number: int, device: FakeDevice) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._every * number / len(self.devices)  # not all at once
        message_number = 0
        while self._traffic != "none":
            await asyncio.sleep(due - loop.time())
            due = max(due + self._every, loop.time())
            message_number += 1
            device.forget_unread()  # what others have sent it; it was counted as it came
            try:
                await self._ask(number, device, message_number)
            except NotConnected:
                return  # its end is seen elsewhere
            except ExpectationFailed:
                if device.closed.is_set():
                    return
                self.tally.count_error(f"no answer in {ANSWER:g} s")

    async def _ask(self, number: int, device: FakeDevice, message_number: int) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        if self._traffic == "ping":
            await device.send({"type": "ping", "id": message_number})
            await device.expect("pong", ANSWER, id=message_number)
        else:
            to = self.devices[(number + 1) % len(self.devices)].device_id
            message = f"{message_number}-{int(began * 1000)}"
            await device.send({"type": "peer", "to": [to], "payload": {"n": message_number}, "id": message})
            answer = await device.expect(lambda one: one["type"] == "peer" and "status" in one, ANSWER, id=message)
            if answer["status"] != "done" or answer.get("failed"):
                self.tally.count_error(f"peer message failed: {answer.get('code', 'see failed')}")
                return
        self.tally.latencies.add(loop.time() - began)

    def _watch(self, record: FramePassed | Happened) -> None:
        if isinstance(record, FramePassed) and record.opcode in {Opcode.TEXT, Opcode.BINARY}:
            if record.sent:
                self.tally.sent += 1
            else:
                self.tally.received += 1


def _kind(error: HarnessError) -> str:
    if isinstance(error, UpgradeRefused):
        return f"refused with {error.status}"
    if isinstance(error, CannotConnect):
        return f"cannot connect: {error.why}"
    if isinstance(error, ExpectationFailed):
        return "no answer to hello"
    return type(error).__name__


def _retry_after(error: HarnessError) -> float | None:
    if not isinstance(error, UpgradeRefused):
        return None
    value = next((text for name, text in error.headers.items() if name.lower() == "retry-after"), "")
    return min(float(value), LONGEST_PAUSE) if value.isdecimal() else None
