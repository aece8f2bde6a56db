"""Everything a peer should not send, against a whole gateway: the exact answer, no error of ours, and all else is well.

Each row ends with another device being served, and with a log that has no error in it (`tests.raw_gateway`).
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from gateway.config import (
    AuthConfig,
    DrainConfig,
    HandoverConfig,
    HandshakeConfig,
    HeartbeatConfig,
    LimitsConfig,
)
from gateway.identity import DeviceId
from gateway.observe.events import AckIgnored, AudioFrameDropped, HandshakeRefused, MessageRejected
from gateway.protocol.tokens import mint
from tests.raw_gateway import RawGateway, token_of, until
from tests.raw_peer import BINARY, CLOSE, CONT, KEY, PING, PONG, TEXT, Answer, RawPeer, Received, frame, say, upgrade

SECRET = "Zx9secret"
"""Stands in what is sent; it must not come back."""
GOOD_ORIGIN = "https://bench.example"
AUTH_KEY = "a key of more than sixteen characters"

Serve = Callable[..., AbstractAsyncContextManager[RawGateway]]


@pytest.fixture
def serve(caplog: pytest.LogCaptureFixture) -> Serve:
    """Return a context manager: a gateway with these settings."""
    return lambda server=None, **sections: RawGateway(caplog, server, **sections)


# --- the handshake -----------------------------------------------------------------------------------------------

OK, NO_ANSWER = 101, None
MAC = "a0:b1:c2:d3:e4:f5"
REQUESTS: dict[str, tuple[bytes, int | None]] = {
    "good": (upgrade(Device_Id=MAC), OK),
    "second path": (upgrade("/supie/v1/"), OK),
    "path without its last slash": (upgrade("/xiaozhi/v1"), OK),
    "no id at all": (upgrade(), OK),
    "Connection of Firefox": (upgrade(Connection="keep-alive, Upgrade"), OK),
    "permessage-deflate offered": (upgrade(Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits"), OK),
    "empty body": (upgrade(Content_Length="0"), OK),
    "no Origin": (upgrade(), OK),
    "allowed Origin": (upgrade(Origin=GOOD_ORIGIN), OK),
    "other Origin": (upgrade(Origin="https://" + SECRET), 403),
    "Origin null": (upgrade(Origin="null"), 403),
    "Origin with a port": (upgrade(Origin=GOOD_ORIGIN + ":8443"), 403),
    "two Origins": (upgrade("/xiaozhi/v1/", ("Origin", GOOD_ORIGIN), ("Origin", GOOD_ORIGIN)), 400),
    "unknown path": (upgrade(f"/{SECRET}/"), 404),
    "root": (upgrade("/"), 404),
    "path traversal": (upgrade("/xiaozhi/v1/../v1/"), 404),
    "absolute URL": (upgrade("http://gateway/xiaozhi/v1/"), 404),
    "no key": (upgrade(drop=["Sec-WebSocket-Key"]), 400),
    "short key": (upgrade(Sec_WebSocket_Key="c2hvcnQ="), 400),
    "key not base64": (upgrade(Sec_WebSocket_Key="!!!!"), 400),
    "key twice": (upgrade("/xiaozhi/v1/", ("Sec-WebSocket-Key", KEY)), 400),
    "version 8": (upgrade(Sec_WebSocket_Version="8"), 426),
    "no version": (upgrade(drop=["Sec-WebSocket-Version"]), 426),
    "version twice": (upgrade("/xiaozhi/v1/", ("Sec-WebSocket-Version", "13")), 400),
    "no Upgrade": (upgrade(drop=["Upgrade"]), 426),
    "no Connection": (upgrade(drop=["Connection"]), 426),
    "Upgrade to h2c": (upgrade(Upgrade="h2c"), 426),
    "Upgrade stripped by a proxy": (upgrade(drop=["Upgrade", "Connection"]), 426),
    "POST": (upgrade(method="POST"), 405),
    "HTTP/1.0": (upgrade(protocol="HTTP/1.0"), 505),
    "line of 9000 bytes": (upgrade("/xiaozhi/v1/", ("X", "a" * 9000)), 431),
    "200 headers": (upgrade("/xiaozhi/v1/", *[(f"X{n}", "1") for n in range(200)]), 431),
    "20 KB in all": (upgrade("/xiaozhi/v1/", *[("X", "a" * 5000)] * 4), 431),
    "path of 9000 bytes": (upgrade("/" + "a" * 9000), 414),
    "empty id": (upgrade(Device_Id=""), 400),
    "id of quotes": (upgrade(Device_Id='"\'"'), 400),
    "id of 64 characters": (upgrade(Device_Id="x" * 64), OK),
    "id of 65 characters": (upgrade(Device_Id="x" * 65), 400),
    "control character in the id": (upgrade("/xiaozhi/v1/?device-id=a%07b"), 400),
    "NUL in the id": (upgrade("/xiaozhi/v1/?device-id=%00"), 400),
    "new line in the id": (upgrade("/xiaozhi/v1/?device-id=a%0d%0aX:1"), 400),
    "query not UTF-8": (upgrade("/xiaozhi/v1/?device-id=%ff"), 400),
    "hundred query fields": (upgrade("/xiaozhi/v1/?" + "&".join(["a=1"] * 100)), 400),
    "two ids that differ": (upgrade("/xiaozhi/v1/?device-id=one", Device_Id="two"), 400),
    "two ids that are one": (upgrade("/xiaozhi/v1/?device-id=%22ONE%22", Device_Id="one"), OK),
    "id twice": (upgrade("/xiaozhi/v1/", ("Device-Id", "a"), ("Device-Id", "a")), 400),
    "client id with a bar": (upgrade(Client_Id="a|b"), 400),
    "framing 4": (upgrade(Protocol_Version="4"), 400),
    "framing words": (upgrade(Protocol_Version=SECRET), 400),
    "body": (upgrade(Content_Length="5") + b"hello", NO_ANSWER),
    "chunked body": (upgrade(Transfer_Encoding="chunked") + b"0\r\n\r\n", NO_ANSWER),
    "header without colon": (b"GET /xiaozhi/v1/ HTTP/1.1\r\nHost gateway\r\n\r\n", NO_ANSWER),
    "NUL in a header": (upgrade(Device_Id="a\0b"), 400),
    "escape in a header": (upgrade(User_Agent="\x1b[2J"), 400),
    "id of a generated one": (upgrade(Device_Id="auto-00c0ffee"), 400),
    "id of everybody": (upgrade(Device_Id="broadcast"), 400),
    "bare LF": (b"GET /xiaozhi/v1/ HTTP/1.1\nHost: gateway\n\n", NO_ANSWER),
    "path not ASCII": (upgrade("/\xe9"), NO_ANSWER),
    "empty line first": (b"\r\n\r\n" + upgrade(), NO_ANSWER),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NO_ANSWER),
    "HTTP/0.9": (b"GET /xiaozhi/v1/\r\n\r\n", NO_ANSWER),
    "TLS": (bytes.fromhex("1603010200010001fc0303") + bytes(100), NO_ANSWER),
    "garbage": (b"\0\1\2\3" * 50, NO_ANSWER),
}


@pytest.mark.parametrize(("request_", "status"), REQUESTS.values(), ids=REQUESTS)
async def test_request(serve: Serve, request_: bytes, status: int | None):
    """The status; recorded once where it is a refusal; nothing of the input in the answer; and then the end."""
    async with serve({"allowed_origins": [GOOD_ORIGIN]}) as house:
        peer = await house.ask(request_)
        if status is NO_ANSWER:
            assert await peer.end() == b""
            assert [event.status for event in house.of(HandshakeRefused)] == [400]
            return
        answer = await peer.answer()
        assert answer.status == status
        if status == OK:
            assert not {"sec-websocket-extensions", "sec-websocket-protocol"} & set(answer.headers)
            return
        assert SECRET not in repr(answer)
        assert answer.headers.get("upgrade") == ("websocket" if status == 426 else None)
        assert answer.headers.get("allow") == ("GET" if status == 405 else None)
        assert answer.headers["connection"] == "close"
        assert await peer.end() == b""
        (event,) = house.of(HandshakeRefused)
        assert (event.status, event.address) == (status, "127.0.0.1")
        assert SECRET not in event.reason


@pytest.mark.parametrize("path", ["/", "/xiaozhi/v1/", "/any/path?with=query"])
@pytest.mark.parametrize("protocol", ["HTTP/1.1", "HTTP/1.0"])
async def test_plain_get_is_no_bad_input(serve: Serve, path: str, protocol: str):
    """People's port check, on every path; it is no refusal."""
    async with serve() as house:
        peer = await house.ask(f"GET {path} {protocol}\r\nHost: gateway\r\n\r\n".encode())
        answer = await peer.answer()
        assert (answer.status, answer.body) == (200, b"Server is running\n")
        assert await peer.end() == b""
        assert house.of(HandshakeRefused) == []


