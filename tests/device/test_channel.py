"""What one connection of a device may say, when, and what it hears: in virtual time, over a connection that notes."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from gateway.config import Config, HandshakeConfig, HeartbeatConfig, LimitsConfig, StatsConfig
from gateway.device.channel import Channel, State
from gateway.device.outbox import Sent
from gateway.device.session import Session
from gateway.errors import BadMessage, PoolBusy
from gateway.feature import Handler
from gateway.identity import DeviceId
from gateway.observe.events import (
    AudioFrameDropped,
    ConnectionClosed,
    ConnectionOpened,
    MessageRejected,
    PingLimited,
    PongSent,
    RetiredFrameDropped,
    SendFailed,
    UnknownTypeDropped,
)
from gateway.protocol.handshake import Connect
from gateway.protocol.messages import AudioParams
from tests.fake_session import Records
from tests.raw_gateway import RawGateway
from tests.raw_peer import say as raw_say
from tests.virtual_time import timers, virtual_time

HELLO = {
    "type": "hello",
    "version": 1,
    "features": {"mcp": True, "peer_ack": True},
    "transport": "websocket",
    "audio_params": {"format": "opus", "sample_rate": 16000, "channels": 1, "frame_duration": 20},
}
PING = {"type": "ping"}
PONG = {"type": "pong"}


class Lamp(msgspec.Struct, tag="lamp"):
    """A message of an application."""

    on: bool
    id: str = ""


class Slow(msgspec.Struct, tag="slow"):
    """A message that takes time."""


class Peer(msgspec.Struct, tag="peer"):
    """As much of a peer message as is needed here."""

    event: Any = None
    id: Any = None


class Connection:
    """As much of a connection as a channel uses; notes what is sent, and when."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.opened_at = self.loop.time()
        self.address = "192.0.2.1"
        self.is_open = True
        self.sent: list[tuple[float, Any]] = []
        self.audio: list[bytes] = []
        self.pings: list[float] = []
        self.dropped = 0
        self.code: int | None = None
        self.closed_at: float | None = None
        self.takes: Sent = Sent.WRITTEN

    def send_text(self, payload: bytes) -> Sent:
        """Note a message."""
        if not self.is_open:
            return Sent.FAILED
        self.sent.append((self.loop.time(), json.loads(payload)))
        return self.takes

    def send_audio(self, payload: bytes) -> Sent:
        """Note a packet."""
        if not self.is_open:
            return Sent.FAILED
        self.audio.append(payload)
        return self.takes

    def send_ping(self) -> Sent:
        """Note a ping."""
        self.pings.append(self.loop.time())
        return self.takes

    def drop_audio(self) -> int:
        """Count the calls."""
        self.dropped += 1
        return 0

    def close(self, code: int, reason: str) -> None:
        """Note the first code."""
        if self.is_open:
            self.is_open, self.code, self.closed_at = False, int(code), self.loop.time()

    fail = close


