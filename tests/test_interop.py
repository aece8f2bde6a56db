"""The gateway and the clients that are out there, over real sockets: libraries, browsers, firmware of every framing."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

from gateway.config import AuthConfig, Config, HandshakeConfig, StatsConfig
from gateway.identity import DeviceId
from gateway.observe.events import ConnectionClosed, ConnectionOpened, DeviceOnline, HandshakeRefused, OtaRefused
from gateway.protocol.tokens import mint
from harness.errors import UpgradeRefused
from harness.fakes.device import FakeDevice
from tests.raw_peer import BINARY, CLOSE, TEXT, Answer, RawPeer, Received, frame, say, upgrade
from tests.running import Running, loopback, running, until

KEY = "a secret of sixteen and more"
MAC = "02:00:00:00:00:01"
CLIENT = "2b1c6bb2-4e1d-4b0f-9a3e-0d3c2c7f0a55"
HELLO = {
    "type": "hello",
    "version": 1,
    "features": {"mcp": True},
    "transport": "websocket",
    "audio_params": {"format": "opus", "sample_rate": 16000, "channels": 1, "frame_duration": 60},
}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Loopback, free ports."""
    return loopback(tmp_path)


def with_auth(config: Config, **auth: Any) -> Config:
    """The same with tokens asked for."""
    return msgspec.structs.replace(config, auth=AuthConfig(enabled=True, key=KEY, **auth))


async def asked(house: Running, request: bytes) -> Answer:
    """Send one request to the WebSocket port and return the answer, whatever it is."""
    async with await RawPeer.connect(house.port) as peer:
        await peer.send(request)
        return await peer.answer()


# --- the websockets library -----------------------------------------------------------------------------------------


async def test_websockets_client(config: Config):
    """The `websockets` client as it is: its offer of compression is declined, its messages and pings are answered."""
    async with running(config) as house:
        headers = {"Device-Id": MAC}
        async with connect(house.url, additional_headers=headers, proxy=None) as client:
            assert client.protocol.extensions == []
            await client.send(json.dumps(HELLO))
            answer = json.loads(await client.recv())
            assert answer["transport"] == "websocket"
            assert answer["audio_params"]["frame_duration"] == 60
            await client.send('{"type":"ping"}')
            assert await client.recv() == '{"type":"pong"}'
            async with asyncio.timeout(5):
                assert await (await client.ping()) < 1
            await client.send(b"x" * 100)  # audio without a dictation is dropped, and harms nobody
            await client.send("x" * 5000)  # fragments and control frames in any order are the library's business
            assert json.loads(await client.recv())["code"] == "BAD_JSON"
        assert client.close_code == 1000


async def test_websockets_client_in_pieces(config: Config):
    """A message in fragments is one message."""
    headers = {"Device-Id": MAC}
    async with running(config) as house, connect(house.url, additional_headers=headers, proxy=None) as client:
        await client.send(['{"type":', '"pi', 'ng"', "}"])
        assert await client.recv() == '{"type":"pong"}'


async def test_websockets_client_that_keeps_alive(config: Config):
    """Keepalive pings of the library are answered while nothing else is said: it does not close with 1011."""
    async with running(config) as house:
        headers = {"Device-Id": MAC}
        async with connect(
            house.url, additional_headers=headers, ping_interval=0.1, ping_timeout=0.3, proxy=None
        ) as client:
            await asyncio.sleep(0.7)
            await client.send('{"type":"ping"}')
            assert await client.recv() == '{"type":"pong"}'


async def test_websockets_client_that_is_closed(config: Config):
    """The library sees our Close with its code: 4010 as an error, 1001 as a normal end; no socket is aborted."""
    async with running(config) as house:
        async with connect(house.url, additional_headers={"Device-Id": MAC}, proxy=None) as client:
            await client.send(json.dumps(HELLO))
            await client.recv()
            await house.gateway.purge_mailbox(DeviceId(MAC))
            with pytest.raises(ConnectionClosedError) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4010
        async with connect(house.url, additional_headers={"Device-Id": MAC}, proxy=None) as client:
            await client.send(json.dumps(HELLO))
            await client.recv()
            await house.gateway.stop()
            with pytest.raises(ConnectionClosedOK):
                await client.recv()
            assert client.close_code == 1001
        # the library answers Close, so nobody waited until the socket was aborted
        assert [(one.code, one.aborted) for one in house.records.of(ConnectionClosed)] == [(4010, False), (1001, False)]


# --- clients that say little ----------------------------------------------------------------------------------------


