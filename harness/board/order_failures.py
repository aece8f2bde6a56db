"""What a board's firmware answers where it could not do what it was told, as the errors that fake devices raise. Pure.

The answer is made by a board: names that are not known, and facts of other types than expected, are no reason to fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.board.orders import OrderFailed
from harness.errors import (
    CannotConnect,
    ExpectationFailed,
    FirmwareWouldFail,
    HarnessError,
    Misuse,
    NotConnected,
    UpgradeRefused,
)


def meant(
    failed: OrderFailed, device: str, *, url: str, state: str, unread: Sequence[Mapping[str, Any]]
) -> HarnessError:
    """Return what a fake device would raise; the failure itself where none would.

    Args:
        failed: what the firmware answered.
        device: what reports call it.
        url: where it was to connect.
        state: what has become of its connection, where the firmware does not say.
        unread: the messages that nobody has taken.
    """
    why = str(failed.facts.get("why", ""))
    if failed.error == "CannotConnect":
        return CannotConnect(url, why or failed.text)
    if failed.error == "NotConnected":
        return NotConnected(device, why or state)
    if failed.error == "ExpectationFailed":
        return ExpectationFailed(device, f"an end to {failed.verb!r}", 0.0, failed.text, unread)
    if failed.error == "UpgradeRefused":
        return _refused(failed.facts)
    same: dict[str, type[HarnessError]] = {"FirmwareWouldFail": FirmwareWouldFail, "Misuse": Misuse}
    return same[failed.error](failed.text) if failed.error in same else failed


def _refused(facts: Mapping[str, Any]) -> UpgradeRefused:
    status, headers = facts.get("status"), facts.get("headers")
    return UpgradeRefused(
        status if isinstance(status, int) else 0,
        str(facts.get("reason", "")),
        headers if isinstance(headers, dict) else None,
    )
