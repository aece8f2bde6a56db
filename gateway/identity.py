"""Who a device is, and how a peer's text is made fit to be read by people."""

from __future__ import annotations

import secrets
from typing import NewType

from gateway.errors import BadDeviceId
from gateway.protocol.limits import DEVICE_ID_CHARACTERS, GROUP_CHARACTERS, PRINTED_CHARACTERS

DeviceId = NewType("DeviceId", str)
"""A device id in its one form: trimmed, unquoted, lower case, 1 to 64 characters, none of them a control character."""

GENERATED_PREFIX = "auto-"
"""Ids the gateway made itself, for clients that gave none, begin with this."""

# White space and quotes in one set: stripped one after the other, what is left can begin with either, and the id
# would change each time it is brought to its form. All white space of Unicode stands below U+3001.
_AROUND_IDS = "\"'" + "".join(filter(str.isspace, map(chr, range(0x3001))))


def device_id(text: str) -> DeviceId:
    """Bring a device id to its one form: white space and quotes stripped, lower case.

    Raises:
        BadDeviceId: it is empty, longer than 64 characters, or has characters that cannot be printed.
    """
    name = text.strip(_AROUND_IDS).lower()
    if not name:
        raise BadDeviceId("expected a device id, got an empty one")
    if len(name) > DEVICE_ID_CHARACTERS:
        raise BadDeviceId(f"expected a device id of at most {DEVICE_ID_CHARACTERS} characters, got {len(name)}")
    if not name.isprintable():
        raise BadDeviceId("expected a device id of printable characters, got some that cannot be printed")
    return DeviceId(name)


def generated_device_id() -> DeviceId:
    """Make an id for a client that gave none: ``auto-`` and eight hexadecimal digits."""
    return DeviceId(GENERATED_PREFIX + secrets.token_hex(4))


def is_generated(device: DeviceId) -> bool:
    """Tell whether the gateway made this id itself."""
    return device.startswith(GENERATED_PREFIX)


def group_of(device: DeviceId) -> str:
    """Return the group a device belongs to: the first eight characters of its id."""
    return device[:GROUP_CHARACTERS]


def printable(text: object, limit: int = PRINTED_CHARACTERS) -> str:
    """Make a peer's text fit for a log or a terminal: capped, control characters shown as escapes."""
    raw = str(text)
    shown = escaped(raw[:limit])[:limit]
    return shown + "…" if len(raw) > limit else shown


_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def escaped(text: str) -> str:
    r"""Show what is not printable, line ends included, as the escapes of Python: ``\n``, ``\x1b``, ``\u202e``."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    # not the codec `unicode_escape`: its module is imported when it is first used, which needs a free file descriptor,
    # and peers could choose that moment
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
