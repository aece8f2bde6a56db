"""Defects of hello and of audio frames, and of the speech in them."""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from gateway.device.channel import Channel
from gateway.device.outbox import Sent
from gateway.errors import BadMessage
from gateway.identity import DeviceId, device_id
from gateway.protocol.audio_frames import VERSIONS, AudioFrame, FrameKind, pack
from gateway.protocol.messages import Hello, HelloAnswer, read_hello
from gateway.speech.dialogue import Conversation
from gateway.speech.speaking import Pacer, Speech
from harness.faulty.twins import defect

Planted = AbstractContextManager[object]

# --- hello ----------------------------------------------------------------------------------------------------------


@defect(
    "The hello answer repeats the transport of the hello: a client that names none, or no string, gets none.",
    found_by=(
        "test_hello.py::test_every_field_of_a_hello_has_a_default",
        "test_hello.py::test_a_field_of_a_wrong_type_takes_its_default[transport]",
        "test_hello.py::test_a_field_of_a_wrong_type_takes_its_default[all]",
    ),
    message="a hello answer whose transport is no string, which the firmware dereferences",
)
def hello_answer_repeats_the_transport() -> Planted:
    return _hello_answer_repeats("transport")


@defect(
    "The hello answer repeats the audio_params of the hello, unread.",
    found_by=(
        "test_hello.py::test_every_field_of_a_hello_has_a_default",
        "test_hello.py::test_a_field_of_a_wrong_type_takes_its_default[audio_params]",
        "test_hello.py::test_a_field_of_a_wrong_type_takes_its_default[sample_rate]",
        "test_hello.py::test_a_field_of_a_wrong_type_takes_its_default[all]",
    ),
    message="hello answer's (audio_params are no object|sample_rate is not one of Opus)",
)
def hello_answer_repeats_the_audio_params() -> Planted:
    return _hello_answer_repeats("audio_params")


@contextmanager
def _hello_answer_repeats(field: str) -> Iterator[None]:
    send = Channel.send_json
    said: dict[int, Any] = {}

    def remembering(message: dict[str, Any]) -> tuple[Hello, list[str]]:
        hello, wrong = read_hello(message)
        said[id(hello)] = message.get(field)
        return hello, wrong

    def repeating(self: Channel, message: Any) -> Sent:
        if isinstance(message, HelloAnswer) and id(self.hello) in said:
            message = {**msgspec.to_builtins(message), field: said[id(self.hello)]}
        return send(self, message)

    with patch("gateway.device.channel.read_hello", remembering), patch.object(Channel, "send_json", repeating):
        yield


@defect(
    "The hello answer does not say how long a packet of its audio is: the firmware takes it for 60 ms.",
    found_by=(
        "test_hello.py::test_the_answer_has_everything_that_the_firmware_reads",
        "test_hello.py::test_every_field_of_a_hello_has_a_default",
        "test_hello.py::test_a_field_of_a_wrong_type_takes_its_default",
        "test_hello.py::test_a_first_message_need_not_be_a_hello",
    ),
    message="the hello answer's frame_duration is no integer",
)
def hello_answer_without_a_frame_duration() -> Planted:
    send = Channel.send_json

    def shortened(self: Channel, message: Any) -> Sent:
        if isinstance(message, HelloAnswer):
            message = msgspec.to_builtins(message)
            del message["audio_params"]["frame_duration"]
        return send(self, message)

    return patch.object(Channel, "send_json", shortened)


@defect(
    "A hello with a wrong field is answered with the error alone; the device waits for ten seconds and gives up.",
    found_by="test_hello.py::test_a_field_of_a_wrong_type_takes_its_default",
    message="no answer to hello that a device survives",
)
def wrong_hello_is_not_answered() -> Planted:
    def strict(message: dict[str, Any]) -> tuple[Hello, list[str]]:
        hello, wrong = read_hello(message)
        if wrong:
            raise BadMessage("BAD_HELLO", "expected a hello without faults")
        return hello, wrong

    return patch("gateway.device.channel.read_hello", strict)


@defect(
    "Each hello begins a session, the second one of a connection, too.",
    found_by="test_hello.py::test_a_second_hello_is_answered_with_the_same_session_id",
    message="the second hello began a new session",
)
def second_hello_begins_a_session() -> Planted:
    hello = Channel._hello

    def beginning(self: Channel, message: dict[str, Any]) -> None:
        if self._said_hello and self.session is not None:
            self.session.id = secrets.token_hex(16)
        hello(self, message)

    return patch.object(Channel, "_hello", beginning)