class House:
    """Arrivals and desk of one device, and the channels it opens; keeps what happens in one list, in order."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.records = Records()
        self.observers = self.records.observers
        self.offers = ["lamp", "peer"]
        self.handlers: dict[str, Handler[Any]] = {}
        self.story: list[tuple[str, Any]] = []
        self.busy = self.meeting = False
        self.present: Session | None = None
        for struct_, handle in ((Lamp, self.switch), (Slow, self.wait), (Peer, self.take_peer)):
            self.handlers[struct_.__struct_config__.tag] = Handler(struct_, handle)

    def open(self, device: str = "dev-0001", *, generated: bool = False, framing: int = 1) -> Channel:
        """Open one connection of the device."""
        connect = Connect(DeviceId(device), generated, "client", framing, "/xiaozhi/v1/", False)
        channel = Channel(connect, Connection(), self, self, asyncio.get_running_loop())
        channel.opened()
        return channel

    # --- arrivals

    def arrive(self, channel: Channel, because: str) -> Session:
        """Give the channel the route."""
        self.story.append(("arrive", because))
        if self.present is None:
            now = asyncio.get_running_loop().time()
            self.present = Session(channel.connect.device, channel, self.observers, now)
        else:
            old, self.present.channel = self.present.channel, channel
            old.send_notice()
            channel.resumes = True
        channel.session, channel.state = self.present, State.OWNER
        return self.present

    def announce(self, channel: Channel) -> None:
        """Send what features send to a device that has come."""
        self.story.append(("announce", channel.connect.device))
        channel.session.send_json({"type": "workflow"})

    def leave(self, channel: Channel) -> None:
        """Note it."""
        self.story.append(("leave", channel.connect.device))
        if self.present is not None and self.present.channel is channel:
            self.present.tasks.cancel()
            self.present = None

    # --- desk

    def answers_hello(self, session: Session) -> None:
        """Note it."""
        self.story.append(("hello answered", session.id))

    def downlink_audio(self, client: AudioParams) -> AudioParams:
        """Echo, so that it shows in the answer."""
        return client

    def take_audio(self, channel: Channel, packet: bytes) -> None:
        """Note it."""
        self.story.append(("audio", bytes(packet)))

    def in_meeting(self, session: Session) -> bool:
        """As the test says."""
        return self.meeting

    def is_busy(self, session: Session) -> bool:
        """As the test says."""
        return self.busy

    # --- handlers

    def switch(self, session: Session, message: Lamp) -> None:
        """Handle a message, or fail as the test wants it."""
        self.story.append(("lamp", message.on))
        if message.id == "bad":
            raise BadMessage("SCHEMA_INVALID", "no such lamp", "bad")
        if message.id == "bug":
            raise ZeroDivisionError("of the handler")
        if message.id == "busy":
            raise PoolBusy

    async def wait(self, session: Session, message: Slow) -> None:
        """Take time."""
        await asyncio.sleep(1)
        self.story.append(("slow", None))

    def take_peer(self, session: Session, message: Peer) -> None:
        """Note it."""
        self.story.append(("peer", message.id))

    def of(self, kind: str) -> list[Any]:
        """What happened of one kind."""
        return [what for name, what in self.story if name == kind]


def say(channel: Channel, *messages: Any) -> list[Any]:
    """Have the channel receive messages; what it was sent because of them."""
    before = len(channel.connection.sent)
    for message in messages:
        channel.text_received(message if isinstance(message, bytes) else json.dumps(message).encode())
    return heard(channel)[before:]


def heard(channel: Channel) -> list[Any]:
    """All the messages the device was sent."""
    return [message for _, message in channel.connection.sent]


def codes(messages: Iterable[Any]) -> list[str]:
    """The codes of error replies."""
    return [message["code"] for message in messages if message["type"] == "error"]


def end(channel: Channel) -> None:
    """The socket is gone."""
    channel.connection.is_open = False
    channel.closed(1006, "", "peer", aborted=False)


# --- hello -------------------------------------------------------------------------------------------------------


@virtual_time
async def test_hello_is_answered_before_anything_else():
    """What features send to a device that has come waits behind it."""
    house = House()
    channel = house.open()
    answer, *rest = say(channel, HELLO)
    assert answer == {
        "type": "hello",
        "version": 1,
        "transport": "websocket",
        "session_id": house.present.id,
        "audio_params": HELLO["audio_params"],
        "gateway": {"resumed": False, "features": ["lamp", "peer"]},
    }
    assert rest == [{"type": "workflow"}]
    assert [name for name, _ in house.story] == ["arrive", "announce", "hello answered"]
    assert channel.hello.features == {"mcp": True, "peer_ack": True}


@virtual_time
async def test_second_hello_gets_the_same_answer():
    """Idempotent: same session, the first one's parameters, nothing announced or begun again."""
    house = House()
    channel = house.open()
    first = say(channel, HELLO)[0]
    second = say(channel, HELLO | {"features": {}, "audio_params": {"sample_rate": 48000}})
    assert second == [first]
    assert channel.hello.features == HELLO["features"]
    assert [name for name, _ in house.story] == ["arrive", "announce", "hello answered"]


@virtual_time
async def test_late_hello_is_answered_by_a_channel_that_is_alive_already():
    """By its first frame, or by staying open; the defaults give way to what it says."""
    for before in ("frame", "open"):
        house = House()
        channel = house.open()
        if before == "frame":
            say(channel, {"type": "lamp", "on": True})
        else:
            await asyncio.sleep(1)
        assert house.of("arrive") == [before]
        (answer,) = say(channel, HELLO)
        assert (answer["type"], answer["session_id"]) == ("hello", house.present.id)
        assert channel.hello.features == HELLO["features"]
        assert len(house.of("hello answered")) == 1


@virtual_time
async def test_hello_of_a_second_connection_says_that_it_resumes():
    """Same device, same session."""
    house = House()
    first = house.open()
    session_id = say(first, HELLO)[0]["session_id"]
    await asyncio.sleep(3)
    answer = say(house.open(), HELLO)[0]
    assert answer["session_id"] == session_id
    assert answer["gateway"]["resumed"] is True


BAD_HELLOS = {
    "version": {"version": "1"},
    "transport": {"transport": 7},
    "features": {"features": []},
    "audio_params": {"audio_params": []},
    "rate 0": {"audio_params": {"sample_rate": 0}},
}