async def test_plain_head_has_no_body(serve: Serve):
    """As HTTP has it."""
    async with serve() as house:
        peer = await house.ask(b"HEAD / HTTP/1.1\r\nHost: gateway\r\n\r\n")
        assert (await peer.end()).partition(b"\r\n\r\n")[2] == b""


@pytest.mark.parametrize("sent", [b"", upgrade()[:60], upgrade()[:-1]], ids=["nothing", "half", "all but a byte"])
async def test_request_that_does_not_end(serve: Serve, sent: bytes):
    """Closed without an answer at the open timeout."""
    async with serve(handshake=HandshakeConfig(open_timeout=0.1)) as house:
        peer = await house.connect()
        if sent:
            await peer.send(sent)
        assert await peer.end() == b""
        assert [event.status for event in house.of(HandshakeRefused)] == [408]


# --- tokens ------------------------------------------------------------------------------------------------------

NOW = time.time()
GOOD_TOKEN = mint(AUTH_KEY, "client", DeviceId(MAC), NOW)
IDS = {"Device_Id": MAC, "Client_Id": "client"}
TOKENS: dict[str, tuple[dict[str, str], int]] = {
    "good": ({"Authorization": f"Bearer {GOOD_TOKEN}"}, OK),
    "without its scheme": ({"Authorization": GOOD_TOKEN}, OK),
    "none": ({}, 401),
    "empty": ({"Authorization": ""}, 401),
    "scheme alone": ({"Authorization": "Bearer"}, 401),
    "words": ({"Authorization": f"Bearer {SECRET}"}, 401),
    "not ASCII": ({"Authorization": "Bearer \xe9" + GOOD_TOKEN}, 401),
    "of another key": (
        {"Authorization": "Bearer " + mint("another key of enough length", "client", DeviceId(MAC), NOW)},
        401,
    ),
    "of another client": ({"Authorization": f"Bearer {GOOD_TOKEN}", "Client_Id": "someone"}, 401),
    "of another device, unknown here": ({"Authorization": f"Bearer {GOOD_TOKEN}", "Device_Id": "other"}, 401),
    "expired": ({"Authorization": "Bearer " + mint(AUTH_KEY, "client", DeviceId(MAC), NOW - 31 * 86400)}, 401),
    "of the future": ({"Authorization": "Bearer " + mint(AUTH_KEY, "client", DeviceId(MAC), NOW + 86_400)}, 401),
    "of a clock that is a little ahead": (
        {"Authorization": "Bearer " + mint(AUTH_KEY, "client", DeviceId(MAC), NOW + 200)},
        OK,
    ),
    "signature cut": ({"Authorization": "Bearer " + GOOD_TOKEN[1:]}, 401),
    "date changed": ({"Authorization": f"Bearer {GOOD_TOKEN[:-1]}x"}, 401),
}


