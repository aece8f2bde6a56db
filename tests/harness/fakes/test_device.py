"""A fake device: it behaves like the firmware towards a real gateway, and towards one that misbehaves."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.frames import Opcode

from gateway.observe.events import ConnectionClosed, DeviceOffline, HandoverEnded
from harness.device import LinkView, Settings
from harness.errors import ExpectationFailed, FirmwareWouldFail, Misuse, NotConnected
from harness.fakes.device import FakeDevice
from harness.inbox import KEPT
from harness.records import FramePassed, Happened
from tests.harness.fakes.conftest import Watched
from tests.harness.fakes.stub import SOON, Stubs

MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"
ANSWER = {"type": "hello", "transport": "websocket", "session_id": "s-1"}


@pytest.fixture
async def device(gateway: Watched) -> AsyncIterator[FakeDevice]:
    """A device that has said hello to a real gateway."""
    async with FakeDevice(gateway.websocket_url, MAC) as connected:
        yield connected


class TestHello:
    """The first message, and its answer."""

    async def greeted(self, stubs: Stubs, device: FakeDevice, answer: Any = ANSWER, **fields: Any) -> Any:
        """Say hello; return what the gateway was told."""
        stub = await stubs.meet(device)
        hello = asyncio.create_task(device.hello(timeout=0.1, **fields))
        said = await stub.read_message()
        stub.send(answer)
        try:
            await hello
        finally:
            await device.aclose()
        return said

    async def test_as_the_firmware_says_it(self, stubs: Stubs):
        """All fields of the firmware, in its order; the version is that of the framing."""
        said = await self.greeted(stubs, FakeDevice(stubs.url, MAC, framing=2, acks=False))

        assert list(said.items()) == [
            ("type", "hello"),
            ("version", 2),
            ("features", {"mcp": True}),
            ("transport", "websocket"),
            ("audio_params", {"format": "opus", "sample_rate": 16000, "channels": 1, "frame_duration": 60}),
        ]

    async def test_features(self, stubs: Stubs):
        """Features are those that are given; acknowledging adds its own."""
        said = await self.greeted(stubs, FakeDevice(stubs.url, MAC, features={"aec": True}))

        assert said["features"] == {"aec": True, "peer_ack": True}

    async def test_other_fields(self, stubs: Stubs):
        """A test may say hello in any other way."""
        said = await self.greeted(stubs, FakeDevice(stubs.url, MAC), version="1", audio_params=[])

        assert (said["version"], said["audio_params"], said["transport"]) == ("1", [], "websocket")

    async def test_session(self, stubs: Stubs):
        """The session id of the answer is kept."""
        device = FakeDevice(stubs.url, MAC)
        await self.greeted(stubs, device)

        assert device.session_id == "s-1"

    @pytest.mark.parametrize("transport", [{}, {"transport": None}, {"transport": 1}])
    async def test_transport_is_no_string(self, stubs: Stubs, transport: dict[str, Any]):
        """An answer that would crash the firmware is a failure, and the connection is gone."""
        device = FakeDevice(stubs.url, MAC)
        with pytest.raises(FirmwareWouldFail, match=f"sent {MAC} a hello answer whose transport is no string"):
            await self.greeted(stubs, device, {"type": "hello", "session_id": "s", **transport})
        assert device.close_code == 1006

    async def test_no_answer(self, stubs: Stubs):
        """Without an answer in time, what else came is shown."""
        with pytest.raises(ExpectationFailed, match=r'(?s)expected a message "hello", but after 0\.\d s.*{"type":"x"}'):
            await self.greeted(stubs, FakeDevice(stubs.url, MAC), {"type": "x"})

    async def test_context(self, gateway: Watched):
        """The context manager connects, says hello, and leaves without a Close."""
        async with FakeDevice(gateway.websocket_url, MAC) as device:
            assert device.session_id
            assert device.received[0]["type"] == "hello"
            assert not device.closed.is_set()
        assert device.closed.is_set()
        closed = await gateway.saw(ConnectionClosed)
        assert isinstance(closed, ConnectionClosed)
        assert (closed.code, closed.by) == (1006, "peer")

    def test_client_id(self):
        """The client id is a UUID of version 4, the same for the same device."""
        ids = [FakeDevice("ws://x/", device).client_id for device in (MAC, MAC, OTHER)]

        assert ids[0] == ids[1] != ids[2]
        assert {uuid.UUID(text).version for text in ids} == {4}


class TestExpect:
    """Waiting for messages of a real gateway."""

    async def test_answer(self, device: FakeDevice):
        """A message is answered, and fields of the answer can be asked for."""
        await device.send({"type": "ping", "id": 4})
        assert await device.expect("pong", id=4) == {"type": "pong", "id": 4}

    async def test_by_predicate(self, device: FakeDevice):
        """A function may decide."""
        await device.send({"type": "ping"})
        assert await device.expect(lambda message: "id" not in message, type="pong") == {"type": "pong"}

    async def test_raw_text(self, device: FakeDevice):
        """A text that is no JSON goes out as it is, and so do bytes that are no UTF-8."""
        await device.send_text("{")
        await device.expect("error", code="BAD_JSON")
        await device.send_text(b"\xff")
        assert await device.expect_close() == 1007

    async def test_failure_shows_what_came(self, device: FakeDevice):
        """The error names the device, what was wanted, and all that nobody took."""
        await device.send({"type": "ping"})
        await device.send({"type": "nonsense"})
        await device.expect("error", code="UNKNOWN_TYPE")

        with pytest.raises(ExpectationFailed) as caught:
            await device.expect("pong", timeout=0.05, id=9)
        lines = str(caught.value).splitlines()
        assert lines[0].startswith(f'{MAC} expected a message "pong" with id=9, but after 0.')
        assert lines[0].endswith("it had not come")
        assert lines[1:] == ["  what else arrived:", '    {"type":"pong"}']
        assert isinstance(caught.value, AssertionError)

    async def test_no_use_to_wait(self, gateway: Watched, device: FakeDevice):
        """A wait ends at once when the connection does, and says how it ended."""
        waiting = asyncio.create_task(device.expect("never", timeout=60))
        await asyncio.sleep(0)
        gateway.registry.get(device.device_id).channel.connection.close(4010, "kicked")

        with pytest.raises(ExpectationFailed, match="its connection ended with 4010 kicked"):
            await asyncio.wait_for(waiting, SOON)

    async def test_before_the_end(self, stubs: Stubs):
        """What came before the end is still found after it."""
        device = FakeDevice(stubs.url, MAC)
        stub = await stubs.meet(device)
        stub.send({"type": "last words"})
        stub.writer.close()
        await asyncio.wait_for(device.closed.wait(), SOON)

        assert await device.expect("last words", timeout=0) == {"type": "last words"}
        with pytest.raises(ExpectationFailed, match="its connection ended with 1006"):
            await device.expect("last words")

    async def test_too_much(self, stubs: Stubs):
        """Of more messages than are kept, the oldest are dropped and counted."""
        device = FakeDevice(stubs.url, MAC)
        stub = await stubs.meet(device)
        for number in range(KEPT + 5):
            stub.send({"type": "n", "n": number})
        stub.send({"type": "last"})
        await device.expect("last")

        assert await device.expect("n") == {"type": "n", "n": 6}
        assert device.dropped == 6
        await device.aclose()

    @pytest.mark.parametrize("text", [b"[]", b"{}", b"nonsense", b'{"type":1}'])
    async def test_no_message(self, stubs: Stubs, text: bytes):
        """A text frame that is no message of the protocol is the gateway's fault."""
        device = FakeDevice(stubs.url, MAC)
        stub = await stubs.meet(device)
        stub.frame(Opcode.TEXT, text)

        with pytest.raises(FirmwareWouldFail, match=f"sent {MAC} a text frame of {len(text)} bytes, BAD_"):
            await device.expect("a")

    async def test_no_close(self, device: FakeDevice):
        """A close that does not come is a failure, too."""
        with pytest.raises(ExpectationFailed, match=r"expected a close, but after 0\.1 s its connection is open"):
            await device.expect_close(0.05)