@pytest.mark.parametrize("wrong", BAD_HELLOS.values(), ids=BAD_HELLOS)
@virtual_time
async def test_bad_hello_stays_open_with_defaults(wrong):
    """The answer comes first and has all that the firmware needs; then one error."""
    house = House()
    channel = house.open()
    messages = say(channel, HELLO | wrong)
    assert messages[0]["type"] == "hello"
    assert messages[0]["transport"] == "websocket"
    assert messages[0]["audio_params"]["sample_rate"] == 16000
    assert codes(messages) == ["BAD_HELLO"]
    assert channel.connection.is_open


@virtual_time
async def test_hello_of_a_browser_page_is_a_good_one():
    """It has none of the fields."""
    house = House()
    page = {"type": "hello", "device_id": "x", "device_name": "page", "device_mac": "x", "token": "t"}
    messages = say(house.open(), page)
    assert messages[0]["session_id"] == house.present.id
    assert codes(messages) == []


@pytest.mark.parametrize("features", [{"peer_ack": True}, {}], ids=["acknowledges", "does not"])
async def test_hello_is_answered_first_in_a_whole_gateway(features, caplog):
    """Though mail waits, and the task list of the group, and everybody is told who is online."""
    async with RawGateway(caplog, stats=StatsConfig(audience="all", every=0.05)) as house:
        friend = await house.device("group--1-friend")
        await friend.send(raw_say({"type": "workflow", "event": "update", "tasks": ["dishes"]}))
        await friend.send(raw_say({"type": "peer", "to": "group--1-late", "payload": {"text": "hi"}, "id": "m1"}))
        answers = [await friend.message()]
        while answers[-1].get("enqueued") != ["group--1-late"]:
            answers.append(await friend.message())
        late = await house.open("group--1-late")
        await late.send(raw_say(HELLO | {"features": features}))
        messages = [await late.message()]
        while not {"hello", "workflow", "peer", "server"} <= {message["type"] for message in messages}:
            messages.append(await late.message())
        assert messages[0]["type"] == "hello"
        assert [message["type"] for message in messages].count("hello") == 1


# --- before hello ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ping", "keepalive"])
@virtual_time
async def test_ping_before_hello(kind):
    """Answered at once, before any gate, and a sign of life."""
    house = House()
    channel = house.open()
    assert say(channel, {"type": kind}) == [PONG, {"type": "workflow"}]
    assert house.of("arrive") == ["frame"]
    assert house.of("hello answered") == []
    assert len(house.records.of(PongSent)) == 1


@virtual_time
async def test_first_text_that_is_no_hello_is_taken():
    """Test tools do it; the defaults of a hello hold."""
    house = House()
    channel = house.open()
    say(channel, {"type": "lamp", "on": True})
    assert house.of("lamp") == [True]
    assert channel.hello.version == 1


@virtual_time
async def test_bad_text_is_no_sign_of_life():
    """It is answered with an error, and disturbs nobody's route."""
    house = House()
    channel = house.open()
    assert codes(say(channel, b"{", b"[]", {"type": 3})) == ["BAD_JSON", "BAD_JSON", "BAD_TYPE"]
    assert house.of("arrive") == []
    assert channel.state is State.OPEN


@virtual_time
async def test_binary_before_hello_is_dropped():
    """And counted, with the bad frames: 20 in ten seconds are 1003."""
    house = House()
    channel = house.open()
    for _ in range(19):
        channel.binary_received(b"opus")
    assert channel.connection.is_open
    assert [event.why for event in house.records.of(AudioFrameDropped)] == ["before_hello"] * 19
    channel.binary_received(b"opus")
    assert channel.connection.code == 1003


@virtual_time
async def test_open_socket_counts_as_alive_after_half_a_second():
    """The fork's clients may never say hello."""
    house = House()
    house.open()
    await asyncio.sleep(0.49)
    assert house.of("arrive") == []
    await asyncio.sleep(0.02)
    assert house.of("arrive") == ["open"]


@pytest.mark.parametrize("how", ["closing", "gone"])
@virtual_time
async def test_socket_that_ends_before_it_is_alive_takes_no_route(how):
    """Neither when it is gone nor while it is still closing: the device's other connection is not disturbed."""
    house = House()
    old = house.open()
    say(old, HELLO)
    new = house.open()
    new.text_received(b'{"type":"\xff"}')
    assert new.connection.code == 1007
    if how == "gone":
        end(new)
    await asyncio.sleep(2)
    assert house.of("arrive") == ["hello"]
    assert (old.state, house.present.channel) == (State.OWNER, old)


