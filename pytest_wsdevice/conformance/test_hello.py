"""Hello: what the answer has to have, what it forgives, and what else introduces a device."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_wsdevice.conformance.loopback_dialogue import begin, check_packets, dictate, reply_to
from pytest_wsdevice.conformance.verdicts import or_else
from pytest_wsdevice.types import Devices, FakeDevice, Gateway

pytestmark = pytest.mark.asyncio

BARE_HELLOS: dict[str, dict[str, Any]] = {
    "nothing but its type": {"type": "hello"},
    "a browser page's": {
        "type": "hello",
        "device_id": "web",
        "device_name": "page",
        "device_mac": "02:00:00:00:00:01",
        "token": "",
        "features": {"mcp": True, "emoji": True},
    },
}
WRONG_FIELDS: dict[str, dict[str, Any]] = {
    "version": {"version": "1"},
    "transport": {"transport": 7},
    "features": {"features": []},
    "audio_params": {"audio_params": []},
    "sample_rate": {"audio_params": {"format": "opus", "sample_rate": 0, "channels": 1, "frame_duration": 60}},
    "all": {"version": "1", "transport": None, "features": 1, "audio_params": "opus"},
}


async def test_the_answer_has_everything_that_the_firmware_reads(ws_devices: Devices) -> None:
    """It has type, version, transport, session_id and audio_params, each of its right type."""
    device = await ws_devices("device", online=False)

    await device.connect()

    check_answer(await hello(device))


@pytest.mark.parametrize("said", BARE_HELLOS.values(), ids=BARE_HELLOS)
async def test_every_field_of_a_hello_has_a_default(ws_devices: Devices, said: dict[str, Any]) -> None:
    """A hello with nothing but its type, or that of a browser page, is a good one."""
    device = await ws_devices("device", online=False)
    await device.connect()

    await device.send(said)

    with or_else("a hello without some of the fields got no answer that a device survives"):
        check_answer(await device.expect("hello"))
    assert await errors_until_pong(device) == [], "a hello that only leaves fields out was answered with an error"


@pytest.mark.parametrize("wrong", WRONG_FIELDS.values(), ids=WRONG_FIELDS)
async def test_a_field_of_a_wrong_type_takes_its_default(ws_devices: Devices, wrong: dict[str, Any]) -> None:
    """The answer comes all the same, with one error BAD_HELLO, and the connection stays open."""
    device = await ws_devices("device", online=False)
    await device.connect()

    check_answer(await hello(device, **wrong))

    found = await errors_until_pong(device)
    assert found == ["BAD_HELLO"], f"a hello with a wrong field gets one error BAD_HELLO, this one got {found}"


async def test_a_second_hello_is_answered_with_the_same_session_id(ws_devices: Devices) -> None:
    """It changes nothing: same session, same audio, no error."""
    device = await ws_devices("device", online=False)
    await device.connect()
    first = await hello(device)

    second = await hello(device)

    assert second["session_id"] == first["session_id"], (
        "the second hello began a new session: its session_id is another one"
    )
    assert second["audio_params"] == first["audio_params"], "the second hello changed the audio_params"
    assert await errors_until_pong(device) == [], "the second hello was answered with an error"


@pytest.mark.ws_needs("config")  # only our loopback engine answers with known audio
async def test_the_header_wins_over_the_version_in_hello(ws_devices: Devices) -> None:
    """Protocol-Version of the upgrade request says how audio is framed, both ways: the firmware frames by it."""
    device = await ws_devices("device", online=False, framing=2)
    await begin(device, version=3)

    try:
        await dictate(device, [b"one", b"two"])
        check_packets(await reply_to(device), [b"one", b"two"])
    except AssertionError as failure:
        raise AssertionError(f"audio is not framed by the Protocol-Version header, both ways: {failure}") from failure


async def test_a_first_message_need_not_be_a_hello(ws_devices: Devices) -> None:
    """Test tools begin with what they are about; it is handled with the defaults, and hello may still come."""
    device = await ws_devices("device", online=False)
    await device.connect()

    with or_else("a message before any hello was not handled"):
        await device.send({"type": "mode", "state": "start", "mode": "working"})
        await device.expect("mode", status="ok")

    check_answer(await hello(device))


async def test_messages_right_behind_hello_are_not_lost(ws_devices: Devices) -> None:
    """What a device sends before the answer to its hello is there is handled after it, in order."""
    device = await ws_devices("device", online=False)
    await device.connect()

    await device.send({"type": "hello", "version": 1, "transport": "websocket"})
    await device.send({"type": "mode", "state": "start", "mode": "working"})
    await device.send({"type": "ping"})

    with or_else("a message that came right behind the hello was dropped"):
        await device.expect("pong")
        await device.expect("mode", status="ok")
    kinds = [message["type"] for message in device.received if message["type"] in {"hello", "mode", "pong"}]
    assert kinds == ["hello", "mode", "pong"], f"what came right behind the hello was answered out of order: {kinds}"


async def test_an_id_is_the_same_however_it_is_written(ws_devices: Devices) -> None:
    """Capitals, quotes and space around an id make no other device: mail for its plain form arrives."""
    sender = await ws_devices("sender")
    device = await ws_devices("device", online=False)
    device.headers["Device-Id"] = f'"{device.device_id.upper()}" '
    await device.go_online()

    await sender.send({"type": "peer", "to": device.device_id, "payload": {"text": "hi"}})

    with or_else("the same id in capitals was taken for another device"):
        await device.expect("peer", payload={"text": "hi"})


@pytest.mark.ws_gateway_config(adapts=True, handshake={"hello_timeout": 1.0})
async def test_a_client_without_an_id_has_to_say_something(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """In silence it is closed with 4002 at the hello timeout; a device that gave its id may be silent."""
    if ws_gateway.config.asks_for_tokens:
        pytest.skip("a token is for an id, and this gateway asks for tokens")
    named = await ws_devices("named", online=False)
    nameless = await ws_devices("nameless", online=False, headers={"Device-Id": None, "Client-Id": None})
    await named.connect()
    await nameless.connect()

    with or_else("a client that gave no id, and said nothing, was not closed at the hello timeout"):
        code = await nameless.expect_close(ws_gateway.config.handshake.hello_timeout + 2)

    assert code == 4002, f"a client that said nothing was closed with {code}, not with 4002"
    assert await errors_until_pong(named) == [], "a device was answered with an error for saying no hello"


def check_answer(answer: dict[str, Any]) -> None:
    """Look at everything in a hello answer that the firmware reads."""
    shown = f"in {answer}"
    assert answer.get("transport") == "websocket", f"the hello answer's transport is not websocket, {shown}"
    assert type(answer.get("version")) is int, f"the hello answer has no version, {shown}"
    session = answer.get("session_id")
    assert isinstance(session, str), f"the hello answer has no session_id that is a string, {shown}"
    assert session, f"the hello answer's session_id is empty, {shown}"
    audio = answer.get("audio_params")
    assert isinstance(audio, dict), f"the hello answer's audio_params are no object, {shown}"
    assert audio.get("format") == "opus", f"the hello answer's audio format is not opus, {shown}"
    rate, duration = audio.get("sample_rate"), audio.get("frame_duration")
    assert type(rate) is int, f"the hello answer's sample_rate is no integer, {shown}"
    assert 8000 <= rate <= 48000, f"the hello answer's sample_rate is not one of Opus, {shown}"
    assert type(duration) is int, f"the hello answer's frame_duration is no integer, {shown}"
    assert 1 <= duration <= 120, f"the hello answer's frame_duration is not one of Opus, {shown}"


async def hello(device: FakeDevice, **fields: Any) -> dict[str, Any]:
    """Say hello and return the answer."""
    with or_else(f"no answer to hello that a device survives ({', '.join(fields) or 'the usual'})"):
        return await device.hello(**fields)


async def errors_until_pong(device: FakeDevice) -> list[str]:
    """Ping, and return the codes of the errors that came up to the pong: answers come in order."""
    with or_else("the connection was not left open"):
        await device.send({"type": "ping"})
        await device.expect("pong")
    return [str(message.get("code")) for message in device.received if message["type"] == "error"]
