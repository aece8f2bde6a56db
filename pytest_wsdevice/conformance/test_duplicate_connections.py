"""Duplicate connections: the newer one owns its device at once, the older one is told, heard out and closed in time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from websockets.frames import Opcode

from harness.device import Message
from harness.errors import NotConnected, UpgradeRefused
from harness.exchange import said_in
from pytest_wsdevice.conformance.loopback_dialogue import begin, heard, listen, reply_to
from pytest_wsdevice.conformance.peer_mail import acknowledge, is_letter, letters_of, quiet, send, tells_of
from pytest_wsdevice.conformance.verdicts import or_else
from pytest_wsdevice.types import Devices, FakeDevice, Gateway, Timeline

pytestmark = pytest.mark.asyncio

NOTICE = {"type": "system", "message": "检测到新连接，当前通道将于约1.5秒后关闭以切换到新通道"}
AT_ONCE = 1.0
"""Seconds, on a busy machine; the window of a handover is half as long again."""
CLOSING = 0.5
"""Seconds from the Close to the end of the socket: gone two seconds after a notice that says one and a half."""
BUSY = 1.0
"""Seconds by which a busy machine may be late."""
ABSENT = 0.1
"""Seconds in which what must not come would have come."""
SOON_OVER = pytest.mark.ws_gateway_config(adapts=True, handover={"window": 0.05})
"""For scenarios that see the end of a handover."""
KEY, UNSIGNED = "a key of the conformance suite", "unsigned.1"
CUT_OFF = "the older connection was ended before its window was over"
UNMOVED = "messages that the older connection had not confirmed did not move to the newer one"


# --- the older connection: told, closed, gone -------------------------------------------------------------------


async def test_the_older_connection_is_told_at_once_in_the_words_of_the_protocol(ws_devices: Devices) -> None:
    """When a newer connection counts as alive, the older one gets the ``system`` notice, word for word."""
    old = await ws_devices("old")

    await ws_devices("new", like=old)

    with or_else("the older connection was not told of the newer one at once"):
        notice = await old.expect("system", AT_ONCE)
    assert notice == NOTICE, f"the notice to the older connection has other words than the protocol's: {notice}"


@pytest.mark.ws_gateway_config(adapts=True, handover={"window": 0.6})
async def test_the_older_connection_is_closed_with_4001_when_its_window_is_over(
    ws_gateway: Gateway, ws_devices: Devices
) -> None:
    """Close 4001 comes 1.5 s (the window) after the notice; half a second later the socket is gone, answered or not."""
    window = ws_gateway.config.handover.window
    old = await ws_devices("old")
    await replace(ws_devices, old)
    told_at = now()

    with or_else("the older connection was not closed when its window was over"):
        code = await old.expect_close(window + CLOSING + BUSY)
    seconds = now() - told_at

    assert code == 4001, f"the older connection was closed with {code}, not with 4001"
    assert seconds > window / 2, f"the older connection was closed after {seconds:.1f} s; it has {window:g} s to finish"
    await gone(old, told_at + window + CLOSING + BUSY - now())


@pytest.mark.ws_gateway_config(adapts=True, handover={"window": 0.3})
async def test_the_older_connection_is_sent_nothing_but_the_notice_and_its_close(
    ws_gateway: Gateway, ws_devices: Devices, ws_timeline: Timeline
) -> None:
    """Whatever it says, and whoever writes to its device: messages go to the newer connection, each once."""
    sender, old = await ws_devices("sender"), await ws_devices("old")
    new = await replace(ws_devices, old)

    for text in ("one", "two", "three"):
        await reaches(sender, new, text, "the newer connection does not own the route")
    with or_else(CUT_OFF):
        for kind in ("ping", "keepalive", "hello", "no such type"):
            await old.send({"type": kind})
        await old.send_text("{no json")
        await old.send_ping(b"there?")
    await gone(old, ws_gateway.config.handover.window + CLOSING + BUSY)

    behind = behind_the_notice(ws_timeline, old)
    assert not behind, f"the older connection was sent something after the notice: {behind}"
    texts = [letter["payload"]["text"] for letter in letters_of(new)]
    assert texts == ["one", "two", "three"], f"the newer connection was sent messages more than once: {texts}"


async def test_what_the_older_connection_asks_for_is_not_done(ws_devices: Devices) -> None:
    """In its window only dictation audio and acknowledgements are taken from it: it speaks for its device no more."""
    other, old = await ws_devices("other"), await ws_devices("old")
    new = await replace(ws_devices, old)

    with or_else(CUT_OFF):
        await send(old, other, text="from the older one")
        await old.send({"type": "hello"})

    with or_else("the older connection took the route back from the newer one"):
        await new.expect_nothing("system", ABSENT)
    with or_else("a message of the older connection was still taken and delivered"):
        await other.expect_nothing(is_letter, 0)
    await reaches(other, new, "to the newer one", "the newer connection lost the route")


# --- old connections of all kinds -------------------------------------------------------------------------------


@pytest.mark.ws_needs("vanish", "events")
@SOON_OVER
async def test_a_vanished_connection_is_gone_in_bounded_time(
    ws_gateway: Gateway, ws_devices: Devices, ws_timeline: Timeline
) -> None:
    """A device comes back while the gateway does not know that it had gone: nobody answers on the older connection."""
    old = await ws_devices("old")
    old.vanish()

    new = await ws_devices("new", like=old)

    await alone(new, ws_gateway, ws_timeline, "a vanished connection was kept")


@pytest.mark.parametrize("reading", ["slowly", "nothing"])
@pytest.mark.ws_needs("vanish", "events")
@SOON_OVER
async def test_a_stuck_connection_is_gone_in_bounded_time_and_loses_no_message(
    ws_gateway: Gateway, ws_devices: Devices, ws_timeline: Timeline, reading: str
) -> None:
    """The older connection's buffers are full, so that neither notice nor Close gets through; the newer one works."""
    old = await ws_devices("old", acks=False, reads_bytes_per_second=20_000)
    if reading == "nothing":
        old.vanish()
    filling = "x" * (ws_gateway.config.peer.payload_bytes - 50)  # fifty times that is more than all buffers take
    senders = [await ws_devices(f"sender {number}") for number in range(10)]
    for sender in senders:
        for number in range(5):  # as many as one may send at once
            await send(sender, old, text=f"{sender.name}: {number} {filling}")
    for sender in senders:
        await caught_up(sender)

    new = await ws_devices("new", like=old, reads_bytes_per_second=None)

    await alone(new, ws_gateway, ws_timeline, "a stuck connection was kept")
    await ws_timeline.until(lambda: len(letters_on(old, new)) == 50)
    missing = 50 - len(letters_on(old, new))
    assert not missing, f"{UNMOVED}: {missing} of 50 messages came on neither"


