"""Defects of the answer to what no device should send: errors, limits, breaches of RFC 6455."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import cache
from typing import Any
from unittest.mock import patch

from websockets.server import ServerProtocol

from gateway.device.channel import Channel, State
from gateway.device.connection import Connection
from gateway.device.outbox import Sent
from gateway.errors import BadMessage
from gateway.protocol.budgets import SlidingCount
from gateway.protocol.decoding import decode_object
from gateway.protocol.frames import FrameCutter
from harness.faulty.twins import defect

Planted = AbstractContextManager[object]


@defect(
    "Text that is no JSON, and bare numbers, are sent back as they came.",
    found_by=(
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[cut short]",
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[words]",
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[empty]",
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[a number]",
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[much too deep]",
        "test_errors.py::test_an_error_never_repeats_what_was_sent[malformed]",
    ),
    message="echoed back|was not answered with an error",
)
def bad_json_is_echoed() -> Planted:
    received = Channel.text_received

    def echoing(self: Channel, payload: bytes) -> None:
        with suppress(UnicodeDecodeError):
            try:
                value = json.loads(payload)
            except (json.JSONDecodeError, RecursionError):
                value = 0
            if type(value) is int and self.state is not State.RETIRED:
                self.connection.send_text(payload)
                return
        received(self, payload)

    return patch.object(Channel, "text_received", echoing)


@defect(
    "The error for malformed JSON quotes it, for whoever debugs the device.",
    found_by=(
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[cut short]",
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[words]",
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[a string]",
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[a list]",
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[too deep]",
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[NaN]",
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[infinity]",
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[a key twice]",
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[a lone surrogate]",
        "test_errors.py::test_an_error_never_repeats_what_was_sent[malformed]",
        "test_errors.py::test_an_error_never_repeats_what_was_sent[not an object]",
    ),
    message="echoed back",
)
def errors_quote_the_input() -> Planted:
    def quoting(data: bytes) -> dict[str, Any]:
        try:
            return decode_object(data)
        except BadMessage as bad:
            raise BadMessage(bad.code, f"{bad.reason}, got {data.decode()}") from None

    return patch("gateway.device.channel.decode_object", quoting)


@defect(
    "JSON is read by a lenient parser: NaN, keys that come twice, lone surrogates, any depth.",
    found_by=(
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[too deep]",
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[NaN]",
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[infinity]",
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[a key twice]",
        "test_errors.py::test_what_is_no_json_object_is_answered_with_bad_json[a lone surrogate]",
    ),
    message="was not answered with an error",
)
def json_is_read_leniently() -> Planted:
    def lenient(data: bytes) -> dict[str, Any]:
        with suppress(ValueError, RecursionError):
            value = json.loads(data)
            if type(value) is dict:
                return value
        return decode_object(data)

    return patch("gateway.device.channel.decode_object", lenient)


@defect(
    "A type that cannot be looked up in the table of handlers ends the connection, with a clean 1000.",
    found_by=(
        "test_errors.py::test_a_type_that_is_no_string_is_answered_with_bad_type[a list]",
        "test_errors.py::test_a_type_that_is_no_string_is_answered_with_bad_type[an object]",
        "test_errors.py::test_an_error_never_repeats_what_was_sent[type of another type]",
    ),
    message="not answered with an error; the connection: 1000",
)
def type_without_a_hash_ends_the_connection() -> Planted:
    received = Channel.text_received

    def failing(self: Channel, payload: bytes) -> None:
        if payload.startswith((b'{"type":[', b'{"type":{')):
            self.connection.close(1000, "")
        else:
            received(self, payload)

    return patch.object(Channel, "text_received", failing)


@defect(
    "Every message of an unknown type is answered, however often it comes.",
    found_by="test_errors.py::test_an_unknown_type_is_answered_once_per_type",
    message="get one UNKNOWN_TYPE each",
)
def every_unknown_type_is_answered() -> Planted:
    def answering(self: Channel, _kind: str) -> None:
        self.send_error("UNKNOWN_TYPE", "no such message type here")

    return patch.object(Channel, "_unknown_type", answering)


@defect(
    "One limit for all messages: a binary one may have 64 KB, too.",
    found_by="test_errors.py::test_a_message_over_its_limit_ends_the_connection[binary-whole]",
    message="a binary message of .* did not end the connection",
)
def one_limit_for_all_messages() -> Planted:
    def of_text(*arguments: Any) -> FrameCutter:
        *others, text_limit, _ = arguments
        return FrameCutter(*(*others, text_limit, text_limit))

    return patch("gateway.device.connection.FrameCutter", of_text)


@defect(
    "The limit is one of frames: a message in pieces may be longer.",
    found_by=("test_errors.py::test_a_message_over_its_limit_ends_the_connection[binary-in pieces]",),
    message="a binary message of .* did not end the connection",
)
def pieces_are_not_added_up() -> Planted:
    received = Connection._fragment_received

    def forgetting(self: Connection, frame: Any) -> None:
        self._fragments_size = 0
        received(self, frame)

    return patch.object(Connection, "_fragment_received", forgetting)


@defect(
    "Text may have half of what is allowed, and as many levels.",
    found_by="test_errors.py::test_messages_up_to_the_limits_are_taken",
    message="which is allowed, was not taken",
)
def limits_are_off_by_half() -> Planted:
    def halved(*arguments: Any) -> FrameCutter:
        *others, text_limit, binary_limit = arguments
        return FrameCutter(*(*others, text_limit // 2, binary_limit // 2))

    return patch("gateway.device.connection.FrameCutter", halved)


@defect(
    "Bytes that are not UTF-8 are replaced, and the text is taken.",
    found_by="test_errors.py::test_text_that_is_not_utf_8_ends_the_connection",
    message="text that is not UTF-8 did not end the connection",
)
def bad_utf_8_is_replaced() -> Planted:
    received = Channel.text_received

    def replacing(self: Channel, payload: bytes) -> None:
        received(self, payload.decode("utf-8", "replace").encode())

    return patch.object(Channel, "text_received", replacing)


@defect(
    "A breach of RFC 6455 ends the connection with a clean 1000.",
    found_by="test_errors.py::test_a_frame_that_breaks_rfc_6455_ends_the_connection",
    message="breaks RFC 6455 ended the connection with 1000, not with 1002",
)
def breaches_end_with_1000() -> Planted:
    fail = ServerProtocol.fail

    def clean(self: ServerProtocol, code: int, reason: str = "") -> None:
        fail(self, 1000 if code == 1002 else code, reason)

    return patch.object(ServerProtocol, "fail", clean)


@defect(
    "Errors are answered, and bad frames dropped, for ever: nobody counts them.",
    found_by=(
        "test_errors.py::test_more_than_20_errors_in_10_seconds_end_the_connection",
        "test_errors.py::test_the_errors_of_one_device_harm_no_other",
        "test_audio_framing.py::test_a_device_that_goes_on_framing_wrongly_is_closed",
        "test_sending.py::test_a_message_to_a_device_that_is_being_closed_is_not_delivered",
    ),
    message="(errors|bad frames) within 10 s did not end the connection|more errors than it may was not closed",
)
def errors_are_not_counted() -> Planted:
    class Uncounted(SlidingCount):
        def add(self, now: float) -> bool:  # noqa: ARG002 - the interface
            return False

    return patch("gateway.device.channel.SlidingCount", Uncounted)


@defect(
    "The errors of all devices are counted together.",
    found_by=(
        "test_errors.py::test_the_errors_of_one_device_harm_no_other",
        "test_audio_framing.py::test_a_device_that_goes_on_framing_wrongly_is_closed",
    ),
    message="of one device (were counted for another|ended the connection of another)",
)
def errors_are_counted_together() -> Planted:
    return patch("gateway.device.channel.SlidingCount", cache(SlidingCount))


@defect(
    "An error is told to everybody who is connected.",
    found_by="test_errors.py::test_the_errors_of_one_device_harm_no_other",
    message="a device that did nothing wrong was sent errors, for another's",
)
def errors_are_told_to_all() -> Planted:
    send_error = Channel.send_error
    channels: dict[Channel, None] = {}

    def telling(self: Channel, code: str, reason: str, *more: Any) -> Sent:
        for other in channels:
            if other is not self:
                other.send_json({"type": "error", "code": code, "message": reason})
        return send_error(self, code, reason, *more)

    opened = Channel.opened

    def noting(self: Channel) -> None:
        channels[self] = None
        opened(self)

    stack = ExitStack()
    stack.enter_context(patch.object(Channel, "send_error", telling))
    stack.enter_context(patch.object(Channel, "opened", noting))
    return stack
