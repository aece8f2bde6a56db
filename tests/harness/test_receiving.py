"""What every device does with what it receives, without a connection."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.frames import Opcode

from harness.errors import ExpectationFailed, FirmwareWouldFail, HarnessError
from harness.inbox import KEPT
from harness.receiving import Receiving


class Hears(Receiving):
    """A device whose connection a test plays."""

    def __init__(self, framing: int = 1) -> None:
        super().__init__("device", framing)
        self.code: int | None = None
        self.fault: HarnessError | None = None

    def hears(self, text: str) -> Any:
        """The gateway has sent a text."""
        return self._received(Opcode.TEXT, text.encode())

    def lose(self, code: int = 1006) -> None:
        """The connection has ended."""
        self.code = code
        self._inbox.wake()

    @property
    def close_code(self) -> int | None:
        """As the test has it."""
        return self.code

    def _crash(self, sent: str) -> None:
        self.fault = FirmwareWouldFail(f"the gateway sent {sent}")

    def _state(self) -> str:
        return "its connection is open" if self.code is None else f"its connection ended with {self.code}"

    def _fault(self) -> HarnessError | None:
        return self.fault


async def waiting(wait: Any) -> asyncio.Task[Any]:
    """Have somebody wait."""
    task = asyncio.create_task(wait)
    await asyncio.sleep(0)
    return task


async def test_cancelled():
    """Who is cancelled takes nothing away: what comes then is for the next who asks."""
    device = Hears()
    task = await waiting(device.expect("a", 60))
    task.cancel()
    await asyncio.wait([task])
    device.hears('{"type":"a"}')

    assert await device.expect("a", 0) == {"type": "a"}


async def test_two_who_wait():
    """Each gets a message of its own, the first one who asked the first one."""
    device = Hears()
    tasks = [await waiting(device.expect("a", 5)) for _ in range(2)]
    device.hears('{"type":"a","n":1}')
    device.hears('{"type":"a","n":2}')

    assert [(await task)["n"] for task in tasks] == [1, 2]


async def test_what_is_wanted_stands_behind_others():
    """Those before it stay unread, until they are forgotten."""
    device = Hears()
    device.hears('{"type":"a"}')
    device.hears('{"type":"b"}')
    await device.expect("b", 0)
    device.forget_unread()

    with pytest.raises(ExpectationFailed, match="nothing else arrived"):
        await device.expect("a", 0)
    assert device.received == ({"type": "a"}, {"type": "b"})


async def test_bounded():
    """Of more than are kept the oldest are forgotten; those that nobody has read are counted."""
    device = Hears()
    for number in range(KEPT + 2):
        device.hears(f'{{"type":"a","n":{number}}}')

    assert device.dropped == 2
    assert [device.received[0]["n"], len(device.received)] == [2, KEPT]


async def test_what_a_message_is():
    """Text is returned where it is one; audio is kept; control frames wake those who wait, and are nothing more."""
    device = Hears(framing=3)
    assert device.hears('{"type":"hello","transport":"websocket"}') == {"type": "hello", "transport": "websocket"}
    assert device.hears("[]") is None
    assert device._received(Opcode.BINARY, b"\x00\x00\x00\x04opus") is None
    assert list(device.audio) == [b"opus"]

    task = await waiting(device.expect_close(5))
    device.code = 1001
    assert device._received(Opcode.CLOSE, b"") is None
    assert await task == 1001


async def test_a_fault_on_a_connection_that_goes_on():
    """Who waits for what does not come is told what the gateway did, and not that time was too short."""
    device = Hears()
    device.hears('{"type":"hello","transport":1}')

    with pytest.raises(FirmwareWouldFail, match="whose transport is no string"):
        await device.expect("a", 0)


async def test_what_came_is_told_before_what_went_wrong():
    """A message that has come is there, whatever became of the connection."""
    device = Hears()
    device.hears('{"type":"a"}')
    device.hears("nonsense")
    device.lose()

    assert await device.expect("a", 5) == {"type": "a"}
    with pytest.raises(FirmwareWouldFail, match="a text frame of 8 bytes, BAD_JSON"):
        await device.expect("a", 5)


async def test_the_end_of_the_connection():
    """Those who wait for a message fail at once, those who wait for its end or for nothing are content."""
    device = Hears()
    message, code, nothing = [
        await waiting(wait)
        for wait in (device.expect("a", 60), device.expect_close(60), device.expect_nothing("a", 60))
    ]
    device.lose(4010)

    assert await code == 4010
    assert await nothing is None
    with pytest.raises(ExpectationFailed, match="its connection ended with 4010"):
        await message


async def test_nothing_comes():
    """Absence takes all the time it was asked for; what has come before, or comes, ends it."""
    device = Hears()
    began = asyncio.get_running_loop().time()
    await device.expect_nothing("a", 0.05)
    assert asyncio.get_running_loop().time() - began >= 0.05

    device.hears('{"type":"a","n":1}')
    await device.expect_nothing("a", 0.0, n=2)
    with pytest.raises(ExpectationFailed, match="it came"):
        await device.expect_nothing("a", 60, n=1)
    with pytest.raises(ExpectationFailed, match=r"expected a close, but after 0\.1 s its connection is open"):
        await device.expect_close(0.05)


async def test_spoilt():
    """It comes before all that is there, too: the test is over."""
    device = Hears()
    device.hears('{"type":"a"}')
    early = await waiting(device.expect("b", 60))
    device.spoil(FirmwareWouldFail("over"))

    for wait in (early, device.expect("a"), device.expect_close(), device.expect_nothing("b", 1)):
        with pytest.raises(FirmwareWouldFail, match="over"):
            await wait


def test_who_derives_says_what_has_become_of_the_connection():
    """Nothing is guessed of it."""
    device = Receiving("device", 1)
    for ask in (lambda: device.close_code, lambda: device._crash(""), device._state, device._fault):
        with pytest.raises(NotImplementedError):
            ask()