async def test_of_three_connections_the_oldest_is_dropped_at_once(ws_devices: Devices) -> None:
    """A third connection within the window: no device has three, and the newest owns the route."""
    sender, first = await ws_devices("sender"), await ws_devices("first")
    second = await replace(ws_devices, first, "second")

    third = await replace(ws_devices, second, "third")

    await gone(first, AT_ONCE, "three connections of one device are open, the oldest was not dropped")
    await reaches(sender, third, "to the newest", "the newest connection does not own the route")


@pytest.mark.parametrize("how", ["closed by the gateway", "cut by the device"])
@SOON_OVER
async def test_the_end_of_the_older_connection_leaves_the_newer_one_online(
    ws_gateway: Gateway, ws_devices: Devices, how: str
) -> None:
    """Only who owns the route gives it back: the end of the older connection is not the end of its device."""
    sender, old = await ws_devices("sender"), await ws_devices("old")
    new = await replace(ws_devices, old)

    if how == "cut by the device":
        old.cut()
    await gone(old, ws_gateway.config.handover.window + CLOSING + BUSY)

    await caught_up(new)  # by then the gateway has noticed
    await reaches(sender, new, "still there?", "the newer connection was unregistered with the end of the older one")


# --- newcomers that fail ----------------------------------------------------------------------------------------


@pytest.mark.ws_needs("tokens")
@pytest.mark.ws_gateway_config(adapts=True, auth={"enabled": True, "key": KEY})
async def test_a_newcomer_with_a_bad_token_does_not_disturb_the_device(
    ws_gateway: Gateway, ws_devices: Devices
) -> None:
    """Who is refused with 401 has changed nothing: the device is not told, and keeps its route."""
    if not ws_gateway.config.asks_for_tokens:
        pytest.skip("needs a gateway that asks for tokens")
    sender, old = await ws_devices("sender"), await ws_devices("old")
    newcomer = await ws_devices("newcomer", online=False, like=old, token=UNSIGNED)

    refusal = await refusal_of(newcomer, "a newcomer with a bad token was let in")

    assert refusal.status == 401, f"a newcomer with a bad token was refused with {refusal.status}, not with 401"
    await undisturbed(old, sender, ABSENT, "a newcomer with a bad token")