class TestAudio:
    """Binary frames."""

    @pytest.mark.parametrize("framing", [1, 2, 3])
    async def test_both_ways(self, gateway: Watched, framing: int):
        """What is said to the loopback engine comes back, in each framing."""
        packets = [b"first", b"second", b"third"]
        async with FakeDevice(gateway.websocket_url, MAC, framing=framing) as device:
            await device.send({"type": "listen", "state": "start", "mode": "manual"})
            for number, packet in enumerate(packets):
                await device.send_audio(packet, timestamp_ms=60 * number)
            await device.send({"type": "listen", "state": "stop"})
            await device.expect("tts", state="stop")

            assert list(device.audio) == packets

    @pytest.mark.parametrize(
        ("framing", "frame"), [(2, b"raw"), (3, b"raw opus"), (3, b"\x00\x00\x00\x09short"), (1, b"")]
    )
    async def test_bad_frame(self, stubs: Stubs, framing: int, frame: bytes):
        """A frame past whose end the firmware would read is the gateway's fault."""
        device = FakeDevice(stubs.url, MAC, framing=framing)
        stub = await stubs.meet(device)
        stub.frame(Opcode.BINARY, frame)

        with pytest.raises(FirmwareWouldFail, match=f"a binary frame that is not of version {framing}: expected"):
            await device.expect("a")
        assert await stub.rest() == b""
        assert not device.audio

    async def test_kept(self, stubs: Stubs):
        """Of more packets than are kept, the latest are there."""
        device = FakeDevice(stubs.url, MAC)
        stub = await stubs.meet(device)
        for number in range(KEPT + 1):
            stub.frame(Opcode.BINARY, b"%d" % number)
        stub.send({"type": "last"})
        await device.expect("last")

        assert (len(device.audio), device.audio[0]) == (KEPT, b"1")
        await device.aclose()