@asynccontextmanager
async def guarded(serve: Serve, **auth: Any) -> AsyncIterator[RawGateway]:
    """A gateway that asks for tokens; at the end it serves a device that has one."""
    async with serve(auth=AuthConfig(enabled=True, key=AUTH_KEY, **auth)) as house:
        house.serves = False
        yield house
        token = mint(AUTH_KEY, "c", DeviceId("another-device"), time.time())
        peer = await house.open("another-device", Client_Id="c", Authorization=f"Bearer {token}")
        await peer.send(say({"type": "ping"}))
        assert await peer.message() == {"type": "pong"}


@pytest.mark.parametrize(("headers", "status"), TOKENS.values(), ids=TOKENS)
async def test_token(serve: Serve, headers: dict[str, str], status: int):
    """401 with the challenge, before any state exists."""
    async with guarded(serve) as house:
        peer = await house.ask(upgrade(**(IDS | headers)))
        answer = await peer.answer()
        assert answer.status == status
        if status != OK:
            assert answer.headers["www-authenticate"].startswith('Bearer realm="wsdevice"')
            assert SECRET not in repr(answer)
            assert GOOD_TOKEN not in repr(answer) + repr(house.records.all)
            assert len(house.gateway.registry) == 0
            assert await peer.end() == b""


async def test_token_that_was_made_for_another_device(serve: Serve):
    """Known here, so it is told from a wrong one: 403."""
    async with guarded(serve) as house:
        token = await token_of(house.gateway, "device-a", "client")
        good = await house.ask(upgrade(Device_Id="device-a", Client_Id="client", Authorization=f"Bearer {token}"))
        assert (await good.answer()).status == OK
        bad = await house.ask(upgrade(Device_Id="device-b", Client_Id="client", Authorization=f"Bearer {token}"))
        answer = await bad.answer()
        assert answer.status == 403
        assert token not in repr(answer)


@pytest.mark.parametrize("field", ["authorization", "token"])
@pytest.mark.parametrize(
    ("allowed", "token", "status"),
    [(True, GOOD_TOKEN, OK), (True, SECRET, 401), (True, "", 401), (False, GOOD_TOKEN, 400), (False, SECRET, 400)],
    ids=["good", "bad", "none", "good, not allowed", "bad, not allowed"],  # a token has its date in it
)
async def test_token_in_the_query(serve: Serve, field: str, allowed: bool, token: str, status: int):
    """Only where that is configured; refused even beside a good header, as it stands in every proxy's log."""
    async with guarded(serve, query_token=allowed) as house:
        headers = IDS if allowed else IDS | {"Authorization": f"Bearer {GOOD_TOKEN}"}
        peer = await house.ask(upgrade(f"/xiaozhi/v1/?{field}=Bearer%20{token}", **headers))
        assert (await peer.answer()).status == status
        assert GOOD_TOKEN not in repr(house.records.all)


async def test_device_that_is_not_on_the_list(serve: Serve):
    """403; the list is compared in the one form of ids."""
    async with guarded(serve, allowed_devices=[MAC.upper(), "another-device"]) as house:
        for device, status in ((MAC, OK), ("stranger", 403)):
            token = mint(AUTH_KEY, "client", DeviceId(device), time.time())
            peer = await house.ask(upgrade(Device_Id=device, Client_Id="client", Authorization=f"Bearer {token}"))
            assert (await peer.answer()).status == status


async def test_taking_over_another_clients_device(serve: Serve):
    """Where only the same client may: 403, and the connection that is there does not notice."""
    async with serve(auth=AuthConfig(takeover="same_client")) as house:
        here = await house.device(MAC, Client_Id="one")
        other = await house.ask(upgrade(Device_Id=MAC, Client_Id="two"))
        assert (await other.answer()).status == 403
        await here.send(say({"type": "ping"}))
        assert await here.message() == {"type": "pong"}


# --- too many ----------------------------------------------------------------------------------------------------


def seconds_to_wait(headers: Any) -> int:
    """What Retry-After says."""
    assert headers["retry-after"].isdigit()
    return int(headers["retry-after"])


async def test_device_that_flaps(serve: Serve):
    """429 with the time to wait; the last connection that got in stays."""
    async with serve(handover=HandoverConfig(replacements=2, refusal=3.0)) as house:
        peers = [await house.device(MAC) for _ in range(4)]
        refused = await house.ask(upgrade(Device_Id=MAC))
        answer = await refused.answer()
        assert answer.status == 429
        assert 1 <= seconds_to_wait(answer.headers) <= 3
        await peers[-1].send(say({"type": "ping"}))
        assert await peers[-1].message() == {"type": "pong"}


async def test_too_many_handshakes_from_one_address(serve: Serve):
    """429 with the time to wait; after it, one more."""
    async with serve(handshake=HandshakeConfig(per_address_per_minute=120)) as house:
        answers = [await knock(house)]
        while answers[-1].status == OK:
            answers.append(await knock(house))
        assert len(answers) > 120
        assert (answers[-1].status, seconds_to_wait(answers[-1].headers)) == (429, 1)
        while (await knock(house)).status == 429:  # noqa: ASYNC110 - time is what it waits for
            await asyncio.sleep(0.05)
        house.serves = False  # it has, and its address is in debt again


async def knock(house: RawGateway) -> Answer:
    """Ask for an upgrade, and leave."""
    peer = await house.ask(upgrade())
    answer = await peer.answer()
    peer.cut()
    return answer


