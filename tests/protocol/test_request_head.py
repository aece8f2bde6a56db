"""The head of a request: gathered from pieces, limited, and brought to one form for every version of websockets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.server import ServerProtocol

from gateway.errors import HandshakeRefused
from gateway.protocol.limits import REQUEST_BYTES
from gateway.protocol.request_head import HEADERS, LINE_BYTES, NotARequest, RequestHead
from tests.raw_peer import upgrade


def read(data: bytes) -> tuple[RequestHead, bytes | None]:
    """Feed all bytes at once."""
    head = RequestHead()
    return head, head.feed(data)


def refused(data: bytes, pieces: int | None = None) -> HandshakeRefused:
    """Feed bytes that must be refused; the refusal."""
    with pytest.raises(HandshakeRefused) as caught:
        feed_all(data, pieces)
    return caught.value


def feed_all(data: bytes, pieces: int | None) -> bytes | None:
    """Feed bytes in pieces of this size; what the last piece gave."""
    head, size, rest = RequestHead(), pieces or len(data), None
    for start in range(0, len(data), size):
        rest = head.feed(data[start : start + size])
    return rest


def padded(size: int) -> bytes:
    """A good request of exactly that many bytes, no line of it too long."""
    headers = []
    while len(upgrade("/", *headers)) + 10 < size:
        room = size - len(upgrade("/", *headers)) - len("X: \r\n")
        headers.append(("X", "a" * (room if room < 4000 else 3000)))
    assert len(upgrade("/", *headers)) == size
    return upgrade("/", *headers)


def test_request_in_one_piece():
    """Nothing follows it, and websockets can parse it."""
    head, rest = read(upgrade())
    assert rest == b""
    assert (head.method, head.protocol) == ("GET", "HTTP/1.1")
    assert head.canonical() == upgrade()


def test_what_follows_the_request_is_given_back():
    """Frames that came in the same packet are not for the parser of the request."""
    head, rest = read(upgrade() + b"\r\n\r\nframes")
    assert rest == b"\r\n\r\nframes"
    assert head.canonical() == upgrade()


def test_request_split_at_every_position():
    """Complete with its last byte, not before."""
    data = upgrade()
    for position in range(1, len(data)):
        head = RequestHead()
        assert head.feed(data[:position]) is None
        assert head.feed(data[position:] + b"x") == b"x"
        assert head.canonical() == data


def test_request_byte_by_byte():
    """A slow peer is read as any other."""
    head, data = RequestHead(), upgrade()
    assert [head.feed(bytes([byte])) for byte in data] == [None] * (len(data) - 1) + [b""]


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize("protocol", ["HTTP/1.1", "HTTP/1.0"])
def test_other_methods_and_http_1_0_are_parsed_too(method, protocol):
    """Whichever version of websockets is installed; the request gets back what it said."""
    head, _ = read(upgrade("/a b".replace(" ", "%20"), method=method, protocol=protocol))
    parser = ServerProtocol()
    parser.receive_data(head.canonical())
    (request,) = parser.events_received()
    head.restore(request)
    assert (request.path, request.method, request.protocol) == ("/a%20b", method, protocol)
    assert request.headers["Upgrade"] == "websocket"


def test_upgrade_is_a_get_of_http_1_1():
    """Anything else is refused with the status that websockets 17 has for it."""
    read(upgrade())[0].check_upgrade()
    for wrong, status, headers in (
        ({"method": "POST"}, 405, {"Allow": "GET"}),
        ({"method": "get"}, 405, {"Allow": "GET"}),
        ({"protocol": "HTTP/1.0"}, 505, {}),
    ):
        with pytest.raises(HandshakeRefused) as caught:
            read(upgrade(**wrong))[0].check_upgrade()
        assert (caught.value.status, caught.value.headers) == (status, headers)


def test_request_line_at_and_past_its_limit():
    """8192 bytes with its CRLF; the one too many is told before the line is complete."""
    path = "/" + "a" * (LINE_BYTES - len("GET / HTTP/1.1\r\n"))
    assert read(upgrade(path))[1] == b""
    assert refused(upgrade(path + "a")).status == 414
    assert refused(b"GET /" + b"a" * (LINE_BYTES - 4)).status == 414


def test_header_line_at_and_past_its_limit():
    """The same for each header."""
    value = "a" * (LINE_BYTES - len("X: \r\n"))
    assert read(upgrade("/", ("X", value)))[1] == b""
    assert refused(upgrade("/", ("X", value + "a"))).status == 431


def test_number_of_headers_at_and_past_its_limit():
    """128, as websockets takes."""
    others = upgrade("/").count(b"\r\n") - 2
    headers = [(f"X{n}", "1") for n in range(HEADERS - others)]
    assert read(upgrade("/", *headers))[1] == b""
    assert refused(upgrade("/", *headers, ("Y", "1"))).status == 431


@pytest.mark.parametrize("pieces", [None, 1, 1000, 4096])
def test_request_at_and_past_its_limit(pieces):
    """16 KiB in all, however they come."""
    assert feed_all(padded(REQUEST_BYTES), pieces) == b""
    assert refused(padded(REQUEST_BYTES + 1), pieces).status == 431


def test_request_without_end_is_not_gathered_for_ever():
    """Past the limit it is refused, complete or not."""
    assert refused(upgrade("/", *[("X", "a" * 3000)] * 5)[:-4] + b"a" * 3000).status == 431


NO_REQUESTS = {
    "TLS": bytes.fromhex("1603010200010001fc0303"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: gateway\n\n",
    "empty line first": b"\r\n" + upgrade(),
    "zeros": b"\0" * 20,
    "path that is not ASCII": upgrade("/\xe9"),
    "no method": upgrade(method=""),
    "bare LF in a header": upgrade("/", ("X", "a\nY: b")),
    "chunked body": upgrade("/", ("Transfer-Encoding", "chunked")),
    "bare LF further down": b"GET / HTTP/1.1\r\nHost: gateway\nX: 1\r\n\r\n",
    "chunked body, lower case": upgrade("/", ("transfer-encoding", "chunked")),
}


@pytest.mark.parametrize("data", NO_REQUESTS.values(), ids=NO_REQUESTS)
def test_what_is_no_request_is_told_from_a_bad_one(data):
    """It gets no answer, and is not waited for."""
    assert type(refused(data)) is NotARequest
    assert type(refused(data, 1)) is NotARequest


@pytest.mark.parametrize("value", ["a\0b", "\x1b[2J", "a\rb", "\x7f"])
def test_control_character_in_a_header_is_a_bad_request(value):
    """Said so, where websockets says nothing; a tab is none."""
    assert refused(upgrade("/", ("X", value))).status == 400
    assert type(refused(upgrade("/", ("X", value)))) is HandshakeRefused
    assert read(upgrade("/", ("X", "a\tb")))[1] == b""


def test_a_length_of_zero_is_no_body():
    """Some devices send one."""
    assert read(upgrade("/", ("Content-Length", "0")))[1] == b""


@pytest.mark.parametrize("byte", [0x00, 0x07, 0x08, 0x0B, 0x0D, 0x1B, 0x1F, 0x7F])
@pytest.mark.parametrize("pieces", [None, 1])
def test_control_character_in_a_header_is_told(byte, pieces):
    """400, where websockets would end the connection without a word."""
    data = upgrade(Device_Id=f"a{chr(byte)}b")
    caught = refused(data, pieces)
    assert (type(caught), caught.status) == (HandshakeRefused, 400)
    assert caught.reason.startswith("malformed header")


@pytest.mark.parametrize("value", ["a\tb", "\t", "\xe9", "\x80", "~ !"])
def test_other_characters_of_a_header_are_for_websockets(value):
    """Tabs and what is not ASCII are taken by it."""
    head, rest = read(upgrade(X_Note=value))
    assert rest == b""
    parser = ServerProtocol()
    parser.receive_data(head.canonical())
    assert len(parser.events_received()) == 1


@settings(deadline=None)
@given(st.one_of(st.binary(), st.binary().map(lambda more: upgrade()[:-2] + more)), st.integers(1, 40))
def test_any_bytes_are_read_the_same_in_any_pieces(data, size):
    """The same rest, the same refusal, or the same waiting; nothing else comes out."""

    def outcome(pieces: list[bytes]) -> object:
        head = RequestHead()
        try:
            for index, piece in enumerate(pieces):
                rest = head.feed(piece)
                if rest is not None:
                    return rest + b"".join(pieces[index + 1 :])
        except HandshakeRefused as error:
            return error.status
        return None

    assert outcome([data[n : n + size] for n in range(0, len(data), size)]) == outcome([data] if data else [])