class TestAcks:
    """Acknowledging peer messages."""

    async def test_acknowledged(self, gateway: Watched, device: FakeDevice):
        """A peer message is acknowledged at once: its sender hears that it was delivered."""
        async with FakeDevice(gateway.websocket_url, OTHER) as sender:
            await sender.send({"type": "peer", "to": MAC, "payload": {}, "id": "m"})
            receipt = await sender.expect("peer", status="done", delivered=[MAC])

        assert "confirm" not in receipt
        assert (await device.expect("peer", id="m"))["from"] == OTHER

    async def test_not_offered(self, gateway: Watched):
        """A device that does not acknowledge does not offer it either."""
        async with (
            FakeDevice(gateway.websocket_url, MAC, acks=False),
            FakeDevice(gateway.websocket_url, OTHER) as sender,
        ):
            await sender.send({"type": "peer", "to": MAC, "payload": {}, "id": "m"})
            await sender.expect("peer", status="done", delivered=[MAC], confirm="written")

    async def test_what_is_acknowledged(self, stubs: Stubs):
        """Messages and events of the courier are, with their ids; receipts, errors and all others are not."""
        device = FakeDevice(stubs.url, MAC)
        stub = await stubs.meet(device)
        for message in (
            {"type": "peer", "from": OTHER, "payload": {}, "id": "1"},
            {"type": "peer", "status": "done", "id": "2"},
            {"type": "peer", "status": "error", "id": "3"},
            {"type": "peer", "event": "redelivered", "to": OTHER, "count": 1},
            {"type": "peer", "event": "redelivered", "to": OTHER, "count": 1, "id": "4"},
            {"type": "pong", "id": "5"},
            {"type": "meeting", "phase": "summary", "id": "6"},
        ):
            stub.send(message)

        acked = [await stub.read_message() for _ in range(3)]
        assert acked == [{"type": "peer", "event": "ack", "id": wire_id} for wire_id in "146"]
        await device.aclose()
        assert await stub.rest() == b""


