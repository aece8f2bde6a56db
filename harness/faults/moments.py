"""What a step of a schedule can wait for: moments in the life of a system, by name.

==========================  ==========================================================================
``event:PeerDelivered``     the gateway has recorded this (`gateway.observe.events`)
``sent:peer``               a device has sent a JSON message of this type
``received:peer``           a device has received one
``mailbox:store``           the gateway's mailbox is asked for something that it has to write
``fault:kill_gateway``      a fault was done
==========================  ==========================================================================

Behind any but the mailbox's may stand a device: ``event:HandoverBegan kitchen``; then it is that device's alone.
"""

from __future__ import annotations

import msgspec
from websockets.frames import Opcode

from gateway.errors import BadMessage
from gateway.observe.events import Event
from gateway.protocol.decoding import decode_object, type_of
from harness.faults.vocabulary import Fault
from harness.records import FramePassed, Happened

MAILBOX_WRITES = ("store", "add_event", "settle", "set_aside", "take_expired", "purge", "note_acknowledger")
"""Calls of `gateway.peer.mailbox.Mailbox` that write."""


def of_event(event: Event, device: str = "") -> list[str]:
    """Return the moments that a record of the gateway is; ``device``: what its device is called."""
    return _with(f"event:{type(event).__name__}", device)


def of_frame(record: FramePassed | Happened) -> list[str]:
    """Return the moments that a device's record is; none, if it is no JSON message."""
    if not isinstance(record, FramePassed) or record.opcode is not Opcode.TEXT:
        return []
    try:
        kind = type_of(decode_object(record.payload))
    except (BadMessage, msgspec.DecodeError):
        return []
    return _with(f"{'sent' if record.sent else 'received'}:{kind}", record.device)


def of_mailbox(call: str) -> list[str]:
    """Return the moments that a call of the mailbox is."""
    return [f"mailbox:{call}"] if call in MAILBOX_WRITES else []


def of_fault(fault: Fault) -> list[str]:
    """Return the moments that a fault is."""
    return _with(f"fault:{fault.name}", fault.on)


def _with(moment: str, device: str) -> list[str]:
    return [moment, f"{moment} {device}"] if device else [moment]