@virtual_time
async def test_generated_id_that_says_nothing_is_closed():
    """4002 after ten seconds; nobody misses it."""
    house = House()
    channel = house.open(generated=True)
    await asyncio.sleep(9.9)
    assert channel.connection.is_open
    await asyncio.sleep(0.2)
    assert (channel.connection.code, channel.connection.closed_at) == (4002, 10.0)


@pytest.mark.parametrize("sign", ["text", "bad text", "binary", "ping", "pong"])
@virtual_time
async def test_generated_id_that_says_anything_stays(sign):
    """Any frame at all, good or bad."""
    house = House()
    channel = house.open(generated=True)
    await asyncio.sleep(5)
    if sign == "text":
        say(channel, PING)
    elif sign == "bad text":
        say(channel, b"{")
    elif sign == "binary":
        channel.binary_received(b"x")
    elif sign == "ping":
        channel.ping_received()
    else:
        channel.other_received()
    await asyncio.sleep(60)
    assert channel.connection.is_open


@virtual_time
async def test_named_device_may_stay_silent():
    """Until the idle close."""
    house = House()
    channel = house.open()
    await asyncio.sleep(599)
    assert channel.connection.is_open
    await asyncio.sleep(2)
    assert (channel.connection.code, channel.connection.closed_at) == (4003, 600.0)


# --- binary frames -----------------------------------------------------------------------------------------------


def version_2(payload: bytes, *, version: int = 2, kind: int = 0, size: int | None = None) -> bytes:
    """A frame of framing version 2."""
    return struct.pack(">HHIII", version, kind, 0, 1234, len(payload) if size is None else size) + payload


def version_3(payload: bytes, *, kind: int = 0, size: int | None = None) -> bytes:
    """A frame of framing version 3."""
    return struct.pack(">BBH", kind, 0, len(payload) if size is None else size) + payload


@pytest.mark.parametrize("framing", [1, 2, 3])
@virtual_time
async def test_framing_of_the_header_wins_over_that_of_the_hello(framing):
    """Both ways: the firmware frames by its header, whatever its hello says."""
    house = House()
    channel = house.open(framing=framing)
    say(channel, HELLO | {"version": framing % 3 + 1})
    packed = {1: b"opus", 2: version_2(b"opus"), 3: version_3(b"opus")}[framing]
    channel.binary_received(packed)
    assert house.of("audio") == [b"opus"]
    await asyncio.sleep(1.234)
    assert channel.send_audio(b"opus") is Sent.WRITTEN
    assert channel.connection.audio == [packed]


BAD_FRAMES = {
    "empty": (1, b""),
    "2: raw Opus": (2, b"opus"),
    "2: version 3 inside": (2, version_2(b"opus", version=3)),
    "2: size too large": (2, version_2(b"opus", size=5)),
    "2: size too small": (2, version_2(b"opus", size=3)),
    "2: size 2^32-1": (2, version_2(b"opus", size=2**32 - 1)),
    "2: unknown type": (2, version_2(b"opus", kind=9)),
    "2: no payload": (2, version_2(b"")),
    "3: raw Opus": (3, b"\0\0\0"),
    "3: size too large": (3, version_3(b"opus", size=65535)),
    "3: size too small": (3, version_3(b"opus", size=1)),
}


@pytest.mark.parametrize(("framing", "data"), BAD_FRAMES.values(), ids=BAD_FRAMES)
@virtual_time
async def test_bad_frame_is_dropped_and_twenty_are_1003(framing, data):
    """Never decoded past its end; one by one they are only counted."""
    house = House()
    channel = house.open(framing=framing)
    say(channel, HELLO)
    for _ in range(19):
        channel.binary_received(data)
    assert channel.connection.is_open
    assert house.of("audio") == []
    assert [event.why for event in house.records.of(AudioFrameDropped)] == ["bad_frame"] * 19
    channel.binary_received(data)
    assert channel.connection.code == 1003


@virtual_time
async def test_bad_frames_spread_over_time_are_forgiven():
    """Nineteen in any ten seconds."""
    house = House()
    channel = house.open(framing=3)
    say(channel, HELLO)
    for _ in range(100):
        channel.binary_received(b"x")
        await asyncio.sleep(0.53)
    assert channel.connection.is_open


@pytest.mark.parametrize(("most", "frames"), [(1, 1), (2, 2)])
@virtual_time
async def test_configured_number_of_bad_frames(most, frames):
    """Also the least there may be."""
    house = House(Config(limits=LimitsConfig(bad_frames=most)))
    channel = house.open()
    for n in range(frames):
        assert channel.connection.is_open, n
        channel.binary_received(b"x")
    assert channel.connection.code == 1003