class TestGoingAway:
    """Resets, lost Wi-Fi, and the gateway's part in it."""

    async def test_reset(self, gateway: Watched, device: FakeDevice):
        """A device that connects anew has ended its old connection, and forgotten what was unread."""
        await device.send({"type": "ping"})
        await device.send({"type": "ping", "id": 2})
        await device.expect("pong", id=2)
        first = device.session_id
        await device.connect()
        await gateway.saw(DeviceOffline)

        assert (await device.hello())["session_id"] != first
        with pytest.raises(ExpectationFailed):
            await device.expect("pong", timeout=0)
        assert [message["type"] for message in device.received] == ["hello", "pong", "pong", "hello"]
        assert device.close_code is None

    async def test_cut(self, gateway: Watched, device: FakeDevice):
        """After a cut there is nothing to send on."""
        device.cut()
        with pytest.raises(NotConnected, match=f"^{MAC} cannot send: its connection"):
            await device.send({"type": "ping"})
        await asyncio.wait_for(device.closed.wait(), SOON)
        with pytest.raises(NotConnected, match="its connection ended with 1006"):
            await device.send({"type": "ping"})
        await gateway.saw(DeviceOffline)

    async def test_vanished(self, gateway: Watched, device: FakeDevice):
        """A device that vanished says nothing more, and the gateway does not know."""
        device.vanish()

        async with FakeDevice(gateway.websocket_url, OTHER) as sender:
            await sender.send({"type": "peer", "to": MAC, "payload": {}, "id": "m"})
            await sender.expect("peer", status="done", enqueued=[MAC])
        with pytest.raises(NotConnected, match="its connection has vanished"):
            await device.send({"type": "ping"})
        assert not device.closed.is_set()
        assert not any(isinstance(event, DeviceOffline) and event.device == MAC for event in gateway.events)

    async def test_vanished_answers_nothing(self, stubs: Stubs):
        """Not even a control ping."""
        device = FakeDevice(stubs.url, MAC)
        stub = await stubs.meet(device)
        device.vanish()
        stub.frame(Opcode.PING, b"")

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stub.reader.read(1), 0.1)
        await device.aclose()

    async def test_vanished_and_back(self, gateway: Watched, device: FakeDevice):
        """Its new connection takes over from the one that vanished, whose end it does not notice."""
        device.vanish()
        await device.connect()
        answer = await device.hello()

        assert answer["gateway"]["resumed"] is True
        await gateway.saw(HandoverEnded)
        closed = await gateway.saw(ConnectionClosed)
        assert isinstance(closed, ConnectionClosed)
        assert (closed.code, closed.aborted) == (4001, True)
        assert device.close_code is None
        await device.send({"type": "ping"})
        await device.expect("pong")

    async def test_closed_by_the_gateway(self, gateway: Watched, device: FakeDevice):
        """A Close of the gateway is seen but not answered, so that the gateway has to abort."""
        await gateway.stop()

        assert await device.expect_close() == 1001
        await asyncio.wait_for(device.closed.wait(), SOON)
        closed = await gateway.saw(ConnectionClosed)
        assert isinstance(closed, ConnectionClosed)
        assert (closed.by, closed.aborted) == ("gateway", True)
        with pytest.raises(NotConnected, match="ended with 1001 the gateway stops"):
            await device.send({"type": "ping"})

    async def test_not_connected(self):
        """Without a connection nothing can be sent, nor lost; closing is no error."""
        device = FakeDevice("ws://127.0.0.1:1/", MAC)

        with pytest.raises(NotConnected, match="it has not connected"):
            await device.send({"type": "ping"})
        with pytest.raises(Misuse, match="to have a connection, but it has not connected"):
            device.vanish()
        device.cut()
        await device.aclose()
        assert device.closed.is_set()


