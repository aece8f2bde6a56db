"""Frames read off a connection in passing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from harness.board.wiretap import HEAD_BYTES, MESSAGE_BYTES, Wiretap


class Heard:
    """A tap, and what it has told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.tap = Wiretap(
            lambda headers: self.told.append(headers.get("device-id")),
            self.told.append,
            lambda sent, opcode, payload: self.told.append((sent, opcode, payload)),
        )


def conversation() -> list[tuple[bool, bytes]]:
    """What a device and a gateway put on the wire: an upgrade, a fragmented text, a ping and its pong, a Close."""
    client = ClientProtocol(parse_uri("ws://gateway/xiaozhi/v1/"))
    request = client.connect()
    request.headers["Device-Id"] = "02:00:00:00:00:01"
    client.send_request(request)
    server = ServerProtocol()
    wire: list[tuple[bool, bytes]] = []

    def pass_on(sent: bool) -> None:
        source, target = (client, server) if sent else (server, client)
        data = b"".join(source.data_to_send())
        wire.append((sent, data))
        target.receive_data(data)

    pass_on(True)
    (event,) = server.events_received()
    server.send_response(server.accept(event))
    pass_on(False)
    client.send_text(b'{"type":', fin=False)
    client.send_ping(b"there?")
    client.send_continuation(b'"ping"}', fin=True)
    pass_on(True)
    pass_on(False)
    server.send_binary(bytes(300))
    server.send_close(4001, "replaced")
    pass_on(False)
    return wire


EXPECTED = [
    "02:00:00:00:00:01",
    101,
    (True, Opcode.PING, b"there?"),
    (True, Opcode.TEXT, b'{"type":"ping"}'),
    (False, Opcode.PONG, b"there?"),
    (False, Opcode.BINARY, bytes(300)),
    (False, Opcode.CLOSE, b"\x0f\xa1replaced"),
]


def test_a_conversation_is_followed():
    """The request's headers, the answer's status, whole messages and control frames, each once and in order."""
    heard = Heard()

    for sent, data in conversation():
        heard.tap.passed(sent, data)

    assert heard.told == EXPECTED
    assert heard.tap.fault == ""


@given(st.data())
def test_pieces_do_not_matter(data: st.DataObject):
    """Cut anywhere, down to single bytes, the same is told."""
    heard = Heard()

    for sent, whole in conversation():
        cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=20)))
        for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            heard.tap.passed(sent, whole[start:end])

    assert heard.told == EXPECTED


def test_single_bytes():
    """The worst of pieces."""
    heard = Heard()

    for sent, whole in conversation():
        for byte in whole:
            heard.tap.passed(sent, bytes([byte]))

    assert heard.told == EXPECTED


def test_a_refusal_is_told_and_nothing_behind_it():
    """An answer other than 101 ends what can be followed."""
    heard = Heard()

    heard.tap.passed(False, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}")

    assert heard.told == [401]
    assert heard.tap.fault == "the upgrade was answered with 401"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x16\x03\x01\r\n\r\n", "not answered in HTTP"),
        (b"HTTP/1.1 101 X\r\n" + b"a" * (HEAD_BYTES + 1), "expected no more than"),
        (b"HTTP/1.1 101 X\r\n\r\n\xf1\x00", "reserved bits"),
    ],
    ids=["TLS", "an endless header", "reserved bits"],
)
def test_what_is_no_websocket_is_not_followed(data: bytes, why: str):
    """It is passed on all the same, by whoever does that; the tap says why it tells nothing more."""
    heard = Heard()

    heard.tap.passed(False, data)
    told = list(heard.told)
    heard.tap.passed(False, b"more")

    assert why in heard.tap.fault
    assert heard.told == told


def test_the_answer_to_a_broken_frame_is_heard():
    """A device that breaks RFC 6455 is followed no further; what the gateway says to it is."""
    heard = Heard()
    wire = conversation()
    for sent, data in wire[:2]:
        heard.tap.passed(sent, data)

    heard.tap.passed(True, b"\xf1\x80\x00\x00\x00\x00")
    heard.tap.passed(True, wire[2][1])
    heard.tap.passed(*wire[4])

    assert "reserved bits" in heard.tap.fault
    assert heard.told == [*EXPECTED[:2], *EXPECTED[5:]]


def test_a_message_past_the_limit_is_not_kept():
    """A message in many fragments costs no more memory than the limit."""
    heard = Heard()
    heard.tap.passed(False, b"HTTP/1.1 101 X\r\n\r\n")

    part = Frame(Opcode.BINARY, bytes(MESSAGE_BYTES // 2), fin=False).serialize(mask=False)
    heard.tap.passed(False, part)
    assert heard.tap.fault == ""
    rest = Frame(Opcode.CONT, bytes(MESSAGE_BYTES // 2 + 1), fin=False).serialize(mask=False)
    heard.tap.passed(False, rest)

    assert heard.tap.fault == f"a message of more than {MESSAGE_BYTES} bytes"


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=200)), max_size=20))
def test_no_bytes_make_it_fail(pieces: list[tuple[bool, bytes]]):
    """Whatever passes, the tap only falls silent."""
    heard = Heard()

    for sent, data in pieces:
        heard.tap.passed(sent, data)