async def test_full(serve: Serve):
    """503 with the time to wait, until one goes."""
    async with serve({"max_connections": 2}) as house:
        first, _ = await house.device("one"), await house.device("two")
        peer = await house.ask(upgrade())
        answer = await peer.answer()
        assert answer.status == 503
        assert seconds_to_wait(answer.headers) >= 1
        first.cut()
        await until(lambda: len(house.gateway.registry) == 1)


async def test_draining(serve: Serve):
    """503 with the time to wait; those that are here are closed with 1012."""
    async with serve(drain=DrainConfig(spread=0.4, grace=5.0)) as house:
        here = [await house.device(f"device-{n}") for n in range(4)]
        drain = asyncio.create_task(house.gateway.drain())
        await until(lambda: house.gateway.is_draining)
        peer = await house.ask(upgrade())
        answer = await peer.answer()
        assert answer.status == 503
        assert seconds_to_wait(answer.headers) == 5
        for one in here:
            found = await one.frame()
            assert (found.opcode, found.code) == (CLOSE, 1012)
            await one.send(frame(CLOSE, found.payload))
            one.cut()
        await drain
        house.serves = False


# --- frames ------------------------------------------------------------------------------------------------------


def close(code: int, reason: bytes = b"") -> bytes:
    """A Close frame."""
    return frame(CLOSE, struct.pack(">H", code) + reason)


FRAMES: dict[str, tuple[bytes, int]] = {
    "unmasked": (frame(TEXT, b"hi", mask=None), 1002),
    "reserved bit 1": (frame(TEXT, b"hi", rsv=0x40), 1002),
    "reserved bit 3": (frame(BINARY, b"hi", rsv=0x10), 1002),
    "opcode 3": (frame(3), 1002),
    "opcode 11": (frame(11), 1002),
    "ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "ping in pieces": (frame(PING, b"x", fin=False), 1002),
    "stray continuation": (frame(CONT, b"x"), 1002),
    "message within a message": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    "close of one byte": (frame(CLOSE, b"x"), 1002),
    "close 999": (close(999), 1002),
    "close 1004": (close(1004), 1002),
    "close 1005": (close(1005), 1002),
    "close 1006": (close(1006), 1002),
    "close 1015": (close(1015), 1002),
    "close 1016": (close(1016), 1002),
    "close 2999": (close(2999), 1002),
    "close 5000": (close(5000), 1002),
    "close reason not UTF-8": (close(1000, b"\xff"), 1007),
    "close 1000": (close(1000), 1000),
    "close 1001": (close(1001, b"bye"), 1001),
    "close 1012": (close(1012), 1012),
    "close 1014": (close(1014), 1014),
    "close 3000": (close(3000), 3000),
    "close 4001": (close(4001), 4001),
    "close 4999": (close(4999), 4999),
    "text not UTF-8": (frame(TEXT, b'{"type":"ping"}\xff'), 1007),
    "text with a surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "text cut within a character": (frame(TEXT, b'"\xe6\xa3"'), 1007),
    "pieces not UTF-8": (frame(TEXT, b"\xce", fin=False) + frame(CONT, b"\xff"), 1007),
    "text of 64 KiB + 1": (frame(TEXT, b" " * 65537), 1009),
    "binary of 16 KiB + 1": (frame(BINARY, b" " * 16385), 1009),
    "text in pieces, 64 KiB + 1": (frame(TEXT, b" " * 40000, fin=False) + frame(CONT, b" " * 25537), 1009),
    "binary in pieces, 16 KiB + 1": (frame(BINARY, b" " * 16384, fin=False) + frame(CONT, b" "), 1009),
    "declared 2^62": (frame(TEXT, length=2**62), 1009),
    "declared 2^63": (frame(BINARY, length=2**63), 1009),
}


@pytest.mark.parametrize(("data", "code"), FRAMES.values(), ids=FRAMES)
async def test_frame(serve: Serve, data: bytes, code: int):
    """The Close code, then the end; nothing that follows is heard."""
    async with serve() as house:
        peer = await house.device()
        await peer.send(data + say({"type": "ping"}))
        assert await peer.closed() == code
        peer.cut()
        await until(lambda: len(house.gateway.registry) == 0)


async def test_close_without_a_code_is_echoed_as_it_is(serve: Serve):
    """Empty for empty."""
    async with serve() as house:
        peer = await house.device()
        await peer.send(frame(CLOSE))
        assert await peer.all_frames() == [Received(CLOSE, b"")]


async def test_more_than_4096_fragments(serve: Serve):
    """1009, however small they are; the read budget makes the flood slow, so it is raised here."""
    async with serve(limits=LimitsConfig(frames_per_second=1e6, frame_burst=100_000)) as house:
        peer = await house.device()
        pieces = frame(TEXT, b'{"type":', fin=False) + frame(CONT, b"", fin=False) * 4094
        await peer.send(pieces + frame(CONT, b'"ping"}'))
        assert await peer.message() == {"type": "pong"}
        await peer.send(pieces + frame(CONT, b"", fin=False) * 2)
        assert await peer.closed() == 1009


FINE_FRAMES: dict[str, bytes] = {
    "non-minimal length": b"\x81\xfe\x00\x0f\0\0\0\0" + b'{"type":"ping"}',
    "text of 64 KiB": say(json.dumps({"type": "ping"}).ljust(65536)),
    "text in pieces, 64 KiB": frame(TEXT, b'{"type":"ping"}', fin=False) + frame(CONT, b" " * (65536 - 15)),
    "binary of 16 KiB": frame(BINARY, b"x" * 16384) + say({"type": "ping"}),
    "binary in pieces, 16 KiB": frame(BINARY, b"x" * 16383, fin=False) + frame(CONT, b"x") + say({"type": "ping"}),
    "unasked pong": frame(PONG, b"zz") + say({"type": "ping"}),
    "single bytes in pieces": b"".join(
        frame(CONT if n else TEXT, bytes([byte]), fin=n == 14) for n, byte in enumerate(b'{"type":"ping"}')
    ),
}