async def test_watch(stubs: Stubs):
    """Every frame is shown as it passes, in order, both ways, pongs included."""
    seen: list[FramePassed] = []

    def watch(record: FramePassed | Happened) -> None:
        if isinstance(record, FramePassed):
            seen.append(record)

    device = FakeDevice(stubs.url, MAC, watch=watch)
    stub = await stubs.meet(device)
    await device.send({"type": "a"})
    stub.frame(Opcode.PING, b"p")
    stub.frame(Opcode.BINARY, b"opus")
    stub.close(1012, "bye")
    await device.expect_close()
    await device.aclose()

    assert {frame.device for frame in seen} == {MAC}
    assert [(frame.sent, frame.opcode, frame.payload) for frame in seen] == [
        (True, Opcode.TEXT, b'{"type":"a"}'),
        (False, Opcode.PING, b"p"),
        (True, Opcode.PONG, b"p"),
        (False, Opcode.BINARY, b"opus"),
        (False, Opcode.CLOSE, b"\x03\xf4bye"),
    ]


# --- a device like any other, and a poor one ------------------------------------------------------------------------


async def test_polite_close(gateway: Watched):
    """On request it leaves with a Close frame, which the gateway answers."""
    async with FakeDevice(gateway.websocket_url, MAC) as device:
        await device.close(1001, "bye")

        assert device.close_code == 1001
        ended = await gateway.saw(ConnectionClosed)
        assert isinstance(ended, ConnectionClosed)
        assert (ended.code, ended.by) == (1001, "peer")


async def test_polite_close_is_not_answered(stubs: Stubs):
    """A gateway that does not answer a Close is told so, and the socket is gone."""
    device = FakeDevice(stubs.url, MAC)
    stub = await stubs.meet(device)

    with pytest.raises(ExpectationFailed, match="expected the gateway to answer its Close"):
        await device.close(timeout=0.05)
    await asyncio.wait_for(device.closed.wait(), SOON)
    assert (await stub.read_frame())[0] is Opcode.CLOSE


async def test_expect_nothing(stubs: Stubs):
    """Absence is waited for; what comes, or has come, is a failure that shows it."""
    device = FakeDevice(stubs.url, MAC)
    stub = await stubs.meet(device)
    await device.expect_nothing("pong", 0.01)
    stub.send({"type": "pong", "id": 1})

    with pytest.raises(ExpectationFailed, match=r'no such thing as a message "pong".*it came\n.*\n.*"id":1'):
        await device.expect_nothing("pong", SOON)
    await device.aclose()
    await device.expect_nothing("pong", SOON)  # at once: nothing can come any more


async def test_power(gateway: Watched):
    """Without power it is silent and cannot connect; the gateway is not told. With power it can again."""
    async with FakeDevice(gateway.websocket_url, MAC) as device:
        await device.power_off()
        await device.power_off()
        with pytest.raises(NotConnected, match="has vanished"):
            await device.send({"type": "ping"})
        with pytest.raises(Misuse, match="to have power"):
            await device.connect()
        assert not [event for event in gateway.events if isinstance(event, DeviceOffline)]
        await device.power_on()
        await device.power_on()
        await device.go_online()
        await device.send({"type": "ping"})
        assert await device.expect("pong") == {"type": "pong"}


async def test_reset(gateway: Watched):
    """After a reset it opens a new socket; the old one is left to the gateway, which hands the route over."""
    async with FakeDevice(gateway.websocket_url, MAC) as device:
        session = device.session_id
        await device.reset()

        assert device.session_id == session
        assert await gateway.saw(HandoverEnded)
        await device.send({"type": "ping"})
        assert await device.expect("pong") == {"type": "pong"}


async def test_provision(stubs: Stubs):
    """Other settings are in force from the next connection on."""
    device = FakeDevice("ws://nowhere.invalid/", MAC)
    await device.provision(Settings(stubs.url, token="t0k", framing=3))
    stub = await stubs.meet(device)
    await device.aclose()

    assert b"Authorization: Bearer t0k\r\n" in stub.request
    assert b"Protocol-Version: 3\r\n" in stub.request