@defect(
    "The version in hello decides how audio is framed, not the header that the firmware frames by.",
    found_by="test_hello.py::test_the_header_wins_over_the_version_in_hello",
    message="not framed by the Protocol-Version header",
)
def version_of_hello_wins() -> Planted:
    hello = Channel._hello

    def believing(self: Channel, message: dict[str, Any]) -> None:
        if message.get("version") in VERSIONS:
            self.connect = msgspec.structs.replace(self.connect, framing=message["version"])
        hello(self, message)

    return patch.object(Channel, "_hello", believing)


@defect(
    "Whatever comes before hello is dropped, heartbeats excepted.",
    found_by="test_hello.py::test_a_first_message_need_not_be_a_hello",
    message="a message before any hello was not handled",
)
def nothing_counts_before_hello() -> Planted:
    dispatch = Channel._dispatch

    def strict(self: Channel, kind: str, message: dict[str, Any]) -> None:
        if kind == "hello" or self._said_hello:
            dispatch(self, kind, message)

    return patch.object(Channel, "_dispatch", strict)


@defect(
    "A hello is answered after a look at a slow database, and what comes meanwhile is dropped.",
    found_by="test_hello.py::test_messages_right_behind_hello_are_not_lost",
    message="came right behind the hello was dropped",
)
def messages_behind_hello_are_dropped() -> Planted:
    received = Channel.text_received
    looking: set[Channel] = set()

    def answer(self: Channel, payload: bytes) -> None:
        looking.discard(self)
        if self.connection.is_open:
            received(self, payload)

    def slow(self: Channel, payload: bytes) -> None:
        if self in looking:
            return
        if b'"type":"hello"' in payload:
            looking.add(self)
            self._loop.call_later(0.05, answer, self, payload)
        else:
            received(self, payload)

    return patch.object(Channel, "text_received", slow)


@defect(
    "Ids are compared as they are written: in capitals, or quotes, it is another device.",
    found_by=(
        "test_hello.py::test_an_id_is_the_same_however_it_is_written",
        "test_refusals.py::test_a_device_that_is_not_allowed_is_refused_with_403",
    ),
    message="the same id in capitals was taken for another device|a device of auth.allowed_devices was refused",
)
def ids_are_taken_as_written() -> Planted:
    def as_written(text: str) -> DeviceId:
        return (
            DeviceId(text.strip()) if text.strip("\"' ") and len(text) <= 64 and text.isprintable() else device_id(text)
        )

    return patch("gateway.protocol.handshake.device_id", as_written)


@defect(
    "A client that gave no id, and says nothing, stays until it is idle.",
    found_by="test_hello.py::test_a_client_without_an_id_has_to_say_something",
    message="was not closed at the hello timeout",
)
def silent_strangers_stay() -> Planted:
    return patch.object(Channel, "_hello_due", Channel._watch)


# --- audio frames ---------------------------------------------------------------------------------------------------


@defect(
    "Versions 2 and 3 are ignored on the way down: their devices are sent raw Opus.",
    found_by=(
        "test_audio_framing.py::test_what_is_said_comes_back_in_the_devices_framing[2]",
        "test_audio_framing.py::test_what_is_said_comes_back_in_the_devices_framing[3]",
        "test_audio_framing.py::test_a_frame_that_is_not_as_its_header_says_is_dropped",
        "test_hello.py::test_the_header_wins_over_the_version_in_hello",
    ),
    message="not framed for version",
)
def raw_opus_for_every_device() -> Planted:
    return patch("gateway.device.channel.pack", lambda _version, packet, _timestamp_ms: packet)


@defect(
    "Versions 2 and 3 are ignored on the way up: their headers are heard as audio.",
    found_by=(
        "test_audio_framing.py::test_what_is_said_comes_back_in_the_devices_framing[2]",
        "test_audio_framing.py::test_what_is_said_comes_back_in_the_devices_framing[3]",
        "test_audio_framing.py::test_a_frame_that_is_not_as_its_header_says_is_dropped",
        "test_audio_framing.py::test_a_device_that_goes_on_framing_wrongly_is_closed",
        "test_audio_framing.py::test_json_in_a_binary_frame_of_version_2_is_a_message",
        "test_hello.py::test_the_header_wins_over_the_version_in_hello",
    ),
    message="other audio came back than was said|bad frames within 10 s did not end|not taken for a message",
)
def headers_are_heard_as_audio() -> Planted:
    return patch("gateway.device.channel.unpack", lambda _version, frame: AudioFrame(FrameKind.OPUS, frame))


