"""WebSocket frames read off a TCP connection in passing, for bodies that do not tell what they send and receive.

Sans-I/O: a relay between device and gateway hands over what it passes on, both ways; nothing is held up or changed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from websockets.exceptions import WebSocketException
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

HEAD_BYTES = 16_384
"""Of a request or an answer: twice what the gateway takes, so that whatever it answers can be followed."""
MESSAGE_BYTES = 1 << 20
"""Of one message: past it the rest of the connection is not read any more; the gateway takes 64 KiB."""


class Wiretap:
    """One connection, from its upgrade on.

    What is no WebSocket connection, or breaks RFC 6455, is followed as far as that: from there on nothing is told of
    this direction. The other one goes on: what the gateway says to such a frame is to be heard.

    Args:
        upgrade: is told the headers of the device's request, names in lower case.
        answer: is told the status of the gateway's answer.
        message: is shown each whole message and each control frame: whether the device sent it, what it is, its bytes.

    Attributes:
        fault: why a direction is not followed any more, the first of them; empty while both are.
    """

    def __init__(
        self,
        upgrade: Callable[[dict[str, str]], None],
        answer: Callable[[int], None],
        message: Callable[[bool, Opcode, bytes], None],
    ) -> None:
        self.fault = ""
        self._upgrade = upgrade
        self._answer = answer
        self._message = message
        self._from_device = _Direction(self._read(True))
        self._from_gateway = _Direction(self._read(False))

    def passed(self, sent: bool, data: bytes) -> None:
        """Take bytes that the device (``sent``) or the gateway has put on the wire, in any pieces."""
        direction = self._from_device if sent else self._from_gateway
        if direction.over:
            return
        try:
            direction.feed(data)
        except (WebSocketException, ValueError, RuntimeError) as error:  # RuntimeError: a line that does not end
            direction.over = True
            self.fault = self.fault or str(error)

    def _read(self, sent: bool) -> Callable[[StreamReader], Generator[None, None, None]]:
        def read(reader: StreamReader) -> Generator[None, None, None]:
            yield from self._read_head(sent, reader)
            yield from self._read_frames(sent, reader)

        return read

    def _read_head(self, sent: bool, reader: StreamReader) -> Generator[None, None, None]:
        first = yield from reader.read_line(HEAD_BYTES)
        headers: dict[str, str] = {}
        left = HEAD_BYTES - len(first)
        while line := (yield from reader.read_line(left)).strip():
            left -= len(line)
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if sent:
            self._upgrade(headers)
            return
        status = _status(bytes(first))
        self._answer(status)
        if status != 101:
            raise ValueError(f"the upgrade was answered with {status}")

    def _read_frames(self, sent: bool, reader: StreamReader) -> Generator[None, None, None]:
        whole: list[bytes] = []
        opcode = Opcode.TEXT
        while True:
            frame: Frame = yield from Frame.parse(reader.read_exact, mask=sent, max_size=MESSAGE_BYTES)
            if frame.opcode in (Opcode.CLOSE, Opcode.PING, Opcode.PONG):
                self._message(sent, frame.opcode, bytes(frame.data))
                continue
            if frame.opcode is not Opcode.CONT:
                opcode = frame.opcode
            whole.append(bytes(frame.data))
            if sum(map(len, whole)) > MESSAGE_BYTES:
                raise ValueError(f"a message of more than {MESSAGE_BYTES} bytes")
            if frame.fin:
                self._message(sent, opcode, b"".join(whole))
                whole.clear()


class _Direction:
    """What one side has put on the wire, and where its reader stands in it; ``over``: it is not followed any more."""

    def __init__(self, read: Callable[[StreamReader], Generator[None, None, None]]) -> None:
        self.over = False
        self._reader = StreamReader()
        self._steps = read(self._reader)

    def feed(self, data: bytes) -> None:
        self._reader.feed_data(data)
        next(self._steps)


def _status(line: bytes) -> int:
    words = line.split(None, 2)
    if len(words) < 2 or not words[1].isdigit():
        raise ValueError("the upgrade was not answered in HTTP")
    return int(words[1])