@pytest.mark.parametrize("how", ["without a word", "within its hello"])
@pytest.mark.ws_gateway_config(adapts=True, handshake={"alive_after": 0.1})
async def test_a_newcomer_that_dies_before_it_is_alive_does_not_disturb_the_device(
    ws_gateway: Gateway, ws_devices: Devices, how: str
) -> None:
    """The upgrade alone does not count: a connection that ends before its first frame never owned anything."""
    sender, old = await ws_devices("sender"), await ws_devices("old")
    newcomer = await ws_devices("newcomer", online=False, like=old)

    await newcomer.connect()
    if how == "within its hello":
        await newcomer.send_bytes(b"\x81\xfe\x01\x00half")  # the head of a text frame of 256 bytes, masked
    newcomer.cut()
    await newcomer.closed.wait()

    await undisturbed(old, sender, ws_gateway.config.handshake.alive_after + ABSENT, "a newcomer that died at once")


@pytest.mark.ws_gateway_config(adapts=True, handshake={"alive_after": 0.1})
async def test_a_newer_connection_is_never_replaced_by_an_older_one(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """Who was let in earlier and comes alive later, with its hello or by being open, is late: the newer one stays."""
    sender = await ws_devices("sender")
    old = await ws_devices("old", online=False)
    await old.connect()
    new = await ws_devices("new", like=old)

    with suppress(NotConnected):  # it may have been closed already
        await old.send({"type": "hello"})

    replaced = "the newer connection was replaced by an older one that came alive later"
    with or_else(replaced):
        await new.expect_nothing("system", ws_gateway.config.handshake.alive_after + ABSENT)
    await reaches(sender, new, "still the newest?", replaced)


@pytest.mark.ws_gateway_config(adapts=True, auth={"takeover": "same_client"})
async def test_another_client_without_a_token_may_not_take_over(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """Where takeover is bound to the client, the same Client-Id may connect again, and another one is refused."""
    if ws_gateway.config.takeover == "any":
        pytest.skip("needs a gateway whose auth.takeover is not 'any'")
    sender, old = await ws_devices("sender"), await ws_devices("old")
    stranger = await ws_devices("stranger", online=False, like=old, client_id="another client", token="")

    refusal = await refusal_of(stranger, "another client without a token took the device's connection over")

    assert refusal.status in {401, 403}, f"another client was refused with {refusal.status}, not with 401 or 403"
    await undisturbed(old, sender, ABSENT, "another client")
    await replace(ws_devices, old)


# --- flapping ---------------------------------------------------------------------------------------------------


@pytest.mark.ws_gateway_config(adapts=True, handover={"window": 0.1, "refusal": 0.5})
async def test_a_flapping_device_is_refused_with_429_for_a_while(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """More than five replacements in a minute are two boards with one id: the newest stays, until ``Retry-After``."""
    sender, newest = await ws_devices("sender"), await ws_devices("first")
    with or_else("a device was refused though it was not replaced more often than is normal"):
        for number in range(ws_gateway.config.handover.replacements + 1):
            newest = await ws_devices(f"newer {number}", like=newest)
    further = await ws_devices("further", online=False, like=newest)

    refusal = await refusal_of(further, "a flapping device was let in again and again")

    assert refusal.status == 429, f"a flapping device was refused with {refusal.status}, not with 429"
    await undisturbed(newest, sender, retry_after(refusal), "a connection that was refused for flapping")
    with or_else("a flapping device was not admitted when Retry-After was over"):
        await further.go_online()


# --- what goes on across the handover ---------------------------------------------------------------------------


async def test_the_session_id_stays_the_same(ws_devices: Devices) -> None:
    """The session is the device's, not the connection's."""
    old = await ws_devices("old")
    new = await replace(ws_devices, old)

    assert new.session_id == old.session_id, (
        f"the handover has begun another session: {old.session_id} before, {new.session_id} after"
    )


@pytest.mark.ws_gateway_config(adapts=True, peer={"retry_first": 20.0})
async def test_unacknowledged_messages_move_to_the_newer_connection(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """What the older connection was sent and had not acknowledged comes on the newer one, at once, and once."""
    sender, old = await ws_devices("sender"), await quiet(ws_devices, "old")
    await send(sender, old, text="are you there?")
    unconfirmed = await old.expect(is_letter)

    new = await replace(ws_devices, old, acks=True)

    with or_else(UNMOVED):
        # a retry would bring it, too, but later
        moved = await new.expect(is_letter, min(5.0, ws_gateway.config.peer.retry_first), id=unconfirmed["id"])
    assert moved["payload"] == unconfirmed["payload"], f"the message was changed on its way: {moved}"
    with or_else("a message came again though the newer connection had acknowledged it"):
        await new.expect_nothing(is_letter, ABSENT)


@pytest.mark.ws_gateway_config(adapts=True, peer={"live_ack": 2.0, "retry_first": 20.0})
async def test_acknowledgements_are_taken_from_the_older_connection(ws_devices: Devices) -> None:
    """A message that its device acknowledged, on whichever connection, is delivered, and its sender is told."""
    sender, old = await ws_devices("sender"), await quiet(ws_devices, "old")
    await send(sender, old, text="are you there?")
    letter = await old.expect(is_letter)
    new = await replace(ws_devices, old)

    with or_else(CUT_OFF):
        await acknowledge(old, letter)

    def tells_of_delivery(message: Message) -> bool:
        delivered = message.get("type") == "peer" and message.get("delivered") == [new.device_id]
        return delivered or tells_of("redelivered")(message)

    with or_else("an acknowledgement on the older connection within its window was not taken"):
        await sender.expect(tells_of_delivery)


@pytest.mark.ws_needs("events")
async def test_a_dictation_goes_on_across_the_handover_without_losing_a_frame(ws_devices: Devices) -> None:
    """What the older connection still has to send is taken in its window, then the newer one goes on."""
    spoken = [b"frame %02d" % number for number in range(12)]
    old, new = await dictating(ws_devices, spoken[:4])

    with or_else(CUT_OFF):
        for frame in spoken[4:8]:
            await old.send_audio(frame)
    await caught_up(new)
    for frame in spoken[8:]:
        await new.send_audio(frame)

    assert await echo_of(new) == spoken, "frames of the dictation were lost, or changed their order, in the handover"


@pytest.mark.ws_needs("events")
async def test_a_dictation_is_cut_on_the_older_connection_when_the_newer_one_starts(ws_devices: Devices) -> None:
    """``listen start`` on the newer connection: its microphone is there, so the older stream ends; one utterance."""
    old, new = await dictating(ws_devices, [b"old 1", b"old 2"])
    await listen(new, "start")
    await caught_up(new)

    with or_else(CUT_OFF):
        for frame in (b"late 1", b"late 2"):
            await old.send_audio(frame)
        await listen(old, "stop")
    await caught_up(new)
    await new.send_audio(b"new 1")

    echo = await echo_of(new)
    assert b"late 1" not in echo, f"frames of the older connection were taken after the newer one had started: {echo}"
    assert echo == [b"old 1", b"old 2", b"new 1"], f"the utterance was not continued on the newer connection: {echo}"


@pytest.mark.ws_needs("events")
async def test_speech_goes_on_on_the_newer_connection(ws_devices: Devices, ws_timeline: Timeline) -> None:
    """A reply that is being spoken follows its device: ``tts start`` and the rest of it, and no packet twice."""
    spoken = [b"frame %02d" % number for number in range(40)]
    old = await ws_devices("old", online=False)
    await begin(old)
    await listen(old, "start")
    for frame in spoken:
        await old.send_audio(frame)
    await listen(old, "stop")
    await heard(old)

    new = await ws_devices("new", online=False, like=old)
    await begin(new)
    await told(old)

    with or_else("the speech did not follow its device to the newer connection"):
        await new.expect("tts", state="start")
        await new.expect("tts", state="sentence_start")
        await new.expect("tts", state="stop")
    behind = behind_the_notice(ws_timeline, old)
    assert not behind, f"the older connection was sent something after the notice: {behind}"
    assert [*old.audio, *new.audio] == spoken, (
        f"the speech has gaps or repeats: {len(old.audio)} packets on the older connection, {len(new.audio)} on the "
        f"newer one, of {len(spoken)}"
    )


@pytest.mark.ws_gateway_config(adapts=True, handover={"window": 0.1}, stats={"every": 0.1})
async def test_stats_count_a_device_once_in_the_middle_of_a_handover(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """``deviceCount`` counts devices: for one with two connections it never shows 2."""
    soon = 2 * ws_gateway.config.stats.every + BUSY
    old = await ws_devices("old", features={"mcp": True, "stats": True})
    new = await replace(ws_devices, old)

    with or_else("no stats came, before or after a handover"):
        await new.expect("server", soon, event="stats")
        await gone(old, ws_gateway.config.handover.window + CLOSING + BUSY)
        new.forget_unread()
        await new.expect("server", soon, event="stats")

    for stats in (message for message in new.received if message.get("event") == "stats"):
        count, online = stats["deviceCount"], stats["online"]
        assert count == len(set(online)), f"deviceCount is {count} in a handover, but who is online is {online}"
        assert online.count(new.device_id) == 1, f"one device is online, and is listed otherwise than once: {online}"


# --- what devices do --------------------------------------------------------------------------------------------


def now() -> float:
    """Loop time."""
    return asyncio.get_running_loop().time()


async def replace(devices: Devices, old: FakeDevice, name: str = "new", **options: Any) -> FakeDevice:
    """Connect once more with the id and settings of a device; returns when the older connection has been told."""
    new = await devices(name, like=old, **options)
    await told(old)
    return new


async def told(old: FakeDevice) -> None:
    """Wait for the notice; a late one is the business of one scenario only."""
    with or_else("the older connection was not told of the newer one"):
        await old.expect("system", 2 * AT_ONCE)


async def caught_up(device: FakeDevice) -> None:
    """Wait for a pong: whatever was sent before has been seen by the gateway."""
    with or_else(f"{device.name} was sent no pong, it does not own the route"):
        await device.send({"type": "ping"})
        await device.expect("pong")


async def dictating(devices: Devices, frames: list[bytes]) -> tuple[FakeDevice, FakeDevice]:
    """Begin to dictate, and connect again in the middle of it; return both connections."""
    old = await devices("old", online=False)
    await begin(old)
    await listen(old, "start")
    for frame in frames:
        await old.send_audio(frame)
    new = await devices("new", online=False, like=old)
    await begin(new)
    await told(old)
    return old, new


async def echo_of(device: FakeDevice) -> list[bytes]:
    """End the utterance, and return what the gateway's loopback engine has heard of it."""
    await listen(device, "stop")
    with or_else("the dictation was lost in the handover"):
        await device.expect("stt")
    return await reply_to(device)


# --- what is looked at ------------------------------------------------------------------------------------------


async def gone(
    old: FakeDevice,
    seconds: float,
    otherwise: str = "two connections were open for too long, the older one was not gone",
) -> None:
    """Wait for the end of a connection's socket, as its device sees it."""
    try:
        async with asyncio.timeout(seconds):
            await old.closed.wait()
    except TimeoutError:
        raise AssertionError(f"{otherwise} (waited {seconds:.1f} s)") from None


async def alone(new: FakeDevice, gateway: Gateway, timeline: Timeline, otherwise: str) -> None:
    """Wait until the gateway has one connection of a device, for as long as a handover may take."""
    seconds = gateway.config.handover.window + CLOSING + BUSY
    if not await timeline.until(lambda: new.link.connections == 1, seconds):
        raise AssertionError(f"{otherwise}: the device has two connections {seconds:.1f} s after the newer one came")


async def reaches(sender: FakeDevice, device: FakeDevice, text: str, otherwise: str) -> None:
    """Have a message sent to a device that is online, and see it arrive on this connection."""
    await send(sender, device, text=text)
    with or_else(f"{otherwise}: a peer message does not come on {device.name}"):
        await device.expect(is_letter, payload={"text": text})


async def undisturbed(old: FakeDevice, sender: FakeDevice, seconds: float, who: str) -> None:
    """See that a device is not told to go, and is still the one that messages are for."""
    disturbed = f"{who} disturbed the connection that was there"
    with or_else(disturbed):
        await old.expect_nothing("system", seconds)
    await reaches(sender, old, "still there?", disturbed)


async def refusal_of(device: FakeDevice, otherwise: str) -> UpgradeRefused:
    """Have a device refused, and return with what."""
    try:
        await device.connect()
    except UpgradeRefused as refusal:
        return refusal
    raise AssertionError(otherwise)


def retry_after(refusal: UpgradeRefused) -> float:
    """Return the seconds after which a device that was refused may come again."""
    headers = {name.lower(): value for name, value in refusal.headers.items()}
    value = headers.get("retry-after", "")
    assert value.isdigit(), f"a refusal with {refusal.status} does not say when to try again, Retry-After is {value!r}"
    return float(value)


def letters_on(*connections: FakeDevice) -> set[str]:
    """Return the ids of the messages that came on one of these connections, or on several."""
    return {letter["id"] for device in connections for letter in letters_of(device)}


def behind_the_notice(timeline: Timeline, old: FakeDevice) -> str:
    """Say what a connection was sent after the notice, other than a Close; empty if nothing was."""
    frames = timeline.frames(old.name, sent=False)
    notices = [number for number, frame in enumerate(frames) if b'"system"' in frame.payload]
    assert notices, "the older connection was not told of the newer one at once"
    behind = [frame for frame in frames[notices[0] + 1 :] if frame.opcode is not Opcode.CLOSE]
    return ", ".join(f"{frame.opcode.name.lower()} {said_in(frame, 200)}" for frame in behind)
