"""What the scenarios of peer messages say to devices and look for: requests, receipts, letters, events to a sender."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from harness.errors import ExpectationFailed
from pytest_wsdevice.types import Devices, FakeDevice, Gateway

Message = dict[str, Any]

SLACK = 0.1
"""Seconds in which what must not come would have come, where nothing else is waited for."""


# --- what is looked for -----------------------------------------------------------------------------------------


def is_letter(message: Message) -> bool:
    """A peer message, as its target gets it."""
    return message.get("type") == "peer" and "payload" in message


def is_answer(message: Message) -> bool:
    """A receipt, or the refusal of a request."""
    return message.get("type") == "peer" and "status" in message


def tells_of(event: str) -> Callable[[Message], bool]:
    """Make a test of the events that tell a sender what became of its messages."""

    def told(message: Message) -> bool:
        return message.get("type") == "peer" and message.get("event") == event

    told.__qualname__ = f"the event {event!r} of a peer message"
    return told


async def got(
    device: FakeDevice, wanted: Callable[[Message], bool], otherwise: str, timeout: float = 5.0, **fields: Any
) -> Message:
    """Take a message; where it does not come, ``otherwise`` says what is wrong."""
    try:
        return await device.expect(wanted, timeout, **fields)
    except ExpectationFailed as error:
        raise AssertionError(f"{otherwise}\n{error}") from None


async def got_none(device: FakeDevice, wanted: Callable[[Message], bool], seconds: float, otherwise: str) -> None:
    """Wait and see no such message; where one comes, ``otherwise`` says what is wrong."""
    try:
        await device.expect_nothing(wanted, seconds)
    except ExpectationFailed as error:
        raise AssertionError(f"{otherwise}\n{error}") from None


# --- devices ----------------------------------------------------------------------------------------------------


async def quiet(devices: Devices, name: str, **options: Any) -> FakeDevice:
    """Make a device that says it acknowledges, and leaves it to the test: its acknowledgements come late, or never."""
    return await devices(name, acks=False, features={"mcp": True, "peer_ack": True}, **options)


async def acknowledge(device: FakeDevice, *letters: Message) -> None:
    """Acknowledge letters, each by itself."""
    for letter in letters:
        await device.send({"type": "peer", "event": "ack", "id": letter["id"]})


async def leave(device: FakeDevice) -> None:
    """Cut the connection of a device and wait until it is gone."""
    device.cut()
    await device.closed.wait()


# --- sending ----------------------------------------------------------------------------------------------------


async def send(sender: FakeDevice, *targets: FakeDevice | str, text: str = "hello", **fields: Any) -> None:
    """Ask for a message to be sent."""
    ids = [target if isinstance(target, str) else target.device_id for target in targets]
    await sender.send({"type": "peer", "to": ids, "payload": {"text": text}, **fields})


async def receipt_of(sender: FakeDevice, **fields: Any) -> Message:
    """Take the next receipt."""
    return await got(
        sender, is_answer, "a peer message was not answered with a receipt", **{"status": "done", **fields}
    )


async def leave_mail(
    gateway: Gateway, sender: FakeDevice, target: FakeDevice, *texts: str, **fields: Any
) -> list[Message]:
    """Send messages to a device that is not there, and have each of them enqueued; return the receipts.

    What is over the sender's rate is sent again, when it may be.
    """
    receipts: list[Message] = []
    for text in texts:
        while True:
            await send(sender, target, text=text, **fields)
            answer = await got(sender, is_answer, "a message to a device that is not there was not answered")
            if answer.get("code") != "RATE_LIMITED":
                break
            await asyncio.sleep(1 / gateway.config.peer.per_second)
        assert answer.get("enqueued") == [target.device_id], (
            f"a message to a device that is not there was not enqueued for it: {answer}"
        )
        receipts.append(answer)
    return receipts


# --- what a device was sent -------------------------------------------------------------------------------------


async def take_letters(device: FakeDevice, count: int, otherwise: str = "mail was lost") -> list[Message]:
    """Take so many letters, in the order in which they came."""
    return [await got(device, is_letter, f"{otherwise}: {number} of {count} letters came") for number in range(count)]


def letters_of(device: FakeDevice) -> list[Message]:
    """Return all letters that a device was sent, taken or not, over all its connections, in order."""
    return [message for message in device.received if is_letter(message)]


def texts_of(letters: list[Message], sender: FakeDevice | None = None) -> list[str]:
    """Return what letters say; those of one sender, or all."""
    return [letter["payload"]["text"] for letter in letters if sender is None or letter["from"] == sender.device_id]


def counted(sender: FakeDevice, target: FakeDevice) -> list[int]:
    """Return the counts of all ``redelivered`` events that a sender was sent about a target; a repeat counts once."""
    events = [message for message in sender.received if tells_of("redelivered")(message)]
    about = {event.get("id", number): event for number, event in enumerate(events) if event["to"] == target.device_id}
    return [event["count"] for event in about.values()]


async def expect_count(sender: FakeDevice, target: FakeDevice, count: int, otherwise: str) -> None:
    """Wait for ``redelivered`` events about a target, which have to add up to ``count``.

    One does it, unless a share takes longer than a gateway waits for it.
    """
    told = 0
    while told < count:
        silent = f"the sender was not told of its redelivered mail: {otherwise}"
        event = await got(sender, tells_of("redelivered"), silent, to=target.device_id)
        told += event["count"]
    assert told == count, f"{otherwise}: redelivered says {told}, {count} were delivered"
