"""Errors: what is answered with one, what ends the connection and how, and that nobody else notices."""

from __future__ import annotations

import json

import pytest
from websockets.frames import Frame, Opcode

from harness.errors import ExpectationFailed, FirmwareWouldFail
from pytest_wsdevice.conformance.verdicts import or_else
from pytest_wsdevice.types import Devices, FakeDevice, Gateway, Timeline

pytestmark = pytest.mark.asyncio

SECRET = "Zx9secret"  # noqa: S105 - stands in what is sent, and must not come back
DEPTH = 32

BAD_JSON: dict[str, str] = {
    "cut short": '{"type":"ping"',
    "words": "hello gateway",
    "empty": "",
    "a number": "42",
    "a string": '"ping"',
    "null": "null",
    "a list": '[{"type":"ping"}]',
    "too deep": '{"type":"ping","x":' + "[" * DEPTH + "]" * DEPTH + "}",
    "much too deep": "[" * 20_000,
    "NaN": '{"type":"ping","x":NaN}',
    "infinity": '{"type":"ping","x":-Infinity}',
    "a key twice": '{"type":"ping","type":"ping"}',
    "a lone surrogate": '{"type":"ping","x":"\\ud800"}',
}
BAD_TYPE: dict[str, str] = {
    "missing": '{"text":"ping"}',
    "a number": '{"type":7}',
    "null": '{"type":null}',
    "empty": '{"type":""}',
    "a list": '{"type":["ping"]}',
    "an object": '{"type":{"type":"ping"}}',
}
QUOTED: dict[str, str] = {
    "malformed": '{"type":"' + SECRET,
    "not an object": f'"{SECRET}"',
    "unknown type": '{"type":"' + SECRET + '"}',
    "type of another type": '{"type":["' + SECRET + '"]}',
    "wrong field": '{"type":"listen","state":"' + SECRET + '"}',
}
_NO_MASK = bytes(4)  # a mask that changes nothing
BROKEN_FRAMES: dict[str, bytes] = {
    "unmasked": b"\x81\x0f" + b'{"type":"ping"}',
    "reserved bit": b"\xc1\x8f" + _NO_MASK + b'{"type":"ping"}',
    "reserved opcode": b"\x83\x80" + _NO_MASK,
    "reserved control opcode": b"\x8b\x80" + _NO_MASK,
    "control frame of 126 bytes": b"\x89\xfe\x00\x7e" + _NO_MASK + bytes(126),
    "control frame in pieces": b"\x09\x81" + _NO_MASK + b"x",
    "continuation of nothing": b"\x80\x81" + _NO_MASK + b"x",
}
BAD_UTF8: dict[str, bytes] = {
    "stray byte": b'{"type":"ping","x":"\xff"}',
    "cut character": b'{"type":"ping","x":"\xe6\xa3"}',
    "surrogate": b'{"type":"ping","x":"\xed\xa0\x80"}',
}


@pytest.mark.parametrize("text", BAD_JSON.values(), ids=BAD_JSON)
async def test_what_is_no_json_object_is_answered_with_bad_json(
    ws_devices: Devices, ws_timeline: Timeline, text: str
) -> None:
    """One error BAD_JSON, which does not echo the text; the connection stays."""
    device = await ws_devices("device")

    await check_error(device, ws_timeline, text, "BAD_JSON")


@pytest.mark.parametrize("text", BAD_TYPE.values(), ids=BAD_TYPE)
async def test_a_type_that_is_no_string_is_answered_with_bad_type(
    ws_devices: Devices, ws_timeline: Timeline, text: str
) -> None:
    """One error BAD_TYPE; the connection stays."""
    device = await ws_devices("device")

    await check_error(device, ws_timeline, text, "BAD_TYPE")


@pytest.mark.parametrize("text", QUOTED.values(), ids=QUOTED)
async def test_an_error_never_repeats_what_was_sent(ws_devices: Devices, ws_timeline: Timeline, text: str) -> None:
    """What a device sent stands in none of the frames that it gets."""
    device = await ws_devices("device")

    await device.send_text(text)

    await error_or_echo(device, ws_timeline, SECRET)


async def test_an_unknown_type_is_answered_once_per_type(ws_devices: Devices) -> None:
    """The first of each gets UNKNOWN_TYPE; repeats get nothing, so that a chatty firmware is not flooded."""
    device = await ws_devices("device")

    for kind in ("unheard", "unheard", "unseen", "unheard", "unseen"):
        await device.send({"type": kind})

    found = await errors_until_pong(device)
    assert found == ["UNKNOWN_TYPE", "UNKNOWN_TYPE"], (
        f"two unknown types, one sent three times and one twice, get one UNKNOWN_TYPE each, these got {found}"
    )


