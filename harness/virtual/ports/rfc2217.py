"""RFC 2217, the server's side: a serial port with baud rate, DTR and RTS over Telnet. Without I/O.

What there is no wire for is answered as if it were so and has no effect: data bits, parity, stop bits, flow control,
break. Where the RFC lets a server answer only changes, this one answers everything: clients wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.telnet import (
    DO,
    DONT,
    WILL,
    WONT,
    Negotiation,
    Subnegotiation,
    TelnetParser,
    escape,
    negotiation,
    subnegotiation,
)
from harness.virtual.ports.conversation import Lines, Purge, Received, SendRaw, Told
from harness.virtual.uart import BOOT_BAUD

COM_PORT = 44
"""The option of RFC 2217."""

_BINARY, _ECHO, _GO_AHEAD = 0, 1, 3
_WE_MAY = frozenset({_BINARY, _ECHO, _GO_AHEAD, COM_PORT})
_THEY_MAY = frozenset({_BINARY, _GO_AHEAD, COM_PORT})

# commands of a client; the server's answers have these numbers and 100 more
SIGNATURE, BAUD, DATA_SIZE, PARITY, STOP_SIZE, CONTROL, LINE_STATE, MODEM_STATE = range(8)
LINE_MASK, MODEM_MASK, PURGE = 10, 11, 12
_ANSWERED = 100

_CONTROL_LINES = {8: Lines(dtr=True), 9: Lines(dtr=False), 11: Lines(rts=True), 12: Lines(rts=False)}
_NO_FLOW_CONTROL, _NO_BREAK, _NO_INPUT_FLOW_CONTROL = 1, 6, 14
_ASKS = {0: _NO_FLOW_CONTROL, 4: _NO_BREAK, 13: _NO_INPUT_FLOW_CONTROL}
_PRESENT = 0xB0  # CTS, DSR and carrier: a board asks for no handshake
_AS_ASKED = {DATA_SIZE: 8, PARITY: 1, STOP_SIZE: 1}  # what a question (0) is answered with: 8N1
_DISCARDS_TO_HOST = (1, 3)  # PURGE-DATA: the "receive" buffer, as the client sees it, or both


class Rfc2217:
    """One client's connection, from its first byte on.

    Attributes:
        baud: what the client has set.
    """

    def __init__(self) -> None:
        self.baud: int | None = BOOT_BAUD
        self._lines = Lines(dtr=False, rts=False)
        self._parser = TelnetParser()
        self._agreed: set[tuple[int, int]] = set()

    def encode(self, data: bytes) -> bytes:
        """Return bytes of the UART as they go over the wire."""
        return escape(data)

    def received(self, data: bytes) -> Iterator[Told]:
        """Take bytes as they come in, in pieces of any size; yield what they tell, in order."""
        for item in self._parser.feed(data):
            if isinstance(item, bytes):
                yield Received(item)
            elif isinstance(item, Negotiation):
                yield from self._negotiated(item)
            else:
                yield from self._asked(item)

    def ended(self) -> Iterator[Told]:
        """Drop both lines at once, so that nobody is reset by it."""
        yield Lines(dtr=False, rts=False)

    def _negotiated(self, asked: Negotiation) -> Iterator[Told]:
        """Agree once to what a serial port needs; refuse the rest, each time."""
        if asked.verb not in (DO, WILL):
            return  # a refusal takes no answer, or both ends would go on for ever (RFC 854)
        yes, no, may = (WILL, WONT, _WE_MAY) if asked.verb == DO else (DO, DONT, _THEY_MAY)
        if asked.option not in may:
            yield SendRaw(negotiation(no, asked.option))
        elif (yes, asked.option) not in self._agreed:
            self._agreed.add((yes, asked.option))
            yield SendRaw(negotiation(yes, asked.option))
            if (yes, asked.option) == (DO, COM_PORT):
                # it never changes, so clients that wait to be told of a change would wait for ever
                yield _answer(MODEM_STATE, bytes([_PRESENT]))

    def _asked(self, item: Subnegotiation) -> Iterator[Told]:
        if len(item.payload) < 2 or item.payload[0] != COM_PORT:
            return
        command, value = item.payload[1], item.payload[2:]
        if command == SIGNATURE and not value:
            yield _answer(SIGNATURE, b"wsdevice virtual board")
        elif command == BAUD and len(value) == 4:
            self.baud = int.from_bytes(value, "big") or self.baud
            yield _answer(BAUD, (self.baud or BOOT_BAUD).to_bytes(4, "big"))
        elif command in _AS_ASKED and len(value) == 1:
            yield _answer(command, value if value[0] else bytes([_AS_ASKED[command]]))
        elif command == CONTROL and len(value) == 1:
            yield from self._control(value[0])
        elif command in (LINE_MASK, MODEM_MASK) and len(value) == 1:
            yield _answer(command, value)
        elif command == MODEM_STATE:
            yield _answer(MODEM_STATE, bytes([_PRESENT]))
        elif command == PURGE and len(value) == 1:
            if value[0] in _DISCARDS_TO_HOST:
                yield Purge()
            yield _answer(PURGE, value)

    def _control(self, value: int) -> Iterator[Told]:
        if value in _CONTROL_LINES:
            lines = _CONTROL_LINES[value]
            self._lines = Lines(
                dtr=self._lines.dtr if lines.dtr is None else lines.dtr,
                rts=self._lines.rts if lines.rts is None else lines.rts,
            )
            yield lines
        yield _answer(CONTROL, bytes([self._state_of(value)]))

    def _state_of(self, value: int) -> int:
        """Return the answer to a control: itself, or where it asks what is the case, that."""
        if value == 7:
            return 8 if self._lines.dtr else 9
        if value == 10:
            return 11 if self._lines.rts else 12
        return _ASKS.get(value, value)


def _answer(command: int, value: bytes) -> SendRaw:
    return SendRaw(subnegotiation(bytes([COM_PORT, command + _ANSWERED]) + value))