@pytest.mark.parametrize("data", FINE_FRAMES.values(), ids=FINE_FRAMES)
async def test_frame_that_is_just_allowed(serve: Serve, data: bytes):
    """At its limit, or odd: taken."""
    async with serve() as house:
        peer = await house.device()
        await peer.send(data)
        assert await peer.message() == {"type": "pong"}


# --- text messages -----------------------------------------------------------------------------------------------


def nested(depth: int) -> str:
    """A ping whose value nests so that the whole is that deep."""
    return '{"type":"ping","x":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


BAD_JSON: dict[str, str] = {
    "empty": "",
    "white space": "  ",
    "word": SECRET,
    "half": '{"type":"ping"',
    "two objects": '{"type":"ping"}{"type":"ping"}',
    "array": '[{"type":"ping"}]',
    "number": "1",
    "string": '"ping"',
    "null": "null",
    "NaN": '{"type":"ping","x":NaN}',
    "Infinity": '{"type":"ping","x":-Infinity}',
    "1e999": '{"type":"ping","x":1e999}',
    "integer of 65 bits": '{"type":"ping","x":36893488147419103232}',
    "integer of 5000 digits": '{"type":"ping","x":' + "9" * 5000 + "}",
    "same key twice": '{"type":"ping","type":"ping"}',
    "same key twice, spelled differently": '{"type":"ping","\\u0074ype":"ping"}',
    "same key twice, deep inside": '{"type":"ping","x":[{"a":1,"a":2}]}',
    "lone surrogate": '{"type":"ping","x":"\\ud800"}',
    "lone surrogate as key": '{"type":"ping","\\udfff":1}',
    "control character": '{"type":"ping","x":"\n"}',
    "single quotes": "{'type':'ping'}",
    "comment": '{"type":"ping"/*x*/}',
    "trailing comma": '{"type":"ping",}',
    "byte order mark": '\ufeff{"type":"ping"}',
    "33 levels": nested(33),
    "30,000 levels": nested(30000),
    "unclosed levels": "[" * 60000,
}
BAD_TYPE: dict[str, Any] = {
    "missing": {},
    "null": {"type": None},
    "number": {"type": 7},
    "boolean": {"type": True},
    "array": {"type": ["ping"]},
    "object": {"type": {"ping": SECRET}},
    "empty": {"type": ""},
}
UNKNOWN_TYPE: dict[str, Any] = {
    "word": {"type": SECRET},
    "upper case": {"type": "PING"},
    "space behind": {"type": "ping "},
    "long": {"type": SECRET * 1000},
    "control characters": {"type": "\u0000\u001b[2J"},
    "admin of the original server": {"type": "server", "action": "restart", "content": {"secret": SECRET}},
    "downlink": {"type": "tts", "state": "start"},
    "error": {"type": "error"},
}
BAD_SCHEMA: dict[str, Any] = {
    "listen without state": {"type": "listen"},
    "listen state": {"type": "listen", "state": SECRET},
    "listen mode": {"type": "listen", "state": "start", "mode": SECRET},
    "listen text": {"type": "listen", "state": "detect", "text": [SECRET]},
    "abort reason": {"type": "abort", "reason": {"a": SECRET}},
    "mcp without payload": {"type": "mcp"},
    "mcp payload": {"type": "mcp", "payload": SECRET},
    "iot update": {"type": "iot", "update": SECRET},
    "mode without state": {"type": "mode", "mode": "meeting"},
    "mode state": {"type": "mode", "state": SECRET, "mode": "meeting"},
    "mode": {"type": "mode", "state": "start", "mode": SECRET},
    "workflow without event": {"type": "workflow"},
    "workflow event": {"type": "workflow", "event": SECRET},
    "workflow tasks missing": {"type": "workflow", "event": "update"},
    "workflow tasks": {"type": "workflow", "event": "update", "tasks": SECRET},
    "workflow task": {"type": "workflow", "event": "update", "tasks": [7]},
    "workflow 101 tasks": {"type": "workflow", "event": "update", "tasks": ["x"] * 101},
    "workflow 8 KB of tasks": {"type": "workflow", "event": "update", "tasks": ["x" * 8000]},
    "workflow delay": {"type": "workflow", "event": "snapshot", "delay_ms": SECRET},
    "workflow delay true": {"type": "workflow", "event": "snapshot", "delay_ms": True},
}
TEXTS = {
    **{f"{code}: {name}": (text, code) for code, rows in (("BAD_JSON", BAD_JSON),) for name, text in rows.items()},
    **{f"BAD_TYPE: {name}": (message, "BAD_TYPE") for name, message in BAD_TYPE.items()},
    **{f"UNKNOWN_TYPE: {name}": (message, "UNKNOWN_TYPE") for name, message in UNKNOWN_TYPE.items()},
    **{f"SCHEMA_INVALID: {name}": (message, "SCHEMA_INVALID") for name, message in BAD_SCHEMA.items()},
}


@pytest.mark.parametrize(("message", "code"), TEXTS.values(), ids=TEXTS)
async def test_text(serve: Serve, message: Any, code: str):
    """One error that does not repeat the input, and the connection goes on."""
    async with serve() as house:
        peer = await house.device()
        await peer.send(say(message) + say({"type": "ping"}))
        error = await peer.message()
        assert (error["type"], error["code"]) == ("error", code)
        assert SECRET not in str(error)
        assert 0 < len(error["message"]) <= 200
        assert await peer.message() == {"type": "pong"}
        assert [event.code for event in house.of(MessageRejected)] == [code]