@virtual_time
async def test_json_in_a_version_2_frame_is_a_text_message():
    """The firmware has the type; it goes the way of any text."""
    house = House()
    channel = house.open(framing=2)
    say(channel, HELLO)
    channel.binary_received(version_2(b'{"type":"lamp","on":true}', kind=1))
    channel.binary_received(version_2(b'{"type":"ping"}', kind=1))
    assert house.of("lamp") == [True]
    assert heard(channel)[-1] == PONG
    channel.binary_received(version_2(b"\xff", kind=1))
    assert channel.connection.code == 1007


@pytest.mark.parametrize("packet", [b"", b"x" * 65536], ids=["empty", "too long for version 3"])
@virtual_time
async def test_packet_that_cannot_be_framed_fails_and_raises_nothing(packet, caplog):
    """A size that is not exact would crash the device; whoever sends is told."""
    house = House()
    channel = house.open(framing=3)
    say(channel, HELLO)
    assert channel.send_audio(packet) is Sent.FAILED
    assert channel.connection.audio == []
    assert len(house.records.of(SendFailed)) == 1
    assert "could not be framed" in caplog.text


# --- heartbeats --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id_", "echoed"),
    [
        (7, True),
        (-1, True),
        ("a", True),
        ("", True),
        ("x" * 64, True),
        ("x" * 65, False),
        (1.5, False),
        (True, False),
        (None, False),
    ],
)
@virtual_time
async def test_ping_id_is_echoed_if_it_is_short(id_, echoed):
    """A short string or an integer; anything else is as good as none."""
    channel = House().open()
    assert say(channel, PING | {"id": id_})[0] == (PONG | {"id": id_} if echoed else PONG)


@virtual_time
async def test_pings_over_the_budget_get_no_pong_and_one_error():
    """20 at once, then one error in ten seconds."""
    house = House()
    channel = house.open()
    say(channel, HELLO)
    messages = say(channel, *[PING] * 100)
    assert messages == [PONG] * 20 + [{"type": "error", "code": "RATE_LIMITED", "message": messages[-1]["message"]}]
    assert len(house.records.of(PingLimited)) == 80
    # flow control is no offence: it does not count against the error budget
    assert house.records.of(MessageRejected) == []


@virtual_time
async def test_storm_is_closed_after_ten_seconds():
    """Pongs at their rate until then, and 4008."""
    house = House()
    channel = house.open()
    say(channel, HELLO)
    while channel.connection.is_open:
        say(channel, *[PING] * 30)
        await asyncio.sleep(0.01)
    assert channel.connection.code == 4008
    seconds = channel.connection.closed_at
    assert 10 <= seconds <= 10.1
    assert 65 <= heard(channel).count(PONG) <= 20 + 5 * seconds + 1
    assert codes(heard(channel)) == ["RATE_LIMITED"]


@virtual_time
async def test_control_pings_share_the_budget():
    """One budget, whatever kind of ping."""
    house = House()
    channel = house.open()
    say(channel, HELLO)
    assert [channel.ping_received() for _ in range(25)] == [True] * 20 + [False] * 5
    assert codes(heard(channel)) == ["RATE_LIMITED"]
    assert say(channel, PING) == []


@virtual_time
async def test_storm_before_the_channel_is_alive_takes_no_route():
    """Where it is closed for its very first excess."""
    house = House(Config(heartbeat=HeartbeatConfig(pong_burst=1, storm_close_after=1e-9)))
    old = house.open()
    say(old, HELLO)
    await asyncio.sleep(1)
    new = house.open()
    new.ping_received()
    new.ping_received()
    await asyncio.sleep(0.001)
    say(new, PING)
    assert new.connection.code == 4008
    assert house.present.channel is old


@virtual_time
async def test_keepalive_goes_into_a_long_silence():
    """100 s after the last data frame of ours, so that the firmware's 120 s are never reached; pings do not help it."""
    house = House()
    channel = house.open()
    say(channel, HELLO)
    await asyncio.sleep(60)
    say(channel, {"type": "lamp", "on": True})  # heard, not answered
    await asyncio.sleep(250)
    times = [when for when, message in channel.connection.sent if message == {"type": "keepalive"}]
    assert times == [100, 200, 300]


@virtual_time
async def test_keepalive_waits_while_there_is_traffic():
    """Text and audio of ours are data frames as well."""
    house = House()
    channel = house.open()
    say(channel, HELLO)
    for send in (lambda: say(channel, PING), lambda: channel.send_audio(b"x"), lambda: channel.send_json({"a": 1})):
        for _ in range(5):
            await asyncio.sleep(90)
            send()
    assert {"type": "keepalive"} not in heard(channel)