async def test_messages_up_to_the_limits_are_taken(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """A text of 64 KB, a binary of 16 KB and 32 levels of nesting are well."""
    limits = ws_gateway.config.limits
    device = await ws_devices("device")

    await device.send_text('{"type":"ping"}'.ljust(limits.text_bytes))
    with or_else(f"a text message of {limits.text_bytes} bytes, which is allowed, was not taken"):
        await device.expect("pong")
    await device.send_text('{"type":"ping","x":' + "[" * (DEPTH - 1) + "]" * (DEPTH - 1) + "}")
    with or_else(f"{DEPTH} levels of nesting, which are allowed, were not taken"):
        await device.expect("pong")
    await device.send_audio(bytes(limits.binary_bytes))
    await check_open(device, f"a binary message of {limits.binary_bytes} bytes, which is allowed, was not taken")


@pytest.mark.parametrize("in_pieces", [False, True], ids=["whole", "in pieces"])
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY], ids=["text", "binary"])
async def test_a_message_over_its_limit_ends_the_connection(
    ws_gateway: Gateway, ws_devices: Devices, opcode: Opcode, in_pieces: bool
) -> None:
    """Text over 64 KB and binary over 16 KB: 1009, whole or in pieces."""
    limits = ws_gateway.config.limits
    most = limits.text_bytes if opcode is Opcode.TEXT else limits.binary_bytes
    device = await ws_devices("device")

    data = b'{"type":"ping"}'.ljust(most + 1)
    pieces = [data[:1000], data[1000:]] if in_pieces else [data]
    for number, piece in enumerate(pieces):
        frame = Frame(Opcode.CONT if number else opcode, piece, fin=number == len(pieces) - 1)
        await device.send_bytes(frame.serialize(mask=True))

    await check_close(device, 1009, f"a {opcode.name.lower()} message of {len(data)} bytes")


@pytest.mark.parametrize("text", BAD_UTF8.values(), ids=BAD_UTF8)
async def test_text_that_is_not_utf_8_ends_the_connection(ws_devices: Devices, text: bytes) -> None:
    """1007, as RFC 6455 has it."""
    device = await ws_devices("device")

    await device.send_text(text)

    await check_close(device, 1007, "text that is not UTF-8")


@pytest.mark.parametrize("frame", BROKEN_FRAMES.values(), ids=BROKEN_FRAMES)
async def test_a_frame_that_breaks_rfc_6455_ends_the_connection(ws_devices: Devices, frame: bytes) -> None:
    """1002, with a Close frame."""
    device = await ws_devices("device")

    await device.send_bytes(frame)

    await check_close(device, 1002, "a frame that breaks RFC 6455")


async def test_more_than_20_errors_in_10_seconds_end_the_connection(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """Each is answered; the one that is too many closes with 1008."""
    most = ws_gateway.config.limits.errors
    device = await ws_devices("device")

    for _ in range(most):
        await device.send_text("{}")
    found = await errors_until_pong(device)
    assert found == ["BAD_TYPE"] * most, f"{most} errors are allowed, and each answered; answered were {len(found)}"
    await device.send_text("{}")

    await check_close(device, 1008, f"more than {most} errors within 10 s")


async def test_the_errors_of_one_device_harm_no_other(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """A neighbour of one that errs until it is closed is served, sees no error, and may err itself."""
    neighbour = await ws_devices("neighbour")
    device = await ws_devices("device")

    most = ws_gateway.config.limits.errors
    for _ in range(most + 1):
        await device.send_text("{}")
    await check_close(device, 1008, f"more than {most} errors within 10 s")

    found = await errors_until_pong(neighbour)
    assert found == [], f"a device that did nothing wrong was sent errors, for another's: {found}"
    await neighbour.send_text("{}")
    await check_open(neighbour, "the errors of one device were counted for another, which was closed at its first")


async def check_error(device: FakeDevice, timeline: Timeline, text: str, code: str) -> None:
    """Send a text, and see one error of this code, with a sentence that is not the text, and no end."""
    await device.send_text(text)

    found = await error_or_echo(device, timeline, text)

    assert found == code, f"answered with the error {found}, not with {code}"
    more = await errors_until_pong(device)
    assert more == [code], f"one bad message got {len(more)} errors: {more}"


async def error_or_echo(device: FakeDevice, timeline: Timeline, text: str) -> str:
    """Return the code of the error that comes; fail where the text comes back, or the end."""
    try:
        error = await device.expect("error")
    except (ExpectationFailed, FirmwareWouldFail) as failure:
        check_not_echoed(timeline, device, text)
        raise AssertionError(
            f"a bad message was not answered with an error; the connection: {device.close_code or 'still open'}"
        ) from failure
    check_not_echoed(timeline, device, text)
    said = error.get("message")
    assert isinstance(said, str), f"the error has no message that is a string: {error}"
    assert len(said) <= 200, f"the error's message has {len(said)} characters, it may have 200"
    return str(error.get("code"))


def check_not_echoed(timeline: Timeline, device: FakeDevice, text: str) -> None:
    """See that no frame which came has what was sent in it."""
    frames = [frame.payload.decode("utf-8", "replace") for frame in timeline.frames(device.name, sent=False)]
    came = [frame for frame in frames if text and (frame == text or (len(text) > 4 and text in _unquoted(frame)))]
    assert not came, f"what the device sent was echoed back to it: {came[0][:200]}"


def _unquoted(frame: str) -> str:
    """Return the message of an error as it reads, anything else as it is."""
    try:
        value = json.loads(frame)
    except ValueError:
        return frame
    return f"{value.get('message')} {value.get('ref')}" if isinstance(value, dict) else frame


async def check_close(device: FakeDevice, code: int, what: str) -> None:
    """See that the connection ends with a Close frame of this code."""
    with or_else(f"{what} did not end the connection"):
        found = await device.expect_close()
    assert found == code, f"{what} ended the connection with {found}, not with {code}"


async def check_open(device: FakeDevice, defect: str) -> None:
    """See that a device is still served."""
    with or_else(defect):
        await device.send({"type": "ping"})
        await device.expect("pong")


async def errors_until_pong(device: FakeDevice) -> list[str]:
    """Ping, and return the codes of all errors up to the pong: answers come in order."""
    await check_open(device, "the connection was not left open")
    return [str(message.get("code")) for message in device.received if message["type"] == "error"]
