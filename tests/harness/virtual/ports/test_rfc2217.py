"""RFC 2217, the server's side, by the bytes of a client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.telnet import DO, DONT, WILL, WONT, negotiation, subnegotiation
from harness.virtual.ports.conversation import Lines, Purge, Received, SendRaw
from harness.virtual.ports.rfc2217 import COM_PORT, Rfc2217


def com_port(command: int, value: bytes) -> bytes:
    """A command of the option, or an answer."""
    return subnegotiation(bytes([COM_PORT, command]) + value)


def told(data: bytes, conversation: Rfc2217 | None = None) -> list[object]:
    """What the server makes of these bytes."""
    return list((conversation or Rfc2217()).received(data))


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ((DO, COM_PORT), (WILL, COM_PORT)),
        ((WILL, 0), (DO, 0)),
        ((DO, 3), (WILL, 3)),
        ((WILL, 1), (DONT, 1)),
        ((DO, 24), (WONT, 24)),
        ((WILL, 24), (DONT, 24)),
    ],
)
def test_negotiation(asked, answered):
    """What a serial port needs is agreed to, anything else is refused."""
    assert told(negotiation(*asked)) == [SendRaw(negotiation(*answered))]


def test_modem_state_is_told():
    """Once, to a client that speaks RFC 2217: as it never changes, it would never be told otherwise."""
    assert told(negotiation(WILL, COM_PORT) * 2) == [
        SendRaw(negotiation(DO, COM_PORT)),
        SendRaw(com_port(107, b"\xb0")),
    ]


def test_agreed_once():
    """What is agreed to takes no second answer, and a refusal takes none at all: both ends would go on for ever."""
    conversation = Rfc2217()
    told(negotiation(WILL, COM_PORT), conversation)

    assert told(negotiation(WILL, COM_PORT), conversation) == []
    assert told(negotiation(DONT, 24) + negotiation(WONT, 24), conversation) == []


def test_baud():
    """It is set, and asked for by 0."""
    conversation = Rfc2217()
    assert conversation.baud == 115200

    assert told(com_port(1, (921600).to_bytes(4, "big")), conversation) == [
        SendRaw(com_port(101, (921600).to_bytes(4, "big")))
    ]
    assert conversation.baud == 921600
    assert told(com_port(1, bytes(4)), conversation) == [SendRaw(com_port(101, (921600).to_bytes(4, "big")))]


@pytest.mark.parametrize(
    ("value", "lines"),
    [(8, Lines(dtr=True)), (9, Lines(dtr=False)), (11, Lines(rts=True)), (12, Lines(rts=False))],
)
def test_lines(value, lines):
    """They change before it is answered, and are answered also where nothing changes: clients wait for it."""
    conversation = Rfc2217()
    for _ in range(2):
        assert told(com_port(5, bytes([value])), conversation) == [lines, SendRaw(com_port(105, bytes([value])))]


def test_lines_are_asked_for():
    """The answer says how they are."""
    conversation = Rfc2217()
    told(com_port(5, b"\x08"), conversation)

    assert told(com_port(5, b"\x07"), conversation) == [SendRaw(com_port(105, b"\x08"))]
    assert told(com_port(5, b"\x0a"), conversation) == [SendRaw(com_port(105, b"\x0c"))]


@pytest.mark.parametrize(
    ("command", "value", "answer"),
    [(2, 7, 7), (2, 0, 8), (3, 2, 2), (3, 0, 1), (4, 2, 2), (4, 0, 1), (5, 3, 3), (5, 0, 1), (5, 4, 6), (11, 255, 255)],
)
def test_what_there_is_no_wire_for(command, value, answer):
    """It is answered as if it were so; a question with what a board has."""
    assert told(com_port(command, bytes([value]))) == [SendRaw(com_port(100 + command, bytes([answer])))]


@pytest.mark.parametrize(("value", "forgets"), [(1, True), (2, False), (3, True)])
def test_purge(value, forgets):
    """What the client would have received is forgotten before it is answered."""
    answer = SendRaw(com_port(112, bytes([value])))

    assert told(com_port(12, bytes([value]))) == ([Purge(), answer] if forgets else [answer])


def test_modem_state_and_signature():
    """CTS, DSR and carrier are there; the signature says what it is."""
    assert told(com_port(7, b"")) == [SendRaw(com_port(107, b"\xb0"))]
    assert told(com_port(0, b"")) == [SendRaw(com_port(100, b"wsdevice virtual board"))]


@pytest.mark.parametrize("payload", [b"", b"\x2c", b"\x2c\x01\0", b"\x2c\x05", b"\x2c\x63\0", b"\x18\x01\0\0\0\0"])
def test_what_is_no_command(payload):
    """It has no answer."""
    assert told(subnegotiation(payload)) == []


def test_data():
    """It is the UART's, both ways, with FF doubled on the wire."""
    assert told(b"a\xff\xff") == [Received(b"a"), Received(b"\xff")]
    assert Rfc2217().encode(b"a\xff") == b"a\xff\xff"


def test_end():
    """Both lines are dropped at once."""
    assert list(Rfc2217().ended()) == [Lines(dtr=False, rts=False)]


@given(
    st.lists(st.one_of(st.binary(max_size=30), st.binary(max_size=8).map(lambda rest: subnegotiation(b"\x2c" + rest))))
)
def test_any_bytes(pieces):
    """Nothing a client sends brings it down."""
    conversation = Rfc2217()
    for piece in pieces:
        told(piece, conversation)
    assert conversation.baud