@virtual_time
async def test_idle_close_is_moved_by_any_frame():
    """Text, bad text, binary, ping, pong: the device is there."""
    house = House()
    channel = house.open()
    say(channel, HELLO)
    for sign in range(10):
        await asyncio.sleep(500)
        if sign % 5 == 0:
            say(channel, PING)
        elif sign % 5 == 1:
            channel.binary_received(b"x")
        elif sign % 5 == 2:
            channel.ping_received()
        elif sign % 5 == 3:
            channel.other_received()
        else:
            say(channel, b"{")
    last = asyncio.get_running_loop().time()
    assert channel.connection.is_open
    await asyncio.sleep(800)
    assert channel.connection.code == 4003
    assert last + 600 <= channel.connection.closed_at <= last + 700


@virtual_time
async def test_idle_close_waits_for_meetings_and_sentences():
    """Three times as long in a meeting, and never in mid-utterance."""
    house = House()
    channel = house.open()
    say(channel, HELLO)
    house.meeting = True
    await asyncio.sleep(1700)
    assert channel.connection.is_open
    house.busy = True
    await asyncio.sleep(2000)
    assert channel.connection.is_open
    house.busy = False
    await asyncio.sleep(101)
    assert channel.connection.code == 4003


@virtual_time
async def test_control_pings_only_for_devices_that_opted_in():
    """Every 20 s of silence; older firmware would close on them."""
    config = Config(heartbeat=HeartbeatConfig(control_ping_devices=["willing"]))
    willing, other = House(config), House(config)
    one, two = willing.open("willing"), other.open("other")
    say(one, HELLO)
    say(two, HELLO)
    await asyncio.sleep(65)
    assert one.connection.pings == [20, 40, 60]
    assert two.connection.pings == []
    one.other_received()  # its pong: it is there, and is not asked for a while
    await asyncio.sleep(19)
    assert len(one.connection.pings) == 3
    await asyncio.sleep(2)
    assert len(one.connection.pings) == 4


@virtual_time
async def test_opted_in_device_that_only_answers_pings_is_not_idle():
    """Its pongs are signs of life."""
    config = Config(heartbeat=HeartbeatConfig(control_ping_devices=["willing"]))
    house = House(config)
    channel = house.open("willing")
    say(channel, HELLO)
    for _ in range(100):
        await asyncio.sleep(20)
        channel.other_received()
    assert channel.connection.is_open


# --- errors ------------------------------------------------------------------------------------------------------


@virtual_time
async def test_more_than_twenty_errors_are_1008():
    """The 21st in ten seconds; it is still answered."""
    house = House()
    channel = house.open()
    assert codes(say(channel, *[b"{"] * 20)) == ["BAD_JSON"] * 20
    assert channel.connection.is_open
    assert codes(say(channel, b"{")) == ["BAD_JSON"]
    assert channel.connection.code == 1008
    assert len(house.records.of(MessageRejected)) == 21


@virtual_time
async def test_twenty_errors_in_any_ten_seconds_are_forgiven():
    """However long it goes on."""
    channel = House().open()
    for _ in range(200):
        say(channel, b"{")
        await asyncio.sleep(0.501)
    assert channel.connection.is_open


@pytest.mark.parametrize("length", [3, 64, 65, 5000])
@virtual_time
async def test_unknown_type_is_told_once(length):
    """Per type and connection, however long the type is; the others are counted, and not in the error budget."""
    house = House()
    channel = house.open()
    say(channel, HELLO)
    unknown = {"type": "x" * length}
    assert codes(say(channel, *[unknown] * 50)) == ["UNKNOWN_TYPE"]
    assert len(house.records.of(UnknownTypeDropped)) == 49
    assert codes(say(channel, {"type": "other"}, unknown)) == ["UNKNOWN_TYPE"]
    assert channel.connection.is_open


@virtual_time
async def test_unknown_types_are_remembered_in_bounds():
    """Past 32 they are dropped without a word, and counted."""
    house = House(Config(limits=LimitsConfig(errors=1000)))
    channel = house.open()
    assert len(codes(say(channel, *[{"type": f"t{n}"} for n in range(100)]))) == 32
    assert len(channel._unknown) == 32
    assert len(house.records.of(UnknownTypeDropped)) == 68


@virtual_time
async def test_long_types_are_not_kept_whole():
    """64 KB of type would be 2 MB of memory."""
    channel = House().open()
    say(channel, {"type": "x" * 60_000})
    assert [len(kind) for kind in channel._unknown] == [64]


@virtual_time
async def test_invalid_utf_8_is_1007():
    """Before anything else is looked at."""
    for data in (b"\xff\xfe", b'{"type":"\xed\xa0\x80"}', b'{"type":"ping"}\x80'):
        channel = House().open()
        assert say(channel, data) == []
        assert channel.connection.code == 1007


