"""Redelivery: mail waits, comes in order, is repeated until it is acknowledged, and its sender is told the truth."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from gateway.config import PeerConfig
from pytest_wsdevice.conformance.peer_mail import (
    SLACK,
    acknowledge,
    counted,
    expect_count,
    got,
    got_none,
    is_letter,
    leave,
    leave_mail,
    letters_of,
    quiet,
    receipt_of,
    send,
    take_letters,
    tells_of,
    texts_of,
)
from pytest_wsdevice.types import Devices, FakeDevice, Gateway, Gateways, OwnGateway

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.ws_gateway_config(
        adapts=True,
        peer={"per_second": 1000.0, "burst": 1000, "live_ack": 0.1, "retry_first": 0.15, "redelivered_wait": 0.3},
    ),
]

redelivered = tells_of("redelivered")


# --- what comes -------------------------------------------------------------------------------------------------


async def test_mail_comes_in_the_order_in_which_it_was_sent(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """Of each sender, the first message comes first."""
    left, right = await ws_devices("left"), await ws_devices("right")
    target = await ws_devices("target", online=False)
    for number in range(4):
        await leave_mail(ws_gateway, left, target, f"left {number}")
        await leave_mail(ws_gateway, right, target, f"right {number}")

    await target.go_online()

    letters = await take_letters(target, 8)
    for sender in (left, right):
        texts, sent = texts_of(letters, sender), [f"{sender.name} {number}" for number in range(4)]
        assert texts == sent, f"the mail of {sender.name} came in another order than it was sent: {texts}"


async def test_mail_says_that_it_was_redelivered(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """A message that waited comes as it was sent, under the sender's id, with ``"redelivered":true``."""
    sender, target = await ws_devices("sender"), await ws_devices("target", online=False)
    await leave_mail(ws_gateway, sender, target, "tea was ready", id="tea-1")

    await target.go_online()

    (letter,) = await take_letters(target, 1)
    kept = {"type": "peer", "from": sender.device_id, "payload": {"text": "tea was ready"}, "id": "tea-1"}
    assert {name: letter.get(name) for name in kept} == kept, f"the message that waited came changed: {letter}"
    assert letter.get("redelivered") is True, f"a message that waited does not say that it was redelivered: {letter}"