@defect(
    "The header of a binary frame is skipped unread: whatever follows it is heard.",
    found_by=(
        "test_audio_framing.py::test_a_frame_that_is_not_as_its_header_says_is_dropped",
        "test_audio_framing.py::test_a_device_that_goes_on_framing_wrongly_is_closed",
        "test_audio_framing.py::test_json_in_a_binary_frame_of_version_2_is_a_message",
    ),
    message="other audio came back than was said|bad frames within 10 s did not end|not taken for a message",
)
def frame_headers_are_skipped() -> Planted:
    sizes = {1: 0, 2: 16, 3: 4}
    return patch(
        "gateway.device.channel.unpack", lambda version, frame: AudioFrame(FrameKind.OPUS, frame[sizes[version] :])
    )


@defect(
    "The device, not the gateway: it counts the 16 bytes of version 2's header into its size field.",
    found_by=(
        "test_audio_framing.py::test_what_is_said_comes_back_in_the_devices_framing[2]",
        "test_audio_framing.py::test_a_frame_that_is_not_as_its_header_says_is_dropped[2]",
        "test_hello.py::test_the_header_wins_over_the_version_in_hello",
    ),
    message="nothing was heard of what device said in framing version 2",
)
def device_counts_its_header() -> Planted:
    def counting(version: int, packet: bytes, timestamp_ms: int = 0) -> bytes:
        frame = pack(version, packet, timestamp_ms)
        return frame if version != 2 else frame[:12] + struct.pack(">I", len(frame)) + packet

    return patch("harness.fakes.device.pack", counting)


@defect(
    "Audio before hello ends the connection, as a breach of the protocol.",
    found_by="test_audio_framing.py::test_audio_before_hello_is_dropped",
    message="audio before hello ended the connection",
)
def audio_before_hello_ends_the_connection() -> Planted:
    received = Channel.binary_received

    def strict(self: Channel, payload: bytes) -> None:
        if self.introduced:
            received(self, payload)
        else:
            self.connection.close(1008, "audio before hello")

    return patch.object(Channel, "binary_received", strict)


@defect(
    "Speech is sent as fast as it is made: past 2.4 s the device's queue overflows.",
    found_by=(
        "test_audio_framing.py::test_speech_is_paced_by_the_clock",
        "test_duplicate_connections.py::test_speech_goes_on_on_the_newer_connection",
    ),
    message="speech is not paced by the clock|the speech did not follow its device",
)
def speech_is_not_paced() -> Planted:
    return patch.object(Pacer, "due", lambda _, now: now)


@defect(
    "Only the first reply on a connection has a tts start: the next ones are not played.",
    found_by="test_audio_framing.py::test_audio_comes_only_between_tts_start_and_stop",
    message="no tts start",
)
def speech_is_started_once() -> Planted:
    start = Speech.start
    started: set[Channel] = set()

    def once(self: Speech) -> None:
        channel = self._started_on = self._session.channel
        if channel not in started:
            started.add(channel)
            start(self)

    return patch.object(Speech, "start", once)


@defect(
    "An abort is answered with tts stop, and the audio that was under way goes on.",
    found_by="test_audio_framing.py::test_an_abort_ends_the_audio",
    message="audio came outside of tts start and stop",
)
def audio_goes_on_after_an_abort() -> Planted:
    def half(self: Conversation) -> None:
        if self._speech is not None and not self._speech.over:
            self._session.send_json({"type": "tts", "state": "stop"})

    return patch.object(Conversation, "abort", half)


@defect(
    "A reply is followed by one packet of silence, a moment after its tts stop.",
    found_by=("test_audio_framing.py::test_audio_comes_only_between_tts_start_and_stop",),
    message="audio came outside of tts start and stop",
)
def silence_behind_the_stop() -> Planted:
    run = Speech.run

    async def padded(self: Speech) -> None:
        await run(self)
        asyncio.get_running_loop().call_later(0.05, self._session.send_audio, b"\xf8\xff\xfe")

    return patch.object(Speech, "run", padded)