@virtual_time
async def test_schema_is_checked_before_the_handler():
    """The error names the field, refers to the id, and never repeats what came."""
    house = House()
    channel = house.open()
    error = say(channel, {"type": "lamp", "on": "secret", "id": "m1"})[-1]
    assert (error["code"], error["ref"]) == ("SCHEMA_INVALID", "m1")
    assert "on" in error["message"]
    assert "secret" not in error["message"]
    assert house.of("lamp") == []


@virtual_time
async def test_handler_may_refuse():
    """With its own code and reference."""
    channel = House().open()
    error = say(channel, {"type": "lamp", "on": True, "id": "bad"})[-1]
    assert error == {"type": "error", "code": "SCHEMA_INVALID", "message": "no such lamp", "ref": "bad"}


@virtual_time
async def test_handler_that_fails_costs_one_message(caplog):
    """The traceback is in our log, nothing of it on the wire, and the channel goes on."""
    house = House()
    channel = house.open()
    error = say(channel, {"type": "lamp", "on": True, "id": "bug"})[-1]
    assert error["code"] == "INTERNAL_ERROR"
    assert "handler" not in error["message"].replace("handle this", "")
    assert "ZeroDivisionError" in caplog.text
    say(channel, {"type": "lamp", "on": False})
    assert house.of("lamp") == [True, False]


@virtual_time
async def test_handler_without_room(caplog):
    """A plain function for whose work there is no room is answered BUSY, as a coroutine is; nothing is logged."""
    channel = House().open()
    assert codes(say(channel, {"type": "lamp", "on": True, "id": "busy"})) == ["BUSY"]
    assert caplog.records == []


@virtual_time
async def test_handlers_that_wait_are_limited():
    """As many at once as configured; one more is BUSY; they end with the session."""
    house = House(Config(limits=LimitsConfig(handlers_at_once=2)))
    channel = house.open()
    assert codes(say(channel, *[{"type": "slow"}] * 3)) == ["BUSY"]
    await asyncio.sleep(1.1)
    assert len(house.of("slow")) == 2
    assert codes(say(channel, {"type": "slow"})) == []
    end(channel)
    await asyncio.sleep(2)
    assert len(house.of("slow")) == 2


class Endless(dict):
    """A message that cannot be encoded."""

    def __init__(self) -> None:
        super().__init__(type="x")
        self["self"] = self


@pytest.mark.parametrize(
    "message",
    [object(), {"a": object()}, {"a": "\ud800"}, Endless()],
    ids=["no message", "no JSON", "lone surrogate", "endless"],
)
@virtual_time
async def test_message_that_cannot_be_encoded_fails_and_raises_nothing(message, caplog):
    """An application's mistake: logged, recorded, and nobody else's business."""
    house = House()
    channel = house.open()
    say(channel, HELLO)
    before = heard(channel)
    assert channel.send_json(message) is Sent.FAILED
    assert heard(channel) == before
    assert [event.why for event in house.records.of(SendFailed)] == ["not_json"]
    assert "could not be encoded" in caplog.text


# --- retired -----------------------------------------------------------------------------------------------------


@virtual_time
async def test_retired_channel_hears_the_notice_and_nothing_more():
    """Whatever it says and whatever is sent to it."""
    house = House()
    old = house.open()
    say(old, HELLO)
    say(house.open(), HELLO)
    assert old.state is State.RETIRED
    assert heard(old)[-1]["message"].startswith("检测到新连接")
    assert old.connection.dropped == 1
    before = heard(old)
    say(old, HELLO, PING, {"type": "lamp", "on": True}, {"type": "zzz"}, b"{", {"type": "peer", "id": "m"})
    assert old.send_json({"type": "x"}) is Sent.FAILED
    assert old.send_audio(b"x") is Sent.FAILED
    assert old.ping_received() is False
    await asyncio.sleep(200)
    assert heard(old) == before
    assert old.connection.pings == []
    assert house.of("lamp") == house.of("peer") == []
    assert len(house.records.of(RetiredFrameDropped)) == 6


@pytest.mark.parametrize("data", [b"{", b'{"type":3}', b'{"type":"zzz"}'])
@virtual_time
async def test_retired_channel_is_not_closed_for_its_errors(data):
    """It has its own end coming, with its own code; what is wrong is dropped and counted."""
    house = House()
    old = house.open(framing=3)
    say(old, HELLO)
    say(house.open(), HELLO)
    say(old, *[data] * 30)
    for _ in range(30):
        old.binary_received(b"no frame")
    assert old.connection.is_open
    assert [one.why for one in house.records.of(AudioFrameDropped)] == ["bad_frame"] * 30
    assert house.records.of(MessageRejected) == []