async def test_client_without_ids(config: Config):
    """A client that gives neither device id, client id nor token is served under an id of its own."""
    config = msgspec.structs.replace(config, stats=StatsConfig(every=0.1))
    async with running(config) as house:
        answer = await asked(house, upgrade())
        assert answer.status == 101
        async with await RawPeer.open(house.port) as one, await RawPeer.open(house.port) as other:
            for peer in (one, other):
                await peer.send(say({"type": "hello", "features": {"stats": True}}))
                assert (await peer.message())["type"] == "hello"
            stats = await one.message()
            assert stats["deviceCount"] == 2
            assert all(len(name) == 13 and name.startswith("auto-") for name in stats["online"])
            assert len(set(stats["online"])) == 2


async def test_client_without_ids_that_is_silent(config: Config):
    """Such a client is closed with 4002 when it says nothing; a device that gave its name may be silent."""
    config = msgspec.structs.replace(config, handshake=HandshakeConfig(hello_timeout=0.3, alive_after=0.1))
    async with running(config) as house, await RawPeer.open(house.port, upgrade(Device_Id=MAC)) as named:
        async with await RawPeer.open(house.port) as nameless:
            began = time.monotonic()
            assert (await nameless.frame()).code == 4002
            assert 0.25 < time.monotonic() - began < 2.5
        await named.send(say({"type": "ping"}))
        assert await named.message() == {"type": "pong"}


async def test_client_without_a_client_id(config: Config):
    """A client that names its device only, as PyPI's xiaozhi-client does, is served, and may come back."""
    async with running(config) as house:
        for _ in range(2):
            async with connect(house.url, additional_headers={"device-id": MAC.upper()}, proxy=None) as client:
                await client.send(json.dumps(HELLO))
                assert json.loads(await client.recv())["type"] == "hello"
        assert {one.device for one in house.records.of(DeviceOnline)} == {MAC}


