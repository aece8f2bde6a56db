"""What devices of any body do with what they receive: keep it, hand it out, wait for it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from websockets.frames import Opcode

from gateway.errors import BadAudioFrame, BadMessage
from gateway.protocol.audio_frames import unpack
from gateway.protocol.decoding import decode_object, type_of
from harness.device import Message, Wanted
from harness.errors import ExpectationFailed, HarnessError
from harness.inbox import KEPT, Inbox, in_words

EXPECT = 5.0
"""Seconds to wait for a message by default: far more than any answer takes, and not so many that a run hangs."""


class Receiving:
    """The receiving side of a device, in the running loop.

    Whoever derives from it puts in what comes (`_received`), says what has become of the connection (`close_code`,
    `_state`, `_fault`), and wakes those who wait when that changes (``_inbox.wake``).

    Attributes:
        name: what reports call the device.
        framing: version of its binary frames: 1, 2 or 3.
        audio: the latest Opus packets that came, at most `KEPT`.
        session_id: of the last hello answer.
    """

    def __init__(self, name: str, framing: int) -> None:
        self.name = name
        self.framing = framing
        self.audio: deque[bytes] = deque(maxlen=KEPT)
        self.session_id = ""
        self._inbox = Inbox()
        self._spoilt: HarnessError | None = None

    # --- for those who test -------------------------------------------------------------------------------------

    async def expect(self, wanted: Wanted, timeout: float = EXPECT, **fields: Any) -> Message:
        """Return the first unread message that is wanted, and take it; those before it stay unread.

        At most `KEPT` messages stay unread; past that the oldest is dropped and counted in ``dropped``.

        Args:
            wanted: the type of the message, or a test of it.
            timeout: seconds to wait.
            **fields: what else must stand in the message.

        Raises:
            ExpectationFailed: it has not come in time, or cannot come any more; shows what did.
            FirmwareWouldFail: the connection has ended because the gateway sent what no firmware can take.
        """
        began = asyncio.get_running_loop().time()

        def look() -> Message | str | None:
            self._raise_if_spoilt()
            return self._inbox.take(wanted, fields) or (None if self.close_code is None else self._state())

        found: Message | str | None = await self._inbox.until(look, timeout)
        if isinstance(found, dict):
            return found
        if (fault := self._fault()) is not None:
            raise fault
        seconds = asyncio.get_running_loop().time() - began
        raise ExpectationFailed(
            self.name, in_words(wanted, fields), seconds, found or "it had not come", self._inbox.unread
        )

    async def expect_nothing(self, wanted: Wanted, seconds: float, **fields: Any) -> None:
        """Wait ``seconds`` and see no such message, unread or new; it ends early, and well, with the connection.

        Raises:
            ExpectationFailed: one has come.
        """
        began = asyncio.get_running_loop().time()

        def look() -> Message | bool | None:
            self._raise_if_spoilt()
            return self._inbox.take(wanted, fields) or (None if self.close_code is None else True)

        found: Message | bool | None = await self._inbox.until(look, seconds)
        if isinstance(found, dict):
            waited = asyncio.get_running_loop().time() - began
            what = in_words(wanted, fields)
            raise ExpectationFailed(self.name, f"no such thing as {what}", waited, "it came", [found])

    async def expect_close(self, timeout: float = EXPECT) -> int:
        """Wait for a Close frame, or for the end of the socket, and return the close code.

        Raises:
            ExpectationFailed: neither has come in time.
        """

        def look() -> int | None:
            self._raise_if_spoilt()
            return self.close_code

        code = await self._inbox.until(look, timeout)
        if code is None:
            raise ExpectationFailed(self.name, "a close", timeout, self._state(), self._inbox.unread)
        return code

    def spoil(self, error: HarnessError) -> None:
        """Have everybody who waits for a message, now or later, get this error instead: the test is over."""
        self._spoilt = error
        self._inbox.wake()

    def forget_unread(self) -> None:
        """Forget the messages that nobody has taken."""
        self._inbox.clear()

    @property
    def received(self) -> tuple[Message, ...]:
        """The latest messages that came, read or not, over all connections, oldest first; at most `KEPT`."""
        return tuple(self._inbox.received)

    @property
    def dropped(self) -> int:
        """Messages that were dropped unread; see `expect`."""
        return self._inbox.dropped

    @property
    def close_code(self) -> int | None:
        """Of the last connection's Close frame; 1006 if it ended without one, whoever ended it; None while open."""
        raise NotImplementedError

    def _raise_if_spoilt(self) -> None:
        if self._spoilt is not None:
            raise self._spoilt

    # --- for those who derive from it ---------------------------------------------------------------------------

    def _received(self, opcode: Opcode, payload: bytes) -> Message | None:
        """Take a whole message, or a control frame, and wake those who wait; return the message, if it is JSON."""
        try:
            if opcode is Opcode.TEXT:
                return self._text_received(payload)
            if opcode is Opcode.BINARY:
                self._audio_received(payload)
        finally:
            self._inbox.wake()
        return None

    def _text_received(self, payload: bytes) -> Message | None:
        try:
            message = decode_object(payload)
            kind = type_of(message)
        except BadMessage as error:
            self._crash(f"a text frame of {len(payload)} bytes, {error}")
            return None
        if kind == "hello" and not isinstance(message.get("transport"), str):
            self._crash("a hello answer whose transport is no string, which the firmware dereferences")
            return None
        self._inbox.put(message)
        return message

    def _audio_received(self, payload: bytes) -> None:
        try:
            self.audio.append(unpack(self.framing, payload).payload)
        except BadAudioFrame as error:
            self._crash(f"a binary frame that is not of version {self.framing}: {error}")

    def _crash(self, sent: str) -> None:
        """The gateway sent what the firmware cannot take."""
        raise NotImplementedError

    def _state(self) -> str:
        """What has become of the connection, as the end of a sentence."""
        raise NotImplementedError

    def _fault(self) -> HarnessError | None:
        """What the gateway did that no firmware could take, and that ended the connection."""
        raise NotImplementedError