async def test_headers(stubs: Stubs):
    """Headers of the upgrade request can be other than the firmware's, or left out."""
    device = FakeDevice(stubs.url, MAC, headers={"Client-Id": None, "Origin": "http://page"})
    stub = await stubs.meet(device)
    await device.aclose()

    assert b"Client-Id" not in stub.request
    assert b"Origin: http://page\r\n" in stub.request


def test_clone():
    """A clone has the id and the settings of the other, a name of its own, and what is given."""
    one = FakeDevice("ws://h/", MAC, token="t", framing=2, features={"aec": True}, acks=False)
    other = one.clone("other", framing=3)

    assert (other.device_id, other.client_id, other.token, other.features, other.acks) == (
        one.device_id,
        one.client_id,
        one.token,
        one.features,
        one.acks,
    )
    assert (one.name, other.name, one.framing, other.framing) == (MAC, "other", 2, 3)


async def test_control_ping(stubs: Stubs):
    """It can send a control ping, and nothing else that is no message."""
    device = FakeDevice(stubs.url, MAC)
    stub = await stubs.meet(device)
    await device.send_ping(b"p")
    await device.send_bytes(b"\x89\x80\x00\x00\x00\x00")

    assert await stub.read_frame() == (Opcode.PING, b"p")
    assert await stub.read_frame() == (Opcode.PING, b"")
    await device.aclose()


async def test_reads_slowly(stubs: Stubs):
    """A slow reader takes so many bytes a second; all of it arrives in the end."""
    device = FakeDevice(stubs.url, MAC, reads_bytes_per_second=50_000)
    stub = await stubs.meet(device)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(10):
        stub.send({"type": "n", "n": number, "x": "x" * 2000})
        await device.expect("n", SOON, n=number)

    assert loop.time() - began >= 0.3  # 20 kB, of which the last read is not waited for
    await device.aclose()


async def test_view(gateway: Watched):
    """What the gateway knows of it is asked of whoever made it; a device of a gateway seen from outside says so."""
    view = LinkView(present=True, session="s", connections=1, arrivals=1, close_code=None)
    asked: list[str] = []
    device = FakeDevice(gateway.websocket_url, MAC, view=lambda device: (asked.append(device), view)[1])

    assert (device.link, asked) == (view, [MAC])
    with pytest.raises(Misuse, match="seen from outside"):
        FakeDevice(gateway.websocket_url, MAC).link  # noqa: B018 - it raises


async def test_what_happens_is_shown(gateway: Watched):
    """Its life is shown beside the frames; what a test does to it is marked as a fault."""
    seen: list[Happened] = []
    device = FakeDevice(
        gateway.websocket_url,
        MAC,
        name="kitchen",
        watch=lambda one: seen.append(one) if isinstance(one, Happened) else None,
    )
    await device.go_online()
    device.cut()
    await asyncio.wait_for(device.closed.wait(), SOON)
    device.cut()  # nothing to cut any more

    assert {one.device for one in seen} == {"kitchen"}
    assert [(one.what, one.fault) for one in seen] == [
        ("connects", False),
        ("is connected: 101", False),
        ("cuts its connection: end of TCP, no Close frame", True),
        ("has lost its connection: ended with 1006", False),
    ]


async def test_who_waits_for_a_device_of_a_spoilt_test_is_told_why(device: FakeDevice):
    """What spoils a test (a board that crashed) ends the waits for all its devices at once, and those that follow."""
    waiting = [asyncio.create_task(wait) for wait in (device.expect("no such", 20), device.expect_close(20))]
    await asyncio.sleep(0)

    device.spoil(FirmwareWouldFail("the board has crashed"))

    for task in waiting:
        with pytest.raises(FirmwareWouldFail, match="the board has crashed"):
            await asyncio.wait_for(task, SOON)
    with pytest.raises(FirmwareWouldFail):
        await device.expect_nothing("pong", 20)
