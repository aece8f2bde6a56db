"""Peer messages: each target has one true outcome, which the receipt tells, and a message comes once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pytest_wsdevice.conformance.peer_mail import (
    SLACK,
    acknowledge,
    got,
    got_none,
    is_answer,
    is_letter,
    leave,
    letters_of,
    quiet,
    receipt_of,
    send,
    take_letters,
    texts_of,
)
from pytest_wsdevice.types import Devices, Gateway

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.ws_gateway_config(adapts=True, peer={"live_ack": 1.5}),  # time enough on a busy machine
]

LISTS = ("delivered", "enqueued", "failed")


# --- delivery ---------------------------------------------------------------------------------------------------


async def test_a_message_is_delivered_to_a_device_that_acknowledges(ws_devices: Devices) -> None:
    """The target gets ``from``, ``payload``, ``id`` and ``ts``; the receipt lists it as delivered."""
    sender, target = await ws_devices("sender"), await ws_devices("target")

    await send(sender, target, text="tea is ready", id="tea-1")

    letter = await got(target, is_letter, "a message to a present device did not arrive")
    kept = {"type": "peer", "from": sender.device_id, "payload": {"text": "tea is ready"}, "id": "tea-1"}
    assert {name: letter.get(name) for name in kept} == kept, f"the message arrived changed: {letter}"
    assert isinstance(letter.get("ts"), int), f"the message does not say when it was sent (ts): {letter}"
    assert "redelivered" not in letter, f"a message that never waited says it was redelivered: {letter}"
    receipt = await receipt_of(sender)
    assert receipt["delivered"] == [target.device_id], f"an acknowledged message was not called delivered: {receipt}"


async def test_delivered_is_said_after_the_acknowledgement(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """A device that acknowledges has a message when it says so, not when it was sent."""
    sender, target = await ws_devices("sender"), await quiet(ws_devices, "target")

    await send(sender, target)
    letter = await got(target, is_letter, "a message to a present device did not arrive")

    silence = 0.1 * ws_gateway.config.peer.live_ack
    await got_none(sender, is_answer, silence, "the receipt came before the target had acknowledged")
    await acknowledge(target, letter)
    receipt = await receipt_of(sender)
    assert receipt["delivered"] == [target.device_id], f"an acknowledged message was not called delivered: {receipt}"


@pytest.mark.ws_gateway_config(adapts=True, peer={"live_ack": 0.1})
async def test_a_message_that_nobody_acknowledges_is_enqueued(ws_devices: Devices) -> None:
    """A target that is sent a message and says nothing does not have it: the receipt says ``enqueued``."""
    sender, target = await ws_devices("sender"), await quiet(ws_devices, "target")

    await send(sender, target)

    receipt = await receipt_of(sender)
    assert receipt["enqueued"] == [target.device_id], f"a message that nobody acknowledged is not enqueued: {receipt}"
    assert receipt["delivered"] == [], f"a message that nobody acknowledged was called delivered: {receipt}"


async def test_an_acknowledgement_of_another_device_delivers_nothing(ws_devices: Devices) -> None:
    """Only the target can acknowledge: what another device says of the id is ignored."""
    sender, target, other = await ws_devices("sender"), await quiet(ws_devices, "target"), await ws_devices("other")
    await send(sender, target)
    letter = await got(target, is_letter, "a message to a present device did not arrive")

    await acknowledge(other, letter)

    wrong = "the acknowledgement of another device was taken for the target's"
    await got_none(sender, lambda message: is_answer(message) and bool(message.get("delivered")), SLACK, wrong)
    await acknowledge(target, letter)
    await receipt_of(sender)


async def test_an_acknowledgement_of_nothing_is_ignored(ws_devices: Devices) -> None:
    """An id that is not on its way is acknowledged without any answer, and the connection stays."""
    device = await ws_devices("device")

    await acknowledge(device, {"id": "never-sent"})

    await device.send({"type": "ping"})
    await device.expect("pong")
    answers = [message for message in device.received if message["type"] not in {"hello", "pong"}]
    assert answers == [], f"an acknowledgement of an unknown id was answered: {answers}"


async def test_a_delivery_that_only_tcp_confirms_says_so(ws_devices: Devices) -> None:
    """A device without ``peer_ack`` is delivered to when its TCP has the message: ``"confirm":"written"``."""
    sender, target = await ws_devices("sender"), await ws_devices("target", acks=False)

    await send(sender, target)

    await got(target, is_letter, "a message to a present device did not arrive")
    receipt = await receipt_of(sender)
    assert receipt["delivered"] == [target.device_id], f"what TCP has taken was not called delivered: {receipt}"
    assert receipt.get("confirm") == "written", f"the receipt hides that no device acknowledged: {receipt}"


# at the rate of the protocol a device that does not read is gone before the buffers are full
@pytest.mark.ws_gateway_config(peer={"per_second": 1000.0, "burst": 1000})
async def test_what_tcp_has_not_taken_is_kept_when_the_link_is_lost(ws_devices: Devices) -> None:
    """Messages that are stuck behind a device that does not read are not called delivered, and come later."""
    sender, target = await ws_devices("sender"), await ws_devices("target", acks=False)
    ids = [f"stuck-{number}" for number in range(45)]  # of 8 KB each: more than both kernels' buffers take
    target.vanish()
    for id_ in ids:
        await send(sender, target, text="x" * 8000, id=id_)
    await asyncio.sleep(0.15)  # time enough to look at what TCP has taken

    await leave(target)

    answers = [await got(sender, is_answer, "a message whose target was lost was not answered") for _ in ids]
    enqueued = {answer["id"] for answer in answers if answer.get("enqueued")}
    delivered = [answer["id"] for answer in answers if answer.get("delivered")]
    assert enqueued, f"{len(delivered)} messages of 8 KB were called delivered to a device that did not read them"
    await target.go_online()
    await take_letters(target, len(enqueued), "messages that were enqueued were lost")
    missing = enqueued.difference(letter["id"] for letter in letters_of(target))
    assert not missing, f"messages that were enqueued came under another id, or not at all: {sorted(missing)}"


# --- receipts ---------------------------------------------------------------------------------------------------


async def test_each_target_is_in_exactly_one_list(ws_devices: Devices) -> None:
    """One is delivered to, one is not there, one is the sender: three targets, three lists."""
    sender, present = await ws_devices("sender"), await ws_devices("present")
    absent = await ws_devices("absent", online=False)

    await send(sender, present, absent, sender)

    receipt = await receipt_of(sender)
    lists = {name: receipt.get(name) for name in LISTS}
    expected = {"delivered": [present.device_id], "enqueued": [absent.device_id], "failed": [sender.device_id]}
    assert lists == expected, f"a target is in the wrong list, in two, or in none: {lists}, expected {expected}"
    assert receipt["targetsCount"] == 3, f"three targets were counted as {receipt['targetsCount']}"


@pytest.mark.parametrize("id_", ["mine-1", None], ids=["with-id", "without-id"])
async def test_a_receipt_has_the_fields_of_the_protocol(ws_devices: Devices, id_: str | None) -> None:
    """Lists, ``summary``, ``elapsedMs`` and ``targetsCount`` are always there, and ``id`` where the sender gave one."""
    sender, target = await ws_devices("sender"), await ws_devices("target")

    await send(sender, target, **({} if id_ is None else {"id": id_}))

    receipt = await receipt_of(sender)
    kinds = {**dict.fromkeys(LISTS, list), "summary": str, "elapsedMs": int, "targetsCount": int}
    wrong = [name for name, kind in kinds.items() if type(receipt.get(name)) is not kind]
    assert not wrong, f"the receipt lacks {', '.join(wrong)}, or has another kind of value there: {receipt}"
    assert receipt["elapsedMs"] >= 0, f"the receipt came before its message: {receipt}"
    assert receipt.get("id") == id_, f"the receipt has not the id that the sender gave its message ({id_}): {receipt}"


async def test_the_sender_among_the_targets_fails(ws_devices: Devices) -> None:
    """A device cannot write to itself: its own id is in ``failed``, and the others get the message."""
    sender, target = await ws_devices("sender"), await ws_devices("target")

    await send(sender, sender, target)

    receipt = await receipt_of(sender)
    assert receipt["failed"] == [sender.device_id], f"the sender's own id is not in failed: {receipt}"
    assert receipt["delivered"] == [target.device_id], f"the other target was not delivered to: {receipt}"
    assert letters_of(sender) == [], f"the sender got its own message: {letters_of(sender)}"


async def test_a_target_that_is_named_twice_gets_the_message_once(ws_devices: Devices) -> None:
    """Repeated ids count once, also in another form: ids are trimmed and in lower case."""
    sender, target = await ws_devices("sender"), await ws_devices("target")

    await send(sender, target, target, f" {target.device_id.upper()} ")

    receipt = await receipt_of(sender)
    assert receipt["delivered"] == [target.device_id], f"a target that was named twice is listed twice: {receipt}"
    assert receipt["targetsCount"] == 1, f"a target that was named twice was counted twice: {receipt}"
    await got_none(target, lambda message: is_letter(message) and len(letters_of(target)) > 1, SLACK, "it came twice")
    assert len(letters_of(target)) == 1, (
        f"a target that was named twice got the message {len(letters_of(target))} times"
    )


# --- repeats ----------------------------------------------------------------------------------------------------


async def test_a_repeated_message_gets_its_first_receipt_and_is_delivered_once(ws_devices: Devices) -> None:
    """The same (from, id) again is answered with the first receipt and ``duplicate``, and sent to nobody."""
    sender, target = await ws_devices("sender"), await ws_devices("target")
    await send(sender, target, id="once")
    first = await receipt_of(sender)

    await send(sender, target, id="once")

    again = await receipt_of(sender)
    assert again.get("duplicate") is True, f"the receipt of a repeated message does not say duplicate: {again}"
    assert {**first, "duplicate": True} == again, f"a repeated message got another receipt: {again}, first {first}"
    await send(sender, target, id="another")
    await receipt_of(sender)
    ids = [letter["id"] for letter in letters_of(target)]
    assert ids.count("once") == 1, f"a repeated message was delivered {ids.count('once')} times"


async def test_the_same_id_of_another_sender_is_another_message(ws_devices: Devices) -> None:
    """Ids are the senders' own: the message of one is not the repeat of another's."""
    left, right, target = await ws_devices("left"), await ws_devices("right"), await ws_devices("target")

    for sender in (left, right):
        await send(sender, target, text=sender.name, id="mine")
        receipt = await receipt_of(sender)
        assert "duplicate" not in receipt, f"a message was taken for the repeat of another sender's: {receipt}"

    await take_letters(target, 2, "a message was lost because another sender's had the same id")


# --- bad requests -----------------------------------------------------------------------------------------------

ELEVEN = [f"02:00:00:00:01:{number:02x}" for number in range(11)]


async def test_a_request_without_proper_targets_is_refused(ws_devices: Devices) -> None:
    """``to`` that is missing, empty, no id, nested, or of more than ten: INVALID_REQUEST."""
    sender = await ws_devices("sender")

    wrong: list[dict[str, Any]] = [{}, *({"to": to} for to in ([], "", 7, [7], [ELEVEN[:1]], ELEVEN))]
    for to in wrong:
        await sender.send({"type": "peer", "payload": {"text": "hello"}, **to})

        answer = await got(sender, is_answer, f"a request with the targets {to} was not answered")
        assert answer.get("code") == "INVALID_REQUEST", f"a request with the targets {to} was not refused: {answer}"


async def test_ten_targets_are_taken(ws_devices: Devices) -> None:
    """Ten are the most that one message may have."""
    sender = await ws_devices("sender")

    await send(sender, *ELEVEN[:10])

    receipt = await receipt_of(sender)
    assert receipt["targetsCount"] == 10, f"ten targets were counted as {receipt['targetsCount']}: {receipt}"


async def test_a_payload_that_is_no_object_is_refused(ws_devices: Devices) -> None:
    """SCHEMA_INVALID, and the target gets nothing."""
    sender, target = await ws_devices("sender"), await ws_devices("target")

    for payload in ({}, {"payload": None}, {"payload": "text"}, {"payload": 7}, {"payload": ["list"]}):
        await sender.send({"type": "peer", "to": target.device_id, **payload})

        answer = await got(sender, is_answer, f"a message with the payload {payload} was not answered")
        assert answer.get("code") == "SCHEMA_INVALID", f"a message with {payload} was not refused: {answer}"
    assert letters_of(target) == [], f"a message that was refused was delivered: {letters_of(target)}"


async def test_a_payload_of_more_than_a_device_can_take_is_refused(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """8 KB are taken, a byte more is SCHEMA_INVALID."""
    sender, target = await ws_devices("sender"), await ws_devices("target")
    longest = "x" * (ws_gateway.config.peer.payload_bytes - len('{"text":""}'))

    await send(sender, target, text=longest)
    receipt = await receipt_of(sender)
    await send(sender, target, text=f"{longest}x")

    assert receipt["delivered"] == [target.device_id], f"the longest payload was not delivered: {receipt}"
    answer = await got(sender, is_answer, "a payload over the limit was not answered")
    assert answer.get("code") == "SCHEMA_INVALID", f"a payload over the limit was not refused: {answer}"


# --- rates and broadcasts ---------------------------------------------------------------------------------------


async def test_messages_over_the_rate_are_refused(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """Of a burst, as many are delivered as the rate allows, the others are answered RATE_LIMITED; later all is well."""
    sender, target = await ws_devices("sender"), await ws_devices("target")
    peer, loop = ws_gateway.config.peer, asyncio.get_running_loop()
    count, began = peer.burst + 10, loop.time()
    for _ in range(count):
        await send(sender, target)
    answers = [await got(sender, is_answer, "a message over the rate was not answered") for _ in range(count)]
    allowed = peer.burst + int((loop.time() - began) * peer.per_second) + 1

    limited = [answer for answer in answers if answer.get("code") == "RATE_LIMITED"]

    taken = count - len(limited)
    assert taken <= allowed, f"{taken} messages were taken at once, the rate allows {allowed}"
    assert taken >= min(count, peer.burst), f"only {taken} messages of a burst of {peer.burst} were taken"
    assert len(letters_of(target)) == taken, f"{taken} messages were taken, {len(letters_of(target))} delivered"
    await asyncio.sleep(1.2 / peer.per_second)
    await send(sender, target)
    await receipt_of(sender)


async def test_a_broadcast_reaches_all_but_its_sender(ws_devices: Devices) -> None:
    """``to:["broadcast"]`` is for everybody who is online, and is kept for nobody."""
    sender, left, right = await ws_devices("sender"), await ws_devices("left"), await ws_devices("right")
    absent = await ws_devices("absent")
    await leave(absent)
    await asyncio.sleep(0.1)  # the gateway has seen it go

    await send(sender, "broadcast", text="to all")

    receipt = await receipt_of(sender)
    for device in (left, right):
        await got(device, is_letter, f"a broadcast did not reach {device.name}, who is online")
        assert device.device_id in receipt["delivered"], (
            f"{device.name} has a broadcast, the receipt denies it: {receipt}"
        )
    listed = [*receipt["delivered"], *receipt["enqueued"], *receipt["failed"]]
    assert sender.device_id not in listed, f"the sender of a broadcast counts as one of its targets: {receipt}"
    assert letters_of(sender) == [], f"the sender got its own broadcast: {letters_of(sender)}"
    await absent.go_online()
    await got_none(absent, is_letter, SLACK, "a broadcast was kept for a device that was not online")


async def test_broadcasts_keep_their_distance(ws_devices: Devices) -> None:
    """A second broadcast within its five seconds is RATE_LIMITED and reaches nobody."""
    sender, target = await ws_devices("sender"), await ws_devices("target")
    await send(sender, "broadcast", text="first")
    await receipt_of(sender)

    await send(sender, "broadcast", text="second")

    answer = await got(sender, is_answer, "a second broadcast was not answered")
    assert answer.get("code") == "RATE_LIMITED", f"a second broadcast at once was taken: {answer}"
    await send(sender, target, text="third")
    await receipt_of(sender)
    assert texts_of(letters_of(target), sender) == ["first", "third"], "a broadcast that was refused was delivered"
