"""Reading what a device wants sent, and what it acknowledges; pure."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.config import PeerConfig
from gateway.errors import BadDeviceId, BadMessage
from gateway.identity import DeviceId, device_id
from gateway.protocol import limits
from gateway.protocol.messages import Peer, encode

BROADCAST = "broadcast"


class PeerRequest(msgspec.Struct, frozen=True):
    """A message to other devices, checked.

    Attributes:
        targets: each once, in the order named; empty for a broadcast.
        broadcast: to all who are online.
        body: the payload as JSON.
        id: the sender's id for it, None when it gave none.
        ttl: seconds it may be kept.
        confirm: the sender wants to hear of a delivery out of the mailbox.
    """

    targets: tuple[DeviceId, ...]
    broadcast: bool
    body: bytes
    id: str | None
    ttl: float
    confirm: bool


def read_request(message: Peer, config: PeerConfig) -> PeerRequest:
    """Check a request.

    Raises:
        BadMessage: INVALID_REQUEST (whom, which id) or SCHEMA_INVALID (what, how long).
    """
    own = message.id
    if own is not None and not _is_id(own):
        most = limits.PEER_ID_CHARACTERS
        raise BadMessage("INVALID_REQUEST", f"expected 'id' to be 1 to {most} printable characters")
    targets = _read_targets(message.to)
    if type(message.payload) is not dict:
        raise BadMessage("SCHEMA_INVALID", "expected 'payload' to be an object")
    body = encode(message.payload)
    if len(body) > config.payload_bytes:
        raise BadMessage("SCHEMA_INVALID", f"expected 'payload' of at most {config.payload_bytes} bytes")
    if type(message.confirm) is not bool:
        raise BadMessage("SCHEMA_INVALID", "expected 'confirm' to be true or false")
    broadcast = targets == (BROADCAST,)
    return PeerRequest(
        targets=() if broadcast else targets,
        broadcast=broadcast,
        body=body,
        id=own,
        ttl=_read_ttl(message.ttl_ms, config.ttl),
        confirm=message.confirm,
    )


def _is_id(value: Any) -> bool:
    # printable: it gets into records and logs
    return type(value) is str and 0 < len(value) <= limits.PEER_ID_CHARACTERS and value.isprintable()


def _read_targets(to: Any) -> tuple[DeviceId, ...]:
    if type(to) is str:
        to = [to]
    elif type(to) is not list or not all(type(name) is str for name in to):
        raise BadMessage("INVALID_REQUEST", "expected 'to' to be an id, or a list of ids")
    names = dict.fromkeys(to)  # repeated ids count once
    if not 0 < len(names) <= limits.PEER_TARGETS:
        raise BadMessage("INVALID_REQUEST", f"expected 1 to {limits.PEER_TARGETS} ids in 'to'")
    targets: dict[DeviceId, None] = {}
    for name in names:
        try:
            targets[device_id(name)] = None
        except BadDeviceId as error:
            raise BadMessage("INVALID_REQUEST", f"in 'to': {error}") from None
    if BROADCAST in targets and len(targets) > 1:
        raise BadMessage("INVALID_REQUEST", "expected 'broadcast' to be alone in 'to'")
    return tuple(targets)


def _read_ttl(ttl_ms: Any, longest: float) -> float:
    if ttl_ms is None:
        return longest
    if type(ttl_ms) not in (int, float) or ttl_ms <= 0:
        raise BadMessage("SCHEMA_INVALID", "expected 'ttl_ms' to be a positive number")
    return min(float(ttl_ms) / 1000, longest)


def read_ack(message: Peer) -> tuple[str, ...]:
    """Return the ids a device acknowledges.

    Raises:
        BadMessage: INVALID_REQUEST.
    """
    ids = [message.id] if message.ids is None else message.ids
    if type(ids) is not list or len(ids) > limits.MAILBOX_PER_DEVICE or not all(type(one) is str for one in ids):
        raise BadMessage("INVALID_REQUEST", "expected 'id' to be a string, or 'ids' a list of strings")
    return tuple(ids)