@pytest.mark.ws_gateway_config(adapts=True, peer={"in_flight": 2, "retry_first": 2.0})
async def test_what_is_sent_now_does_not_overtake_what_waits(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """A message to a device that is being sent its mail comes behind the sender's earlier ones."""
    sender, target = await ws_devices("sender"), await quiet(ws_devices, "target", online=False)
    most = ws_gateway.config.peer.in_flight
    texts = [f"{number}" for number in range(min(most, 3) + 2)]
    await leave_mail(ws_gateway, sender, target, *texts[:-1])
    await target.go_online()
    first = await take_letters(target, 1)

    await send(sender, target, text=texts[-1])

    await receipt_of(sender)
    await acknowledge(target, *first)
    seen = [*first]
    while len(seen) < len(texts):
        letter = await got(target, is_letter, f"mail was lost: {len(seen)} of {len(texts)} letters came")
        await acknowledge(target, letter)
        if letter["id"] not in {known["id"] for known in seen}:
            seen.append(letter)
    assert texts_of(seen) == texts, f"a new message overtook mail of the same sender that waited: {texts_of(seen)}"


@pytest.mark.ws_gateway_config(adapts=True, peer={"in_flight": 3, "retry_first": 2.0})
async def test_no_more_is_in_flight_than_a_device_can_take(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """So many letters (50, unless configured) go out unacknowledged; each acknowledgement lets the next one follow."""
    sender, target = await ws_devices("sender"), await quiet(ws_devices, "target", online=False)
    most = ws_gateway.config.peer.in_flight
    await leave_mail(ws_gateway, sender, target, *(f"{number}" for number in range(most + 2)))

    await target.go_online()

    letters = await take_letters(target, most)
    await got_none(target, is_letter, SLACK, f"more than {most} unacknowledged letters were in flight")
    await acknowledge(target, *letters)
    await take_letters(target, 2, "the acknowledgements made no room for what waited")


# --- what senders are told --------------------------------------------------------------------------------------


@pytest.mark.ws_gateway_config(adapts=True, peer={"redelivered_wait": 3.0})
async def test_each_sender_is_told_once_how_much_was_delivered(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """One ``redelivered`` per sender, with the count of its own messages."""
    left, right = await ws_devices("left"), await ws_devices("right")
    target = await ws_devices("target", online=False)
    await leave_mail(ws_gateway, left, target, "one", "two", "three")
    await leave_mail(ws_gateway, right, target, "four")

    await target.go_online()

    for sender, count in ((left, 3), (right, 1)):
        event = await got(sender, redelivered, f"{sender.name} was not told that its mail was redelivered")
        expected = {"type": "peer", "event": "redelivered", "to": target.device_id, "count": count}
        told = {name: event.get(name) for name in expected}
        assert told == expected, f"{sender.name} was told something wrong of its redelivered mail: {event}"
    await got_none(left, redelivered, SLACK, "a sender was told twice of the same redelivered mail")
    assert counted(right, target) == [1], f"a sender was told twice of the same redelivered mail: {right.received}"


async def test_only_what_was_acknowledged_is_counted(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """Of three letters two are acknowledged: the receipt says two, and one more when the third is."""
    sender, target = await ws_devices("sender"), await quiet(ws_devices, "target", online=False)
    await leave_mail(ws_gateway, sender, target, "one", "two", "three")
    await target.go_online()
    letters = await take_letters(target, 3)

    await acknowledge(target, *letters[:2])

    await expect_count(sender, target, 2, "what was sent was counted, not what was delivered")
    await acknowledge(target, letters[2])
    await expect_count(sender, target, 1, "a letter was counted twice, or not at all")


async def test_without_a_delivery_no_sender_is_told_of_one(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """A device that acknowledges nothing has got nothing: there is no ``redelivered``, not even with a count of 0."""
    sender, target = await ws_devices("sender"), await quiet(ws_devices, "target", online=False)
    await leave_mail(ws_gateway, sender, target, "one")

    await target.go_online()

    await take_letters(target, 1)
    wait = ws_gateway.config.peer.redelivered_wait + SLACK
    await got_none(sender, redelivered, wait, "the sender was told of a delivery that nobody acknowledged")


async def test_one_acknowledgement_may_name_several_letters(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """``"ids":[..]`` acknowledges all of them, and each counts."""
    sender, target = await ws_devices("sender"), await quiet(ws_devices, "target", online=False)
    await leave_mail(ws_gateway, sender, target, "one", "two", "three")
    await target.go_online()
    letters = await take_letters(target, 3)

    await target.send({"type": "peer", "event": "ack", "ids": [letter["id"] for letter in letters]})

    await expect_count(sender, target, 3, "an acknowledgement of several letters was not taken for all of them")


async def test_mail_for_a_device_without_acknowledgements_is_counted_too(
    ws_gateway: Gateway, ws_devices: Devices
) -> None:
    """Its TCP has taken the letters: that counts as delivered."""
    sender, target = await ws_devices("sender"), await ws_devices("target", online=False, acks=False)
    await leave_mail(ws_gateway, sender, target, "one", "two")

    await target.go_online()

    await take_letters(target, 2)
    await expect_count(sender, target, 2, "mail of a device that does not acknowledge was miscounted")


async def test_the_receipt_waits_for_a_sender_that_is_not_there(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """Mail that is delivered meanwhile is reported when its sender is back, once; and causes no further event."""
    sender, target = await ws_devices("sender"), await ws_devices("target", online=False)
    await leave_mail(ws_gateway, sender, target, "one", "two")
    await leave(sender)
    await target.go_online()
    await take_letters(target, 2)
    await asyncio.sleep(0.1)  # the letters are acknowledged

    await sender.go_online()

    await expect_count(sender, target, 2, "the receipt was lost while the sender was offline")
    await got_none(sender, redelivered, SLACK, "a receipt that waited came twice")
    events = [message for message in target.received if redelivered(message)]
    assert events == [], f"the delivery of a receipt was itself reported: {events}"


async def test_receipts_that_wait_are_merged(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """Two rounds of redelivery while the sender is away make one event, with their sum."""
    sender, target = await ws_devices("sender"), await quiet(ws_devices, "target", online=False)
    await leave_mail(ws_gateway, sender, target, "one", "two", "three")
    await leave(sender)
    for number in (2, 1):
        await target.go_online()
        letters = await take_letters(target, number + 1 if number == 2 else number)
        await acknowledge(target, *letters[:number])
        await target.send({"type": "ping"})
        await target.expect("pong")
        await leave(target)
    await asyncio.sleep(0.25)  # both rounds are over

    await sender.go_online()

    await expect_count(sender, target, 3, "receipts that waited were not added up")
    await got_none(sender, redelivered, SLACK, "receipts that waited were not merged into one")
    counts = counted(sender, target)
    assert counts == [3], f"receipts that waited were not merged into one: {counts}"


async def test_a_sender_that_asked_hears_of_each_delivery(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """``confirm:true``: a ``delivered`` event names the message, once it is out of the mailbox; else there is none."""
    sender, target = await ws_devices("sender"), await ws_devices("target", online=False)
    await leave_mail(ws_gateway, sender, target, "asked", id="asked", confirm=True)
    await leave_mail(ws_gateway, sender, target, "not asked", id="not-asked")

    await target.go_online()

    event = await got(sender, tells_of("delivered"), "the sender asked for it and did not hear of the delivery")
    named = event.get("to"), event.get("id")
    assert named == (target.device_id, "asked"), f"the delivered event is about something else: {event}"
    await got_none(sender, tells_of("delivered"), SLACK, "a sender heard of a delivery it had not asked about")


# --- lost on the way --------------------------------------------------------------------------------------------


async def test_a_message_that_was_on_its_way_when_the_link_was_lost_comes_again(ws_devices: Devices) -> None:
    """Sent, not acknowledged, link lost: it is enqueued, and comes to the next connection under the same id."""
    sender, target = await ws_devices("sender"), await quiet(ws_devices, "target")
    await send(sender, target, id="on-its-way")
    await take_letters(target, 1)

    await leave(target)

    receipt = await receipt_of(sender)
    assert receipt["enqueued"] == [target.device_id], f"a message that was lost with its link is not kept: {receipt}"
    await target.go_online()
    (letter,) = await take_letters(target, 1, "a message that was lost with its link did not come again")
    assert letter["id"] == "on-its-way", f"a message came again under another id: {letter}"
    await acknowledge(target, letter)
    await expect_count(sender, target, 1, "a message that came again was miscounted")


async def test_a_message_that_is_acknowledged_after_its_receipt_is_reported(ws_devices: Devices) -> None:
    """The receipt said ``enqueued``, then the acknowledgement came: ``redelivered`` says that it has arrived."""
    sender, target = await ws_devices("sender"), await quiet(ws_devices, "target")
    await send(sender, target)
    (letter,) = await take_letters(target, 1)
    receipt = await receipt_of(sender)
    assert receipt["enqueued"] == [target.device_id], f"a message that nobody acknowledged is not enqueued: {receipt}"

    await acknowledge(target, letter)

    await expect_count(sender, target, 1, "the sender never heard of a message that was acknowledged late")


async def test_a_device_that_is_lost_in_the_middle_gets_the_rest_later(
    ws_gateway: Gateway, ws_devices: Devices
) -> None:
    """Acknowledged letters are counted and do not come again; all others do, and are counted when they arrive."""
    sender, target = await ws_devices("sender"), await quiet(ws_devices, "target", online=False)
    await leave_mail(ws_gateway, sender, target, "one", "two", "three")
    await target.go_online()
    letters = await take_letters(target, 3)
    await acknowledge(target, letters[0])

    await leave(target)

    await expect_count(sender, target, 1, "letters that were lost with the link were counted")
    await target.go_online()
    rest = await take_letters(target, 2, "letters that were lost with the link did not come again")
    assert texts_of(rest) == ["two", "three"], f"after a lost link the wrong letters came: {texts_of(rest)}"
    await acknowledge(target, *rest)
    await expect_count(sender, target, 2, "letters that came again were miscounted")


@pytest.mark.ws_needs("vanish")
async def test_what_is_sent_into_the_void_is_not_counted(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """A device says hello and is out of reach: its mail has not arrived, and comes to its next connection."""
    sender, target = await ws_devices("sender"), await ws_devices("target", online=False)
    await leave_mail(ws_gateway, sender, target, "one", "two")
    await target.connect()
    await target.send({"type": "hello", "version": 1, "transport": "websocket", "features": {"peer_ack": True}})
    target.vanish()

    wait = ws_gateway.config.peer.redelivered_wait + SLACK
    await got_none(sender, redelivered, wait, "letters to a device that is out of reach were counted as delivered")

    await target.go_online()
    await take_letters(target, 2, "letters that were sent to a connection out of reach were lost")
    await expect_count(sender, target, 2, "letters that came again were miscounted")


async def test_a_letter_is_repeated_until_it_is_acknowledged(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """Acknowledgements get lost: the letter comes again under its id, counts once, and then no more."""
    sender, target = await ws_devices("sender"), await quiet(ws_devices, "target", online=False)
    await leave_mail(ws_gateway, sender, target, "one", id="again")
    await target.go_online()
    await take_letters(target, 1)

    retry = ws_gateway.config.peer.retry_first
    copy = await got(target, is_letter, "a letter that was not acknowledged did not come again", 5 + retry)

    assert copy["id"] == "again", f"the repeated letter has another id, so that nobody can tell it is one: {copy}"
    await acknowledge(target, copy, copy)  # both copies were read
    await target.send({"type": "ping"})
    await target.expect("pong")
    copies = len(letters_of(target))
    await expect_count(sender, target, 1, "a letter that came twice was miscounted")
    await asyncio.sleep(3 * retry)
    repeats = len(letters_of(target)) - copies
    assert repeats == 0, f"a letter was repeated {repeats} times after it was acknowledged"
    assert counted(sender, target) == [1], f"a letter that came twice was counted twice: {counted(sender, target)}"


@pytest.mark.ws_gateway_config(adapts=True, peer={"attempts": 3, "retry_first": 0.1, "retry_max": 0.1})
async def test_a_letter_is_given_up_after_its_attempts(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """A device that never acknowledges is sent a letter so many times; then its sender is told: ``dropped``."""
    sender, target = await ws_devices("sender"), await quiet(ws_devices, "target", online=False)
    await leave_mail(ws_gateway, sender, target, "one")

    await target.go_online()

    peer = ws_gateway.config.peer
    silent = "a letter that nobody acknowledges is repeated for ever, or its sender does not hear of its end"
    event = await got(sender, tells_of("dropped"), silent, 5 + patience(peer))
    told = event.get("to"), event.get("count"), event.get("reason")
    assert told == (target.device_id, 1, "attempts"), (
        f"the sender was told something wrong of what was dropped: {event}"
    )
    copies = len(letters_of(target))
    assert copies == peer.attempts, f"a letter was sent {copies} times before it was dropped, not {peer.attempts}"
    await leave(target)
    await target.go_online()
    await got_none(target, is_letter, SLACK, "a letter came after its sender was told that it was dropped")


async def test_a_foreign_acknowledgement_changes_nothing(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """What another device acknowledges is still repeated, and counts when its own device has it."""
    sender, other = await ws_devices("sender"), await ws_devices("other")
    target = await quiet(ws_devices, "target", online=False)
    await leave_mail(ws_gateway, sender, target, "one")
    await target.go_online()
    (letter,) = await take_letters(target, 1)

    await acknowledge(other, letter)

    retry = ws_gateway.config.peer.retry_first
    lost = "after the acknowledgement of another device a letter was not repeated to its own"
    copy = await got(target, is_letter, lost, 5 + retry)
    assert counted(sender, target) == [], "the acknowledgement of another device was counted as a delivery"
    await acknowledge(target, copy)
    await expect_count(sender, target, 1, "a letter was counted for another device's acknowledgement")


# --- limits -----------------------------------------------------------------------------------------------------


async def test_a_message_that_is_repeated_while_it_waits_comes_once(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """The sender repeats a message with its id: it waits once, comes once, and counts once."""
    sender, target = await ws_devices("sender"), await ws_devices("target", online=False)
    await leave_mail(ws_gateway, sender, target, "one", id="once")

    await leave_mail(ws_gateway, sender, target, "one", id="once")

    await leave_mail(ws_gateway, sender, target, "two", id="twice")
    await target.go_online()
    letters = await take_letters(target, 2)
    ids = [letter["id"] for letter in letters]
    assert ids == ["once", "twice"], f"a message that was repeated while it waited was kept twice: {ids}"
    await expect_count(sender, target, 2, "a message that was repeated while it waited was miscounted")


@pytest.mark.ws_gateway_config(adapts=True, mailbox={"per_device": 3})
async def test_a_full_mailbox_refuses_the_new_and_keeps_the_old(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """The message that is one too many is ``failed`` MAILBOX_FULL: its sender can react; what waits stays."""
    sender, target = await ws_devices("sender"), await ws_devices("target", online=False)
    texts = [f"{number}" for number in range(ws_gateway.config.mailbox.per_device)]
    await leave_mail(ws_gateway, sender, target, *texts)

    await asyncio.sleep(1 / ws_gateway.config.peer.per_second)
    await send(sender, target, text="one too many")

    receipt = await receipt_of(sender)
    assert receipt["failed"] == [target.device_id], f"a message was taken by a mailbox that is full: {receipt}"
    assert receipt["enqueued"] == [], f"a message that was not stored was called enqueued: {receipt}"
    assert "MAILBOX_FULL" in str(receipt), f"the receipt does not say that the mailbox is full: {receipt}"
    await target.go_online()
    letters = texts_of(await take_letters(target, len(texts), "a full mailbox dropped what waited"))
    assert letters == texts, f"a full mailbox dropped what waited for something new: {letters}"
    await got_none(target, is_letter, SLACK, "a message that was refused was delivered")


async def test_senders_are_told_of_what_expired(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """Past its ``ttl_ms`` a message is not delivered any more; ``expired`` says so, later to a sender who is away."""
    present, away = await ws_devices("present"), await ws_devices("away")
    target = await ws_devices("target", online=False)
    for sender in (present, away):
        await leave_mail(ws_gateway, sender, target, "stale", "stale, too", ttl_ms=200)
        await leave_mail(ws_gateway, sender, target, f"fresh from {sender.name}")
    await leave(away)

    await expect_expiry(present, target, 2)
    await away.go_online()
    await expect_expiry(away, target, 2)

    await target.go_online()
    letters = sorted(texts_of(await take_letters(target, 2)))
    assert letters == ["fresh from away", "fresh from present"], (
        f"messages were delivered after they expired: {letters}"
    )


async def expect_expiry(sender: FakeDevice, target: FakeDevice, count: int) -> None:
    """Wait for ``expired`` events, which have to add up to ``count``."""
    told = 0
    while told < count:
        event = await got(
            sender, tells_of("expired"), f"messages expired and {sender.name}, their sender, was not told"
        )
        about = event.get("to"), event.get("reason")
        assert about == (target.device_id, "ttl"), f"the sender was told something wrong of what expired: {event}"
        told += event["count"]
    assert told == count, f"{count} messages expired, {sender.name} was told of {told}"


def patience(peer: PeerConfig) -> float:
    """Return how long a letter is repeated, in seconds."""
    waits = (min(peer.retry_first * 2.0**number, peer.retry_max) for number in range(peer.attempts))
    return sum(waits)


# --- the gateway goes down --------------------------------------------------------------------------------------


@pytest.mark.ws_needs("restart")
async def test_mail_survives_a_restart(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """What was called enqueued comes in order after the gateway was restarted, and its sender is told."""
    assert isinstance(ws_gateway, OwnGateway)
    sender, target = await ws_devices("sender"), await ws_devices("target", online=False)
    await leave_mail(ws_gateway, sender, target, "one", "two")

    await restart(ws_gateway, sender)

    await sender.go_online()
    await target.go_online()
    letters = texts_of(await take_letters(target, 2, "mail did not survive a restart of the gateway"))
    assert letters == ["one", "two"], f"after a restart the mail came in another order: {letters}"
    await expect_count(sender, target, 2, "after a restart the mail was miscounted")


@pytest.mark.ws_needs("restart")
async def test_a_repeat_is_known_after_a_restart(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """A message that waits is not kept a second time because the gateway was restarted before its repeat."""
    assert isinstance(ws_gateway, OwnGateway)
    sender, target = await ws_devices("sender"), await ws_devices("target", online=False)
    await leave_mail(ws_gateway, sender, target, "one", id="once")
    await restart(ws_gateway, sender)
    await sender.go_online()

    (receipt,) = await leave_mail(ws_gateway, sender, target, "one", id="once")

    assert receipt.get("duplicate") is True, f"after a restart a repeat was taken for a new message: {receipt}"
    await leave_mail(ws_gateway, sender, target, "two", id="twice")
    await target.go_online()
    ids = [letter["id"] for letter in await take_letters(target, 2)]
    assert ids == ["once", "twice"], f"a message that was repeated after a restart was kept twice: {ids}"


@pytest.mark.ws_needs("restart")
async def test_what_is_called_enqueued_survives_a_kill(
    ws_gateway: Gateway, ws_gateways: Gateways, ws_devices: Devices
) -> None:
    """At the moment of the receipt the message is on the disk: a gateway that goes on from there delivers it."""
    assert isinstance(ws_gateway, OwnGateway)
    sender, target = await ws_devices("sender"), await ws_devices("target", online=False)
    await leave_mail(ws_gateway, sender, target, "one")

    state = copy_of_state(ws_gateway)

    heir = await ws_gateways(mailbox={"path": str(state / "mailbox.db")})
    again = await ws_devices("target again", like=target, online=False)
    again.url = heir.url
    await again.go_online()
    await take_letters(again, 1, "a message was called enqueued before it was on the disk")


async def restart(gateway: OwnGateway, *devices: FakeDevice) -> None:
    """Restart the gateway; its devices leave before, or it would wait for them."""
    for device in devices:
        await leave(device)
    await gateway.restart()


def copy_of_state(gateway: OwnGateway) -> Path:
    """Copy what a kill at this moment would leave on the disk."""
    state = gateway.config.state_directory
    kept = state.with_name(f"{state.name}-killed")
    kept.mkdir()
    if state.exists():
        shutil.copytree(state, kept, ignore=shutil.ignore_patterns("*-shm", "*.lock"), dirs_exist_ok=True)
    return kept