@pytest.mark.parametrize("text", [nested(32), '{"a":{"type":1},"type":"ping","b":"\\":"}'], ids=["32 levels", "odd"])
async def test_text_that_is_just_allowed(serve: Serve, text: str):
    """At the limit, or looking like a fault."""
    async with serve() as house:
        peer = await house.device()
        await peer.send(say(text))
        assert await peer.message() == {"type": "pong"}


@pytest.mark.parametrize("session_id", [None, "", "stale", 7, {}], ids=str)
async def test_session_id_is_never_looked_at(serve: Serve, session_id: Any):
    """It is absent, empty or stale in the field."""
    async with serve() as house:
        peer = await house.device()
        await peer.send(say({"type": "mode", "state": "start", "mode": "coding", "session_id": session_id}))
        assert await peer.message() == {"type": "mode", "status": "ok", "state": "start", "mode": "coding"}


async def test_unknown_type_is_told_once(serve: Serve):
    """Per type and connection."""
    async with serve() as house:
        peer = await house.device()
        for _ in range(50):
            await peer.send(say({"type": "glyph"}))
        await peer.send(say({"type": "other"}) + say({"type": "glyph"}) + say({"type": "ping"}))
        messages = [await peer.message() for _ in range(3)]
        assert [one.get("code") for one in messages] == ["UNKNOWN_TYPE", "UNKNOWN_TYPE", None]
        again = await house.device("device-2")
        await again.send(say({"type": "glyph"}))
        assert (await again.message())["code"] == "UNKNOWN_TYPE"


async def test_more_than_twenty_errors(serve: Serve):
    """Twenty in ten seconds are answered; the 21st too, and then 1008."""
    async with serve() as house:
        peer = await house.device()
        await peer.send(say("{") * 20 + say({"type": "ping"}))
        assert [(await peer.message()).get("code") for _ in range(21)] == ["BAD_JSON"] * 20 + [None]
        await peer.send(say("{") * 30)
        frames = [await peer.frame(), await peer.frame()]
        assert frames[0].message["code"] == "BAD_JSON"
        assert (frames[1].opcode, frames[1].code) == (CLOSE, 1008)


BAD_HELLOS: dict[str, dict[str, Any]] = {
    "version a string": {"version": "1"},
    "version 0": {"version": 0},
    "version true": {"version": True},
    "transport a number": {"transport": 1},
    "features a list": {"features": [SECRET]},
    "audio_params a list": {"audio_params": []},
    "audio_params null": {"audio_params": None},
    "rate 0": {"audio_params": {"sample_rate": 0}},
    "rate a string": {"audio_params": {"sample_rate": "16000"}},
    "three channels": {"audio_params": {"channels": 3}},
    "frame of 1000 ms": {"audio_params": {"frame_duration": 1000}},
    "format a number": {"audio_params": {"format": 7}},
}


@pytest.mark.parametrize("wrong", BAD_HELLOS.values(), ids=BAD_HELLOS)
async def test_hello(serve: Serve, wrong: dict[str, Any]):
    """Answered with all that the firmware needs, then one BAD_HELLO; it stays open, with defaults."""
    async with serve() as house:
        peer = await house.open()
        await peer.send(say({"type": "hello", "version": 1, "transport": "websocket"} | wrong))
        answer, error = await peer.message(), await peer.message()
        assert answer["transport"] == "websocket"
        assert set(answer) >= {"type", "version", "session_id", "audio_params"}
        assert all(type(answer["audio_params"][name]) is int for name in ("sample_rate", "frame_duration", "channels"))
        assert (error["type"], error["code"]) == ("error", "BAD_HELLO")
        assert SECRET not in str(error)
        await peer.send(say({"type": "ping"}))
        assert await peer.message() == {"type": "pong"}


async def test_nothing_said_by_a_generated_id(serve: Serve):
    """4002; a device with a name may be silent."""
    async with serve(handshake=HandshakeConfig(hello_timeout=0.2, alive_after=0.05)) as house:
        nameless, named = await house.open(None), await house.open("named")
        found = await nameless.frame()
        assert (found.opcode, found.code) == (CLOSE, 4002)
        await named.send(say({"type": "ping"}))
        assert await named.message() == {"type": "pong"}


# --- peer messages -----------------------------------------------------------------------------------------------