async def test_port_check(config: Config):
    """A plain GET of the WebSocket port is answered as people are used to, on any path."""
    async with running(config) as house:
        for path in ("/", "/xiaozhi/v1/", "/whatever?x=1"):
            answer = await asked(house, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert (answer.status, answer.body) == (200, b"Server is running\n")


@pytest.mark.parametrize("path", ["/xiaozhi/v1/", "/xiaozhi/v1", "/supie/v1/", "/supie/v1/?device_id=%22AA%22"])
async def test_paths(config: Config, path: str):
    """The stock path and that of the `/supie/v1/` fork are served, with and without the last slash; others are 404."""
    async with running(config) as house:
        assert (await asked(house, upgrade(path))).status == 101
        assert (await asked(house, upgrade("/other/"))).status == 404


# --- browsers ---------------------------------------------------------------------------------------------------------


def browser(token: str, *, origin: str = "https://page.example", device: str = MAC.upper()) -> bytes:
    """The upgrade request of a test page in Firefox: what a page can say stands in the query."""
    query = f"device-id={quote(device)}&client-id={CLIENT}&authorization={quote(f'Bearer {token}')}"
    return upgrade(
        f"/xiaozhi/v1/?{query}",
        Connection="keep-alive, Upgrade",
        Origin=origin,
        User_Agent="Mozilla/5.0",
        Sec_WebSocket_Extensions="permessage-deflate",
        Cache_Control="no-cache",
        Pragma="no-cache",
    )


def for_browsers(config: Config, **auth: Any) -> Config:
    """Settings that let a page in."""
    server = msgspec.structs.replace(config.server, allowed_origins=["https://page.example"])
    return with_auth(msgspec.structs.replace(config, server=server), **auth)


async def test_browser(config: Config):
    """A page is let in by its query and its origin, under the id in lower case; its hello is answered."""
    token = mint(KEY, CLIENT, DeviceId(MAC), time.time())
    async with running(for_browsers(config, query_token=True)) as house:
        page = await RawPeer.open(house.port, browser(token))
        hello = {"type": "hello", "device_id": MAC, "device_name": "Web", "token": token, "features": {"mcp": True}}
        await page.send(say(hello))
        answer = await page.message()
        assert len(answer["session_id"]) == 32
        assert answer["transport"] == "websocket"
        assert [one.device for one in house.records.of(DeviceOnline)] == [MAC]
        # what is recorded of the upgrade has no query string
        assert house.records.of(ConnectionOpened)[0].path == "/xiaozhi/v1/"
        assert token not in repr(house.records.all)
        page.cut()


async def test_browser_that_is_refused(config: Config):
    """Another origin is 403, a bad token 401; a token in the query where that is off is 400, however good it is."""
    token = mint(KEY, CLIENT, DeviceId(MAC), time.time())
    async with running(for_browsers(config, query_token=True)) as house:
        assert (await asked(house, browser(token, origin="https://other.example"))).status == 403
        assert (await asked(house, browser(token[:-1]))).status == 401
        assert (await asked(house, browser(""))).status == 401
        assert token not in repr(house.records.all)
    async with running(for_browsers(config)) as house:
        assert (await asked(house, browser(token))).status == 400


# --- firmware that never answers Close ------------------------------------------------------------------------------


async def test_firmware_that_never_answers_close(config: Config):
    """A device that does not answer our Close has its socket aborted a second later."""
    async with running(config) as house, await RawPeer.open(house.port, upgrade(Device_Id=MAC)) as device:
        await device.send(say(HELLO))
        await device.message()
        began = time.monotonic()
        await house.gateway.purge_mailbox(DeviceId(MAC))

        assert await device.closed() == 4010
        assert 0.99 < time.monotonic() - began < 4.0
        assert [one.aborted for one in house.records.of(ConnectionClosed)] == [True]


async def test_firmware_that_cuts(config: Config):
    """A device that cuts its socket, or resets it, is gone at once; it never says goodbye."""
    async with running(config) as house:
        for cut in (RawPeer.cut, RawPeer.reset):
            device = await RawPeer.open(house.port, upgrade(Device_Id=MAC))
            await device.send(say(HELLO))
            await device.message()
            cut(device)
            await until(lambda: house.gateway.registry.get(DeviceId(MAC)) is None)


# --- a dialogue, in every framing -----------------------------------------------------------------------------------


def framed(version: int, packet: bytes, timestamp: int = 0) -> bytes:
    """An Opus packet as a device of this framing sends it."""
    if version == 1:
        return packet
    if version == 2:
        return struct.pack(">HHIII", 2, 0, 0, timestamp, len(packet)) + packet
    return struct.pack(">BBH", 0, 0, len(packet)) + packet


def unframed(version: int, data: bytes) -> bytes:
    """Check every field of a downlink header and return the packet behind it."""
    if version == 1:
        return data
    if version == 2:
        said, kind, reserved, _timestamp, size = struct.unpack(">HHIII", data[:16])
        assert (said, kind, reserved, size) == (2, 0, 0, len(data) - 16)
        return data[16:]
    kind, reserved, size = struct.unpack(">BBH", data[:4])
    assert (kind, reserved, size) == (0, 0, len(data) - 4)
    return data[4:]


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_dialogue(config: Config, version: int):
    """An utterance is heard, shown and spoken back, in the device's framing, never more than five packets ahead."""
    packets = [bytes([number]) * (80 + number) for number in range(12)]
    request = upgrade(Device_Id=MAC, Client_Id=CLIENT, Protocol_Version=str(version))
    async with running(config) as house, await RawPeer.open(house.port, request) as device:
        await device.send(say({**HELLO, "version": version}))
        answer = await device.message()
        assert answer["audio_params"] == HELLO["audio_params"]  # the loopback engine replays what it heard
        await device.send(say({"type": "listen", "state": "start", "mode": "manual", "session_id": ""}))
        for number, packet in enumerate(packets):
            await device.send(frame(BINARY, framed(version, packet, 60 * number)))
        began = time.monotonic()  # not the first packet: that may be read late, and must not come early
        await device.send(say({"type": "listen", "state": "stop"}))
        heard: list[tuple[float, Received]] = []
        while not heard or heard[-1][1].opcode != TEXT or heard[-1][1].message.get("state") != "stop":
            found = await device.frame()
            heard.append((time.monotonic() - began, found))

        texts = [found.message for _, found in heard if found.opcode == TEXT]
        assert texts == [
            {"type": "stt", "text": "heard 12 packets, 0.7 s"},
            {"type": "tts", "state": "start"},
            {"type": "tts", "state": "sentence_start", "text": "heard 12 packets, 0.7 s"},
            {"type": "tts", "state": "stop"},
        ]
        assert [found.opcode for _, found in heard] == [TEXT] * 3 + [BINARY] * 12 + [TEXT]
        assert [unframed(version, found.payload) for _, found in heard if found.opcode == BINARY] == packets
        times = [when for when, found in heard if found.opcode == BINARY]
        assert all(when >= (number - 4) * 0.06 - 0.01 for number, when in enumerate(times))
        assert heard[-1][0] >= 12 * 0.06 - 0.01  # `tts stop` once the last packet has been heard


async def test_framing_is_the_headers(config: Config):
    """Where header and hello disagree the header wins: the firmware frames by it, and believes the size it reads."""
    request = upgrade(Device_Id=MAC, Protocol_Version="3")
    async with running(config) as house, await RawPeer.open(house.port, request) as device:
        await device.send(say({**HELLO, "version": 1}))
        await device.message()
        await device.send(say({"type": "listen", "state": "start", "mode": "manual"}))
        await device.send(frame(BINARY, framed(3, b"opus")))
        await device.send(say({"type": "listen", "state": "stop"}))
        while (found := await device.frame()).opcode == TEXT:
            pass

        assert unframed(3, found.payload) == b"opus"


# --- from the OTA endpoint to a connection --------------------------------------------------------------------------


BODY = {
    "version": 2,
    "mac_address": MAC,
    "uuid": CLIENT,
    "chip_model_name": "esp32s3",
    "application": {"name": "xiaozhi", "version": "2.0.3"},
    "board": {"type": "esp-box", "name": "esp-box-3"},
}


async def configured(house: Running, device: str = MAC, client: str = CLIENT) -> dict[str, Any]:
    """Ask the OTA endpoint as a board does at boot; return where it is to connect."""
    body = json.dumps({**BODY, "mac_address": device, "uuid": client}).encode()
    answer = await house.post(
        "/xiaozhi/ota/",
        body,
        Device_Id=device,
        Client_Id=client,
        Activation_Version="1",
        User_Agent="esp-box-3/2.0.3",
        Content_Type="application/json",
    )
    assert answer.status == 200
    decoded = json.loads(answer.body)
    assert "mqtt" not in decoded
    websocket: dict[str, Any] = decoded["websocket"]
    return websocket


async def test_ota_to_connection(config: Config):
    """What the OTA endpoint tells a board is all it needs: its URL and token lead to a hello that is answered."""
    async with running(with_auth(config)) as house:
        told = await configured(house)
        assert told["url"] == house.url
        async with FakeDevice(told["url"], MAC, client_id=CLIENT, token=told["token"]) as device:
            await device.send({"type": "ping"})
            await device.expect("pong")

        # a board that restarts asks again, and both tokens are good
        again = await configured(house)
        for token in (told["token"], again["token"]):
            async with FakeDevice(again["url"], MAC, client_id=CLIENT, token=token):
                pass


async def test_tokens_of_others(config: Config):
    """A token of another device is 403; none, a wrong one, and one with another client id are 401."""
    async with running(with_auth(config)) as house:
        mine = await configured(house)
        other = await configured(house, "02:00:00:00:00:02", CLIENT.replace("2b1c", "3c2d"))

        async def refused(token: str, client: str = CLIENT) -> UpgradeRefused:
            device = FakeDevice(house.url, MAC, client_id=client, token=token)
            with pytest.raises(UpgradeRefused) as refusal:
                await device.connect()
            return refusal.value

        assert (await refused(other["token"])).status == 403
        for refusal in (
            await refused(""),
            await refused("nonsense"),
            await refused(mine["token"][:-1]),
            await refused(mine["token"], "another"),
        ):
            assert refusal.status == 401
            assert refusal.headers["WWW-Authenticate"].startswith('Bearer realm="wsdevice"')
        assert [one.status for one in house.records.of(HandshakeRefused)] == [403, 401, 401, 401, 401]
        assert len(house.gateway.registry) == 0
        for secret in (mine["token"], other["token"]):
            assert secret not in repr(house.records.all)


async def test_devices_that_are_not_allowed(config: Config):
    """A device that is not on the list gets no token, and with one of its own making it is refused; both by name."""
    async with running(with_auth(config, allowed_devices=["02:00:00:00:00:09"])) as house:
        body = json.dumps(BODY).encode()
        answer = await house.post("/xiaozhi/ota/", body, Device_Id=MAC, Client_Id=CLIENT)
        assert answer.status == 403
        token = mint(KEY, CLIENT, DeviceId(MAC), time.time())
        with pytest.raises(UpgradeRefused) as refusal:
            await FakeDevice(house.url, MAC, client_id=CLIENT, token=token).connect()
        assert refusal.value.status == 403
        for kind in (OtaRefused, HandshakeRefused):
            assert [(one.device, one.status) for one in house.records.of(kind)] == [(MAC, 403)]


async def test_close_frames_are_well_formed(config: Config):
    """Every Close a device gets has a code and a reason in words, short enough for a control frame."""
    async with running(config) as house, await RawPeer.open(house.port, upgrade(Device_Id=MAC)) as device:
        for _ in range(30):
            await device.send(say("not json"))
        while (found := await device.frame()).opcode != CLOSE:
            assert found.message["type"] == "error"

        assert found.code == 1008
        assert 2 < len(found.payload) <= 125
        assert found.payload[2:].decode().isprintable()