@pytest.mark.parametrize("kind", ["plain", "waits"])
@virtual_time
async def test_errors_of_a_retired_channel_are_not_the_newer_ones(kind):
    """A handler that refuses its acknowledgement refuses it to the channel it came on, which hears nothing any more."""
    house = House()

    def plain(session: Session, message: Peer) -> None:
        raise BadMessage("INVALID_REQUEST", "no such message")

    async def waits(session: Session, message: Peer) -> None:
        plain(session, message)

    house.handlers["peer"] = Handler(Peer, {"plain": plain, "waits": waits}[kind])
    old, new = house.open(), house.open()
    say(old, HELLO)
    say(new, HELLO)
    before = [heard(old), heard(new)]
    say(old, {"type": "peer", "event": "ack", "id": "m1"})
    await asyncio.sleep(0.1)
    assert [heard(old), heard(new)] == before
    assert len(house.records.of(RetiredFrameDropped)) == 1


@virtual_time
async def test_retired_channel_still_brings_audio_and_acknowledgements():
    """The sentence that runs, and what was delivered before the handover."""
    house = House()
    old = house.open()
    say(old, HELLO)
    say(house.open(), HELLO)
    old.binary_received(b"opus")
    say(old, {"type": "peer", "event": "ack", "id": "m1"})
    assert house.of("audio") == [b"opus"]
    assert house.of("peer") == ["m1"]


@virtual_time
async def test_retired_channel_that_outlives_its_session_is_heard_no_more():
    """The newer connection has gone meanwhile; there is nobody to acknowledge for."""

    async def waits(session: Session, message: Peer) -> None:
        pytest.fail("the session has ended")

    def plain(session: Session, message: Peer) -> None:
        pytest.fail("the session has ended")

    for take in (waits, plain):
        house = House()
        house.handlers["peer"] = Handler(Peer, take)
        old, new = house.open(), house.open()
        say(old, HELLO)
        say(new, HELLO)
        end(new)
        say(old, {"type": "peer", "event": "ack", "id": "m1"})
        await asyncio.sleep(0)
        assert len(house.records.of(RetiredFrameDropped)) == 1


@virtual_time
async def test_retired_channel_is_not_watched():
    """No keepalive, no idle close, no ping: it has its own end coming."""
    house = House(Config(heartbeat=HeartbeatConfig(control_ping_devices=["dev-0001"])))
    old = house.open()
    say(old, HELLO)
    say(house.open(), HELLO)
    await asyncio.sleep(1000)
    assert old.connection.is_open
    assert old.connection.pings == []


# --- its life ----------------------------------------------------------------------------------------------------


@virtual_time
async def test_life_leaves_its_records_and_no_timer():
    """Opened, closed, once each; whenever it ends."""
    for seconds in (0.0, 0.3, 1.0, 150.0):
        house = House()
        channel = house.open(generated=True)
        if seconds > 1:
            say(channel, HELLO)
        await asyncio.sleep(seconds)
        channel.closed(1001, "bye", "gateway", aborted=True)
        assert channel.state is State.CLOSED
        assert timers() == []
        (opened,) = house.records.of(ConnectionOpened)
        assert (opened.address, opened.client, opened.framing) == ("192.0.2.1", "client", 1)
        (closed,) = house.records.of(ConnectionClosed)
        assert (closed.code, closed.reason, closed.by, closed.aborted) == (1001, "bye", "gateway", True)
        assert closed.seconds == pytest.approx(seconds)
        assert house.of("leave") == ["dev-0001"]
        assert channel.send_json({"type": "x"}) in (Sent.WRITTEN, Sent.FAILED)
        assert channel.send_audio(b"x") is Sent.FAILED


@virtual_time
async def test_what_a_client_calls_itself_is_printable_in_records():
    """Its id reaches logs and terminals."""
    house = House()
    connect = Connect(DeviceId("d"), False, "evil\x1b[31m" + "x" * 100, 1, "/", False)
    Channel(connect, Connection(), house, house, asyncio.get_running_loop()).opened()
    (opened,) = house.records.of(ConnectionOpened)
    assert opened.client.isprintable()
    assert len(opened.client) <= 65


@virtual_time
async def test_small_times_are_kept_too():
    """Nothing is hard-wired: the same story, a hundred times as fast."""
    heartbeat = HeartbeatConfig(keepalive_after=1, idle_close=6)
    house = House(Config(heartbeat=heartbeat, handshake=HandshakeConfig(alive_after=0)))
    channel = house.open()
    await asyncio.sleep(10)
    times = [when for when, message in channel.connection.sent if message == {"type": "keepalive"}]
    assert times == [1, 2, 3, 4, 5]
    assert (channel.connection.code, channel.connection.closed_at) == (4003, 6)