PEERS: dict[str, tuple[dict[str, Any], str]] = {
    "to missing": ({"to": ...}, "INVALID_REQUEST"),
    "to null": ({"to": None}, "INVALID_REQUEST"),
    "to empty list": ({"to": []}, "INVALID_REQUEST"),
    "to empty string": ({"to": ""}, "INVALID_REQUEST"),
    "to a number": ({"to": 7}, "INVALID_REQUEST"),
    "to true": ({"to": True}, "INVALID_REQUEST"),
    "to an object": ({"to": {SECRET: 1}}, "INVALID_REQUEST"),
    "to nested": ({"to": [["b"]]}, "INVALID_REQUEST"),
    "to with a number": ({"to": ["b", 7]}, "INVALID_REQUEST"),
    "to with an empty id": ({"to": ["b", " "]}, "INVALID_REQUEST"),
    "to with a long id": ({"to": ["b", "x" * 65]}, "INVALID_REQUEST"),
    "to with control characters": ({"to": ["a\u0000b"]}, "INVALID_REQUEST"),
    "to eleven": ({"to": [f"d{n}" for n in range(11)]}, "INVALID_REQUEST"),
    "to broadcast and one": ({"to": ["broadcast", "b"]}, "INVALID_REQUEST"),
    "payload missing": ({"payload": ...}, "SCHEMA_INVALID"),
    "payload null": ({"payload": None}, "SCHEMA_INVALID"),
    "payload a string": ({"payload": SECRET}, "SCHEMA_INVALID"),
    "payload a list": ({"payload": [{}]}, "SCHEMA_INVALID"),
    "payload over 8 KiB": ({"payload": {"text": "x" * 8192}}, "SCHEMA_INVALID"),
    "ttl_ms 0": ({"ttl_ms": 0}, "SCHEMA_INVALID"),
    "ttl_ms a string": ({"ttl_ms": "1000"}, "SCHEMA_INVALID"),
    "ttl_ms true": ({"ttl_ms": True}, "SCHEMA_INVALID"),
    "confirm a string": ({"confirm": "yes"}, "SCHEMA_INVALID"),
    "id empty": ({"id": ""}, "INVALID_REQUEST"),
    "id a number": ({"id": 7}, "INVALID_REQUEST"),
    "id of 129 characters": ({"id": "x" * 129}, "INVALID_REQUEST"),
    "unknown event": ({"event": SECRET}, "INVALID_REQUEST"),
    "event a number": ({"event": 7}, "INVALID_REQUEST"),
    "ack without an id": ({"event": "ack"}, "INVALID_REQUEST"),
    "ack of a number": ({"event": "ack", "id": 7}, "INVALID_REQUEST"),
    "ack of ids that are none": ({"event": "ack", "ids": "abc"}, "INVALID_REQUEST"),
    "ack of nested ids": ({"event": "ack", "ids": [["a"]]}, "INVALID_REQUEST"),
    "ack of 101 ids": ({"event": "ack", "ids": ["a"] * 101}, "INVALID_REQUEST"),
}


@pytest.mark.parametrize(("changed", "code"), PEERS.values(), ids=PEERS)
async def test_peer_message(serve: Serve, changed: dict[str, Any], code: str):
    """A peer error in the seed's shape, nothing for the target, and the connection goes on."""
    async with serve() as house:
        sender, target = await house.device("a"), await house.device("b")
        request = {"type": "peer", "to": ["b"], "payload": {"text": SECRET}} | changed
        await sender.send(say({name: value for name, value in request.items() if value is not ...}))
        error = await sender.message()
        assert (error["type"], error["status"], error["code"]) == ("peer", "error", code)
        assert SECRET not in str(error)
        for peer in (sender, target):
            await peer.send(say({"type": "ping"}))
            assert await peer.message() == {"type": "pong"}


async def receipt(sender: RawPeer, **request: Any) -> dict[str, Any]:
    """Send a peer message and wait for its receipt."""
    await sender.send(say({"type": "peer", "payload": {"text": "x"}} | request))
    answer: dict[str, Any] = await sender.message()
    assert (answer["type"], answer["status"]) == ("peer", "done")
    return answer


async def test_own_id_among_the_targets(serve: Serve):
    """It is in ``failed``, the others are served."""
    async with serve() as house:
        sender = await house.device("a")
        answer = await receipt(sender, to=["A", "away"])
        assert (answer["failed"], answer["enqueued"], answer["targetsCount"]) == (["a"], ["away"], 2)


async def test_repeated_targets_count_once(serve: Serve):
    """In whatever form they are written; ten that differ are allowed."""
    async with serve() as house:
        sender = await house.device("a")
        answer = await receipt(sender, to=["away", "AWAY", " away ", '"away"'])
        assert (answer["enqueued"], answer["targetsCount"]) == (["away"], 1)
        answer = await receipt(sender, to=[f"d{n}" for n in range(10)])
        assert answer["targetsCount"] == 10


async def test_payload_at_its_limit(serve: Serve):
    """8 KiB as JSON text."""
    async with serve() as house:
        sender = await house.device("a")
        answer = await receipt(sender, to="away", payload={"text": "x" * (8192 - len('{"text":""}'))})
        assert answer["enqueued"] == ["away"]


async def test_acknowledgement_of_nothing(serve: Serve):
    """Unknown ids are ignored and counted; it is no error, and nothing is answered."""
    async with serve() as house:
        peer = await house.device("a")
        await peer.send(say({"type": "peer", "event": "ack", "id": "unknown"}))
        await peer.send(say({"type": "peer", "event": "ack", "ids": ["u1", "u2"]}) + say({"type": "ping"}))
        assert await peer.message() == {"type": "pong"}
        assert [event.foreign for event in house.of(AckIgnored)] == [False] * 3
        assert house.of(MessageRejected) == []


async def test_acknowledgement_of_anothers_message(serve: Serve):
    """Ignored, told apart in the records, and the message is still the target's."""
    async with serve() as house:
        sender, target, thief = await house.device("a"), await house.device("b"), await house.device("c")
        await sender.send(say({"type": "peer", "to": "b", "payload": {"text": "x"}, "id": "m1"}))
        wire_id = (await target.message())["id"]
        await thief.send(say({"type": "peer", "event": "ack", "id": wire_id}) + say({"type": "ping"}))
        assert await thief.message() == {"type": "pong"}
        assert [(event.device, event.foreign) for event in house.of(AckIgnored)] == [("c", True)]
        await target.send(say({"type": "peer", "event": "ack", "id": wire_id}))
        answer = await sender.message()
        assert answer["delivered"] == ["b"] or answer["enqueued"] == ["b"]  # the ack may come after 250 ms


# --- meetings ----------------------------------------------------------------------------------------------------

MEETINGS: dict[str, dict[str, Any]] = {
    "phase missing": {},
    "phase unknown": {"phase": SECRET},
    "phase a number": {"phase": 7},
    "items missing": {"phase": "snippet"},
    "items an object": {"phase": "snippet", "items": {"text": SECRET}},
    "items a string": {"phase": "snippet", "items": SECRET},
    "item a string": {"phase": "snippet", "items": [SECRET]},
    "item without text": {"phase": "snippet", "items": [{"tag": "x"}]},
    "item with a blank text": {"phase": "snippet", "items": [{"text": " \n"}]},
    "item with a number": {"phase": "snippet", "items": [{"text": 7}]},
    "one bad item among good ones": {"phase": "snippet", "items": [{"text": "fine"}, {"text": None}]},
    "meeting_id a number": {"phase": "finalize", "meeting_id": 7},
    "meeting_id too long": {"phase": "finalize", "meeting_id": "x" * 129},
    "title a list": {"phase": "finalize", "title": [SECRET]},
    "delay a string": {"phase": "snapshot", "delay_ms": "7"},
    "delay true": {"phase": "snapshot", "delay_ms": True},
}


@pytest.mark.parametrize("fields", MEETINGS.values(), ids=MEETINGS)
async def test_meeting_message(serve: Serve, fields: dict[str, Any]):
    """SCHEMA_INVALID in the seed's shape; nothing of it is taken."""
    async with serve() as house:
        peer = await house.device()
        await peer.send(say({"type": "meeting"} | fields))
        error = await peer.message()
        assert (error["type"], error["status"], error["code"]) == ("meeting", "error", "SCHEMA_INVALID")
        assert SECRET not in str(error)
        await peer.send(say({"type": "meeting", "phase": "snapshot"}))
        assert (await peer.message())["items"] == []


# --- binary frames -----------------------------------------------------------------------------------------------

BAD_AUDIO: dict[str, tuple[int, bytes]] = {
    "1: empty": (1, b""),
    "2: raw Opus": (2, b"opus" * 10),
    "2: version 1 inside": (2, struct.pack(">HHIII", 1, 0, 0, 0, 4) + b"opus"),
    "2: size too large": (2, struct.pack(">HHIII", 2, 0, 0, 0, 5) + b"opus"),
    "2: size too small": (2, struct.pack(">HHIII", 2, 0, 0, 0, 3) + b"opus"),
    "2: half a header": (2, b"\0\2\0\0"),
    "3: size too large": (3, struct.pack(">BBH", 0, 0, 65535) + b"opus"),
    "3: size too small": (3, struct.pack(">BBH", 0, 0, 1) + b"opus"),
    "3: unknown type": (3, struct.pack(">BBH", 7, 0, 4) + b"opus"),
}


@pytest.mark.parametrize(("framing", "data"), BAD_AUDIO.values(), ids=BAD_AUDIO)
async def test_bad_binary_frames(serve: Serve, framing: int, data: bytes):
    """Dropped and counted, whatever the hello said; the twentieth in ten seconds is 1003."""
    async with serve() as house:
        peer = await house.device(Protocol_Version=str(framing), hello={"version": framing % 3 + 1})
        await peer.send(frame(BINARY, data) * 19 + say({"type": "ping"}))
        assert await peer.message() == {"type": "pong"}
        assert [event.why for event in house.of(AudioFrameDropped)] == ["bad_frame"] * 19
        await peer.send(frame(BINARY, data) + say({"type": "ping"}))
        found = await peer.frame()
        assert (found.opcode, found.code) == (CLOSE, 1003)


async def test_binary_before_hello(serve: Serve):
    """The same, with a record of its own."""
    async with serve() as house:
        peer = await house.open()
        await peer.send(frame(BINARY, b"opus") * 20)
        found = await peer.frame()
        assert (found.opcode, found.code) == (CLOSE, 1003)
        assert [event.why for event in house.of(AudioFrameDropped)] == ["before_hello"] * 20


# --- storms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ping", "keepalive", "control"])
async def test_ping_storm(serve: Serve, kind: str):
    """Pongs up to the budget, one RATE_LIMITED, and 4008 after continuous excess."""
    heartbeat = HeartbeatConfig(pongs_per_second=20, pong_burst=10, storm_close_after=0.4)
    # all of it is read, so that the times are those of the storm
    limits = LimitsConfig(frames_per_second=1e6, frame_burst=100_000)
    async with serve(heartbeat=heartbeat, limits=limits) as house:
        peer = await house.device()
        storm = (frame(PING) if kind == "control" else say({"type": kind})) * 20
        began = time.monotonic()
        sending = asyncio.create_task(keep_sending(peer, storm))
        frames = [await peer.frame()]
        while frames[-1].opcode != CLOSE:
            frames.append(await peer.frame())
        seconds = time.monotonic() - began
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert frames[-1].code == 4008
        assert 0.4 <= seconds < 2.0
        pongs = [one for one in frames if one.opcode == PONG or (one.opcode == TEXT and one.message["type"] == "pong")]
        assert 10 <= len(pongs) <= 10 + 20 * seconds + 1
        errors = [one.message for one in frames[:-1] if one not in pongs]
        assert [error["code"] for error in errors] == ["RATE_LIMITED"]


async def keep_sending(peer: RawPeer, data: bytes) -> None:
    """Send without end."""
    try:
        while True:
            await peer.send(data)
            await asyncio.sleep(0.005)
    except ConnectionError:
        pass


async def test_short_burst_of_pings_is_forgiven(serve: Serve):
    """Over the budget for a moment: some are not answered, and that is all."""
    async with serve(heartbeat=HeartbeatConfig(pongs_per_second=20, pong_burst=10, storm_close_after=0.4)) as house:
        peer = await house.device()
        await peer.send(say({"type": "ping"}) * 15)
        messages = [await peer.message() for _ in range(11)]
        assert messages[:10] == [{"type": "pong"}] * 10
        assert messages[10]["code"] == "RATE_LIMITED"
        await asyncio.sleep(0.6)
        await peer.send(say({"type": "ping"}))
        assert await peer.message() == {"type": "pong"}
